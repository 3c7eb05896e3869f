"""What an evaluation found: tasks, models, and the score of each model on each task.

`evaluation.json` holds one `Evaluation`. Names of metrics and tasks are lm-eval's:
https://github.com/EleutherAI/lm-evaluation-harness
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Evaluated", "Evaluation", "Score", "Task", "TaskScore"]

EVALUATION_VERSION = 1  # raised when the meaning of a field changes


@dataclass(frozen=True)
class Task:
    """A task as it was run: the same items for every model."""

    name: str  # lm-eval's name
    version: str  # from the task's file
    fewshot: int  # examples before each item
    items: int  # items that were scored
    of: int  # items that the task has
    metric: str  # the first metric of the task, such as acc; the table shows this one
    more_is_better: bool
    chance: float | None = None  # what guessing scores, by the number of choices; None: not known
    about: str = ""  # language: in the target language; english: what the SFT model brings; ""
    dataset: str = ""  # id on the Hub; empty for local data
    subset: str = ""  # of the dataset: its configuration, or a folder or file of it
    docs: str = ""  # SHA-256 of lm-eval's hashes of the scored items, in their order
    commit: str = ""  # of the dataset on the Hub; empty if it is not known


@dataclass(frozen=True)
class Score:
    """One metric of one model on one task."""

    value: float
    stderr: float | None = None  # as lm-eval computes it; None if it does not


@dataclass(frozen=True)
class TaskScore:
    """What one model scored on one task."""

    metrics: Mapping[str, Score]  # lm-eval's metric names; with ",FILTER" unless that is none
    # The task's main metric of each item, in the items' order; empty if the metric has no value
    # for one item, such as a corpus score.
    values: tuple[float, ...] = ()
    truncated: int = 0  # items of which the model did not see the beginning: too many tokens


@dataclass(frozen=True)
class Evaluated:
    """One model and its scores."""

    name: str  # a Hub id with its commit, or a folder
    role: str  # merged, base, ct or sft
    scores: Mapping[str, TaskScore]  # by the name of the task
    commit: str = ""  # of the model on the Hub; empty for a folder
    dtype: str = ""  # in which it ran


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the merged model first, then the models that it was made from."""

    tasks: tuple[Task, ...]
    models: tuple[Evaluated, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # limit, seeds, device, batch size...
    versions: Mapping[str, str] = field(default_factory=dict)  # lm_eval, slack-ties, torch, ...
    date: str = ""  # of the last score, ISO 8601
    evaluation: int = EVALUATION_VERSION

    def of_role(self, role: str) -> tuple[Evaluated, ...]:
        """Return the models with this role."""
        return tuple(one for one in self.models if one.role == role)
