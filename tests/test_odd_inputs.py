"""Inputs of public reports that nobody expects: each is refused with its cause, or merged right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from zoo import ZOO
from zoo_merge import CONFIG, ROLES, make_models

QUIET = MergeOptions(quiet=True)
FILE = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three Llamas."""
    make_models(ZOO[0], tmp_path)
    return tmp_path


def recipe(folder: Path) -> Recipe:
    """Return the config that merges them."""
    text = CONFIG.format(method="slack_ties", folder=folder, slack=", slack: 0.2")
    return parse_recipe(text, where="o.yml")


def as_bin(folder: Path, **how: object) -> None:
    """Store a model in one .bin file."""
    torch.save(load_file(folder / FILE), folder / "pytorch_model.bin", **how)
    (folder / FILE).unlink()


def protocol(folder: Path) -> None:
    """Pickle the CT model in a way that PyTorch's restricted loader does not read."""
    as_bin(folder / "ct", pickle_protocol=4)


def sparse(folder: Path) -> None:
    """Store a sparse tensor."""
    stored = load_file(folder / "ct" / FILE)
    stored["model.norm.weight"] = stored["model.norm.weight"].to_sparse()
    torch.save(stored, folder / "ct" / "pytorch_model.bin")
    (folder / "ct" / FILE).unlink()


def unmerged(folder: Path) -> None:
    """Leave the matrices of an adapter in the model's own file."""
    stored = load_file(folder / "ct" / FILE)
    name = "model.layers.0.self_attn.q_proj.lora_A.default.weight"
    save_file(stored | {name: torch.ones(2, 2)}, folder / "ct" / FILE)


def inner(folder: Path) -> None:
    """Save from inside DDP, which is inside the model."""
    stored = load_file(folder / "ct" / FILE)
    new = {name.replace("model.", "model.module.", 1): t for name, t in stored.items()}
    save_file(new, folder / "ct" / FILE)


def other_format(folder: Path) -> None:
    """Leave only a file of llama.cpp."""
    (folder / "ct" / FILE).rename(folder / "ct" / "m.gguf")


def text(folder: Path) -> None:
    """Name the architecture without a list."""
    path = folder / "ct" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(config | {"architectures": "LlamaForCausalLM"}), "utf-8")


def damaged(folder: Path) -> None:
    """Cut a file of the tokenizer short."""
    (folder / "base" / "special_tokens_map.json").write_text('{"a":')


def no_tokenizer(folder: Path) -> None:
    """Leave garbage for a tokenizer."""
    (folder / "base" / "tokenizer.model").write_bytes(b"garbage")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (protocol, "pytorch_model.bin cannot be read: pickle protocol 4"),
        (sparse, "model.norm.weight is stored as a sparse tensor"),
        (unmerged, "saved beside a LoRA adapter that is not merged"),
        (inner, "names of tensors contain '.module.': it was saved from inside a wrapper"),
        (other_format, "its weights are in m.gguf, expected model.safetensors"),
        (text, "config.json says architectures 'LlamaForCausalLM', expected a list"),
        (damaged, "special_tokens_map.json cannot be read"),
        (no_tokenizer, "the tokenizer (tokenizer.model) cannot be read"),
    ],
)
def test_is_refused_with_its_cause(
    change: Callable[[Path], None], message: str, folder: Path
) -> None:
    """By the plan, with the file or the tensor, and with something to do."""
    change(folder)

    error = plan_merge(recipe(folder)).errors[0]

    assert message in str(error)
    assert error.hint


def test_an_expert_that_is_missing(tmp_path: Path) -> None:
    """Named, and not transformers' words about a report that nobody sees."""
    make_models(next(animal for animal in ZOO if animal.name == "mixtral"), tmp_path)
    stored = load_file(tmp_path / "ct" / FILE)
    del stored["model.layers.0.block_sparse_moe.experts.1.w1.weight"]
    save_file(stored, tmp_path / "ct" / FILE)

    (error,) = plan_merge(recipe(tmp_path)).errors

    assert "model.layers.0.mlp.experts.gate_up_proj needs " in str(error)


@pytest.mark.parametrize(
    "how", [{"pickle_protocol": 2}, {"_use_new_zipfile_serialization": False}, {}]
)
def test_bin_files_that_are_read(how: dict[str, object], folder: Path) -> None:
    """To the same bytes as the same weights in safetensors."""
    merge_models(recipe(folder), folder / "one", options=QUIET)
    for role in ROLES[1:]:
        as_bin(folder / role, **how)

    merge_models(recipe(folder), folder / "two", options=QUIET)

    one, two = (load_file(folder / name / FILE) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
