"""Means and differences of scores, with 95 % intervals by a paired bootstrap.

All seeds answer the same tasks, so both are drawn anew, with replacement: seeds for the chance
of training, tasks for the chance of which were asked. What is compared shares its draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rows import Row, read_rows

__all__ = ["Effect", "Interval", "Part", "Scores"]

DRAWS = 4000
OUTER = (2.5, 97.5)  # percentiles of a 95 % interval
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
        """Say whether it is above zero: "holds", "opposite" or "undecided"."""
        return "holds" if self.low > 0 else "opposite" if self.high < 0 else "undecided"


@dataclass(frozen=True)
class Part:
    """Which rows are meant: a method at a setting, in some cells."""

    method: str
    setting: str = ""
    cells: tuple[tuple[str, int], ...] = ()
    language: str = "x"


# The sum of means of parts, each times a factor: (1, a), (-1, b) is the difference of a and b.
Effect = Sequence[tuple[float, Part]]


class Scores:
    """The rows of one file of results, by what was scored."""

    def __init__(self, path: Path) -> None:
        """Read a file; one that is not there has no rows."""
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

    def accuracy(self, effect: Effect) -> Interval:
        """Return a sum of mean accuracies, with its interval."""
        matrix: Matrix = sum(factor * self._right(part) for factor, part in effect)  # type: ignore[assignment]
        return bootstrap(matrix)

    def perplexity(self, effect: Effect) -> Interval:
        """Return a product of powers of geometric means of perplexities: with 1, -1 a ratio."""
        logs: Matrix = sum(factor * self._log_perplexity(part) for factor, part in effect)  # type: ignore[assignment]
        found = bootstrap(logs[:, None])
        return Interval(*np.exp([found.value, found.low, found.high]).tolist())

    def _right(self, part: Part) -> Matrix:
        """Return (seeds, items): how often, over the cells, a task was answered right."""
        cells = [np.stack([_bits(r.right, r.items) for r in rows]) for rows in self.of(part)]
        return np.mean(cells, axis=0)

    def _log_perplexity(self, part: Part) -> Matrix:
        return np.mean([[np.log(r.perplexity) for r in rows] for rows in self.of(part)], axis=0)


def _keys(part: Part) -> list[Key]:
    return [(part.method, part.setting, sft, ct, part.language) for sft, ct in part.cells]


def bootstrap(matrix: Matrix) -> Interval:
    """Return the mean of (seeds, items) with its interval, drawing rows and columns anew."""
    of_seeds, of_items = _draws(*matrix.shape)
    means = np.einsum("ds,si,di->d", of_seeds, matrix, of_items, optimize=True)
    low, high = np.percentile(means, OUTER)
    return Interval(float(matrix.mean()), float(low), float(high))


@lru_cache
def _draws(seeds: int, items: int) -> tuple[Matrix, Matrix]:
    """Return how much each seed and each item counts in each draw: (draws, seeds or items)."""
    chance = np.random.default_rng(0)
    of_seeds, of_items = (
        chance.multinomial(many, np.full(many, 1 / many), DRAWS) / many for many in (seeds, items)
    )
    return of_seeds, of_items


@cache
def _bits(right: str, items: int) -> Matrix:
    number = int(right, 16)
    return np.array([number >> place & 1 for place in range(items)], dtype=float)
