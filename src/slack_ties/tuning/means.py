"""What the score of several tasks is: a mean in which each subject counts alike; and guessing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from slack_ties.evaluation.differences import at_chance
from slack_ties.evaluation.scores import Score
from slack_ties.evaluation.statistics import Z, mean_of, mean_of_pairs, paired
from slack_ties.wording import counted, join_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slack_ties.evaluation.scores import Task
    from slack_ties.evaluation.statistics import Paired
    from slack_ties.tuning.study import TrialResult

__all__ = ["Means", "error_of_mean"]

Of = TypeVar("Of")

# The names of parts of a score, and what they are; Task.about names a subject so, or is empty.
SUBJECTS = {
    "language": "the tasks in the language",
    "english": "the tasks in English",
    "other": "the other tasks",
}


@dataclass(frozen=True)
class Means:
    """The tasks of a search, and the means that are made of them. No tasks: another metric."""

    tasks: tuple[Task, ...] = ()

    @property
    def subjects(self) -> dict[str, tuple[Task, ...]]:
        """The tasks of each subject that has some."""
        found = {
            name: tuple(task for task in self.tasks if (task.about or "other") == name)
            for name in SUBJECTS
        }
        return {name: tasks for name, tasks in found.items() if tasks}

    @property
    def groups(self) -> dict[str, tuple[Task, ...]]:
        """The subjects that are parts of the score: several, and one of them has several tasks."""
        found = self.subjects
        return found if len(found) > 1 and len(self.tasks) > len(found) else {}

    def legend(self) -> dict[str, str]:
        """Return what the score of several tasks is, and its parts but for single tasks."""
        if len(self.tasks) < 2:  # noqa: PLR2004 - then the score is that of the task
            return {}
        subjects = self.subjects
        if not self.groups:
            return {"mean": f"of {len(self.tasks)} tasks, which count alike"}
        found = {"mean": f"of {join_names(list(subjects))}, which count alike"}
        for name, tasks in subjects.items():
            what = "mean of " if len(tasks) > 1 else ""
            names = join_names([task.name for task in tasks])
            found[name] = f"{what}{SUBJECTS[name]}: {names}"
        return found

    def fold(
        self, each: Mapping[str, Of], mean: Callable[[Sequence[Of]], Of], name: str = ""
    ) -> Of | None:
        """Return the mean of what each task has: first of a subject, then of the subjects.

        Args:
            each: By the names of the tasks.
            mean: Returns the mean of some.
            name: A part of the score; empty: the score.

        Returns:
            None if a task has none.

        """
        if not self.tasks or any(task.name not in each for task in self.of(name)):
            return None
        several = [self.of(name)] if name else list(self.subjects.values())
        means = [mean([each[task.name] for task in tasks]) for tasks in several]
        return means[0] if len(means) == 1 else mean(means)

    def of(self, name: str = "") -> tuple[Task, ...]:
        """Return the tasks of a part of the score; empty: of the score."""
        if not name:
            return self.tasks
        named = tuple(task for task in self.tasks if task.name == name)
        return named or self.subjects.get(name, ())

    def difference(self, one: TrialResult, other: TrialResult) -> Paired | None:
        """Return the mean difference of two trials on the same items; None if they have none."""
        if not one.items or one.items.keys() != other.items.keys():
            return None
        pairs = {task: paired(values, other.items[task]) for task, values in one.items.items()}
        return self.fold(pairs, mean_of_pairs) or mean_of_pairs(list(pairs.values()))

    def chance(self, name: str = "") -> float | None:
        """Return what guessing scores on a part, or in the score; None if it is not known."""
        chances = {task.name: task.chance for task in self.tasks if task.chance is not None}
        return self.fold(chances, mean_of, name)

    def is_guess(self, result: TrialResult, name: str = "") -> bool:
        """Say whether a score, or a part of it, is not better than guessing by its items.

        By the rules of `evaluation.differences`; False if chance is not known.
        """
        tasks, chance = self.of(name), self.chance(name)
        if chance is None or any(task.name not in result.items for task in tasks):
            return False
        value = result.parts[name] if name else result.score
        items = {task.name: len(result.items[task.name]) for task in tasks}
        if len(tasks) == 1:
            task = replace(tasks[0], items=items[tasks[0].name])
            return at_chance(task, Score(value, result.errors.get(name)))
        deviations = {
            task.name: math.sqrt(max(0.0, of_task * (1 - of_task)) / items[task.name])
            for task in tasks
            if (of_task := task.chance) is not None
        }
        return value <= chance + Z * (self.fold(deviations, error_of_mean, name) or 0.0)

    def guessing(self, results: Sequence[TrialResult], name: str = "", who: str = "") -> str:
        """Say that trials are not better than guessing; empty if one of them is.

        Args:
            results: On the same items; at least one.
            name: A part of the score; empty: the score.
            who: The trial, if there is one.

        """
        chance = self.chance(name)
        if chance is None or not all(self.is_guess(one, name) for one in results):
            return ""
        items = counted(sum(len(results[0].items[task.name]) for task in self.of(name)), "item")
        values = [one.parts[name] if name else one.score for one in results]
        if all(value <= chance for value in values):
            verb = f"{who} does not score" if who else "no trial scores"
            return f"{verb} better than guessing on these {items}"
        verb = f"{who} cannot" if who else "no trial can"
        return f"with these {items}, {verb} be told from guessing"

    def add_means(self, parts: dict[str, float], errors: dict[str, float]) -> float:
        """Add the means of the subjects to the scores of the tasks; return the mean of all.

        Args:
            parts: The scores of the tasks by their names.
            errors: Their standard errors; that of the score gets the name "".

        """
        for name in ("", *self.groups):
            found = self.fold(errors, error_of_mean, name)
            if found is not None:
                errors[name] = found
        means = {name: self.fold(parts, mean_of, name) for name in ("", *self.groups)}
        parts.update({name: one for name, one in means.items() if name and one is not None})
        return means[""] or 0.0


def error_of_mean(errors: Sequence[float]) -> float:
    """Return the standard error of a mean, from those of its members: they are independent."""
    return math.hypot(*errors) / len(errors)
