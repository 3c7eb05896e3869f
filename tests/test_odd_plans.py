"""What a plan says about models and parameters that are odd, and no error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from command import Invoke
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.plan.make import plan_merge
from slack_ties.plan.text import plan_as_text
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from triple import Folders


def recipe(folders: Folders, **choices: object) -> Recipe:
    """Return the Tibetan config on the models of a triple."""
    models = {"base": str(folders.base), "ct": str(folders.ct), "sft": str(folders.sft)}
    return make_config("bo", Choices(**{**models, **choices}))


def test_an_sft_model_that_is_the_base(triple: Folders) -> None:
    """Both of its rows are there, and a warning says that it adds nothing."""
    plan = plan_merge(recipe(triple, sft=str(triple.base)))

    assert plan.errors == ()
    assert plan.warnings == (
        f"{triple.base} is the base and also the SFT model: it adds nothing to the base",
    )
    text = plan_as_text(plan)
    for line in (f"base  {triple.base}", f"SFT   {triple.base}\n      the same model\n"):
        assert line in text
    assert json.loads(json.dumps(plan.as_json()))["models"][0]["roles"] == ["base", "sft"]


def test_a_ct_model_that_is_the_base(triple: Folders) -> None:
    """The merge has no CT model: an error says so, and --allow-unrelated makes it a warning."""
    config = recipe(triple, ct=str(triple.base))

    (error,) = plan_merge(config).errors

    assert str(error) == f"bo.yml: the CT model is the base {triple.base}: it adds nothing"
    assert error.hint.endswith("or merge anyway: --allow-unrelated")
    plan = plan_merge(config, allow_unrelated=True)
    assert plan.errors == ()
    assert str(error) in plan.warnings


@pytest.mark.parametrize("spelled", ["{}", "{}/../{name}"])
def test_a_merge_of_the_base_alone(triple: Folders, spelled: str) -> None:
    """It is an error before a merge, under each name of the folder; reports are made as before."""
    same = spelled.format(triple.base, name=triple.base.name)
    config = recipe(triple, ct=same, sft=same)

    *_, error = plan_merge(config, allow_unrelated=True).errors

    assert str(error).endswith(f"is the base {triple.base}: the result would be the base")
    assert "the result would be" not in str(plan_merge(config, writes=False).errors)


def test_run_of_the_base_alone(triple: Folders, invoke: Invoke) -> None:
    """No model is written."""
    models = [word for role in ("base", "ct", "sft") for word in (f"--{role}", triple.base)]

    result = invoke("run", "lo", *models, "--out", "out")

    assert result.exit_code == 1
    assert "the result would be the base" in result.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize("stated", ["me/one", "me/else"])
def test_the_base_and_the_ct_model_swapped(stated: str, api: HfApi, triple: Folders) -> None:
    """It is an error if the base's card names the CT model as its base."""
    models = {"base": "me/one-bo", "ct": "me/one", "sft": "me/one-chat"}
    for role, name in models.items():
        api.create_repo(name, private=False)
        api.upload_folder(repo_id=name, folder_path=getattr(triple, role))
    card = f"---\nbase_model: {stated}\n---\n".encode()
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=models["base"])

    errors = plan_merge(make_config("bo", Choices(**models)), api=api).errors

    swapped = "by its card, the base me/one-bo was made from me/one, the CT model: base and CT"
    assert [swapped in str(error) for error in errors] == [True] * (stated == "me/one")
    assert all("or merge anyway: --allow-unrelated" in error.hint for error in errors)


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


# Parameters


@pytest.fixture
def roles(triple: Folders, tmp_path: Path) -> dict[str, Path]:
    """Copies of the triple, of which only the SFT model has a chat template."""
    found = {}
    for role, folder in (("base", "one"), ("ct", "two"), ("sft", "three")):
        found[role] = Path(shutil.copytree(getattr(triple, role), tmp_path / folder))
        (found[role] / "chat_template.jinja").unlink(missing_ok=True)
        settings = json.loads((found[role] / "tokenizer_config.json").read_text("utf-8"))
        settings.pop("chat_template", None)
        (found[role] / "tokenizer_config.json").write_text(json.dumps(settings))
    (found["sft"] / "chat_template.jinja").write_text("{{ messages }}")
    return found


def warnings_of(**folders: Path) -> list[str]:
    """Return what a plan says about swapped models."""
    found = {role: str(folder) for role, folder in folders.items()}
    plan = plan_merge(make_config("bo", Choices(**found)))
    return [one for one in plan.warnings if "swapped" in one]


def test_models_in_their_places(roles: dict[str, Path]) -> None:
    """Nothing is said, whatever the models' names."""
    assert warnings_of(**roles) == []


def test_the_base_and_the_sft_model_swapped(roles: dict[str, Path]) -> None:
    """The sign is named: the chat template."""
    base, ct, sft = (roles[role] for role in ("base", "ct", "sft"))

    assert warnings_of(base=sft, ct=ct, sft=base) == [
        f"are the base and the SFT model swapped? {sft} has a chat template, and {base} has none"
    ]


