"""Make the engine of a batch, with what its tasks need by their plans."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slack_ties.batch.executor import Executor
    from slack_ties.batch.task import Batch, Task

__all__ = ["ENGINES", "engine_of"]

ENGINES = ("here", "slurm", "jobs")

# Slurm ends a task that needs more memory than it has asked for. `run` on the smallest models takes
# 430 MB where its plan says 350 MB; submitit's process and srun come on top.
BESIDE = 500_000_000  # bytes
MORE = 1.25  # times what a plan says


def engine_of(batch: Batch, out: Path, tasks: Sequence[Task] = ()) -> Executor:
    """Return the engine of a batch.

    Args:
        batch: The batch, with the options of its engine.
        out: Its folder.
        tasks: Those that are to be started, with their plans.

    """
    from slack_ties.batch.needs import at_once_here, memory_for, minutes_for  # noqa: PLC0415 - locks

    given = dict(batch.engine)
    if batch.on == "jobs":
        from slack_ties.batch.jobs.engine import Jobs  # noqa: PLC0415 - imports the Hub client

        limit = given.get("time_limit", 0)
        flavor, namespace = given.get("flavor", ""), given.get("namespace", "")
        package = given.get("package", "")
        return Jobs(out, flavor=flavor, timeout=limit, namespace=namespace, package=package)
    if batch.on == "slurm":
        from slack_ties.batch.slurm.engine import Slurm  # noqa: PLC0415 - seldom used

        limit = math.ceil(given.get("time_limit", 0) / 60)
        return Slurm(
            out,
            partition=given.get("partition", ""),
            account=given.get("account", ""),
            gpus=given.get("gpus", 0),
            cpus=given.get("cpus", 0),
            at_once=given.get("at_once", 0),
            time=limit or max((minutes_for(out, task) for task in tasks), default=0),
            memory=given.get("memory")
            or _with_reserve(max((memory_for(out, task) for task in tasks), default=0)),
        )
    from slack_ties.batch.here import Here  # noqa: PLC0415 - not for the others

    return Here(out, given.get("at_once") or (at_once_here(out, tasks) if tasks else 1))


def _with_reserve(memory: int) -> int:
    """Return the bytes to ask Slurm for; 0 if the plans say nothing."""
    return int(MORE * memory) + BESIDE if memory else 0
