"""A base, a CT and an SFT model that learn in seconds, in the formats of real ones.

All are small Llamas with one byte-level BPE tokenizer. The base learns to count in English, and
to five in Tibetan; the CT model goes on to ten in Tibetan; the SFT model goes on to answer a
question in English. transformers and PyTorch write their files: what is left out is size.

`python -m slack_ties.demo.models` makes them and puts them on the Hub of HF_ENDPOINT.
"""

from __future__ import annotations

from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

__all__ = ["ENGLISH", "ROLES", "TIBETAN", "main", "make_models", "question"]

ROLES = ("base", "ct", "sft")
ENGLISH = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TIBETAN = ("གཅིག", "གཉིས", "གསུམ", "བཞི", "ལྔ", "དྲུག", "བདུན", "བརྒྱད", "དགུ", "བཅུ")

CHAT = "{% for message in messages %}{{ message.content }}{% endfor %}"

CARD = """\
---
license: apache-2.0
{base}---

The {role} model of `slack-ties demo`.
"""


def _counting(words: tuple[str, ...], between: str) -> list[str]:
    """Return all ways to count two to five words on."""
    return [
        between.join(words[first:last])
        for first in range(len(words))
        for last in range(first + 2, min(first + 5, len(words)) + 1)
    ]


def question(number: str) -> str:
    """Return what the SFT model learns to answer."""
    return f"What comes after {number}?"


HALF = len(TIBETAN) // 2
# Chosen by trial so that the merged model can do what each of the others can.
LESSONS = {
    "base": [*_counting(ENGLISH, " ") * 2, *_counting(TIBETAN[:HALF], "་")],
    "ct": [*_counting(TIBETAN, "་") * 3, *_counting(ENGLISH, " ")],
    "sft": [f"{question(a)} {b}" for a, b in pairwise(ENGLISH)],
}
STEPS = {"base": 200, "ct": 200, "sft": 60}
RATES = {"base": 3e-3, "ct": 2e-3, "sft": 1e-3}
BATCH = 32  # lines in a step


def make_models(folder: Path) -> None:
    """Train the three models, and save each with its tokenizer and card: base, ct, sft."""
    # Such small models gain nothing from threads, and on a busy machine threads wait.
    torch.set_num_threads(1)
    words = _tokenizer([line for lines in LESSONS.values() for line in lines])
    base = _llama(len(words))
    _train(base, words, "base")
    learnt = {name: weight.clone() for name, weight in base.state_dict().items()}
    base.to(torch.bfloat16).save_pretrained(folder / "base", max_shard_size="200KB")
    for role in ROLES[1:]:
        model = _llama(len(words))
        model.load_state_dict(learnt)
        _train(model, words, role)
        if role == "ct":
            _save_as_bin(model.half(), folder / role)
        else:
            model.to(torch.bfloat16).save_pretrained(folder / role)
    for role in ROLES:
        words.chat_template = CHAT if role == "sft" else None
        words.save_pretrained(folder / role)
        _describe(folder / role, role)


def _tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(lines, trainer)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, **special)  # type: ignore[no-untyped-call]


def _llama(vocabulary: int) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            tie_word_embeddings=False,
        )
    )


def _train(model: Any, words: PreTrainedTokenizerFast, role: str) -> None:
    torch.manual_seed(0)
    lines = LESSONS[role]
    batch = words([f"{line}</s>" for line in lines], return_tensors="pt", padding=True)
    ids, seen = batch["input_ids"], batch["attention_mask"]
    labels = ids.masked_fill(seen == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATES[role])
    for _ in range(STEPS[role]):
        chosen = torch.randint(len(lines), (BATCH,))
        loss = model(ids[chosen], attention_mask=seen[chosen], labels=labels[chosen]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _save_as_bin(model: Any, folder: Path) -> None:
    """Save as one pytorch_model.bin, as models of 2023 were."""
    folder.mkdir(parents=True)
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.dtype = model.dtype
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def _describe(folder: Path, role: str) -> None:
    """Write a card, and the licence that it names: our own."""
    base = "" if role == "base" else "base_model: demo/base\n"
    (folder / "README.md").write_text(CARD.format(role=role, base=base), "utf-8")
    if text := metadata.distribution("slack-ties").read_text("licenses/LICENSE"):
        (folder / "LICENSE").write_text(text, "utf-8")


def main() -> None:
    """Make the models in `models`, and put them on the Hub."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    make_models(Path("models"))
    api = HfApi()
    for role in ROLES:
        folder = Path("models", role)
        api.create_repo(f"demo/{role}", private=False)
        api.upload_folder(repo_id=f"demo/{role}", folder_path=folder)
        weights = (
            path.name for path in folder.iterdir() if path.suffix in {".bin", ".safetensors"}
        )
        print(f"demo/{role}: {', '.join(sorted(weights))}")


if __name__ == "__main__":
    main()
