"""Every architecture: merged in full, as the definition says, and loaded with nothing missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dense import merged_densely
from slack_ties.models.headers import read_headers
from slack_ties.tensors.loading import skeleton_of
from slack_ties.tensors.plain_models import plain_model
from zoo import NOT_HERE, ZOO, Animal
from zoo_merge import PAGE, Outcome, make_models, try_merge

PLAIN = (
    "llama",
    "llama-3",
    "llama-biases",
    "mistral",
    "qwen2",
    "qwen2-tied",
    "qwen3",
    "gemma",
    "gemma2",
)


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_is_merged_in_full(animal: Animal, tmp_path: Path) -> None:
    """No tensor of the base is lost, each is the definition's, and transformers loads them all."""
    make_models(animal, tmp_path)

    outcome = try_merge(animal, tmp_path)

    assert outcome == Outcome(same_logits=True)


def test_the_page_lists_every_animal() -> None:
    """docs/architectures.md has a line for each, made from the same outcome."""
    text = PAGE.read_text("utf-8")

    lines = [line for line in text.splitlines() if line.startswith("| ") and "| `" in line]
    right = [f"| {a.name} | `{a.kind}` | merged, every tensor right |" for a in ZOO]
    assert [line.rpartition("|")[0].rpartition("|")[0] + "|" for line in lines] == right
    assert all(f"`{kind}`" in text for kind in NOT_HERE)


def test_plain_models_are_as_transformers_has_them(tmp_path: Path) -> None:
    """Names, shapes and ties that `plan` knows without transformers are those of transformers."""
    plain = []
    for animal in ZOO:
        if animal.name not in PLAIN:
            continue
        make_models(animal, tmp_path / animal.name)
        folder = tmp_path / animal.name / "base"
        config = json.loads((folder / "config.json").read_text("utf-8"))
        known, asked = plain_model(config, read_headers(folder)), skeleton_of(config)
        assert asked is not None
        if known is None:
            continue
        plain.append(animal.name)
        assert known.state == {name: tuple(t.shape) for name, t in asked.state.items()}
        assert set(known.tied) == set(asked.tied)
        assert (known.vocabulary, known.heads) == (asked.vocabulary, asked.heads)
        assert known.parameters == asked.parameters
    assert plain == list(PLAIN)


def test_the_check_can_say_the_opposite(tmp_path: Path) -> None:
    """A result that lacks a tensor, or has another value, is found out."""
    animal = ZOO[0]
    make_models(animal, tmp_path)
    base = load_file(tmp_path / "base" / "model.safetensors")
    name = "model.norm.weight"
    wrong = merged_densely(base[name], base[name] + 1, base[name]) + 1

    assert not torch.equal(wrong, merged_densely(base[name], base[name] + 1, base[name]))
    assert Outcome(lost=(name,), same_logits=True) != Outcome(same_logits=True)
