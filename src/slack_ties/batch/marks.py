"""The files that say what is known of a task: it runs, a step is done, all is done, it failed.

Each is written whole. A lock says that a process works on the task: the system releases it when the
process ends, however it ends.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from slack_ties.batch.task import now
from slack_ties.errors import OutputError
from slack_ties.files import json_text, read_json, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from slack_ties.batch.task import Task

__all__ = ["LOG_FILE", "Marks"]

LOG_FILE, LOCK_FILE = "log.txt", "lock"

PROBE = 0.2  # seconds to wait for somebody else who only looks

RUNNING, DONE, FAILED, CANCELLED = "running.json", "done.json", "failed.json", "cancelled.json"


class Marks:
    """The markers of one task."""

    def __init__(self, out: Path, task: Task) -> None:
        """Take the folder of the batch."""
        self.task = task
        self.folder = task.folder(out)
        self.log = self.folder / LOG_FILE

    def read(self, name: str) -> dict[str, Any]:
        """Return a marker; {} if it is not there."""
        return read_json(self.folder / name)

    def write(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a marker whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / name, json_text(data))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the log; none before the first attempt."""
        with suppress(FileNotFoundError), self.log.open(encoding="utf-8", errors="replace") as file:
            yield from (line.rstrip("\n") for line in file)

    @property
    def _steps(self) -> list[list[str]]:
        """The commands, as JSON has them: a marker counts for the commands that it names only."""
        return [[*step] for step in self.task.steps]

    @property
    def running(self) -> dict[str, Any]:
        """The last attempt: its number, since when and where it runs; {} before the first."""
        return self.read(RUNNING)

    @property
    def done(self) -> dict[str, Any]:
        """What the steps printed as JSON, and when; {} if the task is not complete."""
        found = self.read(DONE)
        return found if found.get("steps", self._steps) == self._steps else {}

    @property
    def failed(self) -> dict[str, Any]:
        """Why the last attempt failed, and what to do; {} if it did not."""
        return self.read(FAILED)

    @property
    def cancelled(self) -> bool:
        """Whether the user has cancelled the task."""
        return (self.folder / CANCELLED).is_file()

    def begin(self, where: str) -> int:
        """Note that an attempt begins; return its number, from 1."""
        number = int(self.running.get("attempt", 0)) + 1
        about = {"since": now(), "where": where, "host": socket.gethostname()}
        self.write(RUNNING, {"attempt": number, **about, "process": os.getpid()})
        self.forget_failure()
        return number

    def forget_failure(self) -> None:
        """Let the task be tried again."""
        self.forget(FAILED)
        self.forget_cancel()

    def forget_cancel(self) -> None:
        """Let the task begin; why its last attempt failed stays."""
        self.forget(CANCELLED)

    def forget(self, name: str) -> None:
        """Remove a marker, if it is there."""
        (self.folder / name).unlink(missing_ok=True)

    def fail(self, why: str, then: str) -> None:
        """Note that the attempt failed."""
        started = self.running
        about: dict[str, Any] = {k: started[k] for k in ("attempt", "since") if k in started}
        self.write(FAILED, {**about, "ended": now(), "why": why, "next": then})

    def cancel(self) -> None:
        """Note that the user has cancelled the task."""
        self.write(CANCELLED, {"at": now()})

    def step(self, number: int) -> dict[str, Any] | None:
        """Return what a step printed as JSON, from 1; None if it is not complete."""
        found = self.read(f"step-{number}.json")
        return found.get("printed") if found.get("step") == self._steps[number - 1] else None

    def finish_step(self, number: int, printed: Mapping[str, Any]) -> None:
        """Note that a step is complete."""
        self.write(f"step-{number}.json", {"step": self._steps[number - 1], "printed": printed})

    def finish(self, results: list[dict[str, Any]]) -> None:
        """Note that the task is complete."""
        started = self.running
        kept = ("attempt", "since", "where")
        about: dict[str, Any] = {key: started[key] for key in kept if key in started}
        self.write(DONE, {**about, "ended": now(), "steps": self._steps, "results": results})
        self.forget_failure()

    def reset(self) -> None:
        """Forget everything but the log: the task has other commands now."""
        for path in [*self.folder.glob("*.json")]:
            path.unlink(missing_ok=True)

    @contextmanager
    def lock(self, wait: float = 0.0) -> Iterator[bool]:
        """Hold the lock, and say whether nobody else does.

        Args:
            wait: Seconds to wait for it: whoever looks whether it is held holds it for a moment.

        Raises:
            OutputError: The disk has no locks, as some network disks.
            PermissionError: The folder is somebody else's.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK_FILE, timeout=wait)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        except PermissionError:
            raise
        except (OSError, NotImplementedError) as error:
            msg = f"{str(self.folder)!r} is on a disk that cannot lock files: {error}"
            raise OutputError(msg, hint="choose another folder for the batch: --out OUT") from None
        try:
            yield True
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Say whether a process works on the task."""
        if not (self.folder / LOCK_FILE).exists():
            return False
        try:
            with self.lock(PROBE) as free:
                return not free
        except PermissionError:  # a batch of somebody else
            return _is_held(self.folder / LOCK_FILE)


def _is_held(path: Path) -> bool:
    """Say whether a process holds a lock that this user may only read."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False
