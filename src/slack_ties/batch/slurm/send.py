"""Send an array job to Slurm by submitit, without any token in what Slurm keeps of it."""

from __future__ import annotations

import io
import logging
import math
import os
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from slack_ties.batch.slurm.commands import AGAIN, NoAnswerError, partitions, refusal
from slack_ties.errors import SlackTiesError, masked
from slack_ties.hub.token import VARIABLES, login_sends

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slack_ties.batch.slurm.job import Work

__all__ = ["Wishes", "check_submitit", "check_token", "complete", "send"]

LOG = logging.getLogger("slack_ties")

INSTALL = 'pip install "slack-ties[slurm]"'

LEAST = (1, 5, 4)  # earlier ones need pkg_resources, which new versions of setuptools lack

# How often a job may reach its time limit and be queued again: what it has downloaded, and the
# commands that were complete, are not done again.
MORE_TRIES = 1

MIB = 2**20


@dataclass(frozen=True)
class Wishes:
    """What each task asks Slurm for; 0 and "" leave it to the cluster."""

    partition: str = ""
    time: int = 0  # minutes
    memory: int = 0  # bytes
    cpus: int = 0
    gpus: int = 0
    account: str = ""
    at_once: int = 0  # the most tasks that run at once
    options: Mapping[str, str | bool] = field(default_factory=dict)  # more options of sbatch

    def parameters(self, name: str, tasks: int) -> dict[str, Any]:
        """Return the parameters of submitit's executor for a job of this name."""
        cpus = {"cpus_per_task": self.cpus} if self.cpus else {}
        return {
            "job_name": name,
            "time": self.time or None,  # submitit's default is 5 minutes
            "wckey": None,  # submitit's default is "submitit", which clusters may refuse
            "array_parallelism": self.at_once or tasks,
            **({"partition": self.partition} if self.partition else {}),
            **({"mem": f"{math.ceil(self.memory / MIB)}M"} if self.memory else {}),
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            **({"account": self.account} if self.account else {}),
            **cpus,
            # From Slurm 22.05 on, srun does not take this from the job.
            **({"srun_args": [f"--cpus-per-task={self.cpus}"]} if self.cpus else {}),
            "additional_parameters": {"requeue": True, **self.options},
        }


def check_submitit() -> None:
    """Refuse `--on slurm` if submitit is not installed, or is too old.

    Raises:
        SlackTiesError: It is not installed, or in a version that does not work.

    """
    try:
        found = version("submitit")
    except PackageNotFoundError:
        msg = "--on slurm needs submitit, which is not installed"
        raise SlackTiesError(msg, hint=INSTALL) from None
    if tuple(int(part) for part in found.split(".")[:3] if part.isdigit()) < LEAST:
        msg = f"submitit {found} is installed, expected {'.'.join(map(str, LEAST))} or later"
        raise SlackTiesError(msg, hint=INSTALL)


def check_token() -> None:
    """Refuse a token that only the environment has: Slurm writes a job's environment to files.

    Raises:
        SlackTiesError: There is no login that the jobs could use instead.

    """
    instead = login_sends()
    if instead == "same":
        return
    name = next(name for name in VARIABLES if os.environ.get(name, "").strip())
    if instead == "none":
        msg = f"the token is in {name} only, and Slurm keeps the environment of jobs in files: "
        msg += "jobs use the token of a login, and there is none"
        raise SlackTiesError(msg, hint=f"hf auth login  # if no task needs a token: unset {name}")
    LOG.info("  jobs use the token of your login: the one in %s is not sent to Slurm", name)


def send(folder: Path, name: str, works: Sequence[Work], wishes: Wishes) -> list[str]:
    """Send an array job, or a job if it is one task; return the ids, such as ["12_0", "12_1"].

    Args:
        folder: For submitit's files.
        name: The job's name.
        works: What each element does.
        wishes: What each asks for.

    Raises:
        NoAnswerError: The controller did not answer; it may have taken the job.
        SlackTiesError: Slurm refuses the job.

    """
    from submitit import SlurmExecutor  # noqa: PLC0415 - an extra
    from submitit.core.utils import FailedJobError, FailedSubmissionError  # noqa: PLC0415 - as above

    executor = SlurmExecutor(folder, max_num_timeout=MORE_TRIES)
    executor.update_parameters(**wishes.parameters(name, len(works)))
    try:
        with _clean_environment(), redirect_stderr(io.StringIO()):  # submitit prints errors too
            jobs = executor.submit_array(works)
    except FailedJobError as error:
        raise _with_hint(refusal("sbatch", str(error)), wishes) from None
    except FailedSubmissionError as error:
        raise NoAnswerError(str(error), hint=AGAIN) from None
    return [job.job_id for job in jobs]


def complete(folder: Path, job: str, work: Work, wishes: Wishes) -> None:
    """Write the file that a job waits for a minute for, if whoever sent it could not any more."""
    from submitit import SlurmJob  # noqa: PLC0415 - an extra
    from submitit.helpers import DelayedSubmission  # noqa: PLC0415 - as above

    path = SlurmJob(folder, job).paths.submitted_pickle
    if path.exists():
        return
    submission = DelayedSubmission(work)
    submission.set_timeout(wishes.time, MORE_TRIES)
    new = path.with_name(f".{path.name}.{os.getpid()}.partial")
    submission.dump(new)
    new.replace(path)


@contextmanager
def _clean_environment() -> Iterator[None]:
    """Take what a job must not inherit out of the environment for a moment.

    That is any token of the Hub, and what another job of Slurm says of itself, if this is one.
    """
    tokens = {os.environ.get(name, "").strip() for name in VARIABLES} - {""}
    taken = {}
    for name, value in [*os.environ.items()]:
        secret = name in VARIABLES or masked(value) != value or any(one in value for one in tokens)
        of_job = name.startswith(("SLURM_", "SUBMITIT_")) and "SLURM_JOB_ID" in os.environ
        if secret or (of_job and name != "SLURM_CONF"):
            taken[name] = value
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


# The next step for what sbatch says.
SHOW = "sinfo --format='%R %l %c %m'  # partitions, their time, processors and memory in MB: "
HINTS = {
    "policy": "sacctmgr show associations user=$USER  # your limits: ask for less than these",
    "partition": SHOW + "choose one with --partition",
    "time limit": SHOW + "ask for less --time-limit",
    "memory": SHOW + "ask for less --memory",
    "node configuration": SHOW + "ask for less --memory, or another --partition",
    "account": "sacctmgr show associations user=$USER format=account  # choose one with --account",
    "array": "scontrol show config | grep MaxArraySize  # send fewer tasks at a time",
}


def _with_hint(error: SlackTiesError, wishes: Wishes) -> SlackTiesError:
    """Return an error of sbatch with the next step."""
    if isinstance(error, NoAnswerError):
        return error
    said = str(error).lower()
    hint = next((hint for words, hint in HINTS.items() if words in said), "sinfo  # is it up?")
    more = ""
    if "partition" in said and wishes.partition and (known := partitions()):
        more = f"; it has no partition {wishes.partition!r}" * (wishes.partition not in known)
        more += f"; its partitions are {', '.join(known)}"
    return SlackTiesError(f"{error}{more}", hint=hint)
