"""The state of each task: from its markers, and for the rest from the engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from slack_ties.batch.executor import Seen
from slack_ties.batch.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slack_ties.batch.executor import Executor
    from slack_ties.batch.task import Task

__all__ = ["STATES", "State", "state_of", "states_of"]

STATES = ("running", "waiting", "failed", "stopped", "new", "done")


@dataclass(frozen=True)
class State:
    """What a user sees of a task."""

    name: str
    state: str  # one of STATES
    where: str = ""
    since: str = ""  # ISO time: since when it runs or waits, or when it ended
    why: str = ""  # of a task that failed, stopped or waits
    next: str = ""  # the command to type then
    result: str = ""  # of a task that is done: its repository, or its folder
    url: str = ""


def states_of(out: Path, tasks: Sequence[Task], engine: Executor) -> list[State]:
    """Return the state of each task."""
    marks = [Marks(out, task) for task in tasks]
    open_ = [mark.task for mark in marks if not mark.done]
    seen = engine.states(open_) if open_ else {}  # it may write the marker of a task that ended
    return [state_of(mark, seen) for mark in marks]


def state_of(mark: Marks, seen: Mapping[str, Seen]) -> State:
    """Return the state of one task."""
    name, engine = mark.task.name, seen.get(mark.task.name)
    if not mark.done and mark.is_locked():
        last, engine = mark.running, engine or Seen("running")
        where = last.get("where") or engine.where  # it may have begun this moment
        return State(name, "running", where, last.get("since", ""), url=engine.url)
    if done := mark.done:  # after the lock: a task may end meanwhile
        return State(name, "done", done.get("where", ""), done.get("ended", ""), **_result(mark))
    if engine and engine.state != "ended":
        return State(name, **asdict(engine))
    return _not_complete(mark, engine)


def _not_complete(mark: Marks, engine: Seen | None) -> State:
    """Return the state of a task that neither runs nor waits, and is not complete."""
    name, last = mark.task.name, mark.running
    where, url = last.get("where", ""), engine.url if engine else ""
    if failed := mark.failed:
        why, then = failed.get("why", ""), failed.get("next", "")
        return State(name, "failed", where, failed.get("ended", ""), why, then, url=url)
    if mark.cancelled:
        return State(name, "stopped", where, why="cancelled", url=url)
    if engine:
        where = engine.where or where
        return State(name, "stopped", where, engine.since, engine.why, engine.next, url=url)
    if last:
        why = "its process was ended before it was complete"
        return State(name, "stopped", where, last.get("since", ""), why)
    return State(name, "new")


def _result(mark: Marks) -> dict[str, str]:
    """Return where the result is: on the Hub, or in a folder."""
    results = mark.done.get("results")  # of a job: from its log, so it may be anything
    for result in reversed(results if isinstance(results, list) else []):
        published = result.get("published") if isinstance(result, dict) else None
        if isinstance(published, dict) and published.get("url"):
            return {"result": f"{published.get('repo_id', '')}", "url": f"{published['url']}"}
    return {"result": mark.task.name}
