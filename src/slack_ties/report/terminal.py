"""Write a report for the terminal: tables of 80 columns, and its sentences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from slack_ties.errors import visible
from slack_ties.report.figures import Figures
from slack_ties.report.rows import NO_SHARE, ROWS
from slack_ties.report.sentences import read_figures
from slack_ties.report.slacks import slacks_of
from slack_ties.report.tables import slack_rows, slacks_title
from slack_ties.wording import counted, in_columns

if TYPE_CHECKING:
    from slack_ties.report.report import Report

__all__ = ["COLUMNS", "summarise"]

COLUMNS, MODELS = 79, 4  # of the screen; models in the table

SHORT = {"less than 0.1 %": "<.1 %"}


def summarise(report: Report) -> str:
    """Return the summary of a report."""
    total = report.total
    head = f"{report.config}: {int(total.positions[0]):,} entries in {len(report.tensors)} tensors"
    names = report.headings
    wide = max(map(len, names)) + 2
    lines = [head[:COLUMNS]]
    lines += [
        f"{name:{wide}}{_end_of(model.model, COLUMNS - wide)}"
        for name, model in zip(names, report.models[:MODELS], strict=False)
    ]
    if len(report.models) > MODELS:
        lines.append(f"and {counted(len(report.models) - MODELS, 'more model')}")
    lines += ["", *_figures(report), *_slacks(report), ""]
    for sentence in read_figures(report).sentences:
        lines += textwrap.wrap(sentence, COLUMNS)
    return "\n".join(visible(line) for line in lines)


def _end_of(text: str, most: int) -> str:
    """Return the end of a long name: the end of a path tells it from other paths."""
    return text if len(text) <= most else f"...{text[3 - most :]}"


def _figures(report: Report) -> list[str]:
    """Return the table of figures: a row for each, with its meaning."""
    models = range(min(len(report.models), MODELS))
    rows = [("", *(report.headings[t] for t in models))]
    shown = [row for row in ROWS if row.in_terminal]
    for row in shown:
        texts = (row.text(Figures(report.total, t)) for t in models)
        rows.append((row.name, *(SHORT.get(text, text) for text in texts)))
    missing = any("-" in cells[1:] for cells in rows)
    lines = in_columns(rows)
    meanings = ["", *(row.meaning for row in shown)]
    beside = [f"{line}  {text}".rstrip() for line, text in zip(lines, meanings, strict=True)]
    if max(map(len, beside)) > COLUMNS:
        below = (f"{row.name}: {row.meaning}" for row in shown)
        beside = [*lines, "", *(textwrap.shorten(one, COLUMNS) for one in below)]
    return [*beside, *([NO_SHARE] if missing else [])]


def _slacks(report: Report) -> list[str]:
    """Return the table of slacks: what each of them would do."""
    found = slacks_of(report)
    if found is None:
        return []
    rows = slack_rows(report, found)
    wide = max(len(name) for name, _ in rows)
    return [
        "",
        *textwrap.wrap(slacks_title(report, found), COLUMNS),
        *(
            f"{name:{wide}}" + "".join(SHORT.get(cell, cell).rjust(6) for cell in cells)
            for name, cells in rows
        ),
    ]
