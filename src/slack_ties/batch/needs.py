"""What the tasks of a batch need: memory for those that run at once, disk for all."""

from __future__ import annotations

import logging
import math
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.batch.marks import Marks
from slack_ties.batch.task import option_values
from slack_ties.errors import OutputError, SlackTiesError
from slack_ties.files import nearest_folder
from slack_ties.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slack_ties.batch.task import Task

__all__ = [
    "PLAN",
    "at_once_here",
    "check_room_for_all",
    "check_scoring",
    "evaluations_of",
    "keep_plan",
    "memory_for",
    "minutes_for",
    "parents_bytes",
    "plan_of",
    "time_limit",
]

LOG = logging.getLogger("slack_ties")

PLAN = "plan.json"

RESERVE = 0.9  # of the free memory

# What a time limit on a cluster allows for, on a slow shared disk and a slow line.
START = 10 * 60  # seconds until a merge begins
READING, SENDING = 25_000_000, 10_000_000  # bytes in a second: from the Hub or a disk, to the Hub

# Of every engine.
EVALUATION = 6 * 3600  # seconds of `slack-ties evaluate`
SAFETY = 2.0
STEP = 30 * 60  # seconds; a limit is a multiple of it

LOADED = 1.3  # times its files: what a model in memory takes, with what it computes
PROCESS = 1_500_000_000  # bytes: Python, torch, transformers, lm-eval and the tasks


def keep_plan(out: Path, task: Task, plan: Mapping[str, Any]) -> None:
    """Keep what `slack-ties run --dry-run --json` printed for a task."""
    Marks(out, task).write(PLAN, plan)


def plan_of(out: Path, task: Task) -> dict[str, Any]:
    """Return the plan of a task, as `slack-ties plan --json` prints it; {} if there is none."""
    return Marks(out, task).read(PLAN)


def check_scoring(tasks: Sequence[Task]) -> None:
    """Load what the merges will be scored on, so that a mistake in it is seen before they begin.

    Args:
        tasks: Tasks of the batch. Their commands name lm-eval's tasks; the usual ones are known.

    Raises:
        SlackTiesError: lm-eval is not installed; one of its tasks is not known, or needs data that
            is not here and cannot be downloaded.

    """
    steps = [step for task in tasks for step in task.steps if step[0] == "evaluate"]
    if not steps:
        return
    from slack_ties.harness.extra import ANOTHER_TASK, check_lm_eval  # noqa: PLC0415 - when needed
    from slack_ties.harness.tasks import load_tasks  # noqa: PLC0415 - as above

    check_lm_eval()
    for names, folders in sorted(
        {(option_values("--tasks", step), option_values("--include-path", step)) for step in steps}
    ):
        found = [one.strip() for text in names for one in text.split(",") if one.strip()]
        if not found:
            continue
        LOG.info("  checking what to score: %s", ", ".join(found))
        try:
            load_tasks(found, include=[Path(folder) for folder in folders], limit=1)
        except SlackTiesError as error:
            if error.hint == ANOTHER_TASK:
                error.hint = "see docs/tasks.md for the names"
            raise


def at_once_here(out: Path, tasks: Sequence[Task]) -> int:
    """Return how many tasks may run at once on this machine: by memory, at most one per core.

    On a GPU it is one: the plan knows only the least memory of a device.
    """
    import psutil  # noqa: PLC0415 - not for --help

    plans = [plan_of(out, task) for task in tasks]
    if any(plan.get("device", "cpu") != "cpu" for plan in plans):
        return 1
    free = RESERVE * psutil.virtual_memory().available
    count = 0
    for memory in sorted((memory_for(out, task) for task in tasks), reverse=True):
        free -= memory
        if free < 0:
            break
        count += 1
    return max(1, min(count, os.cpu_count() or 1))


def check_room_for_all(out: Path, tasks: Sequence[Task], *, streamed: bool) -> None:
    """Refuse tasks whose results, with the models that they download, do not fit on the disk.

    Raises:
        OutputError: They do not; the message says how much is missing.

    """
    if streamed:  # `run` checks the room of each
        return
    plans = [plan_of(out, task) for task in tasks if not (out / task.name).exists()]
    results = sum(plan.get("disk") or 0 for plan in plans)
    here = nearest_folder(out)
    free = shutil.disk_usage(here).free
    one_disk = any(plan.get("one_disk") for plan in plans)
    download = _downloads(plans) if one_disk else 0
    if results + download <= free:
        return
    msg = f"the results of {counted(len(plans), 'task')} need {size(results)}"
    msg += f", and their models {size(download)}" if download else ""
    msg += f"; {str(here)!r} has {size(free)} free"
    again = shlex.join(
        ["slack-ties", "batch", "start", "...", "--publish", "ME/NAME-{name}", "--stream"]
    )
    raise OutputError(msg, hint=f"{again}  # keeps no weights here; or choose another --out")


def _downloads(plans: Iterable[Mapping[str, Any]]) -> int:
    """Return the bytes of what is downloaded, each model once."""
    models = {
        (model["model"], *model.get("commits", ())): model.get("download") or 0
        for plan in plans
        if not plan.get("no_download")
        for model in plan.get("models") or ()
    }
    return sum(models.values())


def memory_for(out: Path, task: Task) -> int:
    """Return the bytes of memory that a task needs: for its merge, and to score a whole model."""
    plan = plan_of(out, task)
    merge = int(plan.get("memory") or 0)
    if not evaluations_of(task):
        return merge
    models = [model.get("bytes") or 0 for model in plan.get("models") or ()]
    return max(merge, int(LOADED * max([plan.get("disk") or 0, *models])) + PROCESS)


def evaluations_of(task: Task) -> int:
    """Return how many times a task scores models."""
    return sum(step[0] == "evaluate" for step in task.steps)


def minutes_for(out: Path, task: Task) -> int:
    """Return how many minutes a task may take: far more than what was measured, in half hours."""
    plan = plan_of(out, task)
    seconds = START + parents_bytes(plan) / READING + (plan.get("disk") or 0) / SENDING
    return time_limit(seconds, evaluations_of(task)) // 60


def parents_bytes(plan: Mapping[str, Any]) -> int:
    """Return the bytes of the weights of all models of a plan."""
    return sum(model.get("bytes") or 0 for model in plan.get("models") or ())


def time_limit(seconds: float, evaluations: int) -> int:
    """Return after how many seconds a task may be ended: twice what is assumed, in half hours.

    Args:
        seconds: What is assumed for the merge, and for all that is read and sent.
        evaluations: How many evaluations there are.

    """
    return math.ceil(SAFETY * (seconds + evaluations * EVALUATION) / STEP) * STEP
