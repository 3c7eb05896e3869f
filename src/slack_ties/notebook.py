"""How a result looks: as HTML in a notebook, as text for print(), as one line in a console.

Names in results come from the Hub or from files of others. So every text is escaped.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from slack_ties.errors import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Shown", "ShownList", "html_lines", "html_table"]

T = TypeVar("T")

CELL = 'style="text-align:left;vertical-align:top"'


class Shown:
    """A result for people. A dataclass of it needs `repr=False`, because it has its own repr."""

    __slots__ = ()

    def summary(self) -> str:
        """Return one line that says what it is."""
        raise NotImplementedError

    def as_text(self) -> str:
        """Return it as text."""
        return visible(self.summary())

    def as_html(self) -> str:
        """Return it as HTML; the text with its columns, if it has no table of its own."""
        return f"<pre>{escape(self.as_text())}</pre>"

    def __repr__(self) -> str:
        """Return one line: the fields would be pages."""
        return f"<{type(self).__name__.removeprefix('Shown')}: {visible(self.summary())}>"

    def __str__(self) -> str:
        """Return the text that the command prints."""
        return self.as_text()

    def _repr_html_(self) -> str:
        """Return what a notebook shows if it is the last line of a cell."""
        return self.as_html()


class ShownList(Shown, tuple[T, ...]):
    """Several results in one table."""

    __slots__ = ()

    HEAD: tuple[str, ...] = ()

    def rows(self) -> Iterable[Sequence[str]]:
        """Return the cells of each result, in the order of HEAD."""
        raise NotImplementedError

    def summary(self) -> str:
        """Return how many there are."""
        return f"{len(self)} results"

    def as_text(self) -> str:
        """Return the table, its columns aligned."""
        rows = [list(map(visible, row)) for row in (self.HEAD, *self.rows())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def as_html(self) -> str:
        """Return the table."""
        return html_table(self.HEAD, self.rows())


def html_table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; an empty head is left out."""

    def row(cells: Sequence[Any], tag: str) -> str:
        inner = "".join(f"<{tag} {CELL}>{_cell(cell)}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    return (
        f"<table>{row(head, 'th') if head else ''}{''.join(row(one, 'td') for one in rows)}</table>"
    )


def html_lines(lines: Iterable[str]) -> str:
    """Return paragraphs."""
    return "".join(f"<p>{_cell(line)}</p>" for line in lines if line)


def _cell(value: Any) -> str:
    return "" if value is None else escape(visible(str(value)))
