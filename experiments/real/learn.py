"""Train models: continual pre-training (CT) on text, and fine-tuning (SFT) on items.

Weights, gradients and Adam's moments are float32; products are bfloat16 (autocast). What is saved
is bfloat16, as most models on the Hub are: so the smallest changes are rounded away.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from real.skills import Item

__all__ = ["IGNORED", "blocks_of", "examples_of", "keeping_memory", "load", "save", "train"]

IGNORED = -100  # PyTorch's label that has no loss
WARM = 20  # steps
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's mallopt
TOGETHER = 8  # batches whose items are sorted by length
Batch = tuple[Tensor, Tensor, Tensor]  # inputs, mask, labels: (texts, tokens)


def load(folder: Path, device: str) -> PreTrainedModel:
    """Return a model with float32 weights, to be trained."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.to(device)


def save(model: PreTrainedModel, base: Path, folder: Path) -> None:
    """Save the weights as bfloat16 with the base's tokenizer, whole or not at all."""
    if folder.exists():  # of a job that was stopped after it; others may be reading it
        return
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    rounded = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    for tied in model.all_tied_weights_keys if hasattr(model, "all_tied_weights_keys") else ():
        rounded.pop(tied, None)
    dtype, model.config.dtype = model.config.dtype, torch.bfloat16
    model.save_pretrained(part, state_dict=rounded)
    model.config.dtype = dtype
    AutoTokenizer.from_pretrained(base).save_pretrained(part)
    part.rename(folder)


def blocks_of(
    texts: Sequence[str], tokenizer: Any, seed: str, tokens: int, batch: int
) -> Iterator[Batch]:
    """Yield batches of `batch` blocks of `tokens` tokens: all texts in random order, on and on."""
    dice, packed = Random(seed), list[int]()
    end = [tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    while True:
        for number in dice.sample(range(len(texts)), len(texts)):
            packed += tokenizer(texts[number], add_special_tokens=False)["input_ids"] + end
            while len(packed) >= tokens * batch:
                block = torch.tensor(packed[: tokens * batch]).view(batch, tokens)
                packed = packed[tokens * batch :]
                labels = torch.cat([block[:, 1:], torch.full((batch, 1), IGNORED)], dim=1)
                yield block, torch.ones_like(block), labels


def examples_of(items: Sequence[Item], tokenizer: Any, seed: str, batch: int) -> Iterator[Batch]:
    """Yield batches of items, in another order in each epoch; only answers have a loss.

    Of some batches at a time, items of the same length come together: less is padding.
    """
    dice, order = Random(seed), list[int]()
    pairs = [_tokens(item, tokenizer) for item in items]
    while True:
        while len(order) < batch * TOGETHER:
            order += dice.sample(range(len(items)), len(items))
        some, order = order[: batch * TOGETHER], order[batch * TOGETHER :]
        some.sort(key=lambda number: sum(map(len, pairs[number])))
        for place in dice.sample(range(TOGETHER), TOGETHER):
            yield _padded([pairs[number] for number in some[place * batch : (place + 1) * batch]])


def _tokens(item: Item, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens of the prompt, and of the answer with its space and the end."""
    prompt = tokenizer(item.prompt, add_special_tokens=False)["input_ids"]
    answer = tokenizer(f" {item.answer}", add_special_tokens=False)["input_ids"]
    return prompt, [*answer, tokenizer.eos_token_id]


def _padded(pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    shape = (len(pairs), longest)
    inputs, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    for row, (prompt, answer) in enumerate(pairs):
        every = torch.tensor(prompt + answer)
        inputs[row, : len(every)], mask[row, : len(every)] = every, 1
        labels[row, len(prompt) - 1 : len(every) - 1] = every[len(prompt) :]
    return inputs, mask, labels


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Let glibc keep what is freed: to ask the kernel each time takes a sixth of the training.

    Not for generation, whose tensors have many sizes: it would need more and more memory.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(MMAP_MAX, 0)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):  # of a system without glibc
        yield
        return
    try:
        yield
    finally:
        gc.collect()
        libc.mallopt(MMAP_MAX, 65_536)  # glibc's defaults
        libc.mallopt(TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


def train(
    model: PreTrainedModel,
    batches: Iterator[Batch],
    steps: int,
    rate: float,
    *,
    constant: bool = False,
    warm: bool = True,
    moments: dict[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """Train by AdamW: a linear warm-up, then a cosine to a tenth, or a constant rate.

    Args:
        model: Is changed.
        batches: Where the inputs come from.
        steps: How many.
        rate: The highest learning rate.
        constant: No cosine.
        warm: Begin with a warm-up.
        moments: The state of the optimizer that an earlier part of the training returned.

    Returns:
        The optimizer.

    """
    adam = torch.optim.AdamW(
        model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    if moments:
        adam.load_state_dict(moments)
    device = model.device
    model.train()
    for step, batch in enumerate(islice(batches, steps), 1):
        now = rate * (min(1.0, step / WARM) if warm else 1.0)
        if not constant:
            now *= 0.55 + 0.45 * math.cos(math.pi * step / steps)
        adam.param_groups[0]["lr"] = now
        inputs, mask, labels = (tensor.to(device) for tensor in batch)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            hidden = model.model(input_ids=inputs, attention_mask=mask).last_hidden_state
            counted = labels != IGNORED  # the product with 49,152 tokens only where it counts
            logits = model.lm_head(hidden[counted])
        loss = nn.functional.cross_entropy(logits.float(), labels[counted])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
    return adam
