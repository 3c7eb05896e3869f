"""Write the page of a search: the curve of the scores and the table of trials."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.explore.study import key_of
from slack_ties.files import write_whole
from slack_ties.report.charts import Line, line_chart
from slack_ties.report.page import STYLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slack_ties.explore.metrics import Metric
    from slack_ties.explore.study import TrialResult

__all__ = ["is_tune_page", "write_tune_page"]

MARK = "<title>Search by "  # every page of ours has it

MOST_LINES = 6  # colours in the palette


def write_tune_page(
    path: Path, metric: type[Metric], results: Sequence[TrialResult], best: TrialResult
) -> Path:
    """Write the page and return its path.

    Raises:
        OutputError: It cannot be written.

    """
    groups: dict[str, list[tuple[float, float | None]]] = {}
    for result in results:
        if "slack" in result.values:
            rest = {name: value for name, value in result.values.items() if name != "slack"}
            name = key_of(rest) if rest else "other values as the config"
            groups.setdefault(name, []).append((result.values["slack"], result.score))
    lines = [
        Line(name, sorted(points, key=lambda point: point[0]), 1 + i % MOST_LINES)
        for i, (name, points) in enumerate(groups.items())
    ]
    mark = (best.values["slack"], f"best: {best.score:.4g}") if "slack" in best.values else None
    title = f"{metric.name} by slack"
    drawn = line_chart(title, lines, across="slack", shares=metric.is_share, mark=mark)
    parts = list(best.parts)
    head = "".join(f"<th>{escape(one)}</th>" for one in ("trial", metric.name, *parts))
    rows = "".join(
        f"<tr><td>{'* ' if one is best else ''}{escape(key_of(one.values))}</td>"
        + "".join(f"<td>{number:.4f}</td>" for number in (one.score, *one.parts.values()))
        + "</tr>"
        for one in results
    )
    more = "more is better" if metric.more_is_better else "less is better"
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{MARK}{escape(metric.name)}</title><style>{STYLE}</style></head><body>\n"
        f'<h1>Search by {escape(metric.name)}</h1><p class="soft">{more}</p>'
        f'<div class="charts"><figure>{drawn}</figure>'
        f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div></div>\n</body></html>\n'
    )
    try:
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def is_tune_page(path: Path) -> bool:
    """Return whether a path is free, or has a page of a search."""
    try:
        return MARK in path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
