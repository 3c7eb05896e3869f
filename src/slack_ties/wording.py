"""Write sizes, counts, lists of names and tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["first_of", "in_columns", "join_names", "parameter_count", "size"]


def join_names(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: `a, b and c`."""
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last


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
    """Return a number of bytes as text, such as 1.0 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"  # noqa: PLR2004


def parameter_count(entries: int) -> str:
    """Return a number of parameters as text, such as 6.74B."""
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if entries >= unit:
            return f"{entries / unit:.2f}{name}"
    return f"{entries:,}"
