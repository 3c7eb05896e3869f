"""Work on one task in a job of Hugging Face: its script calls this.

The mounted models are put into the Hub cache as links, and the task is worked on as on every
machine. Then the result is printed, because the disk of the job is gone when it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.batch.executor import WHERE
from slack_ties.batch.jobs.mounts import Mounted, link_mounted
from slack_ties.batch.jobs.result import failure_lines, result_lines
from slack_ties.batch.jobs.script import OUT
from slack_ties.batch.marks import Marks
from slack_ties.batch.task import Batch, Task, now, write_batch
from slack_ties.errors import SlackTiesError, masked
from slack_ties.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ROOT", "work"]

ROOT = "SLACK_TIES_MOUNTS"  # if it is set: the folder that is `/` for the mounts

LOOK_AGAIN = 0.5  # seconds between looks at the log


def work(
    *, batch: str, task: Mapping[str, Any], recipe: str, parents: Sequence[Sequence[str]]
) -> None:
    """Work on a task, print its log and its result, and end this process.

    Args:
        batch: The id of the batch.
        task: The fields of a `Task`; its first command names the recipe's file.
        recipe: The text of the recipe.
        parents: Of each model: its id, its commit, and where it is mounted.

    """
    os.chdir(tempfile.mkdtemp(prefix="slack-ties-"))
    made = Task(**{**task, "steps": tuple(tuple(step) for step in task["steps"])})
    try:
        _prepare(batch, made, recipe, parents)
    except SlackTiesError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - the log
        _say(failure_lines(str(error), error.hint))
        sys.exit(1)
    code = _run(made)
    marks = Marks(Path(OUT), made)
    if done := marks.done:
        _say(result_lines(done["results"]))
        sys.exit(0)
    failed = marks.failed or {"why": f"its process ended with exit code {code}", "next": ""}
    _say(failure_lines(failed["why"], failed["next"]))
    sys.exit(1)


def _prepare(batch: str, task: Task, recipe: str, parents: Sequence[Sequence[str]]) -> None:
    """Link the mounted models, and write the recipe and the batch."""
    from huggingface_hub import constants  # noqa: PLC0415 - heavy

    root = Path(os.environ.get(ROOT, "/"))
    for repo_id, commit, folder in parents:
        mounted = Mounted(repo_id, commit, root / folder.lstrip("/"))
        link_mounted(mounted, constants.HF_HUB_CACHE)
    write_whole(Path(f"{task.name}.yml"), recipe)
    Path(OUT).mkdir()
    placed = replace(task, cwd=str(Path.cwd()))
    write_batch(Batch(batch, (placed,), "jobs", {}, now()), Path(OUT))


def _run(task: Task) -> int:
    """Run the commands of the task in a process, show its log, and return its exit code."""
    log = Marks(Path(OUT), task).log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    environment = {**os.environ, WHERE: f"job {os.environ.get('JOB_ID', '?')}"}
    words = [sys.executable, "-m", "slack_ties", "batch", "work", OUT, task.name]
    with log.open("rb") as file:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment)
        begun = b""  # of a line
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_AGAIN)
            whole, newline, begun = (begun + file.read()).rpartition(b"\n")
            _show(whole + newline)
            if process.returncode is not None:
                _show(begun + file.read())
                return process.returncode


def _show(log: bytes) -> None:
    """Print a part of the log, without the token, whatever may have printed it."""
    if log:
        text = masked(log.decode(errors="replace"))
        token = os.environ.get("HF_TOKEN")
        sys.stdout.write(text.replace(token, "[token]") if token else text)
        sys.stdout.flush()


def _say(lines: Sequence[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(line, flush=True)  # noqa: T201 - the log of the job is how it answers
