"""Vocabularies of other orders and sizes: every tensor with a row per token, and every token id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from zoo import ZOO
from zoo_merge import CONFIG, ROLES, make_models, tensors

QUIET = MergeOptions(quiet=True)
ROWS = 64
WORDS = [f"w{i}" for i in range(ROWS)]
TURNED = [*WORDS[:10], *reversed(WORDS[10:20]), *WORDS[20:]]


def tokenizer(words: list[str], folder: Path) -> None:
    """Save a tokenizer of these words, in this order."""
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="w0", bos_token="w1", eos_token="w12", pad_token="w2"
    )
    made.save_pretrained(folder)


def recipe(folder: Path, section: str) -> Recipe:
    """Return the config of three models, with a tokenizer section."""
    text = CONFIG.format(method="slack_ties", folder=folder, slack=", slack: 0.2")
    return parse_recipe(f"{text}tokenizer: {{source: {section}}}\n", where="t.yml")


def edit(path: Path, **values: object) -> None:
    """Change keys of a JSON file, which need not be there."""
    old = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(old | values), "utf-8")


@pytest.mark.parametrize("name", ["llama", "gemma3n", "gemma4", "bart", "phi2"])
def test_the_same_model_with_its_rows_in_another_order(name: str, tmp_path: Path) -> None:
    """All three are one model, and one has other rows for the same tokens: nothing changes."""
    make_models(next(a for a in ZOO if a.name == name), tmp_path)
    before = tensors(tmp_path / "base")
    (file,) = [path.name for path in (tmp_path / "base").glob("*.safetensors")]
    order = [WORDS.index(word) for word in TURNED]
    for role in ROLES[1:]:
        save_file(before, tmp_path / role / file, metadata={"format": "pt"})
    turned = {
        key: tensor[:, order] if "logits_bias" in key else tensor[order]
        for key, tensor in before.items()
        if any(part in key for part in ("embed_tokens", "shared", "lm_head", "logits_bias"))
    }
    assert turned
    content = {key: tensor.clone().contiguous() for key, tensor in (before | turned).items()}
    save_file(content, tmp_path / "ct" / file, metadata={"format": "pt"})
    for role in ROLES:
        tokenizer(TURNED if role == "ct" else WORDS, tmp_path / role)

    merge_models(recipe(tmp_path, "base"), tmp_path / "out", options=QUIET)

    merged = tensors(tmp_path / "out")
    assert merged.keys() == before.keys()
    assert [key for key in before if not torch.equal(merged[key], before[key])] == []


def test_token_ids_follow_their_tokens(tmp_path: Path) -> None:
    """The result has the CT model's order of tokens: config and generation settings as well."""
    make_models(ZOO[0], tmp_path)
    for role in ROLES:
        tokenizer(TURNED if role == "ct" else WORDS, tmp_path / role)
    edit(tmp_path / "base" / "config.json", eos_token_id=[12, 3], pad_token_id=2)
    edit(tmp_path / "base" / "generation_config.json", eos_token_id=12, do_sample=True)
    (tmp_path / "sft" / "generation_config.json").unlink(missing_ok=True)
    edit(tmp_path / "sft" / "config.json", eos_token_id=12, pad_token_id=2)

    merge_models(recipe(tmp_path, str(tmp_path / "ct")), tmp_path / "out", options=QUIET)

    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text("utf-8"))
    wanted = TURNED.index("w12")
    assert (config["eos_token_id"], config["pad_token_id"]) == (wanted, 2)
    assert (generation["eos_token_id"], generation["do_sample"]) == (wanted, True)


def test_a_token_that_the_result_lacks(tmp_path: Path) -> None:
    """Its id is not kept: transformers could not make the model."""
    make_models(ZOO[0], tmp_path)
    for role in ROLES:
        tokenizer(WORDS[:-4] if role == "sft" else WORDS, tmp_path / role)
        edit(tmp_path / role / "config.json", pad_token_id=ROWS - 1)

    merge_models(recipe(tmp_path, str(tmp_path / "sft")), tmp_path / "out", options=QUIET)

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.pad_token_id is None
    assert model.get_input_embeddings().weight.shape[0] == ROWS - 4


@pytest.mark.parametrize("name", ["gemma3n", "bart", "llava"])
def test_more_tokens(name: str, tmp_path: Path) -> None:
    """A CT model's own tokens get rows everywhere, and every config says how many there are."""
    make_models(next(a for a in ZOO if a.name == name), tmp_path)
    for role in ROLES:
        own = [*WORDS[:-3], "x", "y", "z"]
        tokenizer(own if role == "ct" else WORDS, tmp_path / role)

    plan = plan_merge(recipe(tmp_path, "union"))
    assert plan.errors == ()
    merge_models(recipe(tmp_path, "union"), tmp_path / "out", options=QUIET)

    (file,) = (tmp_path / "out").glob("*.safetensors")
    rows = {
        tensor.shape[-1 if "logits_bias" in key else 0]
        for key, tensor in load_file(file).items()
        if any(part in key for part in ("embed_tokens", "shared", "lm_head", "logits_bias"))
    }
    assert rows == {ROWS + 3}
