"""Draw the charts of a report as SVG: small, without scripts, with the page's colour variables.

Each series has its own dash pattern besides its colour, and every value has a title. A chart is
WIDTH units wide; a page shows a unit as one pixel or more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Line", "as_percent", "heat_map", "line_chart", "number"]

WIDTH, HEIGHT = 400, 230

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 38

DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4")

TICKS = 4


@dataclass(frozen=True)
class Line:
    """One series: points from left to right; a missing value interrupts the line."""

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: int  # number in the page's palette, from 1


def _nice(largest: float) -> float:
    """Return a round number a little above the largest value."""
    if largest <= 0:
        return 1.0
    unit: float = 10.0 ** math.floor(math.log10(largest))
    return next(step * unit for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if largest <= step * unit)


def number(value: float) -> str:
    """Return a coordinate or a value as a short text."""
    return f"{value:.4g}"


def as_percent(value: float) -> str:
    """Return the label of a tick for a share."""
    return f"{100 * value:.3g} %"


def line_chart(  # noqa: C901, PLR0913 - all by name, and drawn from back to front
    title: str,
    lines: Sequence[Line],
    *,
    across: str,
    shares: bool = True,
    ticks: Mapping[float, str] | None = None,
    mark: tuple[float, str] | None = None,
    largest: float | None = None,
    from_zero: bool = True,
) -> str:
    """Return a chart of lines.

    Args:
        title: For people who cannot see the chart.
        lines: The series.
        across: The label of the horizontal axis.
        shares: Whether values are shares.
        ticks: Position on the horizontal axis -> its label; some of the points if not given.
        mark: A position on the horizontal axis to mark, and its label.
        largest: The end of the vertical axis; a little above the largest value if not given.
        from_zero: Whether the vertical axis begins at 0, not a little below the smallest value.

    """
    positions = sorted({x for line in lines for x, _ in line.points})
    values = [y for line in lines for _, y in line.points if y is not None]
    if not positions or not values:
        return f'<p class="none">{escape(title)}: no figures.</p>'
    first = positions[0]
    last = positions[-1] if positions[-1] > first else first + 1
    top = largest or _nice(max(values))
    low = 0.0
    if not from_zero and max(values) > min(values):
        margin = (max(values) - min(values)) / 10
        low, top = min(values) - margin, max(values) + margin
    show = as_percent if shares else number

    def to_x(x: float) -> float:
        return LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def to_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low) / (top - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_open(title, HEIGHT)]
    for i in range(TICKS + 1):
        tick = low + (top - low) * i / TICKS
        y = to_y(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {number(y)}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 5, y + 4, show(tick), "end"))
    if ticks is None:
        step = max(1, math.ceil(len(positions) / 8))
        ticks = {x: number(x) for x in positions[::step]}
    for x, text in ticks.items():
        parts.append(_text(to_x(x), HEIGHT - BOTTOM + 15, text, "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, "middle"))
    if mark:
        x = to_x(mark[0])
        parts.append(f'<path class="mark" d="M{number(x)} {TOP}V{HEIGHT - BOTTOM}"/>')
        side = "end" if x > WIDTH / 2 else "start"
        parts.append(_text(x + (-4 if side == "end" else 4), HEIGHT / 2, mark[1], side))
    for i, line in enumerate(lines):
        path, pen = [], "M"
        for x, value in line.points:
            if value is None:
                pen = "M"
                continue
            path.append(f"{pen}{number(to_x(x))} {number(to_y(min(value, top)))}")
            pen = "L"
        dash = f' stroke-dasharray="{DASHES[i % len(DASHES)]}"' if i % len(DASHES) else ""
        parts.append(f'<path class="line s{line.colour}"{dash} d="{"".join(path)}"/>')
        parts += [
            f'<circle class="dot f{line.colour}" cx="{number(to_x(x))}" '
            f'cy="{number(to_y(min(y, top)))}" r="2.5"><title>{escape(line.name)}, '
            f"{escape(across)} {number(x)}: {show(y)}</title></circle>"
            for x, y in line.points
            if y is not None
        ]
    parts.append("</svg>")
    return "".join(parts) + _legend(lines)


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
    parts = [_open(title, height)]
    for r, row in enumerate(rows):
        y = TOP + r * tall
        parts.append(_text(left - 5, y + 14, row, "end"))
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
        _text(left + (c + 0.5) * cell, height - BOTTOM + 14, columns[c], "middle")
        for c in range(0, len(columns), step)
    ]
    parts.append(_text((left + WIDTH - RIGHT) / 2, height - 6, across, "middle"))
    parts.append("</svg>")
    scale = (
        f'<p class="legend"><span>{as_percent(least)}</span><span class="scale"></span>'
        f"<span>{as_percent(most)}</span></p>"
    )
    return "".join(parts) + scale


def _open(title: str, height: float) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {number(height)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _legend(lines: Sequence[Line]) -> str:
    parts = []
    for i, line in enumerate(lines):
        dash = f' stroke-dasharray="{DASHES[i % len(DASHES)]}"' if i % len(DASHES) else ""
        parts.append(
            f'<span><svg class="key" viewBox="0 0 26 8" aria-hidden="true"><path class="line '
            f's{line.colour}"{dash} d="M0 4H26"/></svg>{escape(line.name)}</span>'
        )
    return f'<p class="legend">{"".join(parts)}</p>'
