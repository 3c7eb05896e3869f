"""The engine `jobs`: each task is a job of Hugging Face, with its parents mounted.

The labels of a job say which task and attempt it is. Before a job is created, and after each error
of a creation, the service is asked for it: so there are never two jobs for one task.
"""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

from slack_ties.batch.jobs.ends import (
    keep_end,
    keep_gone,
    keep_job,
    keep_owner,
    kept,
    owner_of,
    seen_ended,
    seen_live,
)
from slack_ties.batch.jobs.hardware import estimate, machine_for
from slack_ties.batch.jobs.script import (
    BATCH,
    STEPS,
    TASK,
    command_of,
    digest_of,
    label_of,
    labels_of,
    packages_for,
    parents_of,
    script_of,
    streams,
)
from slack_ties.batch.jobs.service import Service, attempt_of, is_live, mount_of
from slack_ties.batch.marks import RUNNING, Marks
from slack_ties.batch.needs import evaluations_of, plan_of
from slack_ties.batch.task import read_batch, typed_out
from slack_ties.errors import OutputError, RecipeError, SlackTiesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from huggingface_hub import HfApi, JobInfo

    from slack_ties.batch.executor import Seen
    from slack_ties.batch.jobs.hardware import Estimate, Flavor
    from slack_ties.batch.task import Task

__all__ = ["Jobs"]

LOG = logging.getLogger("slack_ties")

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"  # what the client takes for scripts of uv

# In a job nobody looks at bars, and each line of its log should come at once.
ENVIRONMENT = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"}


