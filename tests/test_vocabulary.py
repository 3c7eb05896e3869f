"""Tokenizers: compared by content, and a merged model that speaks as its parents do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from mergekit.options import MergeOptions
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from slack_ties.config.choices import Choices
from slack_ties.config.make import look_at_choices, make_config
from slack_ties.errors import CheckpointError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.rule.definition import slack_ties_merge
from slack_ties.tokenizer.chat import adopt_chat
from slack_ties.tokenizer.section import choose_section
from slack_ties.tokenizer.templates import read_template, set_template
from slack_ties.tokenizer.vocabulary import Vocabulary, read_vocabulary
from triple import CHAT, Folders, extend, names

QUIET = MergeOptions(quiet=True, lazy_unpickle=True)
BASE = Vocabulary({"<s>": 0, "</s>": 1, "a": 2}, rows=3)
CT = Vocabulary({"<s>": 0, "</s>": 1, "a": 2, "ཀ": 3}, rows=4)
CHATTY = Vocabulary({"<s>": 0, "</s>": 1, "a": 2, "<|end|>": 3}, rows=4)
ROLES = {"base": "base", "ct": "ct", "sft": "sft", "ct2": "ct"}


@pytest.fixture
def extended(triple: Folders, tmp_path: Path) -> Folders:
    """A triple whose CT model has 64 Tibetan tokens more, and an SFT model that chats."""
    sft = Path(shutil.copytree(triple.sft, tmp_path / "models" / "sft"))
    return Folders(triple.base, extend(tmp_path / "models" / "ct", triple.ct), sft)


def choices(folders: Folders) -> Choices:
    """Choose a triple's models, and look at them."""
    named = Choices(base=str(folders.base), ct=str(folders.ct), sft=str(folders.sft))
    return look_at_choices(named, ["bo"])


# Reading


def test_reads_tokens_rows_and_special_tokens(triple: Folders) -> None:
    """As transformers has them."""
    words = AutoTokenizer.from_pretrained(triple.sft)

    found = read_vocabulary(triple.sft)

    assert found.tokens == words.get_vocab()
    assert (found.rows, found.beyond) == (512, frozenset())
    assert found.special == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    assert found.chat_template == CHAT


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    """It has none, which is no error."""
    assert read_vocabulary(tmp_path) is None


def test_a_token_without_a_row(triple: Folders, tmp_path: Path) -> None:
    """One that was added to the tokenizer and not to the embedding does not count."""
    folder = Path(shutil.copytree(triple.base, tmp_path / "base"))
    words = AutoTokenizer.from_pretrained(folder)
    words.add_tokens(["<pad>"])
    words.save_pretrained(folder)

    found = read_vocabulary(folder)

    assert found.beyond == {"<pad>"}
    assert found.is_same(Vocabulary(read_vocabulary(triple.base).tokens, rows=512))


def test_a_damaged_tokenizer(triple: Folders, tmp_path: Path) -> None:
    """The model is named."""
    folder = Path(shutil.copytree(triple.base, tmp_path / "base"))
    (folder / "tokenizer.json").write_text("{")

    with pytest.raises(
        CheckpointError, match=r"model 'mine': the tokenizer \(tokenizer\.json\) cannot be read"
    ):
        read_vocabulary(folder, "mine")


# Choosing


@pytest.mark.parametrize(
    ("vocabularies", "expected"),
    [
        ({"base": BASE, "ct": BASE, "sft": BASE}, None),
        ({"base": BASE, "ct": None, "sft": BASE}, None),
        ({"base": None, "ct": CT, "sft": BASE}, None),
        ({"base": BASE, "ct": CT, "sft": BASE}, {"source": "ct"}),
        ({"base": BASE, "ct": BASE, "sft": CHATTY}, {"source": "sft"}),
        # Fewer rows elsewhere, and no token that the base lacks.
        ({"base": CT, "ct": CT, "sft": BASE}, {"source": "base"}),
        # The same tokens in other rows.
        (
            {"base": BASE, "ct": Vocabulary({"</s>": 0, "<s>": 1, "a": 2}, rows=3), "sft": BASE},
            {"source": "base"},
        ),
        # The same tokens, and rows that are only there to round the number up.
        (
            {"base": BASE, "ct": Vocabulary(BASE.tokens, rows=8), "sft": BASE},
            {"source": "base"},
        ),
        (
            {"base": BASE, "ct": CT, "sft": CHATTY},
            {"source": "ct", "tokens": {"<|end|>": {"source": "sft"}}},
        ),
        (
            {"base": BASE, "ct": CT, "sft": BASE, "ct2": CHATTY},
            {"source": "union"},
        ),
    ],
)
def test_chooses_a_section(
    vocabularies: dict[str, Vocabulary | None], expected: dict[str, object] | None
) -> None:
    """The CT model's tokens if they hold all others; what the SFT model adds beside them."""
    section = choose_section(vocabularies, ROLES)

    assert (section.data if section else None) == expected
    if expected == {"source": "union"}:
        assert "several models bring tokens of their own" in section.warning


