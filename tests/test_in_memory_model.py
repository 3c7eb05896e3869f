"""A merge in memory is the model that transformers loads from the folder of the same merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from mergekit.options import MergeOptions
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from slack_ties.errors import SlackTiesError
from slack_ties.merge.merge import merge_models
from slack_ties.running.in_memory_model import load_merged
from slack_ties.settings import Settings
from triple import CHAT, Folders, changed, extend, llama

# dare_ties draws random numbers: with a seed, on disk and in memory the same.
QUIET = Settings(options=MergeOptions(random_seed=3, quiet=True))
PROMPT = "བོད་སྐད་དང་བོད་ཡིག German"


def write_config(folders: Folders, path: Path, method: str, **more: Any) -> Path:
    """Write a config of a method; the SFT model has a role, so its chat template is taken."""
    own = {"weight": 0.7, **({"density": 0.5} if method != "task_arithmetic" else {})}
    models = [{"model": str(one), "parameters": dict(own)} for one in (folders.ct, folders.sft)]
    roles = {"base": [str(folders.base)], "ct": [str(folders.ct)], "sft": [str(folders.sft)]}
    data = {
        "merge_method": method,
        "base_model": str(folders.base),
        "models": models,
        "slack_ties": {"recipe": 1, "roles": roles},
        **more,
    }
    path.write_text(yaml.safe_dump(data))
    return path


def check_same(config: Path, out: Path) -> None:
    """Compare a model in memory with the model that transformers loads from the merged folder."""
    merge_models(config, out, options=QUIET.options)
    disk = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    tokens = AutoTokenizer.from_pretrained(out)
    before = sorted(config.parent.iterdir())

    loaded = load_merged(config, settings=QUIET)

    assert sorted(config.parent.iterdir()) == before
    ours, theirs = loaded.model.state_dict(), disk.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert tensor.dtype == ours[name].dtype, name
        assert torch.equal(tensor, ours[name]), name
    assert loaded.model.dtype == disk.dtype
    apart = {"_name_or_path": "", "transformers_version": ""}
    assert loaded.model.config.to_dict() | apart == disk.config.to_dict() | apart
    assert loaded.model.generation_config.to_dict() == disk.generation_config.to_dict()
    assert loaded.tokenizer.get_vocab() == tokens.get_vocab()
    assert loaded.tokenizer.chat_template == tokens.chat_template == CHAT
    assert loaded.tokenizer.special_tokens_map == tokens.special_tokens_map
    ids = torch.tensor([tokens(PROMPT)["input_ids"]])
    assert loaded.tokenizer(PROMPT)["input_ids"] == ids[0].tolist()
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, disk(ids).logits)


@pytest.mark.parametrize("method", ["slack_ties", "ties", "task_arithmetic", "dare_ties"])
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_any_method_in_memory_is_the_model_on_disk(
    method: str, dtype: str | None, triple: Folders, tmp_path: Path
) -> None:
    """Same weights, type, config, generation settings, tokenizer, and the same logits."""
    config = write_config(triple, tmp_path / "a.yml", method, out_dtype=dtype)
    check_same(config, tmp_path / "out")


def test_a_tokenizer_that_mergekit_builds_is_the_same_in_memory(
    triple: Folders, tmp_path: Path
) -> None:
    """That of a model with more tokens: the embedding has its rows."""
    ct = extend(tmp_path / "ct", triple.ct)
    folders = Folders(triple.base, ct, triple.sft)
    section = {"source": str(ct)}

    check_same(
        write_config(folders, tmp_path / "a.yml", "task_arithmetic", tokenizer=section),
        tmp_path / "out",
    )


def test_a_union_of_vocabularies_has_each_token_with_its_row(
    triple: Folders, tmp_path: Path
) -> None:
    """Each merge by mergekit orders the new tokens anew, so rows are compared by token."""
    folders = Folders(triple.base, extend(tmp_path / "ct", triple.ct), triple.sft)
    section = {"source": "union"}
    config = write_config(folders, tmp_path / "a.yml", "task_arithmetic", tokenizer=section)
    merge_models(config, tmp_path / "out", options=QUIET.options)
    disk = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    numbers = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()

    loaded = load_merged(config, settings=QUIET)

    ours = loaded.tokenizer.get_vocab()
    assert ours.keys() == numbers.keys()
    rows, theirs = loaded.model.model.embed_tokens.weight, disk.model.embed_tokens.weight
    assert all(torch.equal(rows[ours[token]], theirs[numbers[token]]) for token in ours)


def test_tied_weights_stay_tied_in_memory(triple: Folders, tmp_path: Path) -> None:
    """The head is the embedding, as in the base."""
    folders = []
    base = llama()
    base.config.tie_word_embeddings = True
    base = LlamaForCausalLM(base.config)
    for number, role in enumerate(("base", "ct", "sft")):
        changed(base, 0.01 * number, number).save_pretrained(tmp_path / role)
        AutoTokenizer.from_pretrained(triple.sft).save_pretrained(tmp_path / role)
        folders.append(tmp_path / role)
    config = write_config(Folders(*folders), tmp_path / "a.yml", "task_arithmetic")

    check_same(config, tmp_path / "out")

    model = load_merged(config, settings=QUIET).model
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_a_model_that_does_not_fit_in_memory_is_refused_before_it_is_merged(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how much it needs and how much is free, and how to merge to disk."""
    config = write_config(triple, tmp_path / "a.yml", "task_arithmetic")
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)

    with pytest.raises(SlackTiesError, match=r"about .* in memory, and 1\.0 kB is free") as caught:
        load_merged(config, settings=QUIET)

    assert caught.value.hint.startswith("slack-ties merge ")
