"""Draw the charts of a search: scores by the values that were tried, and trials side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.report.charts import Line, Spot, line_chart
from slack_ties.report.dot_chart import Dot, DotRow, dot_chart
from slack_ties.rule.collect import CT_WEIGHT
from slack_ties.tuning.study import TrialResult, key_of
from slack_ties.tuning.verdict import with_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slack_ties.tuning.tuned import Tuned

__all__ = ["charts_of"]

MOST_LINES = 6  # colours in the palette

# The first of them that was varied is the horizontal axis.
AXES = ("slack", "weight", CT_WEIGHT, "density")

HELD_OUT = "held-out"


def charts_of(found: Tuned, *, shares: bool) -> list[tuple[str, str]]:
    """Return the titles and the charts of a search.

    Trials of one method are points of lines. Trials of several methods, or with equal values, have
    a row each.

    Args:
        found: The result of the search.
        shares: Whether scores are from 0 to 1.

    """
    points = {one.key: _values(one, found) for one in found.results}
    axis = next((name for name in AXES if _varies(points.values(), name)), "")
    if not axis or len({one.method for one in found.results}) > 1:
        return [_rows(found, shares=shares)]
    lines = _lines(found, points, axis)
    title = f"{found.metric} by {axis}"
    drawn = line_chart(
        title,
        lines[:MOST_LINES],
        across=axis,
        shares=shares,
        spots=_spots(found, points, axis),
        from_zero=False,
    )
    return [(title, drawn), *_parts(found, points, axis, shares=shares)]


def _values(result: TrialResult, found: Tuned) -> Mapping[str, float]:
    """Return the values of a trial; those of the config for the config as it is."""
    if result.values:
        return result.values
    varied = {name for one in found.results for name in one.values}
    same = {name: value for name, value in found.as_it_is.items() if name in varied}
    return same if same.keys() == varied else {}


def _varies(points: Iterable[Mapping[str, float]], name: str) -> bool:
    return len({values[name] for values in points if name in values}) > 1


def _line_of(values: Mapping[str, float], axis: str) -> str:
    """Return the name of the line that a trial is a point of: its values without the axis."""
    rest = {name: value for name, value in values.items() if name != axis}
    return key_of(rest) if rest else "other values as the config"


def _lines(found: Tuned, points: Mapping[str, Mapping[str, float]], axis: str) -> list[Line]:
    """Return a line for each combination of the other values, the best trial's first."""
    groups: dict[str, list[TrialResult]] = {}
    best = points[found.best.key]
    if axis in best:
        groups[_line_of(best, axis)] = []
    for result in sorted(found.results, key=lambda one: not one.values):
        values = points[result.key]
        name = _line_of(values, axis)
        # The config as it is is a point only of a line that has its other values.
        if axis in values and (result.values or name in groups):
            groups.setdefault(name, []).append(result)
    return [
        _line(name, 1 + i, [(points[one.key][axis], one) for one in group])
        for i, (name, group) in enumerate(groups.items())
    ]


def _line(
    name: str, colour: int, trials: Sequence[tuple[float, TrialResult]], part: str = ""
) -> Line:
    """Return the scores of trials, or one of their parts, by their positions."""
    order = sorted(trials, key=lambda pair: pair[0])
    values = [(x, one.parts[part] if part else one.score) for x, one in order]
    errors = [one.errors.get(part) for _, one in order]
    return Line(name, values, colour, errors)


def _spots(found: Tuned, points: Mapping[str, Mapping[str, float]], axis: str) -> list[Spot]:
    """Return the best trial, and the held-out scores."""
    best = points[found.best.key]
    if axis not in best:
        return []
    spots = [Spot(best[axis], found.best.score, f"best: {with_error(found.best)}")]
    for one in found.verdict.held_out:
        values = points.get(one.key, {})
        if axis in values:
            what = "best" if one.key == found.best.key else "config as it is"
            text = f"{HELD_OUT}, {what}: {with_error(one)}"
            error = one.errors.get("")
            spots.append(Spot(values[axis], one.score, text, hollow=False, error=error))
    return spots


def _parts(
    found: Tuned, points: Mapping[str, Mapping[str, float]], axis: str, *, shares: bool
) -> list[tuple[str, str]]:
    """Return charts of the parts of the score, for the trials of the best one's line."""
    names = found.parts()
    best = points[found.best.key]
    if len(names) < 2 or axis not in best:  # noqa: PLR2004 - one part is the score
        return []
    line = _line_of(best, axis)
    trials = [
        (values[axis], one)
        for one in found.results
        if axis in (values := points[one.key]) and _line_of(values, axis) == line
    ]
    lines = [_line(name, 1 + i % MOST_LINES, trials, name) for i, name in enumerate(names)]
    where = "" if line == "other values as the config" else f", {line}"
    # Shares have one axis; two perplexities may be far apart, and have one each.
    groups = [lines] if shares else [[one] for one in lines]
    charts = []
    for group in groups:
        title = f"{' and '.join(one.name for one in group)} by {axis}{where}"
        drawn = line_chart(title, group, across=axis, shares=shares, from_zero=False)
        charts.append((title, drawn))
    return charts


def _rows(found: Tuned, *, shares: bool) -> tuple[str, str]:
    """Return a chart with a row for each trial: its score, its parts, and the held-out score."""
    held_out = {one.key: one for one in found.verdict.held_out}
    names = found.parts() if shares else []
    rows = []
    for result in found.results:
        dots = [Dot(found.metric, result.score, result.errors.get(""))]
        dots += [Dot(name, result.parts[name], result.errors.get(name)) for name in names]
        if result.key in held_out:
            one = held_out[result.key]
            dots.append(Dot(f"{found.metric}, {HELD_OUT}", one.score, one.errors.get("")))
        mark = "* " if result is found.best else ""
        rows.append(DotRow(mark + found.name_of(result), dots))
    title = f"{found.metric} of all trials"
    hollow = f"{found.metric}, {HELD_OUT}"
    return title, dot_chart(title, rows, hollow=hollow, shares=shares)
