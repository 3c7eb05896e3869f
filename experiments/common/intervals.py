"""Means, differences and correlations with 95 % intervals, by a paired bootstrap.

All seeds answer the same tasks. The bootstrap draws both with replacement: seeds, because training
is random, and tasks, because their choice is random. Values that are compared use the same draws.

Draws of few seeds vary too little. So they are widened by Student's t (its 97.5 % quantile divided
by that of the normal distribution, times the root of n / (n - 1)). One or two seeds tell nothing
about other seeds: then only tasks are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEW", "Interval", "bootstrap", "correlation", "rank_correlation"]

DRAWS = 60_000  # so that another seed of theirs moves an end by no more than 0.001 or so
OUTER = (2.5, 97.5)  # percentiles of a 95 % interval
# The 97.5 % quantiles of Student's t with one degree of freedom less than there are seeds.
STUDENT = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
NORMAL = 1.960
FEW = min(STUDENT)  # seeds, from which on intervals speak of other models
STRAIGHT = 0.9999  # the largest correlation: that of 1 has no z
Matrix = NDArray[np.float64]


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


def bootstrap(matrix: Matrix) -> Interval:
    """Return the mean of (seeds, items) with its interval, drawing rows and columns anew."""
    seeds = len(matrix)
    of_seeds, of_items = _draws(*matrix.shape)
    of_seeds = 1 / seeds + _widening(seeds) * (of_seeds - 1 / seeds)
    means = (of_seeds * (of_items @ matrix.T)).sum(axis=1)
    low, high = np.percentile(means, OUTER)
    return Interval(float(matrix.mean()), float(low), float(high))


def correlation(seeds: NDArray[Any], one: Matrix, other: Matrix) -> Interval:
    """Return the mean of the seeds' Pearson correlations, by Fisher's z, with its interval.

    Args:
        seeds: The seed of each point.
        one: One value of each point.
        other: The other value of each point.

    Raises:
        ValueError: There is no seed in which both values vary.

    """
    found = [np.corrcoef(*pair)[0, 1] for pair in _varying(seeds, one, other)]
    mean = bootstrap(np.arctanh(np.clip(found, -STRAIGHT, STRAIGHT))[:, None])
    return Interval(*np.tanh([mean.value, mean.low, mean.high]).tolist())


def rank_correlation(seeds: NDArray[Any], one: Matrix, other: Matrix) -> Interval:
    """Return the mean of the seeds' Spearman correlations, with its interval over seeds.

    It is not by Fisher's z: few points often have the same order in both values, and the z of a
    correlation of 1 would outweigh all others. Equal values share the mean of their ranks.

    Args:
        seeds: The seed of each point.
        one: One value of each point.
        other: The other value of each point.

    Raises:
        ValueError: There is no seed in which both values vary.

    """
    pairs = _varying(seeds, one, other)
    found = [np.corrcoef(_ranks(left), _ranks(right))[0, 1] for left, right in pairs]
    mean = bootstrap(np.array(found)[:, None])
    return Interval(mean.value, max(mean.low, -1.0), min(mean.high, 1.0))


def _varying(seeds: NDArray[Any], one: Matrix, other: Matrix) -> list[tuple[Matrix, Matrix]]:
    """Return both values of the points of each seed, if both vary."""
    pairs = [(one[seeds == seed], other[seeds == seed]) for seed in np.unique(seeds)]
    found = [pair for pair in pairs if min(np.ptp(pair[0]), np.ptp(pair[1])) > 0]
    if not found:
        msg = "no seed in which both values vary, so no correlation"
        raise ValueError(msg)
    return found


def _ranks(values: Matrix) -> Matrix:
    """Return the rank of each value, from 1 on."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Matrix = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


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