class Jobs:
    """Runs tasks as jobs of Hugging Face, which go on when this process ends."""

    name = "jobs"

    def __init__(  # noqa: PLR0913 - all but one by name
        self,
        out: Path,
        *,
        flavor: str = "",
        timeout: int = 0,
        namespace: str = "",
        image: str = IMAGE,
        package: str = "",
        api: HfApi | None = None,
    ) -> None:
        """Take the folder of the batch, and what the user has chosen.

        Args:
            out: The folder of the batch.
            flavor: The machine; if not given, the cheapest that fits, for each task.
            timeout: Seconds after which a job is stopped; if not given, from what it reads.
            namespace: Who pays: the user, if not given, or an organization.
            image: The container, with uv in it.
            package: Where the job gets slack-ties from instead of PyPI, such as git+https://...
            api: The Hub client.

        """
        self.out, self.typed = out.resolve(), out
        self.flavor, self.timeout = flavor, timeout
        self.image, self.package = image, package
        self.service = Service(api, namespace or owner_of(self.out))

    # Before anything starts

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse what no job could do.

        Raises:
            SlackTiesError: The client is too old, there is no token, a task is not published, or a
                model is a folder.

        """
        self.service.check()
        for task in tasks:
            plan = plan_of(self.out, task)
            if not task.publish:
                msg = (
                    f"{task.name}: a job's disk is gone when it ends: its result must be published"
                )
                raise RecipeError(msg, hint="add --publish 'ME/NAME-{name}'")
            parents_of(task, plan)
            if not plan.get("recipe"):
                msg = f"{task.name}: its plan has errors, so no job can be made of it"
                raise RecipeError(msg, hint=shlex.join(["slack-ties", *task.steps[0], "--dry-run"]))

    def estimate(self, tasks: Sequence[Task]) -> Estimate:
        """Return on which machines the tasks would run, and what that costs at most."""
        return estimate(self._machine(task) for task in tasks)

    def _machine(self, task: Task) -> tuple[Flavor, int]:
        return machine_for(
            plan_of(self.out, task),
            self.service.flavors,
            streamed=streams(task),
            evaluations=evaluations_of(task),
            name=self.flavor,
            timeout=self.timeout,
        )

    # The protocol of an engine

    def start(self, tasks: Sequence[Task]) -> None:
        """Create a job for each task that has none now.

        Raises:
            SlackTiesError: See `check`; or the service refuses a job, or cannot be reached; or a
                job works on a task as it was before its commands were changed.

        """
        self.check(tasks)
        keep_owner(self.out, self.service.namespace)
        machines = {task.name: self._machine(task) for task in tasks}
        there = self._by_task()
        for task in tasks:
            marks = Marks(self.out, task)
            with marks.lock() as free:
                if not free:
                    LOG.info("  %s: another process starts it", task.name)
                    continue
                found = self._jobs_of(marks, there)
                self._refuse_others(task, found)
                if live := [one for one in found if is_live(one)]:
                    self._adopt(marks, live)
                    LOG.info("  %s: job %s works on it already", task.name, live[0].id)
                    continue
                self._finish(marks, found)
                if not marks.done:
                    self._begin(marks, found)
                    self._create(marks, *machines[task.name])

    def _refuse_others(self, task: Task, jobs: Sequence[JobInfo]) -> None:
        """Refuse a task on which a job works that has other commands."""
        for job in jobs:
            if is_live(job) and not _is_for(task, job):
                msg = f"{task.name}: job {job.id} works on it with other settings"
                cancel = ["slack-ties", "batch", "cancel", task.name, *typed_out(self.typed)]
                raise OutputError(msg, hint=f"{shlex.join(cancel)}  # then do the same again")

    def _begin(self, marks: Marks, jobs: Sequence[JobInfo]) -> None:
        """Note that an attempt begins, with a number that no job of the task has."""
        before = max([attempt_of(job) for job in jobs], default=0)
        number = marks.begin("Hugging Face Jobs")
        if number <= before:
            marks.write(RUNNING, {**marks.running, "attempt": before + 1})

    def _create(self, marks: Marks, flavor: Flavor, timeout: int) -> None:
        task, plan = marks.task, plan_of(self.out, marks.task)
        attempt = marks.running["attempt"]
        batch = read_batch(self.out).id
        script = script_of(task, self.out, plan, batch=batch, attempt=attempt)
        try:
            job = self.service.create(
                task.name,
                labels_of(batch, task, attempt),
                image=self.image,
                command=command_of(script, packages_for(task.steps, self.package)),
                env=ENVIRONMENT,
                flavor=flavor.name,
                timeout=timeout,
                volumes=[mount_of(parent) for parent in parents_of(task, plan)],
            )
        except SlackTiesError as error:
            marks.fail(f"{error}", error.hint or self._again)
            raise
        keep_job(marks, job, timeout)
        LOG.info("  %s: job %s on %s", task.name, job.id, flavor.name)

    def states(self, tasks: Sequence[Task]) -> Mapping[str, Seen]:
        """Return the states of the jobs; note for ever how those ended that have ended."""
        marks = [Marks(self.out, task) for task in tasks]
        asked = [one for one in marks if one.running and not kept(one).get("end")]
        there = self._by_task() if asked else {}
        seen = {}
        for one in asked:
            found = [job for job in self._jobs_of(one, there) if _is_for(one.task, job)]
            if live := [job for job in found if is_live(job)]:
                seen[one.task.name] = seen_live(self._adopt(one, live))
                continue
            with one.lock() as free:
                if free:
                    self._finish(one, found)
        for one in marks:
            if kept(one).get("end"):
                seen[one.task.name] = seen_ended(kept(one))
        return seen

    def logs(self, task: Task) -> Iterator[str]:
        """Yield the log: of attempts that have ended from this disk, of a job that runs from it."""
        marks = Marks(self.out, task)
        self.states([task])
        yield from marks.lines()
        job = kept(marks)
        if job and not job.get("end"):
            yield from self.service.log(job["id"])

    def cancel(self, tasks: Sequence[Task]) -> None:
        """Cancel the jobs of these tasks that have not ended."""
        there = self._by_task()
        for task in tasks:
            marks = Marks(self.out, task)
            if marks.done:
                continue
            marks.cancel()
            for job in there.get(task.name, ()):
                if is_live(job):
                    self.service.cancel(job)

    # What is known of jobs

    @property
    def _again(self) -> str:
        """The command that goes on with the batch."""
        return shlex.join(["slack-ties", "batch", "start", *typed_out(self.typed)])

    def _by_task(self) -> dict[str, list[JobInfo]]:
        """Return all jobs of the batch, by task: the newest attempt first."""
        batch = read_batch(self.out)
        names = {label_of(task.name): task.name for task in batch.tasks}
        by_task: dict[str, list[JobInfo]] = {}
        for job in self.service.find({BATCH: batch.id}):
            if name := names.get((job.labels or {}).get(TASK, "")):
                by_task.setdefault(name, []).append(job)
        return by_task

    def _jobs_of(self, marks: Marks, there: Mapping[str, Sequence[JobInfo]]) -> list[JobInfo]:
        """Return the jobs of a task: those that are listed, and the one that we know."""
        listed, known = [*there.get(marks.task.name, ())], kept(marks)
        if not known or known.get("end") or any(job.id == known["id"] for job in listed):
            return listed
        job = self.service.look(known["id"])
        if job is None:
            keep_gone(marks, self._again)
        return [job, *listed] if job else listed

    def _adopt(self, marks: Marks, live: Sequence[JobInfo]) -> JobInfo:
        """Return the job that works on a task, and note it if we were ended before we could."""
        job = self.service.keep_one(live)
        if not marks.running:  # its markers are gone
            marks.begin("Hugging Face Jobs")
            marks.write(RUNNING, {**marks.running, "attempt": max(attempt_of(job), 1)})
        if not kept(marks):
            keep_job(marks, job, self.timeout)
        return job

    def _finish(self, marks: Marks, jobs: Sequence[JobInfo]) -> None:
        """Note how the job of the last attempt ended, if that is not noted."""
        attempt = marks.running.get("attempt")
        of_task = [one for one in jobs if _is_for(marks.task, one)]
        job = next((one for one in of_task if attempt_of(one) == attempt), None)
        if job is None or kept(marks).get("end"):
            return
        if not kept(marks):
            keep_job(marks, job, self.timeout)
        keep_end(marks, job, [*self.service.log(job.id)], self._again)


def _is_for(task: Task, job: JobInfo) -> bool:
    """Say whether a job has the commands that the task has now."""
    return (job.labels or {}).get(STEPS) == digest_of(task)
