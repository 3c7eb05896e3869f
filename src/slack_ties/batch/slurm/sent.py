"""What was noted of a task's job: OUT/.batch/.slurm/NAME.json.

A task whose commands change keeps it: the job that waits reads the commands when it starts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from slack_ties.batch.task import MARKS
from slack_ties.files import json_text, read_json, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slack_ties.batch.slurm.commands import QueuedJob
    from slack_ties.batch.task import Task

__all__ = ["Sent", "folder_of", "note", "sent_of"]

FOLDER = ".slurm"  # beside those of tasks, whose names do not begin so


@dataclass(frozen=True)
class Sent:
    """What was noted of a task's job, before it was sent and after."""

    name: str  # of the job, unique
    index: int = 0  # of the task in the array
    of: int = 1  # tasks in the array
    job: str = ""  # 12_3; "" as long as its number is not known
    at: str = ""  # ISO time
    ended: Mapping[str, str] | None = None  # what Slurm said when it had ended: it forgets jobs

    def is_of(self, job: QueuedJob) -> bool:
        """Say whether this is a job of Slurm's queue.

        Slurm shows an array that was cancelled as a whole, before it began, as one job.
        """
        index = job.id.partition("_")[2] or f"{self.index}"
        return job.name == self.name and index == f"{self.index}"

    def id_of(self, job: QueuedJob) -> str:
        """Return the id of this job of an array of Slurm's queue."""
        number = job.id.partition("_")[0]
        return number if self.of == 1 else f"{number}_{self.index}"


def folder_of(out: Path) -> Path:
    """Return the folder of submitit's files, and of what was noted, in the folder of a batch."""
    return out / MARKS / FOLDER


def sent_of(out: Path, task: Task) -> Sent | None:
    """Return what was noted of a task's job; None if none was sent.

    Args:
        out: The folder of the batch.
        task: The task.

    """
    data = read_json(folder_of(out) / f"{task.name}.json")
    try:
        return Sent(**data) if data else None
    except TypeError:  # of another version of slack-ties
        return None


def note(out: Path, task: Task, sent: Sent | None) -> None:
    """Write down what is known of a task's job, or forget it.

    Args:
        out: The folder of the batch.
        task: The task.
        sent: What to note; None: no job was sent.

    """
    path = folder_of(out) / f"{task.name}.json"
    if sent is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json_text(asdict(sent)))
