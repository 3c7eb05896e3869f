"""The engine `here`: tasks as processes of this machine, as many at once as have room."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from slack_ties.batch.executor import BUSY, Seen
from slack_ties.batch.marks import Marks
from slack_ties.batch.task import typed_out
from slack_ties.errors import OutputError
from slack_ties.threads import CHECK_INTERVAL
from slack_ties.wording import join_names, took

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slack_ties.batch.task import Task

__all__ = ["Here", "process_of"]

LOG = logging.getLogger("slack_ties")

QUEUED = "queued.json"  # says which process will start the task

END_TIME = 15.0  # seconds in which a process ends that was told to


class Here:
    """Runs tasks as processes of this machine. They end when this process ends."""

    name = "here"

    def __init__(self, out: Path, at_once: int = 1) -> None:
        """Take the folder of the batch, and how many tasks run at once."""
        self.typed = out
        self.out, self.at_once = out.resolve(), max(at_once, 1)

    def start(self, tasks: Sequence[Task]) -> None:
        """Run the tasks; return when all have ended."""
        left = list(tasks)
        processes: dict[str, Any] = {}
        began: dict[str, float] = {}
        count = len(left)
        for task in tasks:
            marks = Marks(self.out, task)
            marks.forget_failure()
            marks.write(QUEUED, _this_process())
        try:
            while left or processes:
                while left and len(processes) < self.at_once:
                    task = left.pop(0)
                    (marks := Marks(self.out, task)).forget(QUEUED)
                    if marks.cancelled:
                        LOG.info("  %s: cancelled", task.name)
                        continue
                    LOG.info("  %s: started (%d of %d)", task.name, count - len(left), count)
                    processes[task.name], began[task.name] = self._process(task), time.monotonic()
                time.sleep(CHECK_INTERVAL)
                for task in tasks:
                    process = processes.get(task.name)
                    if process and process.poll() is not None:
                        del processes[task.name]
                        process.stdin.close()
                        self._ended(task, process.returncode, time.monotonic() - began[task.name])
        finally:
            _end(list(processes.values()))

    def _process(self, task: Task) -> subprocess.Popen[bytes]:
        """Start the process of a task. It ends when its standard input is closed."""
        words = [sys.executable, "-m", "slack_ties", "batch", "work", str(self.out), task.name]
        # No module from the current folder.
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        if self.at_once > 1:
            share = max((os.cpu_count() or 1) // self.at_once, 1)
            environment.setdefault("OMP_NUM_THREADS", str(share))
        return subprocess.Popen(
            [*words, "--ends-with-input"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it writes a log
            env=environment,
            # Ctrl-C in the terminal comes to us alone, and we end it.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def _ended(self, task: Task, code: int, seconds: float) -> None:
        """Say how a task has ended; note it, if its process could not."""
        marks = Marks(self.out, task)
        if marks.done:
            LOG.info("  %s: done in %s", task.name, took(seconds))
            return
        if code == BUSY:
            LOG.info("  %s: another process works on it", task.name)
            return
        if marks.cancelled:
            LOG.info("  %s: cancelled", task.name)
            return
        if not marks.failed:
            marks.fail(*self._how(code))
        LOG.error("  %s: failed: %s", task.name, marks.failed["why"])

    def _how(self, code: int) -> tuple[str, str]:
        """Return how a process ended that could not say it, and what to do."""
        again, less = ["slack-ties", "batch", "start", *typed_out(self.typed)], "goes on"
        why = f"its process ended with exit code {code}"
        if code < 0:
            why = f"its process was ended by signal {-code}"
        if -code == getattr(signal, "SIGKILL", 9):
            why += ": the system does this if memory runs out"
            again, less = [*again, "--at-once", "1"], "goes on, with less memory"
        return why, f"{shlex.join(again)}  # {less}"

    def states(self, tasks: Sequence[Task]) -> Mapping[str, Seen]:
        """Return which tasks wait until others have ended; markers say all else."""
        waits = Seen("waiting", why="other tasks of this batch come first")
        marks = [Marks(self.out, task) for task in tasks]
        return {one.task.name: waits for one in marks if not one.cancelled and _is_queued(one)}

    def logs(self, task: Task) -> Iterator[str]:
        """Yield the lines of the task's log."""
        yield from Marks(self.out, task).lines()

    def cancel(self, tasks: Sequence[Task]) -> None:
        """End the processes of these tasks; those that wait do not begin.

        Raises:
            OutputError: A process cannot be ended from here.

        """
        left = []
        for task in tasks:
            marks = Marks(self.out, task)
            if marks.done:
                continue
            marks.cancel()
            if not marks.is_locked():
                continue
            try:
                number = process_of(marks)
                if number:
                    os.kill(number, signal.SIGTERM)
                else:
                    left.append(marks)
            except ProcessLookupError:
                pass
            except PermissionError:
                left.append(marks)
        if left:
            where = join_names([f"{one.task.name} ({one.running.get('where')})" for one in left])
            msg = f"cannot end {where} from here: the process is of another machine or user"
            words = [*(one.task.name for one in left), *typed_out(self.typed)]
            again = shlex.join(["slack-ties", "batch", "cancel", *words])
            raise OutputError(msg, hint=f"{again}  # there")


def _this_process() -> dict[str, Any]:
    """Return what tells this process from all others of all machines."""
    import psutil  # noqa: PLC0415 - not for --help

    made = psutil.Process().create_time()
    return {"host": socket.gethostname(), "process": os.getpid(), "made": made}


def _is_queued(marks: Marks) -> bool:
    """Say whether a process of this machine lives that will start the task."""
    import psutil  # noqa: PLC0415 - not for --help

    queued = marks.read(QUEUED)
    if queued.get("host") != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(queued.get("process")).create_time() == queued.get("made"))
    except (psutil.Error, TypeError, ValueError):
        return False


def process_of(marks: Marks) -> int:
    """Return the number of the process that works on a task on this machine; 0 if none does."""
    import psutil  # noqa: PLC0415 - not for --help

    last = marks.running
    number = int(last.get("process") or 0)
    if not number or last.get("host") != socket.gethostname():
        return 0
    try:  # the number may be that of an earlier attempt, and now of something else
        words = psutil.Process(number).cmdline()
    except psutil.Error:
        return 0
    return number if marks.task.name in words and "work" in words else 0


def _end(processes: Sequence[Any]) -> None:
    """Tell processes to end; kill those that do not."""
    for process in processes:
        process.terminate()
    limit = time.monotonic() + END_TIME
    for process in processes:
        try:
            process.wait(max(limit - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
