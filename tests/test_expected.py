"""What the catalogue says about sizes, licences and gates follows from its facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from slack_ties.catalogue.languages import Source, Triple, find_triple, list_languages
from slack_ties.models.header import ENTRY_BYTES
from slack_ties.plan.expected import expect

# From the config.json of each base, as published. Qwen1.5-0.5B shares its head with the embedding,
# and its file holds both: 1.24 GB.
LLAMA: dict[str, Any] = {"model_type": "llama", "tie_word_embeddings": False}
QWEN: dict[str, Any] = {"model_type": "qwen2", "vocab_size": 151_936}
GEMMA: dict[str, Any] = {"model_type": "gemma2", "vocab_size": 256_000, "head_dim": 256}
BASES = {
    "meta-llama/Llama-2-7b-hf": {**LLAMA, "vocab_size": 32_000, "shape": (4096, 11008, 32, 32, 32)},
    "meta-llama/Llama-2-13b-hf": {
        **LLAMA,
        "vocab_size": 32_000,
        "shape": (5120, 13824, 40, 40, 40),
    },
    "meta-llama/Meta-Llama-3-8B": {
        **LLAMA,
        "vocab_size": 128_256,
        "shape": (4096, 14336, 32, 32, 8),
    },
    "meta-llama/Llama-3.1-8B": {**LLAMA, "vocab_size": 128_256, "shape": (4096, 14336, 32, 32, 8)},
    "mistralai/Mistral-7B-v0.1": {
        "model_type": "mistral",
        "tie_word_embeddings": False,
        "vocab_size": 32_000,
        "shape": (4096, 14336, 32, 32, 8),
    },
    "google/gemma-2-2b": {**GEMMA, "shape": (2304, 9216, 26, 8, 4)},
    "google/gemma-2-9b": {**GEMMA, "shape": (3584, 14336, 42, 16, 8)},
    "Qwen/Qwen1.5-0.5B": {**QWEN, "tie_word_embeddings": False, "shape": (1024, 2816, 24, 16, 16)},
    "Qwen/Qwen1.5-7B": {**QWEN, "tie_word_embeddings": False, "shape": (4096, 11008, 32, 32, 32)},
    "Qwen/Qwen2.5-1.5B": {**QWEN, "tie_word_embeddings": True, "shape": (1536, 8960, 28, 12, 2)},
    "Qwen/Qwen2.5-3B": {**QWEN, "tie_word_embeddings": True, "shape": (2048, 11008, 36, 16, 2)},
}
SHAPE = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    "num_key_value_heads",
)

TRIPLES = list_languages()
SOURCES = [source for triple in TRIPLES for source in triple.models]


def test_every_base_is_counted() -> None:
    """No base of the catalogue is left out below."""
    assert {triple.base.id for triple in TRIPLES} == set(BASES)


@pytest.mark.parametrize("base", BASES)
def test_the_parameters_are_those_of_the_architecture(base: str) -> None:
    """The catalogue's number is what transformers counts for the published config."""
    fields = dict(BASES[base])
    fields |= dict(zip(SHAPE, fields.pop("shape"), strict=True))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields))

    counted = {triple.parameters for triple in TRIPLES if triple.base.id == base}

    assert counted == {sum(one.numel() for one in model.parameters())}


@pytest.mark.parametrize("source", sorted({s.id for s in SOURCES}))
def test_a_model_has_the_same_facts_everywhere(source: str) -> None:
    """A model of several triples is described once, and a size or gate names its source."""
    (facts,) = {(s.size, s.gated, s.files) for s in SOURCES if s.id == source}

    assert bool(facts[0] or facts[1] is not None) == bool(facts[2])


@pytest.mark.parametrize("triple", TRIPLES, ids=lambda triple: triple.key)
def test_sizes_are_plausible(triple: Triple) -> None:
    """A model is as large as its parameters in a type that we merge, but for tokens of its own."""
    for model in triple.models:
        if model.size:
            entries = [model.size / bytes_ for bytes_ in set(ENTRY_BYTES.values())]
            assert any(0.99 < one / triple.parameters < 1.1 for one in entries), model.id
    if triple.merged_parameters:
        assert triple.extended
        assert 1 < triple.merged_parameters / triple.parameters < 1.05


def cost(key: str) -> tuple[object, ...]:
    """Return what the catalogue expects for a key, with sizes in GB."""
    one = expect(find_triple(key))
    sizes = (round(one.download / 1e9, 1), one.download_is_least, round(one.result / 1e9, 1))
    return (*sizes, one.license, one.noncommercial, one.gated, one.open)


def test_what_merges_of_the_catalogue_need() -> None:
    """Download, whether it may be more, result, licence, non-commercial, gate, open."""
    assert cost("lo") == (3.7, False, 1.2, "tongyi-qianwen-research", True, False, True)
    assert cost("lo-qwen1.5-7b") == (46.3, False, 15.4, "tongyi-qianwen", False, False, True)
    assert cost("bo") == (40.4, False, 13.5, "llama2", False, True, False)
    assert cost("bo-qwen2.5-1.5b") == (9.3, True, 3.1, "", False, None, False)
    assert cost("sw") == (64.2, False, 16.1, "", False, True, False)  # the CT model is float32


def test_models_with_other_tokens() -> None:
    """The result has the CT model's tokens; if their number is not known, it may be larger."""
    assert expect(find_triple("hu")).result == 2 * (6_738_415_616 + 25_344 * 2 * 4096)
    assert not expect(find_triple("hu")).result_is_least
    assert expect(find_triple("te-llama-2-7b-chat")).result_is_least


def test_a_gate_that_is_not_known_is_not_open() -> None:
    """One gated model is a gate; one unknown model leaves it open whether there is one."""
    lao = find_triple("lo")
    changed = {
        gate: Triple(**{**vars(lao), "ct": Source("a/b", "mit", gated=gate)})
        for gate in (True, False, None)
    }

    assert {gate: expect(one).gated for gate, one in changed.items()} == {
        gate: gate for gate in changed
    }


CARDS = Path(__file__).parents[1] / "model_cards"


@pytest.mark.parametrize("triple", TRIPLES, ids=lambda triple: triple.key)
def test_table_and_card_agree_on_commercial_use(triple: Triple) -> None:
    """What is not for commercial use in its card is marked `n`, and nothing else is."""
    card = (CARDS / f"{triple.key}.md").read_text("utf-8")

    forbidden = "This model may not be used commercially" in card
    assert expect(triple).noncommercial is forbidden
