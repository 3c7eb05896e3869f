"""Means and differences of scores, with 95 % intervals by a paired bootstrap.

All seeds answer the same tasks. The bootstrap draws both with replacement: seeds, because training
is random, and tasks, because their choice is random. Values that are compared use the same draws
and the same seeds: in an unfinished run, the seeds that every part has.

Draws of few seeds vary too little. So they are widened by Student's t (its 97.5 % quantile divided
by that of the normal distribution, times the root of n / (n - 1)). One or two seeds tell nothing
about other seeds: then only tasks are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rows import Row, read_rows

__all__ = ["FEW", "Effect", "Interval", "Part", "Scores", "bootstrap", "correlation"]

DRAWS = 60_000  # so that another seed of theirs moves an end by no more than 0.001 or so
OUTER = (2.5, 97.5)  # percentiles of a 95 % interval
# The 97.5 % quantiles of Student's t with one degree of freedom less than there are seeds.
STUDENT = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
NORMAL = 1.960
FEW = min(STUDENT)  # seeds, from which on intervals speak of other models
STRAIGHT = 0.9999  # the largest correlation: that of 1 has no z
Matrix = NDArray[np.float64]
Key = tuple[str, str, str, int, str]  # method, setting, SFT data, CT steps, language


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Say whether an effect is above zero: "holds", "opposite" or "undecided"."""
        return "holds" if self.low > 0 else "opposite" if self.high < 0 else "undecided"


@dataclass(frozen=True)
class Part:
    """A selection of rows: a method at a setting, in some cells."""

    method: str
    setting: str = ""
    cells: tuple[tuple[str, int], ...] = ()
    language: str = "x"


# The sum of means of parts, each times a factor: (1, a), (-1, b) is the difference of a and b.
Effect = Sequence[tuple[float, Part]]


class Scores:
    """The rows of one file of results."""

    def __init__(self, path: Path) -> None:
        """Read a file; a missing file has no rows."""
        self.rows: dict[Key, list[Row]] = {}
        for row in read_rows(path) if path.exists() else []:
            key = (row.method, row.setting, row.sft, row.ct, row.language)
            self.rows.setdefault(key, []).append(row)
        for rows in self.rows.values():
            rows.sort(key=lambda row: row.seed)

    def of(self, part: Part) -> list[list[Row]]:
        """Return the rows of a part: for each cell, those of all seeds; KeyError if missing."""
        return [self.rows[key] for key in _keys(part)]

    def has(self, part: Part) -> bool:
        """Say whether every cell of a part was scored."""
        return all(key in self.rows for key in _keys(part))

    def can(self, effect: Effect) -> bool:
        """Say whether an effect was measured: it has cells, and a seed scored in all of them."""
        parts = [part for _, part in effect]
        scored = all(part.cells and self.has(part) for part in parts)
        return bool(parts) and scored and bool(self.seeds(effect))

    def seeds(self, effect: Effect) -> list[int]:
        """Return the seeds that every cell of an effect has."""
        found = [{row.seed for row in rows} for _, part in effect for rows in self.of(part)]
        return sorted(set.intersection(*found))

    def accuracy(self, effect: Effect) -> Interval:
        """Return a sum of mean accuracies, with its interval."""
        return bootstrap(self._sum(effect))

    def mean_accuracy(self, effect: Effect) -> float:
        """Return a sum of mean accuracies alone, which takes no draws."""
        return float(self._sum(effect).mean())

    def perplexity(self, effect: Effect) -> Interval:
        """Return a product of powers of geometric means of perplexities: with 1, -1 a ratio."""
        seeds = self.seeds(effect)
        logs: Matrix = sum(factor * self._log_perplexity(part, seeds) for factor, part in effect)  # type: ignore[assignment]
        found = bootstrap(logs[:, None])
        return Interval(*np.exp([found.value, found.low, found.high]).tolist())

    def _sum(self, effect: Effect) -> Matrix:
        seeds = self.seeds(effect)
        return sum(factor * self._right(part, seeds) for factor, part in effect)  # type: ignore[return-value]

    def _right(self, part: Part, seeds: list[int]) -> Matrix:
        """Return (seeds, items): how often, over the cells, a task was answered right."""
        cells = [np.stack([_bits(r.right, r.items) for r in c]) for c in self._of(part, seeds)]
        made: Matrix = np.mean(cells, axis=0)
        return made

    def _log_perplexity(self, part: Part, seeds: list[int]) -> Matrix:
        logs = [[np.log(row.perplexity) for row in rows] for rows in self._of(part, seeds)]
        made: Matrix = np.mean(logs, axis=0)
        return made

    def _of(self, part: Part, seeds: list[int]) -> list[list[Row]]:
        return [[row for row in rows if row.seed in seeds] for rows in self.of(part)]


def _keys(part: Part) -> list[Key]:
    return [(part.method, part.setting, sft, ct, part.language) for sft, ct in part.cells]


def bootstrap(matrix: Matrix) -> Interval:
    """Return the mean of (seeds, items) with its interval, drawing rows and columns anew."""
    seeds = len(matrix)
    of_seeds, of_items = _draws(*matrix.shape)
    of_seeds = 1 / seeds + _widening(seeds) * (of_seeds - 1 / seeds)
    means = (of_seeds * (of_items @ matrix.T)).sum(axis=1)
    low, high = np.percentile(means, OUTER)
    return Interval(float(matrix.mean()), float(low), float(high))


def correlation(seeds: NDArray[Any], one: Matrix, other: Matrix) -> Interval:
    """Return the mean of the seeds' Pearson correlations, by Fisher's z, with its interval."""
    found = []
    for seed in np.unique(seeds):
        left, right = one[seeds == seed], other[seeds == seed]
        if min(np.ptp(left), np.ptp(right)) > 0:
            found.append(np.clip(np.corrcoef(left, right)[0, 1], -STRAIGHT, STRAIGHT))
    mean = bootstrap(np.arctanh(found)[:, None])
    return Interval(*np.tanh([mean.value, mean.low, mean.high]).tolist())


@lru_cache
def _draws(seeds: int, items: int) -> tuple[Matrix, Matrix]:
    """Return how much each seed and each item counts in each draw: (draws, seeds or items)."""
    chance = np.random.default_rng(0)
    of_seeds, of_items = (
        chance.multinomial(many, np.full(many, 1 / many), DRAWS) / many for many in (seeds, items)
    )
    return of_seeds, of_items


def _widening(seeds: int) -> float:
    if seeds < FEW:
        return 0.0
    return STUDENT.get(seeds, NORMAL) / NORMAL * math.sqrt(seeds / (seeds - 1))


@cache
def _bits(right: str, items: int) -> Matrix:
    number = int(right, 16)
    return np.array([number >> place & 1 for place in range(items)], dtype=float)
