"""Ask Slurm by its own commands, each with a time limit: a controller may not answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "NoAnswerError",
    "QueuedJob",
    "ask",
    "check_commands",
    "in_queue",
    "partitions",
    "refusal",
]

SHOWN = 3  # lines of what a command says when it fails

ANSWER = 30.0  # seconds for an answer; Slurm's own limit for one message is 10 by default

NEEDED = ("sbatch", "srun", "squeue", "scancel", "scontrol")

# What Slurm's commands say if nobody answers: then a job may have been taken all the same.
SILENT = re.compile(
    r"contact slurm controller|timed out|connect failure|communication|transmit|zero bytes"
    r"|connection refused|controller is in standby|protocol authentication|backup controller",
    re.IGNORECASE,
)

# The user's defaults for these commands would filter or format what we read.
DEFAULTS = ("SQUEUE_", "SCANCEL_", "SINFO_")

FIELDS = "%i|%T|%V|%S|%e|%l|%P|%N|%j|%r"  # the last may have spaces


class NoAnswerError(SlackTiesError):
    """Slurm's controller does not answer: what it knows is not known."""


@dataclass(frozen=True)
class QueuedJob:
    """What squeue says of a job, or of one element of an array."""

    id: str  # 12, or 12_3
    state: str  # PENDING, RUNNING, ...
    submitted: str  # ISO times; "" if there is none yet
    started: str  # of one that waits: when Slurm expects to start it
    ended: str  # of one that runs: when its time is up
    limit: str  # its time limit: 2:00:00
    partition: str
    nodes: str
    name: str
    reason: str  # Slurm's word for why it waits, or for how it ended; "" if there is none


def check_commands() -> None:
    """Refuse a machine without Slurm's commands.

    Raises:
        SlackTiesError: One of them is not on PATH.

    """
    for name in NEEDED:
        if not shutil.which(name):
            msg = f"this machine has no Slurm: its command {name} is not on PATH"
            hint = "run the same command where `sbatch` works: on the login node of your cluster"
            raise SlackTiesError(msg, hint=hint)


def ask(*words: str) -> str:
    """Return what one of Slurm's commands prints; times are in UTC.

    Args:
        words: The command and its arguments.

    Raises:
        NoAnswerError: The controller does not answer.
        SlackTiesError: The command is not there, or refuses; the message is what it says.

    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(DEFAULTS)}
    own |= {"TZ": "UTC0", "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            words,
            env=own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=ANSWER,
            check=False,
        )
    except FileNotFoundError:
        check_commands()
        raise
    except subprocess.TimeoutExpired:
        msg = f"{words[0]} got no answer from Slurm's controller in {ANSWER:.0f} seconds"
        raise NoAnswerError(msg, hint=AGAIN) from None
    if done.returncode:
        raise refusal(words[0], done.stderr)
    return done.stdout


AGAIN = "scontrol ping  # when it answers, run the same command again"


def refusal(command: str, said: str) -> SlackTiesError:
    """Return the error for what a command of Slurm says when it fails."""
    prefix = re.compile(rf"^({command}|slurm_\w+)(: | )?(error: |fatal: )?")
    lines = [prefix.sub("", line.strip()) for line in said.splitlines() if line.strip()]
    line = "; ".join(lines[-SHOWN:])
    if SILENT.search(said):
        return NoAnswerError(f"Slurm's controller does not answer {command}: {line}", hint=AGAIN)
    return SlackTiesError(f"Slurm's {command} says: {line or 'nothing'}")


def in_queue(names: Iterable[str]) -> list[QueuedJob]:
    """Return the jobs of these names that Slurm knows: also those that ended in the last minutes.

    Raises:
        NoAnswerError: The controller does not answer.
        SlackTiesError: As of `ask`.

    """
    wanted = sorted({name for name in names if name})
    if not wanted:
        return []
    output = ask(
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        f"--name={','.join(wanted)}",
        f"--format={FIELDS}",
    )
    found = []
    for line in output.splitlines():
        fields = line.strip().split("|", FIELDS.count("|"))
        if len(fields) == FIELDS.count("|") + 1:
            job, state, *times, limit, partition, nodes, name, reason = fields
            submitted, started, ended = map(_as_iso, times)
            reason = "" if reason in {"None", "(null)"} else reason
            found.append(
                QueuedJob(
                    job, state, submitted, started, ended, limit, partition, nodes, name, reason
                )
            )
    return found


def _as_iso(time: str) -> str:
    """Return a time of squeue, which was asked for UTC."""
    return f"{time}+00:00" if re.fullmatch(r"[\d-]+T[\d:]+", time) else ""


def partitions() -> list[str]:
    """Return the names of the cluster's partitions; [] if Slurm does not answer."""
    try:
        return ask("sinfo", "--noheader", "--format=%R").split()
    except (SlackTiesError, OSError):
        return []
