"""Work on one task: run its commands, one after the other. Each engine starts this somewhere.

Whenever it is ended, the next call goes on: a command that was complete is not run again, and each
command goes on by itself.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slack_ties.batch.executor import BUSY, WHERE
from slack_ties.batch.jobs.ends import works_away
from slack_ties.batch.marks import Marks
from slack_ties.batch.task import MARKS, read_batch
from slack_ties.hub.pause import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["reason_in", "share_pauses", "work_on"]

LOG = logging.getLogger("slack_ties")

LOCK_TIME = 5.0  # seconds

# Seconds on another machine: if one fails, a shared disk keeps its locks for about 90 seconds.
AWAY_LOCK_TIME = 150.0


def share_pauses(out: Path) -> None:
    """Let this process wait when the Hub asks a task of the batch to wait, and the other way round.

    Args:
        out: The folder of the batch.

    """
    os.environ.setdefault(VARIABLE, str(out.resolve() / MARKS / "hub-pause.json"))


def work_on(out: Path, name: str, run: Callable[[Sequence[str]], tuple[int, str]]) -> int:
    """Run the commands of a task that are not complete; return the exit code.

    Args:
        out: The folder of the batch.
        name: The task.
        run: Runs a command of slack-ties; returns its exit code, and what it printed.

    Returns:
        0: complete. 1: it failed or was cancelled, and its marker says so. BUSY: another process
        works on it.

    Raises:
        OutputError: There is no such batch or task.

    """
    out = out.resolve()  # the steps are in another folder
    (task,) = read_batch(out).named([name])
    share_pauses(out)
    with Marks(out, task).lock(AWAY_LOCK_TIME if WHERE in os.environ else LOCK_TIME) as free:
        (task,) = read_batch(out).named([name])  # it may have changed until the lock was free
        marks = Marks(out, task)
        if not free or works_away(marks):
            return BUSY
        if marks.done:
            return 0
        if marks.cancelled:  # whoever starts a task takes that mark away
            return 1
        marks.begin(os.environ.get(WHERE) or f"{socket.gethostname()}, process {os.getpid()}")
        if os.path.isdir(task.cwd):  # noqa: PTH112 - never raises
            os.chdir(task.cwd)
        results = []
        with _logged(marks.log):
            for number, step in enumerate(task.steps, 1):
                printed = marks.step(number)
                if printed is None:
                    printed = _run(marks, number, step, run)
                if printed is None:
                    return 1
                results.append(printed)
        marks.finish(results)
    return 0


def _run(
    marks: Marks, number: int, step: Sequence[str], run: Callable[[Sequence[str]], tuple[int, str]]
) -> dict[str, Any] | None:
    """Run a command; return what it printed as JSON, or None if it failed."""
    os.write(2, f"$ {marks.task.commands()[number - 1]}\n".encode())  # it is the log
    before = marks.log.stat().st_size
    code, text = run(step)
    sys.stderr.flush()
    if code:
        with marks.log.open("rb") as file:
            file.seek(before)
            why, then = reason_in(file.read().decode(errors="replace"))
        marks.fail(why or f"slack-ties {step[0]} ended with exit code {code}", then)
        return None
    try:
        printed = json.loads(text)
    except ValueError:
        printed = text
    if not isinstance(printed, dict):
        printed = {"printed": printed}
    marks.finish_step(number, printed)
    return printed


def reason_in(log: str) -> tuple[str, str]:
    """Return the last error in what a command printed, and the next step that it names."""
    errors = [*re.finditer(r"^Error: (.+)$", log, re.MULTILINE)]
    if not errors:
        return "", ""
    then = re.search(r"^Next: (.+)$", log[errors[-1].end() :], re.MULTILINE)
    return errors[-1][1].strip(), then[1].strip() if then else ""


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append what this process prints to standard error to a file, also what C code prints."""
    sys.stderr.flush()
    before = os.dup(2)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(number, 2)
    os.close(number)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
