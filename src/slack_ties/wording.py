"""Write sizes, counts, lists of names and tables for people."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "counted",
    "duration",
    "first_of",
    "in_columns",
    "join_names",
    "parameter_count",
    "part_of",
    "readable",
    "size",
    "took",
]

# Signs without a form of their own that scripts need: between words (U+200B), to join letters
# (U+200C, U+200D), Mongolian's vowel separator (U+180E), and marks of direction.
JOINERS = "\u200b\u200c\u200d\u180e\u200e\u200f\u061c"

# The least bytes for which a unit is used, and the bytes of one.
UNITS = {"GB": (1e8, 1e9), "MB": (1e5, 1e6), "kB": (1e3, 1e3)}


def join_names(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: `a, b and c`."""
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last


def readable(text: str) -> str:
    """Return a text in any script, safe to print: control characters are written as escapes.

    Spaces and the signs that join and part letters stay, because scripts need them. Signs that
    change the order of the letters around them are written as escapes.
    """
    return "".join(
        c
        if c.isprintable() or c in JOINERS or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column left-aligned, the others right-aligned.

    Args:
        rows: All with the same number of cells.

    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def first_of(names: Iterable[str]) -> str:
    """Return the first name, quoted, and the number of the others."""
    first, *more = names
    return f"{first!r} and {len(more):,} more" if more else f"{first!r}"


def size(count: int) -> str:
    """Return a number of bytes as text, such as 1.0 GB; never as 0.0 of a unit."""
    for unit, (least, factor) in UNITS.items():
        if count >= least:
            return f"{count / factor:.1f} {unit}"
    return counted(count, "byte")


def part_of(done: int, total: int) -> str:
    """Return how many of all bytes are done as text, such as 3.2 of 13.5 GB."""
    number, unit = size(total).split()
    _, factor = UNITS.get(unit, (0, 0))
    part = f"{min(done, total) / factor:.1f}" if factor else f"{min(done, total)}"
    return f"{part} of {number} {unit}"


def counted(count: int, what: str) -> str:
    """Return a number of things, such as 1 file or 1,200 files."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def duration(seconds: float) -> str:
    """Return a time to wait as text, such as 4 min."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"  # noqa: PLR2004


def took(seconds: float) -> str:
    """Return a time that has passed as text, such as 8 s or 4 min."""
    return f"{seconds:.0f} s" if seconds < 60 else duration(seconds)  # noqa: PLR2004


def parameter_count(entries: int) -> str:
    """Return a number of parameters as text, such as 6.74B."""
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if entries >= unit:
            return f"{entries / unit:.2f}{name}"
    return f"{entries:,}"
