"""Write a report for the terminal: one screen of 80 columns and 24 lines."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from slack_ties.errors import visible
from slack_ties.report.figures import Figures
from slack_ties.report.sentences import IMPORTANT, percent, read_figures
from slack_ties.rule.tally import CONFIG, TIES
from slack_ties.wording import in_columns

if TYPE_CHECKING:
    from slack_ties.report.report import Report

__all__ = ["COLUMNS", "summarise"]

COLUMNS, MODELS, NAME = 79, 4, 24  # of the screen; models to list; characters of a name

SHORT = {"less than 0.1 %": "<0.1 %"}


def _short(share: float | None) -> str:
    text = percent(share)
    return SHORT.get(text, text)


def summarise(report: Report) -> str:
    """Return the summary of a report."""
    total = report.total
    head = f"{report.config}: {int(total.positions[0]):,} entries in {len(report.tensors)} tensors"
    lines = [head[:COLUMNS]]
    rows = [("MODEL", "NORM", "DENSITY", "SLACK", "LOST:TIES", "CONFIG", "TOP10:TIES", "CONFIG")]
    for t, model in enumerate(report.models[:MODELS]):
        figures = Figures(total, t)
        density, slack = figures.density, figures.slack
        rows.append(
            (
                model.label[:NAME],
                f"{figures.norm:.3g}",
                "-" if density is None else f"{density:.3f}",
                "-" if slack is None else f"{slack:.3f}",
                _short(figures.lost(TIES)),
                _short(figures.lost(CONFIG)),
                _short(figures.top_lost(IMPORTANT, TIES)),
                _short(figures.top_lost(IMPORTANT, CONFIG)),
            )
        )
    lines += in_columns(rows)
    if len(report.models) > MODELS:
        lines.append(f"and {len(report.models) - MODELS} more models")
    lines += _curve(report)
    lines.append("")
    for sentence in read_figures(report).sentences:
        lines += textwrap.wrap(sentence, COLUMNS)
    return "\n".join(visible(line) for line in lines)


def _curve(report: Report) -> list[str]:
    """Return three rows: slacks, what they keep of the SFT model, what the other model loses."""
    varied = [t for t, model in enumerate(report.models) if model.varied]
    others = [t for t, model in enumerate(report.models) if not model.varied]
    if not varied or not others:
        return []
    points = Figures(report.total, varied[0]).curve()
    rows = [
        ("slack", [f"{point.slack:g}" for point in points]),
        ("SFT top 10 % kept", [_short(point.top_kept[IMPORTANT]) for point in points]),
        ("other model loses", [_short(p.lost) for p in Figures(report.total, others[0]).curve()]),
    ]
    return ["", *(f"{name:18}" + "".join(cell.rjust(6) for cell in row) for name, row in rows)]
