"""Load lm-eval's tasks and their data, before a model is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slack_ties.evaluation.scores import Task

__all__ = ["LoadedTasks", "load_tasks"]


@dataclass(frozen=True)
class LoadedTasks:
    """Tasks with their data."""

    tasks: tuple[Task, ...]  # groups and tags are taken apart: only what has items
    loaded: Mapping[str, Any]  # lm-eval's own objects, by the names of the tasks
    limit: int | None = None  # items of each task that are scored; all if None

    @property
    def items(self) -> int:
        """How many items are scored."""
        return sum(task.items for task in self.tasks)


def load_tasks(
    names: Sequence[str],
    *,
    include: Sequence[Path] = (),
    limit: int | None = None,
    fewshot: int | None = None,
    about: Mapping[str, str] | None = None,
) -> LoadedTasks:
    """Return the tasks with these names, and their data.

    Args:
        names: Tasks, groups or tags of lm-eval, of our own pack, or of `include`.
        include: Folders with task files of the user.
        limit: Score only the first items of each task.
        fewshot: Examples before each item; as each task says if not given.
        about: What each name is about: `Task.about`.

    Raises:
        SlackTiesError: lm-eval is not installed; a task is not known, has no items, runs code, or
            needs data that is not here and cannot be downloaded.

    """
    raise NotImplementedError
