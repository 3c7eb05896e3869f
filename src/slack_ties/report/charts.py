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
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "BOTTOM",
    "LEFT",
    "RIGHT",
    "TICKS",
    "TOP",
    "WIDTH",
    "Line",
    "Spot",
    "as_percent",
    "label",
    "line_chart",
    "number",
    "opened",
]

WIDTH, HEIGHT = 400, 230

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 38

DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4")

TICKS = 4

BESIDE = 4  # units between two series that have error bars

APART = 36  # units between the middles of two labels below an axis


@dataclass(frozen=True)
class Line:
    """One series: points from left to right; a missing value interrupts the line."""

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: int  # number in the page's palette, from 1
    errors: Sequence[float | None] = ()  # standard error of each point; none if empty


@dataclass(frozen=True)
class Spot:
    """A point to mark; its text is below the chart, where it covers nothing."""

    x: float
    y: float
    text: str
    hollow: bool = True  # a ring around a point; else a point of its own: a diamond
    error: float | None = None


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


@dataclass(frozen=True)
class _Plane:
    """Where values are in a chart."""

    first: float  # ends of the horizontal axis
    last: float
    low: float  # ends of the vertical axis
    top: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        value = min(max(value, self.low), self.top)
        share = (value - self.low) / (self.top - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def bar(self, x: float, y: float, error: float | None, colour: str) -> str:
        """Return an error bar at x units: one standard error to each side."""
        if not error:
            return ""
        above, below = number(self.y(y + error)), number(self.y(y - error))
        return f'<path class="bar {colour}" d="M{number(x)} {above}V{below}"/>'


def line_chart(  # noqa: PLR0913 - all by name
    title: str,
    lines: Sequence[Line],
    *,
    across: str,
    shares: bool = True,
    ticks: Mapping[float, str] | None = None,
    mark: tuple[float, str] | None = None,
    spots: Sequence[Spot] = (),
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
        spots: Points to mark.
        largest: The end of the vertical axis; a little above the largest value if not given.
        from_zero: Whether the vertical axis begins at 0, not a little below the smallest value.

    """
    positions = sorted({x for line in lines for x, _ in line.points})
    values = _values(lines, spots)
    if not positions or not values:
        return f'<p class="none">{escape(title)}: no figures.</p>'
    first = positions[0]
    last = positions[-1] if positions[-1] > first else first + 1
    low, top = 0.0, largest or _nice(max(values))
    if not from_zero and max(values) > min(values):
        margin = (max(values) - min(values)) / 10
        low, top = min(values) - margin, max(values) + margin
        points = [y for line in lines for _, y in line.points if y is not None]
        if shares and all(0 <= y <= 1 for y in points):  # error bars end there, too
            low, top = max(low, 0.0), min(top, 1.0)
    plane = _Plane(first, last, low, top)
    show = as_percent if shares else number
    parts = [opened(title, HEIGHT), *_axes(plane, show)]
    shown = _apart(positions, plane) if ticks is None else ticks
    for x, text in shown.items():
        parts.append(label(plane.x(x), HEIGHT - BOTTOM + 15, text, "middle"))
    parts.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, "middle"))
    if mark:
        x = plane.x(mark[0])
        parts.append(f'<path class="mark" d="M{number(x)} {TOP}V{HEIGHT - BOTTOM}"/>')
        side = "end" if x > WIDTH / 2 else "start"
        parts.append(label(x + (-4 if side == "end" else 4), HEIGHT / 2, mark[1], side))
    # Series with error bars are beside each other, or bars would cover bars.
    beside = BESIDE if any(line.errors for line in lines) else 0.0
    for i, line in enumerate(lines):
        shift = beside * (i - (len(lines) - 1) / 2)
        parts += _drawn(line, i, plane, across, show=show, shift=shift)
    right = beside * (len(lines) + 1) / 2
    parts += [_spot(spot, plane, right) for spot in spots]
    parts.append("</svg>")
    return "".join(parts) + _legend(lines, spots)


def _values(lines: Sequence[Line], spots: Sequence[Spot]) -> list[float]:
    """Return all values of a chart, and the ends of their error bars."""
    pairs = [
        (y, error or 0.0)
        for line in lines
        for (_, y), error in zip(line.points, line.errors or [None] * len(line.points), strict=True)
        if y is not None
    ]
    pairs += [(spot.y, spot.error or 0.0) for spot in spots]
    return [value for y, error in pairs for value in (y - error, y + error)]


def _axes(plane: _Plane, show: Callable[[float], str]) -> Iterator[str]:
    for i in range(TICKS + 1):
        tick = plane.low + (plane.top - plane.low) * i / TICKS
        y = plane.y(tick)
        yield f'<path class="grid" d="M{LEFT} {number(y)}H{WIDTH - RIGHT}"/>'
        yield label(LEFT - 5, y + 4, show(tick), "end")


def _apart(positions: Sequence[float], plane: _Plane) -> dict[float, str]:
    """Return labels for positions, as many as do not cover each other."""
    step = max(1, math.ceil(len(positions) / 8))
    found: dict[float, str] = {}
    for x in positions[::step]:
        if not found or plane.x(x) - plane.x(next(reversed(found))) >= APART:
            found[x] = number(x)
    return found


def _drawn(  # noqa: PLR0913 - one call
    line: Line,
    place: int,
    plane: _Plane,
    across: str,
    *,
    show: Callable[[float], str],
    shift: float,
) -> Iterator[str]:
    """Yield the path, the error bars and the points of a series, `shift` units to the right."""
    path, pen = [], "M"
    for x, value in line.points:
        if value is None:
            pen = "M"
            continue
        path.append(f"{pen}{number(plane.x(x) + shift)} {number(plane.y(value))}")
        pen = "L"
    dash = f' stroke-dasharray="{DASHES[place % len(DASHES)]}"' if place % len(DASHES) else ""
    yield f'<path class="line s{line.colour}"{dash} d="{"".join(path)}"/>'
    for (x, y), error in zip(line.points, line.errors or [None] * len(line.points), strict=True):
        if y is not None:
            yield plane.bar(plane.x(x) + shift, y, error, f"s{line.colour}")
            yield (
                f'<circle class="dot f{line.colour}" cx="{number(plane.x(x) + shift)}" '
                f'cy="{number(plane.y(y))}" r="2.5"><title>{escape(line.name)}, '
                f"{escape(across)} {number(x)}: {show(y)}</title></circle>"
            )


def _spot(spot: Spot, plane: _Plane, right: float) -> str:
    """Return a ring around a point of the first series, or a diamond right of all series."""
    x, y, title = plane.x(spot.x), plane.y(spot.y), f"<title>{escape(spot.text)}</title>"
    if spot.hollow:
        x -= max(right - BESIDE, 0.0)
        return f'<circle class="ring" cx="{number(x)}" cy="{number(y)}" r="6">{title}</circle>'
    x += right
    bar = plane.bar(x, spot.y, spot.error, "held")
    return f'{bar}<path class="held" d="{_diamond(x, y)}">{title}</path>'


def _diamond(x: float, y: float) -> str:
    left, right, above, below = (number(one) for one in (x - 5, x + 5, y - 5, y + 5))
    return f"M{number(x)} {above}L{right} {number(y)}L{number(x)} {below}L{left} {number(y)}Z"


def opened(title: str, height: float) -> str:
    """Return the beginning of a chart; `height` is in units."""
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {number(height)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>'
    )


def label(x: float, y: float, text: str, anchor: str) -> str:
    """Return a text in a chart; `anchor` is start, middle or end."""
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _legend(lines: Sequence[Line], spots: Sequence[Spot] = ()) -> str:
    parts = []
    for i, line in enumerate(lines):
        dash = f' stroke-dasharray="{DASHES[i % len(DASHES)]}"' if i % len(DASHES) else ""
        parts.append(
            f'<span><svg class="key" viewBox="0 0 26 8" aria-hidden="true"><path class="line '
            f's{line.colour}"{dash} d="M0 4H26"/></svg>{escape(line.name)}</span>'
        )
    for spot in spots:
        drawn = f'<path class="held" d="{_diamond(13, 6)}"/>'
        if spot.hollow:
            drawn = '<circle class="ring" cx="13" cy="6" r="5"/>'
        key = f'<svg class="key" viewBox="0 0 26 12" aria-hidden="true">{drawn}</svg>'
        parts.append(f"<span>{key}{escape(spot.text)}</span>")
    return f'<p class="legend">{"".join(parts)}</p>'
