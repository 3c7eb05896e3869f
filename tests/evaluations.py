"""Evaluations for tests: exact numbers, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slack_ties.evaluation.scores import Evaluated, Evaluation, Score, Task, TaskScore

if TYPE_CHECKING:
    from collections.abc import Sequence

TIBETAN = Task(
    name="belebele_bod_Tibt",
    version="0.0",
    fewshot=0,
    items=100,
    of=100,
    metric="acc",
    more_is_better=True,
    chance=0.25,
    about="language",
    dataset="facebook/belebele",
    subset="bod_Tibt",
    docs="a" * 64,
)

ENGLISH = replace(
    TIBETAN,
    name="arc_easy",
    version="1.0",
    of=100,
    about="english",
    dataset="allenai/ai2_arc",
    subset="ARC-Easy",
    docs="b" * 64,
)


def score(values: Sequence[float], metric: str = "acc", truncated: int = 0) -> TaskScore:
    """Return the score that lm-eval gives for the values of the items."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((one - mean) ** 2 for one in values)
    error = math.sqrt(squares / (len(values) - 1) / len(values)) if len(values) > 1 else None
    return TaskScore({metric: Score(mean, error)}, tuple(values), truncated)


def right(number: int, items: int = 100) -> TaskScore:
    """Return the score of a model that has the first `number` items right."""
    return score([1.0] * number + [0.0] * (items - number))


def model(role: str, *numbers: int, **fields: Any) -> Evaluated:
    """Return a model with so many right items of each of the tasks."""
    name = {"merged": "OUT", "base": "org/base", "ct": "org/ct", "sft": "org/sft"}[role]
    names = (TIBETAN.name, ENGLISH.name)
    scores = {task: right(one) for task, one in zip(names, numbers, strict=False)}
    return Evaluated(**{"name": name, "role": role, "scores": scores, **fields})


def an_evaluation(**fields: Any) -> Evaluation:
    """Return an evaluation of four models on two tasks of 100 items.

    In Tibetan the merged model (60 %) is better than all, in English (70 %) worse than the SFT.
    """
    models = (
        model("merged", 60, 70),
        model("base", 26, 68),
        model("ct", 45, 40),
        model("sft", 30, 90),
    )
    given = {
        "tasks": (TIBETAN, ENGLISH),
        "models": models,
        "settings": {"limit": None, "weights": "c" * 64},
        "versions": {"lm_eval": "0.4.13", "slack-ties": "0.1.0"},
        "date": "2026-11-27T20:00:00+00:00",
    }
    return Evaluation(**{**given, **fields})
