"""Score a model: tasks answered, and perplexity of stories, on the validation or the test split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from train import IDS, IGNORED, Batch, story_batches, task_batch, tasks_of
from world import foreign

__all__ = ["Score", "score"]

TEXTS, WORDS = 64, 64  # of stories, for the perplexity


@dataclass(frozen=True)
class Score:
    """How well a model does in one language."""

    right: Tensor  # (items,) bool: the answer, of the language's words, is right to its end
    strict: Tensor  # (items,) bool: it is so among all words
    perplexity: float


@lru_cache
def _tasks(split: str, language: str, items: int) -> tuple[Batch, Tensor]:
    barred = torch.zeros(len(IDS))
    barred[[IDS[word] for word in foreign(language)]] = -math.inf
    return task_batch(tasks_of(f"{split} tasks {language}", language, items)), barred


@lru_cache
def _stories(split: str, language: str) -> Batch:
    return next(story_batches(f"{split} stories {language}", {language: 1}, TEXTS, WORDS))


@torch.no_grad()
def score(model: LlamaForCausalLM, language: str, split: str, items: int) -> Score:
    """Score a model on `items` tasks in `language` and on 4096 words of stories.

    Greedy decoding gives the right answer exactly if each word of it is the likeliest after
    the words before it, so one pass tells. Words of other languages are barred (`right`):
    a model that was tuned in E likes to answer in E. `strict` is without that.
    """
    model.eval()
    (inputs, labels), barred = _tasks(split, language, items)
    logits = model(input_ids=inputs).logits
    elsewhere = labels == IGNORED
    right = ((logits + barred).argmax(-1) == labels) | elsewhere
    strict = (logits.argmax(-1) == labels) | elsewhere
    return Score(right.all(1), strict.all(1), _perplexity(model, language, split))


@torch.no_grad()
def _perplexity(model: LlamaForCausalLM, language: str, split: str) -> float:
    """Return the perplexity, per word, of stories in `language`."""
    inputs, labels = _stories(split, language)
    logits = model(input_ids=inputs).logits
    return math.exp(nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).item())
