"""Draw a chart of scores with one row for each thing, as SVG; see charts.py."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from slack_ties.report.charts import RIGHT, TICKS, TOP, WIDTH, as_percent, label, number, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Dot", "DotRow", "dot_chart"]

EDGE = 14  # units left of the axis: half of the first label
LINE, LANE, GAP = 14, 9, 5  # units: the name of a row, each of its dots, and the space below
LONGEST = 66  # characters of a name that fit in the width


@dataclass(frozen=True)
class Dot:
    """One value of a row."""

    series: str
    value: float
    error: float | None = None  # standard error


@dataclass(frozen=True)
class DotRow:
    """A row: its name, and its values from top to bottom."""

    name: str
    dots: Sequence[Dot]


def dot_chart(title: str, rows: Sequence[DotRow], *, hollow: str = "", shares: bool = True) -> str:
    """Return a chart with the values of each row as dots with error bars.

    Args:
        title: For people who cannot see the chart.
        rows: From top to bottom.
        hollow: The series that is drawn as a diamond.
        shares: Whether values are shares.

    """
    every = [dot for row in rows for dot in row.dots]
    if not every:
        return f'<p class="none">{escape(title)}: no figures.</p>'
    ends = [dot.value + side * (dot.error or 0.0) for dot in every for side in (-1, 1)]
    margin = (max(ends) - min(ends)) / 20 or abs(max(ends)) / 10 or 1.0
    low, top = min(ends) - margin, max(ends) + margin
    if shares and all(0 <= dot.value <= 1 for dot in every):  # their error bars end there, too
        low, top = max(low, 0.0), min(top, 1.0)
    show = as_percent if shares else number
    names = [name for name in dict.fromkeys(dot.series for dot in every) if name != hollow]
    bottom = TOP + sum(LINE + LANE * len(row.dots) + GAP for row in rows)

    def place(value: float) -> float:
        value = min(max(value, low), top)
        return EDGE + (value - low) / (top - low) * (WIDTH - EDGE - RIGHT - 6)

    parts = [opened(title, bottom + 22)]
    for i in range(TICKS + 1):
        tick = low + (top - low) * i / TICKS
        x = number(place(tick))
        parts.append(f'<path class="grid" d="M{x} {TOP}V{number(bottom)}"/>')
        anchor = "start" if i == 0 else "end" if i == TICKS else "middle"
        parts.append(
            f'<text x="{x}" y="{number(bottom + 14)}" text-anchor="{anchor}">{show(tick)}</text>'
        )
    y = float(TOP)
    for row in rows:
        name = row.name if len(row.name) <= LONGEST else row.name[: LONGEST - 3] + "..."
        parts.append(label(EDGE, y + 10, name, "start"))
        for i, dot in enumerate(row.dots):
            middle = y + LINE + LANE * (i + 0.5)
            text = f"{row.name}, {dot.series}: {show(dot.value)}"
            colour = 1 + names.index(dot.series) % 6 if dot.series != hollow else 0
            parts.append(_dot(dot, place, middle, text, colour))
        y += LINE + LANE * len(row.dots) + GAP
    keys = [(name, 1 + i % 6) for i, name in enumerate(names)]
    if any(dot.series == hollow for dot in every):
        keys.append((hollow, 0))
    return "".join(parts) + "</svg>" + _legend(keys)


def _dot(dot: Dot, place: Callable[[float], float], y: float, text: str, colour: int) -> str:
    """Return a dot and its error bar; colour 0 is a diamond."""
    bar = ""
    if dot.error:
        ends = [number(place(dot.value + side * dot.error)) for side in (-1, 1)]
        kind = f"bar s{colour}" if colour else "held"
        bar = f'<path class="{kind}" d="M{ends[0]} {number(y)}H{ends[1]}"/>'
    return bar + _shape(place(dot.value), y, colour, text)


def _shape(x: float, y: float, colour: int, text: str = "") -> str:
    title = f"<title>{escape(text)}</title>" if text else ""
    if colour:
        kind = f'class="dot f{colour}" cx="{number(x)}" cy="{number(y)}" r="3"'
        return f"<circle {kind}>{title}</circle>"
    sides = [(x, y - 4), (x + 4, y), (x, y + 4), (x - 4, y)]
    path = "L".join(f"{number(a)} {number(b)}" for a, b in sides)
    return f'<path class="held" d="M{path}Z">{title}</path>'


def _legend(keys: Sequence[tuple[str, int]]) -> str:
    parts = [
        f'<span><svg class="key" viewBox="0 0 26 10" aria-hidden="true">{_shape(13, 5, colour)}'
        f"</svg>{escape(name)}</span>"
        for name, colour in keys
    ]
    return f'<p class="legend">{"".join(parts)}</p>'
