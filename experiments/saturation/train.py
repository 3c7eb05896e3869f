"""Train small Llama models, real ones in Hub format, on stories or on tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from random import Random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from world import END, PAD, TASKS, UNKNOWN, VOCABULARY, Item, stories, task

__all__ = [
    "IDS",
    "IGNORED",
    "Batch",
    "new_model",
    "story_batches",
    "task_batch",
    "task_batches",
    "tasks_of",
    "tokenizer",
    "train",
]

IDS = {word: number for number, word in enumerate(VOCABULARY)}
IGNORED = -100  # PyTorch's label that has no loss
Batch = tuple[Tensor, Tensor]  # inputs and labels, both (texts, words)


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of all models: a word is a token."""
    raw = Tokenizer(models.WordLevel(IDS, unk_token=UNKNOWN))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )


def new_model(seed: int, hidden: int, layers: int) -> LlamaForCausalLM:
    """Return a model with random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(IDS),
            hidden_size=hidden,
            intermediate_size=hidden * 8 // 3 // 16 * 16,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            tie_word_embeddings=False,
            eos_token_id=IDS[END],
            pad_token_id=IDS[PAD],
            bos_token_id=None,
        )
    )


def story_batches(
    seed: str, mixture: Mapping[str, float], texts: int, words: int, *, rare: bool = True
) -> Iterator[Batch]:
    """Yield batches of stories, packed one after the other."""
    source, packed = stories(Random(seed), mixture, rare=rare), list[int]()
    while True:
        while len(packed) < texts * words + 1:
            packed += [IDS[word] for word in next(source)]
        block = torch.tensor(packed[: texts * words + 1])
        packed = packed[texts * words :]
        yield block[:-1].view(texts, words), block[1:].view(texts, words)


def tasks_of(seed: str, language: str, many: int) -> list[Item]:
    """Return `many` tasks, as many of each kind."""
    dice = Random(seed)
    return [task(dice, language, TASKS[number % len(TASKS)]) for number in range(many)]


def task_batches(seed: str, items: list[Item], texts: int) -> Iterator[Batch]:
    """Yield batches of tasks, in another order in each epoch; only answers have a loss."""
    dice, order = Random(seed), list[int]()
    while True:
        while len(order) < texts:
            order += dice.sample(range(len(items)), len(items))
        chosen, order = order[:texts], order[texts:]
        yield task_batch([items[number] for number in chosen])


def task_batch(items: list[Item]) -> Batch:
    """Return tasks as a batch, padded on the right."""
    longest = max(len(item.prompt) + len(item.answer) for item in items) - 1
    inputs = torch.full((len(items), longest), IDS[PAD])
    labels = torch.full((len(items), longest), IGNORED)
    for row, item in enumerate(items):
        numbers = [IDS[word] for word in [*item.prompt, *item.answer]]
        inputs[row, : len(numbers) - 1] = torch.tensor(numbers[:-1])
        labels[row, len(item.prompt) - 1 : len(numbers) - 1] = torch.tensor(
            numbers[len(item.prompt) :]
        )
    return inputs, labels


def train(
    model: LlamaForCausalLM,
    batches: Iterator[Batch],
    steps: int,
    rate: float,
    *,
    constant: bool = False,
    at: Mapping[int, Callable[[LlamaForCausalLM], None]] | None = None,
) -> None:
    """Train by AdamW: a linear warm-up, then a cosine to a tenth, or a constant rate."""
    warm = min(50, steps // 4 + 1)
    adam = torch.optim.AdamW(
        model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    model.train()
    for step in range(1, steps + 1):
        now = rate * min(1, step / warm)
        if not constant:
            now *= 0.55 + 0.45 * math.cos(math.pi * step / steps)
        adam.param_groups[0]["lr"] = now
        inputs, labels = next(batches)
        logits = model(input_ids=inputs).logits
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        if at and step in at:
            at[step](model)
