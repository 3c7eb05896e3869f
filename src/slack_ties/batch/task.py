"""A task of a batch: commands of slack-ties, one after the other. A batch: its tasks in a file."""

from __future__ import annotations

import itertools
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from slack_ties.errors import OutputError
from slack_ties.files import json_text, read_json, write_whole

__all__ = [
    "BATCH_FILE",
    "MARKS",
    "OUT",
    "Batch",
    "Task",
    "merged",
    "new_batch",
    "now",
    "option_values",
    "read_batch",
    "typed_out",
    "write_batch",
]

BATCH_FILE = "batch.json"

OUT = Path("merges")  # the folder of a batch if none is given

MARKS = ".batch"  # the folder of what is known of the tasks

VERSION = 1  # of the file


@dataclass(frozen=True)
class Task:
    """One merge of a batch, with all that is done with it."""

    name: str  # unique in the batch, and safe as the name of a file: bo, bo-slack-0.1
    language: str = ""  # as it was given: a key or a name; "" for a config or a published model
    settings: Mapping[str, Any] = field(default_factory=dict)  # what varies: {"slack": 0.1}
    # The arguments of slack-ties, command by command: ("run", "bo", "--out", "/m/bo", "--json").
    steps: tuple[tuple[str, ...], ...] = ()
    publish: str = ""  # its repository on the Hub
    # The folder that relative paths of the steps are in; the same task may be typed in another one.
    cwd: str = field(default="", compare=False)

    def folder(self, out: Path) -> Path:
        """Return the folder of what is known of the task, in the folder of the batch."""
        return out / MARKS / self.name

    def commands(self) -> list[str]:
        """Return the commands as a user types them."""
        steps = ([word for word in step if word != "--json"] for step in self.steps)
        return [shlex.join(["slack-ties", *step]) for step in steps]


@dataclass(frozen=True)
class Batch:
    """A list of tasks, and the engine that works on them."""

    id: str  # 12 letters and digits, unique: engines name their jobs by it
    tasks: tuple[Task, ...]
    on: str = "here"  # the engine
    engine: Mapping[str, Any] = field(default_factory=dict)  # its options, as they were given
    made: str = ""  # ISO time

    def named(self, names: Sequence[str]) -> tuple[Task, ...]:
        """Return the tasks with these names; all if there are none.

        Raises:
            OutputError: The batch has no task of such a name.

        """
        known = {task.name: task for task in self.tasks}
        for name in names:
            if name not in known:
                msg = f"this batch has no task {name!r}: its tasks are {', '.join(known)}"
                raise OutputError(msg, hint="give one of these")
        return tuple(known[name] for name in names) or self.tasks


def option_values(flag: str, step: Sequence[str]) -> tuple[str, ...]:
    """Return all values of an option of a command."""
    return tuple(word for before, word in itertools.pairwise(step) if before == flag)


def typed_out(out: Path) -> list[str]:
    """Return the option for the folder of a batch, as it is typed after a command."""
    return [] if out == OUT else ["--out", str(out)]


def now() -> str:
    """Return the time, in UTC, as text."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def new_batch(tasks: Sequence[Task], on: str, engine: Mapping[str, Any]) -> Batch:
    """Return a batch with a new id."""
    placed = tuple(replace(task, cwd=str(Path.cwd())) for task in tasks)
    return Batch(uuid.uuid4().hex[:12], placed, on, engine, now())


def write_batch(batch: Batch, out: Path) -> None:
    """Write the tasks into the folder of the batch."""
    (out / MARKS).mkdir(parents=True, exist_ok=True)
    write_whole(out / BATCH_FILE, json_text({"version": VERSION, **asdict(batch)}))


def read_batch(out: Path) -> Batch:
    """Return the batch of a folder.

    Raises:
        OutputError: There is none, or its file is damaged.

    """
    path = out / BATCH_FILE
    if not path.is_file():
        msg = f"there is no batch in {str(out)!r}: it has no {BATCH_FILE}"
        raise OutputError(
            msg, hint=shlex.join(["slack-ties", "batch", "start", "LANG", *typed_out(out)])
        )
    data = read_json(path)
    if data.get("version") != VERSION:
        msg = f"{path}: expected a batch of version {VERSION}, got {data.get('version', 'none')!r}"
        raise OutputError(msg, hint="choose another folder: --out OUT")
    try:
        tasks = tuple(
            Task(**{**task, "steps": tuple(map(tuple, task["steps"]))}) for task in data["tasks"]
        )
        known = {name: data[name] for name in ("id", "on", "engine", "made")}
    except (KeyError, TypeError) as error:
        msg = f"{path} is damaged: {error}"
        raise OutputError(msg, hint="choose another folder: --out OUT") from None
    return Batch(tasks=tasks, **known)


def merged(old: Batch, new: Batch, done: Sequence[str]) -> Batch:
    """Return a batch with the tasks of both; a task of the new one replaces its namesake.

    Args:
        old: The batch of the folder.
        new: What the user asks for now.
        done: Names of tasks that are complete, or that run: they must stay as they are.

    Raises:
        OutputError: Such a task would change.

    """
    tasks = {task.name: task for task in old.tasks}
    for task in new.tasks:
        before = tasks.get(task.name)
        if before and before != task and task.name in done:
            msg = f"the task {task.name!r} is complete or runs, with other settings: "
            msg += f"{'; '.join(before.commands())}"
            raise OutputError(msg, hint="choose another folder for this batch: --out OUT")
        if not (before and task.name in done):
            tasks[task.name] = task
    engine = {**({} if new.on and new.on != old.on else old.engine), **new.engine}
    return replace(old, tasks=tuple(tasks.values()), on=new.on or old.on, engine=engine)
