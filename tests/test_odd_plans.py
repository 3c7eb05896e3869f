"""What a plan says about models and parameters that are odd, and no error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.plan.make import plan_merge
from slack_ties.plan.text import plan_as_text
from slack_ties.recipe.recipe import Recipe
from triple import Folders


def recipe(folders: Folders, **choices: object) -> Recipe:
    """Return the Tibetan config on the models of a triple."""
    models = {"base": str(folders.base), "ct": str(folders.ct), "sft": str(folders.sft)}
    return make_config("bo", Choices(**{**models, **choices}))


@pytest.mark.parametrize(("role", "title"), [("ct", "CT"), ("sft", "SFT")])
def test_a_model_that_is_the_base(triple: Folders, role: str, title: str) -> None:
    """Both of its rows are there, and a warning says that it adds nothing."""
    plan = plan_merge(recipe(triple, **{role: str(triple.base)}))

    assert plan.errors == ()
    assert plan.warnings == (
        f"{triple.base} is the base and also the {title} model: it adds nothing to the base",
    )
    text = plan_as_text(plan)
    for line in (f"base  {triple.base}", f"{title:6}{triple.base}\n      the same model\n"):
        assert line in text
    assert json.loads(json.dumps(plan.as_json()))["models"][0]["roles"] == ["base", role]


def test_one_model_as_ct_and_sft(triple: Folders) -> None:
    """It is merged once, under one role; a warning says so."""
    plan = plan_merge(recipe(triple, sft=str(triple.ct)))

    assert plan.errors == ()
    assert plan.warnings[0].startswith(f"no model has the role ct: {triple.ct} is merged once")


def test_a_copy_under_another_name(triple: Folders, tmp_path: Path) -> None:
    """Both are listed, and a warning asks whether they are the same."""
    shutil.copytree(triple.ct, tmp_path / "copy")

    plan = plan_merge(recipe(triple, sft=str(tmp_path / "copy")))

    assert plan.errors == ()
    assert [model.model for model in plan.models][1:] == [str(triple.ct), str(tmp_path / "copy")]
    assert "differ from the base in exactly the same way" in plan.warnings[0]
    assert plan.warnings[0].endswith("are they the same model?")
