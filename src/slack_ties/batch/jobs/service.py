"""The Jobs of Hugging Face as an engine needs them: find jobs by labels, create, read, cancel.

A creation is safe to repeat: after an error, the service is asked whether the job is there.
"""

from __future__ import annotations

import inspect
import logging
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, Volume, get_token
from huggingface_hub.errors import HfHubHTTPError

from slack_ties.batch.jobs.ends import ENDED
from slack_ties.batch.jobs.hardware import flavors_of
from slack_ties.batch.jobs.script import ATTEMPT, NAME
from slack_ties.errors import HubError, SlackTiesError, masked
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import in_force, timeouts
from slack_ties.hub.token import has_token, no_token
from slack_ties.publish.rights import with_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from huggingface_hub import JobInfo

    from slack_ties.batch.jobs.hardware import Flavor
    from slack_ties.batch.jobs.script import Parent

__all__ = ["Service", "attempt_of", "is_live", "mount_of"]

LOG = logging.getLogger("slack_ties")

CLIENT = "1.21"  # the first version of huggingface-hub whose `list_jobs` looks for labels

NO_CREDIT, GONE, CONFLICT = 402, 404, 409  # statuses of HTTP

DIGITS = 9  # of an attempt


class Service:
    """The Jobs of a user or an organization."""

    def __init__(self, api: HfApi | None, namespace: str, retries: Retries | None = None) -> None:
        """Take the client, and whose jobs they are: if "", the user's."""
        self.api, self.given = with_token(api), namespace
        self.retries = retries or in_force(Retries())

    def check(self) -> None:
        """Refuse a client that cannot find jobs again, and a user without a token.

        Raises:
            SlackTiesError: It is one of them.

        """
        if "labels" not in inspect.signature(HfApi.list_jobs).parameters:
            msg = "this version of huggingface-hub cannot find a job again by its labels"
            raise SlackTiesError(msg, hint=f"pip install -U 'huggingface-hub>={CLIENT}'")
        if not has_token(self.api):
            msg = "Hugging Face Jobs needs a token"
            raise HubError(msg, hint=no_token("that may write and run jobs"))

    @property
    def token(self) -> str:
        """The user's token, for the secrets of a job and nothing else."""
        return str(self.api.token or get_token() or "")

    @cached_property
    def namespace(self) -> str:
        """Whose jobs they are."""
        if self.given:
            return self.given
        with self._asking("your name on the Hub"):
            return str(self.retries.ask(self.api.whoami)["name"])

    @cached_property
    def flavors(self) -> list[Flavor]:
        """The machines that there are."""
        with self._asking("the machines of Hugging Face Jobs"):
            return flavors_of(self.retries.ask(self.api.list_jobs_hardware))

    def find(self, labels: Mapping[str, str]) -> list[JobInfo]:
        """Return the jobs with these labels: the newest attempt first, of its jobs the oldest."""
        wanted = {key: one for key, one in labels.items() if key != NAME}

        def ask() -> list[JobInfo]:
            return [*self.api.list_jobs(labels=wanted, namespace=self.namespace)]

        with self._asking("the list of jobs"):
            found = self.retries.ask(ask)
        # A service that did not know the filter would send all jobs.
        return sorted((one for one in found if wanted.items() <= _labels(one).items()), key=_age)

    def look(self, job: str) -> JobInfo | None:
        """Return a job by its id; None if the service does not know it any more."""
        with self._asking(f"job {job}"):
            try:
                return self.retries.ask(
                    lambda: self.api.inspect_job(job_id=job, namespace=self.namespace)
                )
            except HfHubHTTPError as error:
                if error.response.status_code != GONE:
                    raise
                return None

    def create(self, what: str, labels: Mapping[str, str], **spec: Any) -> JobInfo:
        """Create a job; if an answer is lost, find it by its labels instead of a second creation.

        Args:
            what: The task, for errors.
            labels: They name this job, and no other.
            spec: The other arguments of `HfApi.run_job`, but for its secret, the token.

        Raises:
            HubError: The service refuses it, or cannot be reached.

        """
        asked = False
        own: dict[str, Any] = {"labels": {**labels}, "namespace": self.namespace}
        own["secrets"] = {"HF_TOKEN": self.token}

        def create() -> JobInfo:
            nonlocal asked
            if asked and (found := self.find(labels)):
                return self.keep_one(found)
            asked = True
            return self.api.run_job(**spec, **own)

        with self._asking(f"the job of {what}"):
            return self.retries.ask(create)

    def keep_one(self, jobs: Sequence[JobInfo]) -> JobInfo:
        """Return the first of some jobs for one task, and cancel the others."""
        first, *others = jobs
        for job in others:
            if is_live(job):
                LOG.warning("  job %s does the same as job %s: it is cancelled", job.id, first.id)
                self.cancel(job)
        return first

    def cancel(self, job: JobInfo) -> None:
        """Cancel a job, if it has not ended meanwhile."""
        with self._asking(f"job {job.id}"):
            try:
                self.retries.ask(
                    lambda: self.api.cancel_job(job_id=job.id, namespace=self.namespace)
                )
            except HfHubHTTPError as error:
                if error.response.status_code not in {GONE, CONFLICT}:
                    raise

    def log(self, job: str) -> Iterator[str]:
        """Yield the lines of a job's log so far, without a token."""
        token = self.token
        with self._asking(f"the log of job {job}"):
            for line in self.api.fetch_job_logs(job_id=job, namespace=self.namespace):
                text = masked(line)
                yield text.replace(token, "[token]") if token else text

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn errors of the service into ours."""
        with timeouts(self.retries), hub_errors(what, self.api):
            try:
                yield
            except CLIENT_ERRORS as error:
                answer = getattr(error, "response", None)
                if getattr(answer, "status_code", 0) != NO_CREDIT:
                    raise
                msg = f"{what}: Hugging Face Jobs asks for credit, and there is too little of it"
                hint = "add credit on https://huggingface.co/settings/billing, then do it again"
                raise HubError(msg, hint=hint) from None


def mount_of(parent: Parent) -> Volume:
    """Return how a model is mounted in a job: at its commit, to be read only."""
    return Volume(
        type="model",
        source=parent.repo_id,
        mount_path=parent.mounted_at,
        revision=parent.commit,
        read_only=True,
    )


def is_live(job: JobInfo) -> bool:
    """Say whether a job waits or runs."""
    return job.status.stage not in ENDED


def attempt_of(job: JobInfo) -> int:
    """Return which attempt of its task a job is, from 1; 0 if its labels do not say it."""
    attempt = _labels(job).get(ATTEMPT, "")
    known = attempt.isascii() and attempt.isdigit() and len(attempt) <= DIGITS
    return int(attempt) if known else 0


def _labels(job: JobInfo) -> dict[str, str]:
    return job.labels or {}


def _age(job: JobInfo) -> tuple[int, float]:
    made = job.created_at.timestamp() if job.created_at else float("inf")
    return -attempt_of(job), made
