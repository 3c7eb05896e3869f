"""How a result looks: as HTML in a notebook, as text for print(), as one line in a console.

Names in results come from the Hub or from files of others. So every text is escaped.
"""

from __future__ import annotations

import re
import sys
import threading
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from slack_ties.errors import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CellLines",
    "Html",
    "Shown",
    "ShownList",
    "html_lines",
    "html_link",
    "html_prose",
    "html_table",
    "html_text",
    "notebook_shell",
]

T = TypeVar("T")

CELL = 'style="text-align:left;vertical-align:top"'

CODE = re.compile(r"`([^`]+)`")


class Html(str):
    """A text that is HTML already: nothing in it is escaped again."""

    __slots__ = ()


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
        return html_text(self.as_text())

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


def html_prose(text: str) -> str:
    """Return a text of sentences; what is between backticks is shown as code, without them."""
    return CODE.sub(r"<code>\1</code>", escape(visible(text)))


def html_text(text: str) -> str:
    """Return a text with columns as it is."""
    return f'<pre style="font-family:monospace">{escape(text)}</pre>'


def html_link(url: str) -> Html:
    """Return a link to an address of the web; any other text stays a text."""
    shown = escape(visible(url))
    if not url.startswith(("https://", "http://")):
        return Html(shown)
    return Html(f'<a href="{shown}" target="_blank" rel="noopener noreferrer">{shown}</a>')


def notebook_shell() -> Any:
    """Return the shell of the notebook that this process runs for; None anywhere else."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None  # IPython in a terminal has no kernel


class CellLines:
    """Lines below the cell of a notebook that runs: they change in place, and none is added.

    Jobs that ended come first, one line for each name. The lines belong to one cell: the next
    cell gets its own.
    """

    def __init__(self) -> None:
        """Begin without a cell."""
        self.lock = threading.Lock()
        self.cell: int | None = None
        self.handle: Any = None  # of the output of the cell
        self.ended: dict[str, str] = {}

    def show(
        self, running: Sequence[tuple[str, float]], *, ended: tuple[str, str] | None = None
    ) -> None:
        """Show the jobs.

        Args:
            running: The text of each job that runs, and how much of it is done, from 0 to 1.
            ended: The name of a job that has ended, and its text.

        """
        shell = notebook_shell()
        if shell is None:
            return
        with self.lock:
            if self.cell != shell.execution_count:
                self.cell, self.handle, self.ended = shell.execution_count, None, {}
            if ended:
                self.ended[ended[0]] = ended[1]
            texts = [*self.ended.values(), *(text for text, _ in running)]
            bars = [
                f'<progress value="{part:.3f}" max="1"></progress> {_cell(text)}'
                for text, part in running
            ]
            lines = [*map(_cell, self.ended.values()), *bars]
            html = "".join(f"<div>{line}</div>" for line in lines)
            content = {"text/plain": "\n".join(map(visible, texts)), "text/html": html}
            if self.handle:
                self.handle.update(content, raw=True)
            else:
                from IPython.display import display  # noqa: PLC0415 - only a notebook has it

                self.handle = display(content, raw=True, display_id=True)


def _cell(value: Any) -> str:
    if isinstance(value, Html):
        return value
    return "" if value is None else html_prose(str(value))
