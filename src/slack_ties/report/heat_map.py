"""Draw a map of shares as SVG; see charts.py."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from slack_ties.report.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    as_percent,
    label,
    number,
    opened,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["heat_map"]


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[tuple[str, str], float | None],
    *,
    across: str,
) -> str:
    """Return a map of shares with its scale; larger shares are darker."""
    found = [value for value in values.values() if value is not None]
    if not found or not rows or not columns:
        return f'<p class="none">{escape(title)}: no figures.</p>'
    least, most = min(found), max(found)
    left = LEFT + 26  # room for the longest kind, `embedding`
    cell = (WIDTH - left - RIGHT) / len(columns)
    tall = 20
    height = TOP + tall * len(rows) + BOTTOM
    parts = [opened(title, height)]
    for r, row in enumerate(rows):
        y = TOP + r * tall
        parts.append(label(left - 5, y + 14, row, "end"))
        for c, column in enumerate(columns):
            value = values.get((row, column))
            if value is None:
                continue
            strength = 0.06 + 0.94 * ((value - least) / (most - least) if most > least else 0.5)
            parts.append(
                f'<rect class="heat" x="{number(left + c * cell)}" y="{y}" '
                f'width="{number(max(cell - 0.6, 0.5))}" height="{tall - 1}" '
                f'fill-opacity="{strength:.2f}"><title>{escape(row)}, {escape(across)} '
                f"{escape(column)}: {as_percent(value)}</title></rect>"
            )
    step = max(1, math.ceil(len(columns) / 10))
    parts += [
        label(left + (c + 0.5) * cell, height - BOTTOM + 14, columns[c], "middle")
        for c in range(0, len(columns), step)
    ]
    parts.append(label((left + WIDTH - RIGHT) / 2, height - 6, across, "middle"))
    parts.append("</svg>")
    scale = (
        f'<p class="legend"><span>{as_percent(least)}</span><span class="scale"></span>'
        f"<span>{as_percent(most)}</span></p>"
    )
    return "".join(parts) + scale
