"""Means and differences of the rows' scores, with 95 % intervals.

Values that are compared use the same seeds: in an unfinished run, the seeds that every part has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.intervals import Interval, bootstrap
from common.rows import right_of
from rows import Row, read_rows

__all__ = ["Effect", "Part", "Scores"]

Matrix = NDArray[np.float64]
Key = tuple[str, str, str, int, str]  # method, setting, SFT data, CT steps, language


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
        cells = [np.stack([right_of(r.right, r.items) for r in c]) for c in self._of(part, seeds)]
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
