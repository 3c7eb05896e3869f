"""Compare the merged model with the models that it was made from: task by task, and in the mean.

`statistics.py` says when a difference is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.evaluation.scores import Score
from slack_ties.evaluation.statistics import (
    ERROR,
    Paired,
    Z,
    binomial_tail,
    mean_of,
    mean_of_pairs,
    paired,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slack_ties.evaluation.scores import Evaluated, Evaluation, Task, TaskScore

__all__ = [
    "Difference",
    "Mean",
    "at_chance",
    "comparable",
    "difference_on",
    "differences_of",
    "is_mean_of_items",
    "main_score",
    "mean_at_chance",
    "mean_difference",
    "mean_score",
]


@dataclass(frozen=True)
class Difference:
    """How much the merged model differs from another one on a task."""

    task: str
    model: str  # the other model's name
    paired: Paired  # the merged model's values less the other's
    more_is_better: bool

    @property
    def decided(self) -> bool:
        """Whether the difference is larger than chance."""
        return self.paired.decided

    @property
    def sign(self) -> int:
        """1 if the merged model is decidedly better, -1 if it is decidedly worse, or else 0."""
        if not self.decided:
            return 0
        return 1 if (self.paired.low > 0) == self.more_is_better else -1


@dataclass(frozen=True)
class Mean:
    """The mean of a model's scores on several tasks, which count alike."""

    score: Score
    chance: float | None  # the mean of theirs; None if one is not known
    tasks: tuple[str, ...]


def main_score(model: Evaluated, task: Task) -> Score | None:
    """Return a model's score on a task, by the task's main metric; None if there is none."""
    of_task = model.scores.get(task.name)
    return of_task.metrics.get(task.metric) if of_task else None


def is_mean_of_items(score: TaskScore, metric: str) -> bool:
    """Say whether a metric's score is the mean of the items' values: only then they compare."""
    stated = score.metrics.get(metric)
    return bool(score.values) and stated is not None and _is_close(stated.value, score.values)


def _is_close(stated: float, values: Sequence[float]) -> bool:
    return math.isclose(stated, mean_of(values), rel_tol=1e-9, abs_tol=1e-9)


def difference_on(task: Task, model: Evaluated, other: Evaluated) -> Difference | None:
    """Return the difference of two models on a task; None if they have no values of its items."""
    pair = [one.scores.get(task.name) for one in (model, other)]
    first, second = pair
    if first is None or second is None or len(first.values) != len(second.values):
        return None
    if not all(one and is_mean_of_items(one, task.metric) for one in pair):
        return None
    found = paired(first.values, second.values)
    return Difference(task.name, other.name, found, task.more_is_better)


def differences_of(evaluation: Evaluation) -> dict[tuple[str, int], Difference]:
    """Return the differences of the merged model and each other model.

    They are by the name of the task and the other model's position in `evaluation.models`.
    """
    if not evaluation.models:
        return {}
    merged, *others = evaluation.models
    return {
        (task.name, number): found
        for task in evaluation.tasks
        for number, other in enumerate(others, 1)
        if (found := difference_on(task, merged, other))
    }


def at_chance(task: Task, score: Score) -> bool:
    """Say whether a score is not better than guessing, as far as its items show.

    That is so if the lower end of the score's exact 95 % interval (Clopper and Pearson) is not
    above chance. A score outside of 0 to 1 has its normal interval. False if chance is not known.
    """
    if task.chance is None or not task.more_is_better:
        return False
    if 0 <= score.value <= 1 and 0 <= task.chance <= 1:
        right = round(score.value * task.items)
        return binomial_tail(right, task.items, task.chance) > ERROR / 2
    return score.value - Z * (score.stderr or 0) <= task.chance


def comparable(evaluation: Evaluation, about: str) -> tuple[Task, ...]:
    """Return the tasks of one subject of which a mean says something.

    More is better in each of them, and all models have a score from 0 to 1.

    Args:
        evaluation: An evaluation.
        about: `Task.about`.

    """

    def is_share(task: Task) -> bool:
        scores = [main_score(model, task) for model in evaluation.models]
        return all(score is not None and 0 <= score.value <= 1 for score in scores)

    return tuple(
        task
        for task in evaluation.tasks
        if task.about == about and task.more_is_better and is_share(task)
    )


def mean_score(model: Evaluated, tasks: Iterable[Task]) -> Mean | None:
    """Return the mean of a model's scores, with its standard error; None if it lacks one.

    The tasks have different items, so their errors are independent.
    """
    tasks = tuple(tasks)
    scores = [score for task in tasks if (score := main_score(model, task))]
    if not tasks or len(scores) != len(tasks):
        return None
    errors = [one.stderr for one in scores if one.stderr is not None]
    chances = [task.chance for task in tasks if task.chance is not None]
    stderr = math.hypot(*errors) / len(tasks) if len(errors) == len(tasks) else None
    chance = mean_of(chances) if len(chances) == len(tasks) else None
    names = tuple(task.name for task in tasks)
    return Mean(Score(mean_of([one.value for one in scores]), stderr), chance, names)


def mean_at_chance(mean: Mean, tasks: Iterable[Task]) -> bool:
    """Say whether a mean of scores is not better than guessing, as far as the items show.

    That is so if a model that guesses gets such a mean in more than 2.5 % of all cases, by the
    normal distribution. False if the chance of one of the tasks is not known.
    """
    if mean.chance is None:
        return False
    errors = [
        math.sqrt(max(0.0, chance * (1 - chance)) / task.items)
        for task in tasks
        if (chance := task.chance) is not None
    ]
    return mean.score.value <= mean.chance + Z * math.hypot(*errors) / len(errors)


def mean_difference(model: Evaluated, other: Evaluated, tasks: Iterable[Task]) -> Difference | None:
    """Return the mean difference of two models on tasks of which more is better.

    None if one of the tasks has no values of its items. The name of its task is empty.
    """
    found = [difference_on(task, model, other) for task in tasks]
    pairs = [one.paired for one in found if one]
    if not found or len(pairs) != len(found):
        return None
    return Difference("", other.name, mean_of_pairs(pairs), more_is_better=True)
