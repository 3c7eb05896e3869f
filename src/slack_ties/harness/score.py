"""Score one model on tasks with lm-eval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slack_ties.evaluation.scores import TaskScore
    from slack_ties.harness.tasks import LoadedTasks

__all__ = ["How", "Loaded", "score_model"]


@dataclass(frozen=True)
class How:
    """How to run models. The defaults are lm-eval's."""

    device: str = "cpu"
    dtype: str = "auto"  # that of the model
    batch_size: str = ""  # a number, or auto; if empty: auto on a GPU, 1 on a CPU
    chat_template: bool = False  # apply the model's chat template to each item


@dataclass(frozen=True)
class Loaded:
    """A model in memory."""

    model: Any  # a transformers model
    tokenizer: Any


def score_model(  # noqa: PLR0913 - all by name
    model: Path | Loaded,
    tasks: LoadedTasks,
    *,
    how: How,
    items: Mapping[str, Sequence[int]] | None = None,
    cache: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> dict[str, TaskScore]:
    """Return the score of a model on each task, by the task's name.

    Args:
        model: A folder that transformers can load, or a model in memory.
        tasks: From `load_tasks`.
        how: How to run it.
        items: Score only these items, by the task's name; all that `tasks` has if not given.
        cache: A file in which lm-eval keeps answers: a second run goes on there.
        done: Called with the number of requests that are answered.

    Raises:
        CheckpointError: The model cannot be loaded, or does not fit in memory.
        SlackTiesError: A score cannot be computed.

    """
    raise NotImplementedError
