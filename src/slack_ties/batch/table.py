"""Show the tasks of a batch in a terminal: a table, and below it why a task is not complete."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from slack_ties.batch.state import STATES
from slack_ties.errors import visible
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.batch.state import State

__all__ = ["in_a_line", "reasons", "table"]


def table(states: Sequence[State]) -> list[tuple[str, ...]]:
    """Return the rows of a table, with a head: task, state, since when, where, result."""
    rows: list[tuple[str, ...]] = [("TASK", "STATE", "SINCE", "WHERE", "RESULT")]
    rows += [
        (
            one.name,
            one.state,
            _time(one.since),
            "" if one.state == "done" else visible(one.where),
            visible(one.url or one.result),
        )
        for one in states
    ]
    return rows


def reasons(states: Sequence[State]) -> list[str]:
    """Return why tasks are not complete, and the next step of each."""
    lines = []
    for one in states:
        if one.why:
            lines.append(visible(f"{one.name}: {one.why}"))
        if one.next:
            lines.append(visible(f"  Next: {one.next}"))
    return lines


def in_a_line(states: Sequence[State]) -> str:
    """Return how many tasks are in which state: 2 running, 1 failed and 3 done."""
    counts = Counter(one.state for one in states)
    return join_names([f"{counts[state]} {state}" for state in STATES if counts[state]])


def _time(text: str) -> str:
    """Return a time in this machine's zone, to the minute; "" if there is none."""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return ""