# An extended vocabulary, end to end


def test_config_writes_the_section(extended: Folders) -> None:
    """For models on this disk it looks by itself, and what it writes has no error."""
    recipe = make_config("bo", choices(extended))

    assert recipe.data["tokenizer"] == {"source": str(extended.ct)}
    assert plan_merge(recipe).errors == ()
    assert plan_merge(recipe).vocabulary == f"the 576 tokens of {extended.ct}, as the config says"


def test_every_row_is_what_the_method_says(extended: Folders, tmp_path: Path) -> None:
    """Old tokens are merged by the rule; new ones are the CT model's rows, to the bit."""
    out = tmp_path / "out"
    merge_models(make_config("bo", choices(extended)), out, options=QUIET)

    merged = load_file(out / "model.safetensors")
    base = {}
    for path in extended.base.glob("model-*.safetensors"):
        base |= load_file(path)
    ct = torch.load(extended.ct / "pytorch_model.bin", weights_only=True)
    sft = load_file(extended.sft / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = ct[name].float()
        assert rows.shape == merged[name].shape == (576, 64)
        new = rows[512:]
        # A token that only one model has is that model's in all of them, so its delta is 0.
        aligned = [torch.cat([m[name].float(), new]) for m in (base, sft)]
        expected = slack_ties_merge(
            aligned[0],
            [rows, aligned[1]],
            weight=[1, 1],
            density=[0.5, 0.5],
            slack=[0, 0.2],
            normalize=False,
        )
        assert torch.equal(expected.bfloat16(), merged[name]), name
        assert torch.equal(new.bfloat16(), merged[name][512:]), name


def test_the_merged_model_reads_and_writes_the_language(extended: Folders, tmp_path: Path) -> None:
    """It cuts Tibetan as the CT model does, chats as the SFT model does, and generates."""
    out = tmp_path / "out"
    merge_models(make_config("bo", choices(extended)), out, options=QUIET)

    words = {
        name: AutoTokenizer.from_pretrained(path)
        for name, path in (("out", out), ("ct", extended.ct), ("base", extended.base))
    }
    text = " ".join(tibetan for _, tibetan in names("bo")[:20])
    assert words["out"](text).input_ids == words["ct"](text).input_ids
    assert len(words["out"](text).input_ids) < len(words["base"](text).input_ids)
    assert max(words["out"](text).input_ids) >= 512
    assert words["out"].chat_template == CHAT
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.vocab_size == 576
    inputs = words["out"](text, return_tensors="pt", return_token_type_ids=False)
    written = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > inputs.input_ids.shape[1]


def test_tokens_of_the_sft_model_beside_the_ct_models(extended: Folders, tmp_path: Path) -> None:
    """A chat token that only the SFT model has keeps its row, though the CT model has none."""
    words = AutoTokenizer.from_pretrained(extended.sft)
    words.add_special_tokens({"eos_token": "<|end|>"})
    words.save_pretrained(extended.sft)
    model = AutoModelForCausalLM.from_pretrained(extended.sft)
    model.resize_token_embeddings(513, mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = 512
    model.save_pretrained(extended.sft)
    recipe = make_config("bo", choices(extended))

    merge_models(recipe, tmp_path / "out", options=QUIET)

    merged = AutoTokenizer.from_pretrained(tmp_path / "out")
    row = merged.convert_tokens_to_ids("<|end|>")
    rows = load_file(tmp_path / "out" / "model.safetensors")["model.embed_tokens.weight"]
    theirs = load_file(extended.sft / "model.safetensors")["model.embed_tokens.weight"]
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text("utf-8"))
    assert row >= 576
    assert torch.equal(rows[row], theirs[512])
    assert merged.eos_token == "<|end|>"
    assert (config["eos_token_id"], generation["eos_token_id"]) == (row, row)
    text = "བོད་སྐད་"
    ct = AutoTokenizer.from_pretrained(extended.ct)
    assert merged(text).input_ids == ct(text).input_ids


# What the SFT model gives


@pytest.fixture
def merged(triple: Folders, tmp_path: Path) -> Path:
    """A merged model as mergekit leaves it: with the base's tokenizer."""
    return Path(shutil.copytree(triple.base, tmp_path / "merged"))


def test_takes_the_chat_template(merged: Path, triple: Folders) -> None:
    """A template that lies in a file of its own, or in the settings."""
    assert adopt_chat(merged, triple.sft) == ["chat template"]
    assert AutoTokenizer.from_pretrained(merged).chat_template == CHAT
    old = Path(shutil.copytree(triple.sft, merged.parent / "old"))
    (old / "chat_template.jinja").unlink()
    settings = json.loads((old / "tokenizer_config.json").read_text("utf-8"))
    (old / "tokenizer_config.json").write_text(
        json.dumps({**settings, "chat_template": "{{ messages }}"})
    )

    adopt_chat(merged, old)

    assert AutoTokenizer.from_pretrained(merged).chat_template == "{{ messages }}"
    assert adopt_chat(merged, old) == []


@pytest.mark.parametrize("blocked", ["tokenizer_config.json", "generation_config.json"])
def test_a_chat_template_is_taken_wholly_or_not_at_all(
    blocked: str, merged: Path, triple: Folders
) -> None:
    """If a file cannot be written, all others of the merged model are as they were."""
    sft = Path(shutil.copytree(triple.sft, merged.parent / "sft"))
    (sft / "generation_config.json").write_text(json.dumps({"top_k": 7}))
    (merged / blocked).unlink(missing_ok=True)
    (merged / blocked).mkdir()
    (merged / "chat_template.json").write_text('{"chat_template": "old"}')
    before = {path.name: path.read_bytes() for path in merged.iterdir() if path.is_file()}

    with pytest.raises(OSError, match="directory"):
        adopt_chat(merged, sft)

    after = {path.name: path.read_bytes() for path in merged.iterdir() if path.is_file()}
    assert after == before


def test_a_chat_template_stays_if_the_new_one_cannot_be_written(merged: Path) -> None:
    """Wherever the old one is."""
    (merged / "tokenizer_config.json").write_text('{"chat_template": "old"}')
    (merged / "chat_template.json").write_text('{"chat_template": "older"}')
    (merged / "chat_template.jinja").mkdir()

    with pytest.raises(OSError, match="directory"):
        set_template(merged, "new")

    assert read_template(merged) == "old"
    assert (merged / "chat_template.json").is_file()


def test_takes_special_tokens_that_it_has(merged: Path, triple: Folders) -> None:
    """The token that ends an answer, with its number; not one that has no row."""
    sft = Path(shutil.copytree(triple.sft, merged.parent / "sft"))
    settings = json.loads((sft / "tokenizer_config.json").read_text("utf-8"))
    settings |= {"eos_token": {"content": "<s>", "special": True}, "pad_token": "<nowhere>"}
    (sft / "tokenizer_config.json").write_text(json.dumps(settings))
    (sft / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 1], "top_k": 7}))

    taken = adopt_chat(merged, sft, template=False)

    words = AutoTokenizer.from_pretrained(merged)
    assert taken == ["eos_token <s>", "generation settings"]
    assert (words.eos_token, words.pad_token, words.chat_template) == ("<s>", "</s>", None)
    generation = json.loads((merged / "generation_config.json").read_text("utf-8"))
    assert generation == {"eos_token_id": [0, 1], "top_k": 7}


def test_without_tokenizers_nothing_is_taken(tmp_path: Path, triple: Folders) -> None:
    """And nothing is made up."""
    assert adopt_chat(tmp_path, triple.sft) == []
    assert list(tmp_path.iterdir()) == []
