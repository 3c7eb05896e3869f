"""Start a batch, or go on with it. `slack-ties batch` calls this."""

from __future__ import annotations

import logging
import os
import re
import shlex
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from slack_ties.batch.entries import check_distinct
from slack_ties.batch.jobs.ends import works_away
from slack_ties.batch.marks import PROBE, Marks
from slack_ties.batch.needs import keep_plan
from slack_ties.batch.task import (
    BATCH_FILE,
    MARKS,
    merged,
    new_batch,
    option_values,
    read_batch,
    typed_out,
    write_batch,
)
from slack_ties.batch.work import reason_in
from slack_ties.errors import OutputError, masked
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slack_ties.batch.task import Batch, Task

__all__ = ["begin_batch", "check_tasks", "left_of", "make_collections"]

WITH_PASSWORD = re.compile(r"https?://[^/\s@]+@|://[^/\s@:]*:[^/\s@]+@")  # an address

LOG = logging.getLogger("slack_ties")


def begin_batch(
    out: Path, tasks: Sequence[Task], on: str, engine: Mapping[str, Any]
) -> tuple[Batch, list[Task]]:
    """Write the tasks into the folder `out`, beside those that are there; return them.

    Args:
        out: The folder of the batch.
        tasks: What to do now; empty to go on with what is there.
        on: The name of the engine; "" for the one of before, or `here`.
        engine: Its options.

    Returns:
        The whole batch, and the tasks of this call.

    Raises:
        OutputError: `out` holds something else, or a task that is complete would change.

    """
    if not tasks:
        read_batch(out)  # raises before a folder is made
    _refuse_secrets(tasks, engine)
    try:
        (out / MARKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {str(out / MARKS)!r}: {error.strerror or error}"
        raise OutputError(msg, hint="choose another folder for the batch: --out OUT") from None
    with FileLock(out / MARKS / "lock"):  # two commands may add tasks at once
        return _begin(out, tasks, on, engine)


def _refuse_secrets(tasks: Sequence[Task], engine: Mapping[str, Any]) -> None:
    """Refuse a token or a password in what is written to the file of the batch."""
    words = [word for task in tasks for step in task.steps for word in step]
    for word in (*words, *map(str, engine.values())):
        if masked(word) != word or WITH_PASSWORD.search(word):
            msg = "a token or a password is in the options or the sweep, and a batch keeps them in "
            msg += f"{BATCH_FILE}"
            hint = "hf auth login  # then leave it out: every task uses the token of the login"
            raise OutputError(msg, hint=hint)


def _begin(
    out: Path, tasks: Sequence[Task], on: str, engine: Mapping[str, Any]
) -> tuple[Batch, list[Task]]:
    batch = new_batch(tasks, on or "here", engine)
    if (out / BATCH_FILE).is_file() or not tasks:
        old = read_batch(out)
        fixed = [task.name for task in old.tasks if _is_fixed(Marks(out, task))]
        old = replace(old, tasks=_without_refused(out, old.tasks, tasks, fixed))
        _refuse_moved(old, out)
        if on and on != old.on:
            _refuse_other_engine(old, out)
        before = {task.name: task for task in old.tasks}
        batch = merged(old, replace(batch, on=on), fixed)
        check_distinct(batch.tasks)
        changed = [task for task in tasks if before.get(task.name, task) != task]
        _write_changed(batch, out, changed)
        return batch, _of(batch, tasks)
    if out.is_dir() and any((out / task.name).exists() for task in tasks):
        name = next(task.name for task in tasks if (out / task.name).exists())
        msg = f"{str(out / name)!r} is there already, and is not of this batch"
        raise OutputError(msg, hint="choose another folder for the batch: --out OUT")
    write_batch(batch, out)
    return batch, _of(batch, tasks)


def _of(batch: Batch, tasks: Sequence[Task]) -> list[Task]:
    """Return the batch's own form of tasks, which knows their folder; all if there are none."""
    return [*batch.named([task.name for task in tasks])]


def _write_changed(batch: Batch, out: Path, changed: Sequence[Task]) -> None:
    """Write the batch while nobody can begin to work on the tasks that have other commands now."""
    with ExitStack() as held:
        for task in changed:
            if not held.enter_context(Marks(out, task).lock(PROBE)):
                msg = f"the task {task.name!r} has begun to run, with other settings"
                again = shlex.join(["slack-ties", "batch", "status", *typed_out(out)])
                raise OutputError(msg, hint=again)
        for task in changed:
            Marks(out, task).reset()
        write_batch(batch, out)


def _refuse_moved(old: Batch, out: Path) -> None:
    """Refuse a batch whose folder was moved: its commands would write to the place of before."""
    for task in old.tasks:
        written = option_values("--out", task.steps[0] if task.steps else ())
        before = Path(written[0]).parent if written else out.resolve()
        if before != out.resolve() and not (before.is_dir() and before.samefile(out)):
            msg = f"the batch in {str(out)!r} was made in {str(before)!r}: its commands write there"
            again = shlex.join(["mv", str(out), str(before)])
            raise OutputError(msg, hint=f"{again}  # or begin a new batch in another folder")


def _refuse_other_engine(old: Batch, out: Path) -> None:
    """Refuse to give tasks to a second engine that the first one works on."""
    if old.on == "here":  # a lock protects its tasks
        return
    from slack_ties.batch.engines import engine_of  # noqa: PLC0415 - an engine is seldom changed
    from slack_ties.batch.state import states_of  # noqa: PLC0415 - as above

    states = states_of(out, old.tasks, engine_of(old, out))
    busy = [one.name for one in states if one.state in {"running", "waiting"}]
    if busy:
        msg = (
            f"{old.on} works on {join_names(busy)}, and no other engine can take this batch until "
        )
        msg += "that has ended"
        again = shlex.join(["slack-ties", "batch", "cancel", *typed_out(out)])
        raise OutputError(msg, hint=again)


def _without_refused(
    out: Path, old: Sequence[Task], new: Sequence[Task], fixed: Sequence[str]
) -> tuple[Task, ...]:
    """Leave out tasks that were refused before they began and are not in a new list: mistakes."""
    names, kept = {task.name for task in new}, []
    for task in old:
        marks = Marks(out, task)
        never_began = marks.failed and not marks.running and task.name not in fixed
        if new and task.name not in names and never_began:
            LOG.info("  %s: left out: it never began, and is not in this list", task.name)
            marks.reset()
        else:
            kept.append(task)
    return tuple(kept)


def _is_fixed(marks: Marks) -> bool:
    return bool(marks.done) or marks.is_locked() or works_away(marks)


def left_of(out: Path, tasks: Sequence[Task], busy: Sequence[str]) -> list[Task]:
    """Return the tasks that are to be started: not complete, and not at work or in a queue.

    Args:
        out: The folder of the batch.
        tasks: The tasks of this call.
        busy: The names of those that an engine has already.

    """
    return [task for task in tasks if task.name not in busy and not Marks(out, task).done]


def check_tasks(
    out: Path,
    tasks: Sequence[Task],
    look: Callable[[Sequence[str]], tuple[int, dict[str, Any], str]],
    *,
    away: bool = False,
) -> list[Task]:
    """Check each task before the first merge, and return those that can be started.

    A task that cannot be started is marked as failed, and says why: a model has a gate, the licence
    forbids the name on the Hub, or something else. The others go on.

    Args:
        out: The folder of the batch.
        tasks: Those that are to be started.
        look: Runs a command; returns its exit code, what it printed as JSON, and its errors.
        away: The tasks run on machines with disks of their own: they need no room on this one.

    """
    ready, out = [], out.resolve()  # the commands are in another folder
    for number, task in enumerate(tasks, 1):
        LOG.info("  checking %s (%d of %d)", task.name, number, len(tasks))
        step = next((step for step in task.steps if "--publish" in step), task.steps[0])
        with _in_folder(task.cwd):
            code, plan, said = look([*step, "--dry-run"])
            if code and away:  # it may be for lack of room here
                code, plan, said = _look_away(step, look) or (code, plan, said)
        if not code:
            keep_plan(out, task, plan)
            ready.append(task)
            continue
        why, then = reason_in(said)
        for first in (plan.get("errors") or [])[:1]:
            why, then = str(first.get("message") or ""), str(first.get("next") or "")
        marks = Marks(out, task)
        marks.forget_failure()
        marks.fail(why or f"slack-ties {step[0]} is refused", then)
        LOG.error("  %s: failed: %s", task.name, marks.failed["why"])
    return ready


@contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    """Be in a folder for a moment, if it is there, as whoever works on the task will be."""
    before = Path.cwd()
    if os.path.isdir(folder):  # noqa: PTH112 - never raises
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _look_away(
    step: Sequence[str], look: Callable[[Sequence[str]], tuple[int, dict[str, Any], str]]
) -> tuple[int, dict[str, Any], str] | None:
    """Check a command as if it downloaded and kept no weights; None if that fails, too."""
    more = ["--no-download"] if "--download" not in step else []
    more += ["--stream"] if "--publish" in step and "--report" not in step else []
    looked = look([*step, *(word for word in more if word not in step), "--dry-run"])
    return None if looked[0] else looked


def make_collections(tasks: Sequence[Task]) -> None:
    """Make the collections into which tasks publish, before several do at the same moment."""
    wanted = {
        (title, task.publish.partition("/")[0], "--public" in step)
        for task in tasks
        if task.publish
        for step in task.steps
        for title in option_values("--collection", step)
    }
    if not wanted:
        return
    from slack_ties.hub.retries import Retries  # noqa: PLC0415 - imports the Hub client
    from slack_ties.hub.timeouts import in_force  # noqa: PLC0415 - as above
    from slack_ties.publish.rights import with_token  # noqa: PLC0415 - as above
    from slack_ties.publish.tag_and_collect import the_collection  # noqa: PLC0415 - as above

    retries, api = in_force(Retries()), with_token(None)
    for title, owner, public in sorted(wanted):
        the_collection(title, owner, private=not public, retries=retries, api=api)