def test_the_ct_and_the_sft_model_swapped(roles: dict[str, Path]) -> None:
    """The languages of the cards are a sign too."""
    base, ct, sft = (roles[role] for role in ("base", "ct", "sft"))
    (sft / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n")
    (ct / "README.md").write_text("---\nlanguage: [bo]\nlicense: mit\n---\n")

    assert warnings_of(base=base, ct=sft, sft=ct) == [
        f"are the CT and the SFT model swapped? {sft} has a chat template, and {ct} has none; "
        f"the card of {ct} names the language bo, and that of {sft} does not"
    ]


def test_signs_in_names_and_cards(api: HfApi, triple: Folders) -> None:
    """On the Hub: names, data, and the model that a card says it was made from."""
    names = {"base": "me/small-chat-hf", "ct": "me/small-bo", "sft": "me/small-hf"}
    cards = {
        "base": "base_model: ME/small-hf\ndatasets: [tatsu-lab/alpaca]\n",
        "ct": "base_model: me/small-hf\n",
        "sft": "license: mit\n",
    }
    for role, name in names.items():
        api.create_repo(name, private=False)
        api.upload_folder(repo_id=name, folder_path=getattr(triple, role))
        card = f"---\n{cards[role]}---\n".encode()
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=name)

    plan = plan_merge(make_config("bo", Choices(**names)), api=api)

    (said,) = [one for one in plan.warnings if "swapped" in one]
    assert said.startswith("are the base and the SFT model swapped? ")
    for sign in (
        "only the name of me/small-chat-hf is that of an instruction-tuned model",
        "the card of me/small-chat-hf names tatsu-lab/alpaca, data for instruction tuning",
        "by its card, me/small-chat-hf was made from me/small-hf",
        "by its card, me/small-bo was made from me/small-hf",
    ):
        assert sign in said


def test_the_parameters_are_shown(triple: Folders) -> None:
    """Of each model and of the merge, defaults included, in the text and in JSON."""
    plan = plan_merge(recipe(triple))

    text = plan_as_text(plan)
    assert "\n      weight 1, density 0.5, slack 0\nSFT" in text
    assert "\n      weight 1, density 0.5, slack 0.2\n" in text
    assert "Parameters: normalize false, lambda 1, out_dtype bfloat16\n" in text
    data = json.loads(json.dumps(plan.as_json()))
    assert [model["settings"] for model in data["models"]] == [
        [],
        [{"weight": 1.0, "density": 0.5, "slack": 0.0}],
        [{"weight": 1.0, "density": 0.5, "slack": 0.2}],
    ]
    assert data["settings"] == {"normalize": False, "lambda": 1.0, "out_dtype": "bfloat16"}


def test_parameters_of_layers_and_of_some_tensors(triple: Folders) -> None:
    """Values around a model hold for it; lists and filters are shown as they are written."""
    text = f"""
merge_method: slack_ties
base_model: {triple.base}
parameters: {{density: [0.25, 1], weight: 1e-3}}
slices:
- sources:
  - {{model: {triple.base}, layer_range: [0, 1]}}
  - {{model: {triple.ct}, layer_range: [0, 1]}}
- parameters: {{weight: 2}}
  sources:
  - {{model: {triple.base}, layer_range: [1, 2]}}
  - model: {triple.ct}
    layer_range: [1, 2]
    parameters: {{slack: [{{filter: mlp, value: 0.5}}, {{value: 0.1}}]}}
"""
    said = plan_as_text(plan_merge(parse_recipe(text, where="x.yml")))

    assert "\n      weight 1e-3, density [0.25, 1], slack 0\n" in said
    assert "\n      weight 2, density [0.25, 1], slack [0.5 in mlp, 0.1 elsewhere]\n" in said
    assert "Parameters: normalize true, lambda 1\n" in said
    assert said.count("weight") == 2


def test_odd_parameters_are_remarked_on(triple: Folders) -> None:
    """A weight below 0, a density of 0 and slack of a CT model are allowed, and warned of."""
    names = {"base": triple.base, "ct": triple.ct, "sft": triple.sft}
    models = [
        {"model": str(triple.ct), "parameters": {"weight": -1, "density": 0.5, "slack": 0.1}},
        {"model": str(triple.sft), "parameters": {"weight": 1, "density": 0, "slack": 0.2}},
    ]
    data = {
        "merge_method": "slack_ties",
        "base_model": str(triple.base),
        "models": models,
        "out_dtype": "bfloat16",
        "slack_ties": {"recipe": 1, "roles": {role: str(name) for role, name in names.items()}},
    }

    plan = plan_merge(parse_recipe(json.dumps(data), where="x.yml"))

    assert plan.errors == ()
    assert [warning.partition(": ")[2] for warning in plan.warnings] == [
        "weight -1 is below 0: the merge takes away what training added to this model",
        "slack 0.1 protects entries of a CT model, and slack is for the SFT model",
        "density 0 keeps only the largest entry of each tensor: the model adds almost nothing",
    ]
