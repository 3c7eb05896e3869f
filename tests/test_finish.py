"""What stands beside merged weights: kept if it fails, proved before it is said to be whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import slack_ties.merge.merge as merge_module
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import CheckpointError, OutputError
from slack_ties.merge.finish import prove_loading, what_is_not_loaded
from slack_ties.merge.merge import merge_models
from slack_ties.models.headers import read_headers
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from triple import CHAT, Folders

QUIET = MergeOptions(quiet=True)


@pytest.fixture
def copies(triple: Folders, tmp_path: Path) -> Folders:
    """A triple that may be changed."""
    shutil.copytree(triple.base.parent, tmp_path / "models")
    return Folders(*(tmp_path / "models" / role for role in ("base", "ct", "sft")))


def recipe(folders: Folders, more: str = "", *, typed: bool = True) -> Recipe:
    """Return the Tibetan config on the models of a triple, with something more in it.

    With or without the type of the result.
    """
    models = {"base": str(folders.base), "ct": str(folders.ct), "sft": str(folders.sft)}
    made = make_config("bo", Choices(**models))
    lines = [line for line in made.text.splitlines() if typed or "dtype:" not in line]
    return parse_recipe("\n".join([more, *lines]), where="bo.yml")


def edit(path: Path, **values: object) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_the_config_is_the_bases(copies: Folders, tmp_path: Path) -> None:
    """With every key that it had, in the words of transformers 4 and 5."""
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope["original_max_position_embeddings"] = 64
    path = copies.base / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("rope_parameters", None)
    config.pop("dtype", None)
    own = {"rope_theta": 5e5, "rope_scaling": rope, "torch_dtype": "bfloat16", "unknown": [1]}
    path.write_text(json.dumps({**config, **own}), "utf-8")
    for folder in (copies.ct, copies.sft):
        edit(folder / "config.json", rope_parameters=None)

    merge_models(recipe(copies), tmp_path / "out", options=QUIET)

    merged = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert merged == {**config, **own, "dtype": "bfloat16"}


def test_the_config_says_the_type_that_the_weights_have(copies: Folders, tmp_path: Path) -> None:
    """A float32 CT model makes the result float32, whatever the base's config says."""
    model = AutoModelForCausalLM.from_pretrained(copies.ct, dtype=torch.float32)
    for path in copies.ct.glob("*.bin"):
        path.unlink()
    model.save_pretrained(copies.ct)

    merge_models(recipe(copies, typed=False), tmp_path / "out", options=QUIET)

    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert (config["dtype"], config["torch_dtype"]) == ("float32", "float32")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_merged_files_have_the_mode_of_the_umask(triple: Folders, tmp_path: Path) -> None:
    """A colleague can load them."""
    before = os.umask(0o022)
    try:
        merge_models(recipe(triple), tmp_path / "out", options=QUIET)
    finally:
        os.umask(before)

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {0o644}


def test_finished_work_is_kept(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the config cannot be written, the weights stay, and the folder says what is missing."""

    def full(*_: object, **__: object) -> None:
        msg = "No space left on device"
        raise OSError(28, msg)

    monkeypatch.setattr(merge_module, "complete_model", full)

    with pytest.raises(OutputError, match=r"the weights are merged and kept in '.*out'") as caught:
        merge_models(recipe(triple), tmp_path / "out", options=QUIET)

    assert "UNFINISHED.txt" in caught.value.hint
    out = tmp_path / "out"
    assert load_file(out / "model.safetensors").keys() == read_headers(triple.base).keys()
    assert "No space left on device" in (out / "UNFINISHED.txt").read_text("utf-8")
    assert not (out / "slack_ties.json").exists()


def test_a_base_whose_tokenizer_has_no_vocabulary(copies: Folders, tmp_path: Path) -> None:
    """Settings alone are no tokenizer: planned so, merged so, and nothing is thrown away."""
    for folder in (copies.base, copies.ct, copies.sft):
        (folder / "tokenizer.json").unlink()

    plan = plan_merge(recipe(copies))
    merge_models(recipe(copies), tmp_path / "out", options=QUIET)

    assert plan.vocabulary == "the base has no tokenizer, so the merged model has none"
    assert not list((tmp_path / "out").glob("tokenizer*"))
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_tokenizer_of_its_own_code(copies: Folders, tmp_path: Path) -> None:
    """As Qwen-7B has it: its files are carried over as they are, and no code is run."""
    for folder in (copies.base, copies.ct, copies.sft):
        (folder / "tokenizer.json").unlink()
        (folder / "own.tiktoken").write_text("YQ== 0\n")
        (folder / "tokenization_own.py").write_text("raise SystemExit\n")
        edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Own", None]})

    assert plan_merge(recipe(copies)).errors == ()
    merge_models(recipe(copies), tmp_path / "out", options=QUIET)

    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"own.tiktoken", "tokenization_own.py", "tokenizer_config.json"} <= names


@pytest.mark.parametrize(("told", "wanted"), [("auto", CHAT), ("'{{ 1 }}'", "{{ 1 }}")])
def test_a_chat_template_that_the_config_names(
    told: str, wanted: str, copies: Folders, tmp_path: Path
) -> None:
    """The commonest among the models, or one written out."""
    text = f"chat_template: {told}\n"

    merge_models(recipe(copies, text), tmp_path / "out", options=QUIET)

    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == wanted


def test_the_proof_can_say_the_opposite(triple: Folders, tmp_path: Path) -> None:
    """A tensor less, one of another shape, one too many: each is told."""
    shutil.copytree(triple.sft, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    whole = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    ends = []
    for changed in (
        {n: t for n, t in whole.items() if n != name},
        whole | {name: torch.zeros(3, 4)},
        whole | {"model.layers.1.mlp.up_proj.bias": torch.zeros(3)},
        whole,
    ):
        save_file(changed, path, metadata={"format": "pt"})
        headers = read_headers(tmp_path / "model")
        try:
            prove_loading(tmp_path / "model", headers, "model")
            ends.append("whole")
        except CheckpointError as error:
            ends.append(str(error))
    assert ends == [
        f"the model cannot be loaded: '{name}' is missing",
        f"the model cannot be loaded: {name} is 3x4, expected 128x64",
        "the model contains 'model.layers.1.mlp.up_proj.bias', which transformers would not read",
        "whole",
    ]
    assert what_is_not_loaded(tmp_path / "model", read_headers(tmp_path / "model"), "x") == ""
