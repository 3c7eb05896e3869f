"""The engine `slurm`: each task is an element of one array job of the user's Slurm cluster.

submitit writes the job's script and sends it. What Slurm knows comes from squeue and scontrol:
many clusters have no accounting database. A job's name is unique and noted before it is sent, so
that a job whose number was never heard is found again, and is not sent twice.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from slack_ties.batch.executor import Seen
from slack_ties.batch.marks import Marks
from slack_ties.batch.slurm.commands import NoAnswerError, ask, check_commands, in_queue
from slack_ties.batch.slurm.job import Work
from slack_ties.batch.slurm.send import Wishes, check_submitit, check_token, complete, send
from slack_ties.batch.slurm.sent import Sent, folder_of, note, sent_of
from slack_ties.batch.slurm.words import as_seen, ended_by_log, is_over, is_running
from slack_ties.batch.task import now
from slack_ties.errors import OutputError, SlackTiesError
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slack_ties.batch.slurm.commands import QueuedJob
    from slack_ties.batch.task import Task

__all__ = ["Slurm"]

LOG = logging.getLogger("slack_ties")

NAME_LENGTH = 40  # of the folder's name in the job's

LOCK_TIME = 120.0  # seconds to wait for another command that sends tasks of the same batch

DISK_TIME = 120.0  # seconds until a shared disk shows on one machine what another one wrote

FORGOTTEN = "Slurm does not know its job any more, and its log does not say how it ended"
# Slurm forgets at once an element of an array that is cancelled before it begins.
NEVER_BEGAN = "it never began: it was cancelled, or Slurm has lost it"

UNANSWERED = "as it was noted: Slurm does not answer"


class Slurm:
    """Sends tasks to Slurm, as one array job. It goes on after this process has ended."""

    name = "slurm"

    def __init__(  # noqa: PLR0913 - what one may ask Slurm for
        self,
        out: Path,
        *,
        partition: str = "",
        time: int = 0,
        memory: int = 0,
        cpus: int = 0,
        gpus: int = 0,
        account: str = "",
        at_once: int = 0,
        options: Mapping[str, str | bool] | None = None,
    ) -> None:
        """Take what each task asks for; 0 and "" leave it to the cluster.

        Args:
            out: The folder of the batch, on a disk that all nodes share.
            partition: The partition, or several with commas.
            time: Minutes.
            memory: Bytes.
            cpus: Processor cores.
            gpus: GPUs.
            account: The account that pays.
            at_once: The most tasks that run at once.
            options: Further options of sbatch by name, such as {"qos": "long"}.

        """
        self.out = Path(os.path.abspath(out))  # noqa: PTH100 - links stay: nodes may have others
        self.folder = folder_of(self.out)
        self.wishes = Wishes(partition, time, memory, cpus, gpus, account, at_once, options or {})

    def start(self, tasks: Sequence[Task]) -> None:
        """Send the tasks to Slurm, without those that it has already, and return.

        Raises:
            SlackTiesError: Slurm or submitit is not there, does not answer, or refuses the job.

        """
        check_commands()
        check_submitit()
        check_token()
        with self._sole():
            queue = self._queue(tasks)
            left = [task for task in tasks if self._is_free(task, queue.get(task.name))]
            if left:
                self._send(left)

    def _is_free(self, task: Task, job: QueuedJob | None) -> bool:
        """Say whether no job of a task will work on it any more."""
        if job is None or is_over(job.state):
            return True
        marks = Marks(self.out, task)  # a job ends a moment after its worker
        return is_running(job.state) and bool(marks.failed or marks.cancelled)

    @contextmanager
    def _sole(self) -> Iterator[None]:
        """Let one command at a time send tasks of this batch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "lock", timeout=LOCK_TIME):
                yield
        except Timeout:
            msg = f"another command is sending tasks of the batch in {str(self.out)!r} to Slurm"
            hint = shlex.join(["slack-ties", *self._words("status")])
            raise OutputError(msg, hint=hint) from None

    def _send(self, tasks: Sequence[Task]) -> None:
        """Send the tasks as one job, whose name is noted before."""
        batch = re.sub(r"[^A-Za-z0-9._-]+", "-", self.out.name)[:NAME_LENGTH]
        name = f"{batch}-{uuid.uuid4().hex[:12]}"
        before = {task.name: sent_of(self.out, task) for task in tasks}
        for index, task in enumerate(tasks):
            note(self.out, task, Sent(name, index, len(tasks), at=now()))
            Marks(self.out, task).forget_cancel()  # the job would see it, and end
        try:
            jobs = send(self.folder, name, [self._work(task) for task in tasks], self.wishes)
        except NoAnswerError as error:
            jobs = self._found(tasks, error)
        except SlackTiesError:
            for task in tasks:
                note(self.out, task, before[task.name])
            raise
        for index, (task, job) in enumerate(zip(tasks, jobs, strict=True)):
            note(self.out, task, Sent(name, index, len(tasks), job, now()))
            Marks(self.out, task).forget_failure()
        LOG.info("  Slurm job %s: %s", jobs[0].partition("_")[0], counted(len(tasks), "task"))

    def _found(self, tasks: Sequence[Task], error: NoAnswerError) -> list[str]:
        """Return the ids of jobs that Slurm has taken without an answer.

        Raises:
            NoAnswerError: It does not answer now either, or has not taken them.

        """
        try:
            queue = self._queue(tasks)
        except SlackTiesError:
            msg = f"{error}; whether it has taken the job is not known"
            hint = "scontrol ping  # when it answers, run the same command: it looks for the job"
            raise NoAnswerError(msg, hint=hint) from None
        if len(queue) < len(tasks):
            raise error
        return [queue[task.name].id for task in tasks]

    def _words(self, *words: str) -> list[str]:
        return ["batch", *words, "--out", str(self.out)]

    def _work(self, task: Task) -> Work:
        return Work(str(self.out), task.name, self.wishes.time)

    def states(self, tasks: Sequence[Task]) -> Mapping[str, Seen]:
        """Return what Slurm knows of these tasks; if it does not answer, what was noted of them."""
        sent = {task.name: one for task in tasks if (one := sent_of(self.out, task))}
        if not sent:
            return {}
        try:
            queue = self._queue(tasks)
        except SlackTiesError as error:
            LOG.warning("%s: what follows is what the files of the batch say", error)
            seen = {task.name: self._unanswered(task, sent.get(task.name)) for task in tasks}
        else:
            seen = {task.name: self._seen(task, queue.get(task.name)) for task in tasks}
        return {name: one for name, one in seen.items() if one}

    def _queue(self, tasks: Sequence[Task]) -> dict[str, QueuedJob]:
        """Return the tasks' jobs that Slurm knows; note those whose number was never heard."""
        sent = {task.name: one for task in tasks if (one := sent_of(self.out, task))}
        jobs = in_queue(one.name for one in sent.values())
        found = {}
        for task in tasks:
            one = sent.get(task.name)
            job = next((job for job in jobs if one and one.is_of(job)), None)
            if one and job:
                found[task.name] = job = replace(job, id=one.id_of(job))
                if not one.job:
                    complete(self.folder, job.id, self._work(task), self.wishes)
                    note(self.out, task, replace(one, job=job.id))
        return found

    def _seen(self, task: Task, job: QueuedJob | None) -> Seen | None:
        """Return what Slurm knows of a task, whose job it may have forgotten."""
        one, marks = sent_of(self.out, task), Marks(self.out, task)
        if one is None or not one.job:
            return None
        if job and not is_over(job.state):  # a job ends a moment after its worker
            return None if is_running(job.state) and marks.failed else as_seen(job)
        if one.ended:
            return Seen("ended", **one.ended)
        if job:
            seen = as_seen(job, _exit_code(job))
            if job.state == "COMPLETED" and _is_recent(job.ended):
                why = "it has ended; the shared disk does not show its result here yet"
                return Seen("running", seen.where, seen.since, why)
        else:
            why, then = ended_by_log(self._log(one))
            began = any(path.exists() for path in self._logs(one))
            why = why or (FORGOTTEN if began else NEVER_BEGAN)
            return Seen("ended", f"Slurm job {one.job}", why=why, next=then)  # it may come back
        if not seen.next and job.state == "FAILED":
            seen = replace(seen, next=shlex.join(["slack-ties", *self._words("logs", task.name)]))
        about = {"where": seen.where, "since": seen.since, "why": seen.why, "next": seen.next}
        note(self.out, task, replace(one, ended=about))
        return seen

    def _unanswered(self, task: Task, one: Sent | None) -> Seen | None:
        """Return what was noted of a task while Slurm does not answer."""
        marks = Marks(self.out, task)
        if one is None or marks.failed or marks.cancelled:
            return None
        if one.ended:
            return Seen("ended", **one.ended)
        where = f"Slurm job {one.job or one.name}"
        last = marks.running
        if one.job and f"{last.get('where', '')} ".startswith(f"{where} "):
            return Seen("running", last["where"], last.get("since", ""), UNANSWERED)
        return Seen("waiting", where, one.at, UNANSWERED)

    def logs(self, task: Task) -> Iterator[str]:
        """Yield the lines of the task's log; of Slurm's own if there are none, or how it ended."""
        lines = _lines(Marks(self.out, task).log)
        yield from lines
        one = sent_of(self.out, task)
        for line in self._log(one).splitlines() if one and one.job else []:
            if not lines or line.startswith("slurmstepd"):
                yield line

    def cancel(self, tasks: Sequence[Task]) -> None:
        """Take these tasks out of Slurm, whether they wait or run.

        Raises:
            SlackTiesError: Slurm does not answer, or refuses.

        """
        queue = self._queue(tasks)
        if jobs := [job.id for job in queue.values() if not is_over(job.state)]:
            ask("scancel", *jobs)
        for task in tasks:
            marks = Marks(self.out, task)
            if task.name in queue and not marks.done and not marks.failed:
                marks.cancel()

    def _log(self, one: Sent) -> str:
        """Return what the job printed that the worker does not keep, such as Slurm's last words."""
        return "\n".join(line for path in self._logs(one) for line in _lines(path))

    def _logs(self, one: Sent) -> list[Path]:
        return [self.folder / f"{one.job}_0_log.{kind}" for kind in ("out", "err")]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _exit_code(job: QueuedJob) -> str:
    """Return how the process of a failed job ended, such as 1:0; "" if Slurm does not say."""
    if job.state != "FAILED":
        return ""
    try:
        found = re.search(r"\bExitCode=(\d+:\d+)", ask("scontrol", "show", "job", job.id))
    except SlackTiesError:
        return ""
    return found[1] if found else ""


def _is_recent(time: str) -> bool:
    """Say whether a time is so near that another machine may not see the files of then."""
    with suppress(ValueError):
        age = datetime.now(timezone.utc) - datetime.fromisoformat(time)
        return age.total_seconds() < DISK_TIME
    return False
