"""Write the page of a batch, OUT/batch.html, and the data behind it, OUT/batch.csv.

The page loads nothing: its styles and its one small script are in it, and it works without the
script. Names, errors and texts of others are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from slack_ties.batch.page.csv_file import FIRST_COLUMNS, csv_text
from slack_ties.batch.page.matrix import BEST, NOT_DECIDED, WORSE, matrix_of
from slack_ties.batch.page.rows import language_names, rows_of, shown_setting
from slack_ties.batch.page.scores import columns_of, legend_of, scores_of
from slack_ties.errors import OutputError
from slack_ties.files import write_all
from slack_ties.report.page import STYLE
from slack_ties.wording import counted, parameter_count, readable, size, took

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.batch.page.rows import Row
    from slack_ties.batch.state import State
    from slack_ties.batch.task import Task

__all__ = ["CSV_FILE", "PAGE_FILE", "page_of", "write_page"]

PAGE_FILE, CSV_FILE = "batch.html", "batch.csv"

MARK = "<title>Batch of merges: "  # every page of ours has it

STATES = ("done", "running", "waiting", "failed", "stopped", "new")

WORDS = {"new": "not started"}

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a parameter


def write_page(out: Path, tasks: Sequence[Task], states: Sequence[State]) -> None:
    """Write OUT/batch.html and OUT/batch.csv. The same batch gives the same bytes.

    Args:
        out: The folder of the batch.
        tasks: Its tasks.
        states: Their states.

    Raises:
        OutputError: A file cannot be written, or one of these names is none of ours.

    """
    page, data = out / PAGE_FILE, out / CSV_FILE
    for path, mark in ((page, MARK), (data, ",".join(FIRST_COLUMNS))):
        if not _is_ours(path, mark):
            msg = f"{str(path)!r} is not of slack-ties, and would be replaced"
            raise OutputError(msg, hint="move it away, then run the same command again")
    rows = rows_of(out, tasks, states)
    try:
        write_all({page: page_of(rows, out.resolve().name), data: csv_text(rows)})
    except OSError as error:
        msg = f"cannot write {str(page)!r}: {error.strerror or error}"
        raise OutputError(msg) from None


def page_of(rows: Sequence[Row], name: str) -> str:
    """Return the page.

    Args:
        rows: What is known of each task.
        name: What the batch is called: the last name of its folder.

    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only for this

    columns = columns_of(rows)
    scored = scores_of(rows, columns)
    matrix = matrix_of(rows)
    script = _own("page.js")
    page = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_readable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).from_string(_own("page.html"))
    said = {cell.said for row in matrix.rows for cell in row.cells if cell} if matrix else set()
    return page.render(
        name=name,
        summary=_summary(rows),
        style=STYLE,
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        matrix=matrix,
        compared=bool(said & {WORSE, NOT_DECIDED}),
        best=BEST,
        rows=rows,
        on_hub=any(row.repository for row in rows),
        settings=list(dict.fromkeys(key for row in rows for key in row.settings)),
        columns=columns,
        scored=scored,
        legend=list(legend_of(rows, scored)),
        **_words(),
    )


def _words() -> dict[str, Any]:
    """Return the functions that the template writes values with."""
    return {
        "word": lambda state: WORDS.get(state, state),
        "order": lambda state: STATES.index(state) if state in STATES else len(STATES),
        "names_of": language_names,
        "setting": shown_setting,
        "time": _time,
        "took": took,
        "weights": _weights,
        "count": parameter_count,
        "quote": quote,
    }


def _summary(rows: Sequence[Row]) -> str:
    """Return how many tasks there are in each state."""
    numbers = Counter(row.state for row in rows)
    known = [*STATES, *sorted(set(numbers) - set(STATES))]
    parts = [f"{numbers[one]} {WORDS.get(one, one)}" for one in known if numbers[one]]
    return f"{counted(len(rows), 'task')}: {', '.join(parts)}" if rows else "no tasks"


def _time(text: str) -> str:
    """Return an ISO time to the minute, in UTC; another text as it is."""
    try:
        found = datetime.fromisoformat(text.removesuffix("Z") + "+00:00" * text.endswith("Z"))
    except ValueError:
        return text
    return f"{found.astimezone(timezone.utc):%Y-%m-%d %H:%M}"


def _weights(row: Row) -> str:
    """Return the size of the weights as text; "" if it is not known."""
    each = BYTES.get(row.dtype, 0)
    return size(row.parameters * each) if each else ""


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _readable(value: Any) -> Any:
    """Return what a template writes: without control characters that change what is read."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else readable(value)


def _is_ours(path: Path, mark: str) -> bool:
    """Say whether a path is free, or has a file of ours."""
    try:
        with path.open(encoding="utf-8") as file:
            return mark in file.read(5000)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
