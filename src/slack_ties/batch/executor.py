"""What an engine does with tasks: the same small protocol for this machine, Slurm and Jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slack_ties.batch.task import Task

__all__ = ["BUSY", "WHERE", "Executor", "Seen"]

BUSY = 3  # the exit code if another process works on the task

WHERE = "SLACK_TIES_WHERE"  # an engine says here where the task runs, in its own words


@dataclass(frozen=True)
class Seen:
    """What an engine knows of a task."""

    state: Literal["waiting", "running", "ended"]
    where: str = ""  # such as: Slurm job 12_3 on node1
    since: str = ""  # ISO time
    why: str = ""  # of a task that waits or has ended, in a line
    next: str = ""  # what to do then
    url: str = ""  # its page


class Executor(Protocol):
    """An engine. What is complete is known by markers, and not by the engine."""

    name: str

    def start(self, tasks: Sequence[Task]) -> None:
        """Start these tasks. The engine `here` returns when they have ended, the others at once.

        Raises:
            SlackTiesError: The engine refuses them, or cannot be reached.

        """

    def states(self, tasks: Sequence[Task]) -> Mapping[str, Seen]:
        """Return what the engine knows of these tasks, by name; others are left out."""

    def logs(self, task: Task) -> Iterator[str]:
        """Yield the lines that a task has printed so far."""

    def cancel(self, tasks: Sequence[Task]) -> None:
        """Stop these tasks, or take them out of the queue; those that have ended stay."""
