"""The counts of a merged tensor for a report: how many entries each model kept and lost.

The engines count with the thresholds and the election of the merge itself, so the counts always
describe the merge. Numbers of entries are exact, and the same for every engine, block size and
number of threads. Sums have double precision, and are the same for every number of threads.
Tallies of several tensors can be added.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BINS",
    "CLASSES",
    "COLUMNS",
    "CONFIG",
    "CONFLICT",
    "ENERGY",
    "ENERGY_KEPT",
    "FIRST_OF_GRID",
    "GRID",
    "IN_GRID",
    "IN_TOP",
    "KEPT",
    "LEVELS",
    "NONZERO",
    "PROTECTED",
    "RESCUED",
    "SUMS",
    "TIES",
    "TOPS",
    "WITH_MERGED",
    "Tally",
]

# Shares of all entries of a tensor, the largest deltas first: the important entries.
TOPS = (0.01, 0.05, 0.1, 0.2)

# The slacks to try; all varied models get the same one. native/numbers.h has their number.
GRID = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)

CLASSES = len(TOPS) + 1  # the smallest top that contains an entry, or none

# Columns of `lost`: the kept entries that lose an election. CONFLICT is not an election: it counts
# all entries in a conflict. RESCUED counts the entries that TIES loses and the config keeps.
CONFLICT, TIES, CONFIG, RESCUED, FIRST_OF_GRID = range(5)

LEVELS = FIRST_OF_GRID + len(GRID)

# Columns of `counts`: entries that differ from the base, kept entries, protected entries, entries
# in each top, and the entries that each slack of the grid would protect.
NONZERO, KEPT, PROTECTED, IN_TOP = range(4)

IN_GRID = IN_TOP + len(TOPS)

COLUMNS = IN_GRID + len(GRID)

# Columns of `sums`: squares of the delta, squares of its kept entries, and the products of the
# delta and the merged delta.
ENERGY, ENERGY_KEPT, WITH_MERGED = range(3)

SUMS = 3

# Bins of the histogram: the 8 bits of a float32's exponent. Bin b counts magnitudes from
# 2^(b - 127) up to twice that; bin 0 counts zeros and all smaller magnitudes.
BINS = 256

Integers = npt.NDArray[np.int64]

Floats = npt.NDArray[np.float64]


@dataclass(eq=False)
class Tally:
    """The counts and sums of one tensor, or of several. The first axis is the model."""

    varied: tuple[bool, ...]  # for each model, whether the grid varies its slack
    entries: Integers  # for each model, the entries of the tensors that it has
    counts: Integers  # models x COLUMNS
    sums: Floats  # models x SUMS
    lost: Integers  # models x CLASSES x LEVELS: numbers of entries
    lost_energy: Floats  # models x LEVELS: sums of the squares of the lost entries
    joint: Integers  # models x models x 2: entries that both keep; and keep with the same sign
    dots: Floats  # models x models: dot products of their deltas
    histogram: Integers  # models x BINS
    positions: Integers  # 3: all, in a conflict, and with a sign that the config's slack changes
    merged_energy: Floats  # 1: the sum of the squares of the merged delta

    @classmethod
    def empty(cls, varied: Sequence[bool]) -> Tally:
        """Return a tally with zero counts; `varied` has an entry for each model."""
        n = len(varied)
        return cls(
            tuple(varied),
            entries=np.zeros(n, np.int64),
            counts=np.zeros((n, COLUMNS), np.int64),
            sums=np.zeros((n, SUMS)),
            lost=np.zeros((n, CLASSES, LEVELS), np.int64),
            lost_energy=np.zeros((n, LEVELS)),
            joint=np.zeros((n, n, 2), np.int64),
            dots=np.zeros((n, n)),
            histogram=np.zeros((n, BINS), np.int64),
            positions=np.zeros(3, np.int64),
            merged_energy=np.zeros(1),
        )

    def __add__(self, other: Tally) -> Tally:
        """Return the tally of the tensors of both tallies."""
        return Tally(
            self.varied,
            **{name: getattr(self, name) + getattr(other, name) for name in self.arrays()},
        )

    @classmethod
    def arrays(cls) -> list[str]:
        """Return the names of the fields with counts and sums."""
        return [field.name for field in fields(cls) if field.name != "varied"]

    def of_models(self, positions: Sequence[int], varied: Sequence[bool]) -> Tally:
        """Return this tally with rows for more models; `positions` are the rows of this one's."""
        wide = Tally.empty(varied)
        if positions:
            for name in ("entries", "counts", "sums", "lost", "lost_energy", "histogram"):
                getattr(wide, name)[list(positions)] = getattr(self, name)
            for i, one in enumerate(positions):
                for j, other in enumerate(positions[i + 1 :], i + 1):
                    pair = (min(one, other), max(one, other))
                    wide.joint[pair] = self.joint[i, j]
                    wide.dots[pair] = self.dots[i, j]
        wide.positions, wide.merged_energy = self.positions, self.merged_energy
        return wide

    def fill(self, size: int, counts: Integers, sums: Floats) -> None:
        """Fill the tally with an engine's counts of a tensor of `size` entries.

        `counts` is a row with the fields `counts`, `lost`, `joint` and two of `positions`; `sums`
        is a row with `sums`, `lost_energy`, `dots` and `merged_energy`.
        """
        n = len(self.varied)
        of_counts = np.split(counts, np.cumsum([n * COLUMNS, n * CLASSES * LEVELS, 2 * n * n]))
        of_sums = np.split(sums, np.cumsum([n * SUMS, n * CLASSES * LEVELS, n * n]))
        self.entries = np.full(n, size, np.int64)
        self.counts = of_counts[0].reshape(n, COLUMNS)
        self.lost = of_counts[1].reshape(n, CLASSES, LEVELS)
        self.joint = of_counts[2].reshape(n, n, 2)
        self.positions = np.array([size, *of_counts[3]], np.int64)
        self.sums = of_sums[0].reshape(n, SUMS)
        self.lost_energy = of_sums[1].reshape(n, CLASSES, LEVELS).sum(axis=1)
        self.dots = of_sums[2].reshape(n, n)
        self.merged_energy = of_sums[3]
