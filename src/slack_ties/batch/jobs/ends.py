"""What is kept on this disk of the job of a task: its id, and in the end how it ended.

The service forgets old jobs; these files do not. There is no token in them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from slack_ties.batch.executor import Seen
from slack_ties.batch.jobs.hardware import hours
from slack_ties.batch.jobs.result import end_in
from slack_ties.batch.marks import DONE, FAILED, RUNNING
from slack_ties.batch.task import MARKS, now
from slack_ties.errors import OutputError, masked, visible
from slack_ties.files import json_text, read_json, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from huggingface_hub import JobInfo

    from slack_ties.batch.marks import Marks

__all__ = [
    "ENDED",
    "JOB_FILE",
    "keep_end",
    "keep_gone",
    "keep_job",
    "keep_owner",
    "kept",
    "owner_of",
    "seen_ended",
    "seen_live",
    "works_away",
]

OWNER_FILE, JOB_FILE = "jobs.json", "job.json"

ENDED = {"COMPLETED", "CANCELED", "ERROR", "DELETED"}  # stages of a job that runs no more

TIMED_OUT = "job timeout"  # https://huggingface.co/docs/hub/jobs-manage

UNKNOWN_LIMIT = 3600  # seconds, if this process did not set it

LONGEST = 300  # letters of what the service says

MOST_LINES = 100_000  # of a job's log that are kept


def owner_of(out: Path) -> str:
    """Return whose jobs those of a batch are: a user, an organization; "" if it has none yet."""
    owner = read_json(out / MARKS / OWNER_FILE).get("namespace")
    return owner if isinstance(owner, str) else ""


def keep_owner(out: Path, owner: str) -> None:
    """Note whose jobs those of a batch are: there they are looked for, whoever asks later.

    Raises:
        OutputError: They are somebody else's.

    """
    before = owner_of(out)
    if before and before != owner:
        msg = f"the jobs of this batch are those of {before}, and cannot be {owner}'s"
        raise OutputError(msg, hint=f"use --namespace {before}, or choose another --out")
    (out / MARKS).mkdir(parents=True, exist_ok=True)
    write_whole(out / MARKS / OWNER_FILE, json_text({"namespace": owner}))


def keep_job(marks: Marks, job: JobInfo, timeout: int) -> None:
    """Note which job works on the last attempt of a task, and when it will be stopped."""
    flavor, last = f"{job.flavor or ''}", marks.running
    about = {"id": job.id, "attempt": last["attempt"], "url": job.url, "flavor": flavor}
    marks.write(JOB_FILE, {**about, "timeout": timeout})
    marks.write(RUNNING, {**last, "where": _where(job.id, flavor)})


def kept(marks: Marks) -> dict[str, Any]:
    """Return what is known of the job of the last attempt; {} if nothing is."""
    found = marks.read(JOB_FILE)
    return found if found.get("attempt") == marks.running.get("attempt") else {}


def keep_end(marks: Marks, job: JobInfo, lines: Sequence[str], again: str) -> None:
    """Note how a job ended: the result, the task's own reason, or what the service says.

    Args:
        marks: Of the task.
        job: The job, in a stage of `ENDED`.
        lines: Its log.
        again: The command that starts the task again.

    """
    known = kept(marks)
    if known.get("end"):
        return
    marks.folder.mkdir(parents=True, exist_ok=True)
    with marks.log.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{masked(line)}\n" for line in lines[:MOST_LINES])
    found = end_in(lines)
    why = then = ""
    started, ended = _time(job.started_at), _time(job.finished_at)
    marks.write(RUNNING, {**marks.running, "since": started or marks.running.get("since", "")})
    if found and found.results:
        marks.finish([dict(one) for one in found.results])
        marks.write(DONE, {**marks.done, "ended": ended or now()})
    elif found:
        marks.fail(found.why, found.next or again)
        marks.write(FAILED, {**marks.failed, "ended": ended or now()})
    else:
        why, then = _how(job, lines, known.get("timeout") or 0, again)
    end = {"stage": f"{job.status.stage}", "at": ended, "why": why, "next": then}
    marks.write(JOB_FILE, {**known, "end": end})


def _time(time: datetime | None) -> str:
    return time.isoformat(timespec="seconds") if time else ""


def keep_gone(marks: Marks, again: str) -> None:
    """Note that the service does not know the job of a task any more."""
    why = "the service does not know its job any more, nor how it ended"
    end = {"stage": "DELETED", "at": now(), "why": why, "next": again}
    marks.write(JOB_FILE, {**kept(marks), "end": end})


def works_away(marks: Marks) -> bool:
    """Say whether a job works on a task, as far as is known here."""
    job = kept(marks)
    return bool(job) and not job.get("end")


def _how(job: JobInfo, lines: Sequence[str], timeout: int, again: str) -> tuple[str, str]:
    """Return why a job ended that could not say it itself, and what to type."""
    said = visible(" ".join((job.status.message or "").split()))[:LONGEST]
    if TIMED_OUT in said.lower():
        limit = f" of {hours(timeout)}" if timeout else ""
        minutes = math.ceil(2 * (timeout or UNKNOWN_LIMIT) / 60)
        longer = f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"
        return f"the time limit{limit} was reached", f"{again} --time-limit {longer}"
    if job.status.stage == "CANCELED":
        by = f": {said}" if said else ", by the service or on its page"
        return f"the job was cancelled{by}", again
    if job.status.stage == "DELETED":
        return "the service has deleted the job", again
    last = next((visible(masked(line))[:LONGEST] for line in reversed(lines) if line.strip()), "")
    why = said or "the job ended without a result"
    return f"{why}; the last line of its log: {last or 'none'}", again


def seen_live(job: JobInfo) -> Seen:
    """Return what is shown of a job that waits or runs."""
    runs = job.status.stage == "RUNNING"
    since = _time((job.started_at if runs else None) or job.created_at)
    return Seen("running" if runs else "waiting", _where(job.id, job.flavor), since, url=job.url)


def seen_ended(job: Mapping[str, Any]) -> Seen:
    """Return what is shown of a job that has ended, from the file that is kept of it."""
    end, where = job["end"], _where(job["id"], job["flavor"])
    return Seen("ended", where, end["at"], end["why"], end["next"], job["url"])


def _where(job: str, flavor: str | None) -> str:
    return visible(f"job {job}, {flavor}" if flavor else f"job {job}")
