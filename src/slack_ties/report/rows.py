"""The figures of a model that people see: each with a name, its meaning, and how it is shown.

`report`, its page and `compare` show these names, and docs/report.md explains each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.rule.tally import CONFIG, CONFLICT, RESCUED, TIES, TOPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from slack_ties.report.figures import Figures

__all__ = ["IMPORTANT", "NO_SHARE", "ROWS", "FigureRow", "percent"]

IMPORTANT = TOPS.index(0.1)  # the top for sentences, tables and pictures

NO_SHARE = "- means: no share, because the model equals the base or none of it is kept"


def percent(share: float | None) -> str:
    """Return a share for people; a small share is not rounded to 0."""
    if share is None:
        return "-"
    if 0 < share < 0.001:  # noqa: PLR2004 - what would be shown as 0.1 % or 0.0 %
        return "less than 0.1 %"
    number = 100 * share
    return f"{number:.0f} %" if number >= 10 or number == 0 else f"{number:.1f} %"  # noqa: PLR2004


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _decimals(value: float | None) -> str:
    """Return a density or slack as a config gives it."""
    return "-" if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{int(value):,}"


@dataclass(frozen=True)
class FigureRow:
    """One figure of a model."""

    name: str
    meaning: str  # in one short line
    value: Callable[[Figures], float | None]
    show: Callable[[float | None], str] = percent
    in_terminal: bool = False

    def text(self, figures: Figures) -> str:
        """Return the value for people."""
        return self.show(self.value(figures))


ROWS = (
    FigureRow(
        "delta norm",
        "size of what the model changed",
        lambda f: f.norm,
        _number,
        in_terminal=True,
    ),
    FigureRow(
        "density in effect",
        "share of entries that trimming keeps",
        lambda f: f.density,
        _decimals,
        in_terminal=True,
    ),
    FigureRow(
        "slack in effect",
        "share of entries that vote first",
        lambda f: f.slack,
        _decimals,
        in_terminal=True,
    ),
    FigureRow(
        "in conflict",
        "kept entries against which another model votes",
        lambda f: f.lost(CONFLICT),
    ),
    FigureRow(
        "lost, TIES",
        "kept entries not merged, with slack 0",
        lambda f: f.lost(TIES),
        in_terminal=True,
    ),
    FigureRow(
        "lost, config",
        "the same, with the config's slack",
        lambda f: f.lost(CONFIG),
        in_terminal=True,
    ),
    FigureRow(
        "top 10 % lost, TIES",
        "of the 10 % largest, with slack 0",
        lambda f: f.top_lost(IMPORTANT, TIES),
        in_terminal=True,
    ),
    FigureRow(
        "top 10 % lost, config",
        "the same, with the config's slack",
        lambda f: f.top_lost(IMPORTANT, CONFIG),
        in_terminal=True,
    ),
    FigureRow(
        "energy lost, config",
        "squares of lost deltas, of all squares",
        lambda f: f.energy_lost(CONFIG),
    ),
    FigureRow(
        "entries rescued",
        "lost with slack 0, merged by this config",
        lambda f: f.losses(RESCUED),
        _count,
    ),
    FigureRow(
        "effective weight",
        "factor of this delta in the merged delta",
        lambda f: f.weight,
        _decimals,
    ),
)
