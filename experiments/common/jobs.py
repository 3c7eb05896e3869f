"""Jobs that make files: do all that are not done yet, some at once, each in a process.

A job is done if its files are there. So work can be stopped at any time, and the same call goes
on where it was. A job that fails stops no other job, except those that need its files.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

__all__ = ["Job", "do_all"]

SPAWN = get_context("spawn")  # torch's threads do not survive a fork


@dataclass(frozen=True)
class Job:
    """A call that makes files.

    Attributes:
        title: What people read, such as "seed 0: make base".
        do: A function of a module, so that another process can import it.
        arguments: Its arguments; they are pickled.
        makes: The files and folders that it makes, each of them whole or not at all.
        needs: Those that must be there before it starts.

    """

    title: str
    do: Callable[..., None]
    arguments: tuple[Any, ...]
    makes: tuple[Path, ...]
    needs: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return self.title

    @property
    def is_done(self) -> bool:
        """Say whether all its files are there."""
        return _are_there(self.makes)

    @property
    def can_start(self) -> bool:
        """Say whether all that it needs is there."""
        return _are_there(self.needs)


def _are_there(paths: Iterable[Path]) -> bool:
    return all(path.exists() for path in paths)


def do_all(
    jobs: Sequence[Job],
    *,
    processes: int,
    set_up: Callable[[], None] | None = None,
    note: str = "",
) -> list[Job]:
    """Do all unfinished jobs, and return those that are still unfinished: they failed, or wait.

    A job starts as soon as its needs are there; of those that can start, the first in the list
    does. A line for each finished job says minutes since the start, counts and seconds. A job
    that raises, ends its process or does not make its files has failed: its traceback goes to
    stderr, or one line if people can mend it, and the others go on.

    Args:
        jobs: All jobs, the most important first.
        processes: How many run at once. A process does many jobs, one after the other.
        set_up: Called once in each new process; a function of a module.
        note: What the first line says beside the number of jobs.

    Raises:
        ValueError: A job needs a file that is not there and that no job makes.

    """
    todo = [job for job in jobs if not job.is_done]
    _check_needs(todo)
    run = _Run(todo, set_up)
    if todo:
        beside = f"; {note}" if note else ""
        print(f"{len(todo)} jobs, {processes} at once{beside}", flush=True)
    try:
        run.until_done(processes)
    finally:
        run.stop()
    if run.failed:
        print(run.summary(), file=sys.stderr, flush=True)
    return [*run.failed, *run.todo]


def _check_needs(todo: Sequence[Job]) -> None:
    """Find what nothing makes before the long work, not after it."""
    made = {path for job in todo for path in job.makes}
    for job in todo:
        for path in job.needs:
            if path not in made and not path.exists():
                msg = f"{job} needs {path}: it is not there, and no job makes it"
                raise ValueError(msg)


@dataclass
class _Run:
    """Jobs that wait, run and failed, and the processes that do them."""

    todo: list[Job]
    set_up: Callable[[], None] | None
    failed: list[Job] = field(default_factory=list)
    idle: list[_Worker] = field(default_factory=list)
    busy: dict[object, tuple[_Worker, Job, float]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.total = len(self.todo)

    def until_done(self, processes: int) -> None:
        """Start what can start and wait for what runs, until nothing runs."""
        while True:
            ready = [job for job in self.todo if job.can_start]
            for job in ready[: processes - len(self.busy)]:
                self._start(job)
            if not self.busy:
                break
            pipes = [worker.pipe for worker, _, _ in self.busy.values()]
            for pipe in wait(pipes):
                self._finish(*self.busy.pop(pipe))
        if self.todo and not self.failed:
            msg = f"nothing makes what {self.todo[0]} needs"
            raise ValueError(msg)

    def _start(self, job: Job) -> None:
        self.idle = [worker for worker in self.idle if worker.process.is_alive()]
        worker = self.idle.pop() if self.idle else _Worker(self.set_up)
        self.todo.remove(job)
        self.busy[worker.pipe] = worker, job, time.monotonic()
        worker.pipe.send(job)

    def _finish(self, worker: _Worker, job: Job, started: float) -> None:
        try:
            error = worker.pipe.recv()
            self.idle.append(worker)
        except (EOFError, ConnectionError):
            error = worker.last_words()
        if not error and not job.is_done:
            missing = ", ".join(str(path) for path in job.makes if not path.exists())
            error = f"it ended, but did not make {missing}\n"
        self._report(job, time.monotonic() - started, error)

    def _report(self, job: Job, seconds: float, error: str) -> None:
        minutes = (time.monotonic() - self.began) / 60
        number = self.total - len(self.todo) - len(self.busy)
        took = f"failed after {seconds:.0f} s" if error else f"{seconds:.0f} s"
        print(f"{minutes:6.1f} min  {number}/{self.total}  {job}  {took}", flush=True)
        if error:
            self.failed.append(job)
            print(f"{job} failed:\n{error}", file=sys.stderr, flush=True)

    def summary(self) -> str:
        """Return which jobs failed, and how many wait for them."""
        names = "; ".join(job.title for job in self.failed)
        said = f"{len(self.failed)} of {self.total} jobs failed: {names}"
        if self.todo:
            said += f"; not started, because they need what these make: {len(self.todo)}"
        return f"{said}. The same command tries again."

    def stop(self) -> None:
        """End all processes, those that work at once."""
        working = [worker for worker, _, _ in self.busy.values()]
        for worker in working:
            worker.process.terminate()
        for worker in (*self.idle, *working):
            worker.pipe.close()
            worker.process.join()


class _Worker:
    """A process that does one job after the other, until its pipe is closed."""

    def __init__(self, set_up: Callable[[], None] | None) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_work, args=(theirs, set_up))
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def last_words(self) -> str:
        """Say how the process ended in the middle of a job; Ctrl-C ends all of them."""
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode or 0
        if code == -signal.SIGINT:
            raise KeyboardInterrupt
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = "; is there enough memory?" if os.name == "posix" and code == -signal.SIGKILL else ""
        return f"its process {how}{hint}\n"


def _work(pipe: Connection, set_up: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a job without a traceback
    if set_up:
        set_up()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, ConnectionError):
            return
        pipe.send(_error_of(job))


def _error_of(job: Job) -> str:
    """Do a job; if it fails, return its traceback, or one line if no code is to blame."""
    try:
        job.do(*job.arguments)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the others go on
        if line := _line_of(error):
            return f"{line}\n"
        frames = error.__traceback__ and error.__traceback__.tb_next  # from the job's own on
        return "".join(traceback.format_exception(type(error), error, frames))
    return ""


def _line_of(error: BaseException) -> str:
    """Return what people can mend, in one line: a message, a command that fails, a full disk."""
    if isinstance(error, SystemExit):
        return str(error)
    if isinstance(error, subprocess.CalledProcessError):
        command = shlex.join(map(str, error.cmd))
        return f"{command} ended with exit code {error.returncode}: it said why above"
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        return "there is no space left on the disk: make room"
    return ""
