"""What reports say of merges, beside what was measured: reports.csv and scores.csv together."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from common.intervals import Interval, rank_correlation
from real.curves import slack_dial
from real.scores import Part, Scores, Vectors

__all__ = ["NOT_FIGURES", "Advice", "Link"]

KEYS = ("language", "seed", "ct", "sft", "method", "values")
NOT_FIGURES = ("suggested_slack", "suggested_in_effect")  # of the models, not of one merge
FEWEST = 4  # merges of a seed that have a rank correlation


@dataclass(frozen=True)
class Link:
    """How a figure of reports goes with items right and with bits per byte.

    Attributes:
        skill: Rank correlation with items right, in the mean over seeds; None if nothing varies.
        bits: With bits per byte.
        merges: How many.
        groups: Pairs of a language and a seed.

    """

    skill: Interval | None
    bits: Interval | None
    merges: int
    groups: int


class Advice:
    """The rows of reports.csv of one size."""

    def __init__(self, scores: Scores) -> None:
        """Read the reports beside the scores; a missing file has none."""
        self.scores = scores
        path = scores.results / "reports.csv"
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                self.rows = list(csv.DictReader(file))

    @property
    def names(self) -> list[str]:
        """The figures that some report has."""
        known = [name for name in (self.rows[0] if self.rows else {}) if name not in KEYS]
        return [
            name
            for name in known
            if name not in NOT_FIGURES and any(row[name] for row in self.rows)
        ]

    def link(self, name: str, *, main: bool = False) -> Link:
        """Return how a figure goes with what was measured, over the merges of a seed.

        Args:
            name: The figure.
            main: Only merges of the main budgets.

        """
        points: list[tuple[str, float, float, float]] = []
        for row in self.rows:
            part, seed = _part_of(row), int(row["seed"])
            budgets = (self.scores.size.ct_main, self.scores.size.sft_main)
            right = self.scores.right(row["language"], part).get(seed)
            bits = self.scores.bits(row["language"], part).get(seed)
            counts = not main or (part.ct, part.sft) == budgets
            if counts and row[name] and right is not None and bits is not None:
                group = f"{row['language']} {seed}"
                points.append((group, float(row[name]), float(right.mean()), float(bits[0])))
        many = {group: sum(point[0] == group for point in points) for group, *_ in points}
        points = [point for point in points if many[point[0]] >= FEWEST]
        groups = sorted({group for group, *_ in points})
        if not groups:
            return Link(None, None, 0, 0)
        numbers = np.array([groups.index(group) for group, *_ in points])
        figure, right_of, bits_of = (np.array([p[at] for p in points]) for at in (1, 2, 3))
        return Link(
            _correlated(numbers, figure, right_of),
            _correlated(numbers, figure, bits_of),
            len(points),
            len(groups),
        )

    @cached_property
    def suggested(self) -> dict[tuple[str, int], tuple[float | None, float | None]]:
        """What the report of the merge at defaults suggests, by language and seed.

        A slack and its share in effect; None where the report suggests none.
        """
        default = self.scores.part("slack_ties")
        return {
            (row["language"], int(row["seed"])): (
                _number(row["suggested_slack"]),
                _number(row["suggested_in_effect"]),
            )
            for row in self.rows
            if _part_of(row) == default
        }

    def right(self, language: str) -> Vectors:
        """Return the items right of the merge with the suggested slack, where it was tried."""
        dial = slack_dial(self.scores)
        found = {}
        for (of, seed), (slack, _) in self.suggested.items():
            part = dial.get(slack) if slack is not None else None
            right = self.scores.right(language, part) if part and of == language else {}
            if seed in right:
                found[seed] = right[seed]
        return found


def _part_of(row: dict[str, str]) -> Part:
    return Part(row["method"], row["values"], int(row["ct"]), int(row["sft"]))


def _number(text: str) -> float | None:
    return float(text) if text else None


def _correlated(groups: np.ndarray, one: np.ndarray, other: np.ndarray) -> Interval | None:
    try:
        return rank_correlation(groups, one, other)
    except ValueError:
        return None
