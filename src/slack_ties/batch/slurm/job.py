"""What a job of Slurm does: it starts the worker of its task, and waits for it.

submitit keeps an object of `Work` in a file and calls it on the node. A job that is started again,
after preemption or the failure of a node, does the same again: the worker goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from slack_ties.batch.executor import WHERE
from slack_ties.batch.slurm.commands import in_queue
from slack_ties.errors import SlackTiesError

__all__ = ["OUT_OF_TIME", "Work", "job_of"]

OUT_OF_TIME = 124  # the exit code of a job whose time is up, as that of `timeout`

TOLD_TO_END = (-signal.SIGTERM, 128 + signal.SIGTERM)  # exit codes of a worker that was

END_TIME = 10.0  # seconds in which the worker ends that was told to

# Seconds that the job waits for its end when Slurm has told the worker to end. Slurm may give a
# job that it preempts minutes; a job that ended by itself then would not be started again.
GRACE, PAUSE = 600.0, 5.0


def job_of(environment: dict[str, str] | os._Environ[str]) -> str:
    """Return how Slurm's commands call the job of an environment, such as 12_3; "" outside."""
    array, index = (environment.get(f"SLURM_ARRAY_{part}_ID", "") for part in ("JOB", "TASK"))
    return f"{array}_{index}" if array else environment.get("SLURM_JOB_ID", "")


@dataclass(frozen=True)
class Work:
    """Works on one task. It holds no secret: submitit writes it to a file."""

    out: str  # the folder of the batch
    name: str  # of the task
    minutes: int  # the time limit that was asked for; 0: that of the partition

    def __call__(self) -> None:
        """Run the worker; end with its exit code."""
        if not self.minutes:  # submitit reckons with the time that was asked for
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        node = os.environ.get("SLURMD_NODENAME", "")
        where = f"Slurm job {job_of(os.environ)}{f' on {node}' if node else ''}"
        environment = {**os.environ, WHERE: where}
        if cpus := environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE"):
            environment.setdefault("OMP_NUM_THREADS", cpus)
        process = subprocess.Popen(
            [sys.executable, "-m", "slack_ties", "batch", "work", self.out, self.name],
            cwd=self.out,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        try:
            code = process.wait()
        except RuntimeError:  # submitit's: the time was up once more
            raise SystemExit(OUT_OF_TIME) from None
        finally:
            _end(process)
        if code in TOLD_TO_END:
            _wait_for_slurm()
        if code:
            raise SystemExit(code if code > 0 else 128 - code)

    def checkpoint(self) -> Any:
        """Return what the job does when Slurm starts it again: the same."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415 - an extra

        return DelayedSubmission(self)


def _wait_for_slurm() -> None:
    """Wait while Slurm lets this job run that it has told to end, as it does before preemption."""
    end = time.monotonic() + GRACE
    while time.monotonic() < end:
        try:
            queue = in_queue([os.environ.get("SLURM_JOB_NAME", "")])
        except (SlackTiesError, OSError):  # it does not answer
            queue = []
        states = {job.state for job in queue if job.id == job_of(os.environ)}
        if states and "RUNNING" not in states:
            return
        time.sleep(PAUSE)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the worker, if it has not ended, so that its next start finds the lock free."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
