"""Slices and modules: what they need is known from the plan, and merged in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from dense import merged_densely
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from zoo import ZOO
from zoo_merge import ROLES, make_models, tensors

QUIET = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)


def triple(name: str, folder: Path) -> None:
    """Save a triple of the zoo."""
    make_models(next(animal for animal in ZOO if animal.name == name), folder)


def recipe(folder: Path, **data: Any) -> Recipe:
    """Return a config of our method on the models in a folder."""
    told = {"merge_method": "slack_ties", "base_model": str(folder / "base"), **data}
    return parse_recipe(yaml.safe_dump(told), where="s.yml")


def sources(folder: Path, first: int, end: int, *, base: bool = True) -> dict[str, Any]:
    """Return one slice of all models."""
    return {
        "sources": [
            {
                "model": str(folder / role),
                "layer_range": [first, end],
                **({"parameters": {"weight": 1, "density": 0.5}} if role != "base" else {}),
            }
            for role in (ROLES if base else ROLES[1:])
        ]
    }


def test_slices_are_as_mergekit_cuts_them(tmp_path: Path) -> None:
    """Layers 0, then 0 and 1 again: the same tensors as from stock mergekit, and one config."""
    triple("llama", tmp_path)
    told = recipe(tmp_path, slices=[sources(tmp_path, 0, 1), sources(tmp_path, 0, 2)])

    plan = plan_merge(told)
    merge_models(told, tmp_path / "out", options=QUIET)
    run_merge(MergeConfiguration.model_validate(told.data), str(tmp_path / "stock"), QUIET)

    ours, theirs = tensors(tmp_path / "out"), tensors(tmp_path / "stock")
    assert plan.errors == ()
    assert plan.parameters == sum(tensor.numel() for tensor in ours.values())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert yaml.safe_load((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 3


@pytest.mark.parametrize(
    ("slices", "message", "hint"),
    [
        (
            lambda f: [sources(f, 0, 2, base=False)],
            "is not among the sources",
            "add to the sources",
        ),
        (lambda f: [sources(f, 0, 9)], r"expected \[FIRST, END\] within \[0, 2\]", "plus one"),
        (lambda f: [sources(f, 0, 2), sources(f, 1, 1)], "END after FIRST", "plus one"),
        (
            lambda f: [{"sources": [*sources(f, 0, 2)["sources"], sources(f, 0, 2)["sources"][1]]}],
            "lists '.*ct' twice",
            "list it once",
        ),
        (
            lambda f: [
                {"sources": sources(f, 0, 1)["sources"][:1] + sources(f, 0, 2)["sources"][1:]}
            ],
            "all sources need the same number of layers",
            "",
        ),
    ],
)
def test_slices_that_cannot_be_merged(slices: Any, message: str, hint: str, tmp_path: Path) -> None:
    """Known from the plan, with what to write."""
    triple("llama", tmp_path)

    plan = plan_merge(recipe(tmp_path, slices=slices(tmp_path)))

    assert len(plan.errors) == 1
    assert __import__("re").search(message, str(plan.errors[0]))
    assert hint in plan.errors[0].hint


def test_layers_that_are_not_alike(tmp_path: Path) -> None:
    """A model of two kinds of layers is not cut into slices of others."""
    triple("lfm2", tmp_path)

    plan = plan_merge(recipe(tmp_path, slices=[sources(tmp_path, 1, 2), sources(tmp_path, 0, 1)]))

    assert "layer 1 cannot replace layer 0" in str(plan.errors[0])


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("whisper", ("encoder", "decoder")),
        ("t5-v1.1", ("encoder", "decoder")),
        ("llama", ("default",)),
        ("bart", ("model.encoder.layers", "model.decoder.layers")),
    ],
)
def test_modules(name: str, modules: tuple[str, ...], tmp_path: Path) -> None:
    """By mergekit's names or by those of the stacks: no tensor is lost."""
    triple(name, tmp_path)
    models = [
        {"model": str(tmp_path / role), "parameters": {"weight": 1, "density": 0.5, "slack": slack}}
        for role, slack in (("ct", 0), ("sft", 0.2))
    ]
    parts = {module: {"models": models} for module in modules}

    merge_models(
        recipe(tmp_path, modules=parts, parameters={"normalize": False}),
        tmp_path / "out",
        options=QUIET,
    )

    base, ct, sft, out = (tensors(tmp_path / role) for role in (*ROLES, "out"))
    assert out.keys() == base.keys()
    for key, tensor in out.items():
        assert torch.equal(merged_densely(base[key], ct[key], sft[key]), tensor), key


@pytest.mark.parametrize(
    ("modules", "message"),
    [(("decoder",), "no module names model.encoder.layers"), (("x",), "has no such module")],
)
def test_modules_that_leave_something_out(
    modules: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """Named beforehand: mergekit would write a model without it."""
    triple("whisper", tmp_path)
    models = [{"model": str(tmp_path / "ct"), "parameters": {"weight": 1}}]

    plan = plan_merge(recipe(tmp_path, modules={name: {"models": models} for name in modules}))

    assert message in str(plan.errors[0])
    assert plan.errors[0].hint
