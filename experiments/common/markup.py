"""Values with their intervals, and tables, as Markdown text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.intervals import Interval

__all__ = ["MISSING", "plain", "ratio", "signed", "table"]

MISSING = "*Not measured.*"


def plain(found: Interval) -> str:
    """Return an accuracy with its interval."""
    return _with_ends(found, ".3f")


def signed(found: Interval) -> str:
    """Return a difference or a correlation with its interval."""
    return _with_ends(found, "+.3f")


def ratio(found: Interval) -> str:
    """Return a ratio with its interval."""
    return _with_ends(found, ".2f")


def _with_ends(found: Interval, form: str) -> str:
    """Return a value and its interval; only the value if nothing was drawn."""
    ends = f" [{found.low:{form}}, {found.high:{form}}]" if found.low < found.high else ""
    return f"{found.value:{form}}{ends}"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, or `MISSING` without lines."""
    rows = [list(line) for line in lines]
    if not rows:
        return MISSING
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), rule, *rows])
