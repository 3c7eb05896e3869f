"""Slurm's states and reasons in words: https://slurm.schedmd.com/job_reason_codes.html."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.batch.executor import BUSY, Seen
from slack_ties.batch.slurm.job import OUT_OF_TIME
from slack_ties.wording import duration

if TYPE_CHECKING:
    from slack_ties.batch.slurm.commands import QueuedJob

__all__ = ["MORE_TIME", "as_seen", "ended_by_log", "is_over", "is_running"]

WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}

# A job that is COMPLETING has been told to end; Slurm may start it again afterwards.
RUNNING = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING", "SUSPENDED", "STOPPED"}
STILL = {
    "COMPLETING": "Slurm is ending it",
    "SUSPENDED": "Slurm has paused it",
    "STOPPED": "Slurm has paused it",
}

MORE_TIME = "run the same command again with more --time-limit: it goes on"
MORE_MEMORY = "run the same command again with more --memory: it goes on"
OTHER_LIMITS = (
    "cancel it, and run the same command again with another --partition or less --time-limit"
)

# Why a job waits, by the first letters of Slurm's reason; what to do, if it waits for the user.
REASONS = {
    "Resources": ("enough of a node is not free yet", ""),
    "Priority": ("jobs of others come first", ""),
    "JobArrayTaskLimit": ("other tasks of this batch come first", ""),
    "JobHeldUser": ("you hold it", "scontrol release {job}"),
    "JobHeldAdmin": ("an administrator of the cluster holds it", ""),
    "PartitionTimeLimit": ("its time is more than its partition allows", OTHER_LIMITS),
    "PartitionNodeLimit": ("its partition has not as many nodes", OTHER_LIMITS),
    "PartitionConfig": ("it asks for more than its partition allows", OTHER_LIMITS),
    "PartitionDown": ("its partition is down", "sinfo"),
    "PartitionInactive": ("its partition is down", "sinfo"),
    "BadConstraints": ("no node has what it asks for", OTHER_LIMITS),
    "Nodes required": ("the nodes that it needs are down or reserved", "sinfo --list-reasons"),
    "Nodes_required": ("the nodes that it needs are down or reserved", "sinfo --list-reasons"),
    "ReqNodeNotAvail": ("the nodes that it needs are down or reserved", "sinfo --list-reasons"),
    "NodeDown": ("the node that it needs is down", "sinfo --list-reasons"),
    "Reservation": ("its nodes are reserved until then", ""),
    "BeginTime": ("it was queued again, and starts soon", ""),
    "Dependency": ("another job comes first", ""),
    "Licenses": ("a licence of the cluster is in use", ""),
    "Assoc": ("your account has reached a limit of the cluster", ""),
    "QOS": ("your account has reached a limit of the cluster", ""),
    "Max": ("your account has reached a limit of the cluster", ""),
    "InvalidAccount": ("the cluster does not know its account", "sacctmgr show associations"),
    "InvalidQOS": ("the cluster does not know its quality of service", ""),
    "JobHoldMaxRequeue": ("it was queued again too often", "scontrol release {job}"),
    "launch_failed_requeued_held": ("a node could not start it", "scontrol release {job}"),
}

# How a job ended, from Slurm's log of it; the last one of these lines counts.
LOGGED = {
    "DUE TO TIME LIMIT": "TIMEOUT",
    "timed-out too many times": "TIMEOUT",
    "DUE TO PREEMPTION": "PREEMPTED",
    "DUE TO NODE FAILURE": "NODE_FAIL",
    "oom_kill": "OUT_OF_MEMORY",
    "oom-kill": "OUT_OF_MEMORY",
    "CANCELLED AT": "CANCELLED",
}


def as_seen(job: QueuedJob, code: str = "") -> Seen:
    """Return what Slurm knows of a task.

    Args:
        job: Its job.
        code: How the process of an ended job ended, as scontrol shows it, such as 1:0.

    """
    where = f"Slurm job {job.id}"
    where += f" on {job.nodes}" if job.nodes and job.state not in WAITING else ""
    if job.state in WAITING:
        why, then = _why_it_waits(job)
        return Seen("waiting", where, job.submitted, why, then)
    if job.state in RUNNING:
        return Seen("running", where, job.started, STILL.get(job.state, ""))
    why, then = _how_it_ended(job, code)
    return Seen("ended", where, job.ended, why, then)


def is_over(state: str) -> bool:
    """Say whether a job in a state of Slurm will not run again."""
    return state not in WAITING | RUNNING


def is_running(state: str) -> bool:
    """Say whether a job in a state of Slurm runs, or is about to end."""
    return state in RUNNING


def ended_by_log(log: str) -> tuple[str, str]:
    """Return how a job ended that Slurm has forgotten, from its log, and what to do."""
    places = {log.rfind(mark): state for mark, state in LOGGED.items() if mark in log}
    return _WORDS[places[max(places)]] if places else ("", "")


def _why_it_waits(job: QueuedJob) -> tuple[str, str]:
    if not job.reason:
        return "", ""
    found = [words for start, words in REASONS.items() if job.reason.startswith(start)]
    why, then = found[0] if found else ("Slurm's reason", "")
    name = job.reason.partition(",")[0]
    return why if " " in name else f"{why} ({name})", then.format(job=job.id)


_WORDS = {
    "CANCELLED": ("cancelled", ""),
    "TIMEOUT": ("its time limit was reached", MORE_TIME),
    "DEADLINE": ("its time limit was reached", MORE_TIME),
    "OUT_OF_MEMORY": ("it needed more memory than it had asked for", MORE_MEMORY),
    "NODE_FAIL": ("its node failed", ""),
    "BOOT_FAIL": ("its node could not start", ""),
    "PREEMPTED": ("Slurm ended it for a job with a higher priority", ""),
    "REVOKED": ("another cluster runs it", ""),
    "COMPLETED": ("its job has ended, and its result is not there", ""),
}


def _in_words(limit: str) -> str:
    """Return a time of Slurm, such as 1-12:00:00 or 30:00, in words."""
    days, _, time = limit.rpartition("-")
    seconds = 0
    for part in time.split(":"):
        if not part.isdigit():
            return limit
        seconds = 60 * seconds + int(part)
    return duration(86_400 * int(days or 0) + seconds)


def _how_it_ended(job: QueuedJob, code: str) -> tuple[str, str]:
    why, then = _WORDS.get(job.state, ("", ""))
    if why == _WORDS["TIMEOUT"][0] or code == f"{OUT_OF_TIME}:0":
        return f"its time limit of {_in_words(job.limit)} was reached", MORE_TIME
    if why == _WORDS["NODE_FAIL"][0] and job.nodes:
        return f"its node {job.nodes} failed", then
    if why:
        return why, then
    status, _, number = code.partition(":")
    if code == f"{BUSY}:0":
        return "another process worked on it", ""
    if "9" in {number, f"{int(status or 0) - 128}"}:
        return "its process was killed: nodes do this if memory runs out", MORE_MEMORY
    how = f" with exit code {status}" if status and status != "0" else ""
    how = f" by signal {number}" if number and number != "0" else how
    return f"its job ended{how} ({job.state})", ""
