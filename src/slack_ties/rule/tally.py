"""What is counted while a tensor is merged, for a report: of which entries kept and lost what.

The engines fill it in with the thresholds and the election of the merge itself, so that no figure
can describe another rule. Numbers of entries are exact and the same for every engine, block size
and number of threads. Sums are of double precision and the same for every number of threads.
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

# Shares of all entries of a tensor, the largest deltas first: what is called important.
TOPS = (0.01, 0.05, 0.1, 0.2)

# The slacks that are tried, of all models whose slack is varied at once. native/numbers.h has as
# many.
GRID = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)

CLASSES = len(TOPS) + 1  # the smallest top that an entry is in, or none

# Under what a kept entry is lost to the election: columns of `lost`. The first is no election:
# entries in a conflict, won or lost. RESCUED are those that TIES loses and the config keeps.
CONFLICT, TIES, CONFIG, RESCUED, FIRST_OF_GRID = range(5)

LEVELS = FIRST_OF_GRID + len(GRID)

# Columns of `counts`: entries that differ from the base, kept ones, protected ones, and those in
# each top.
NONZERO, KEPT, PROTECTED, IN_TOP = range(4)

COLUMNS = 3 + len(TOPS)

# Columns of `sums`: squares of the delta, of its kept entries, and the delta times the merged one.
ENERGY, ENERGY_KEPT, WITH_MERGED = range(3)

SUMS = 3

# Bins of the histogram: the 8 bits of a float32's exponent. Bin b holds magnitudes from 2^(b - 127)
# up to twice that; bin 0 what is smaller, zeros among them.
BINS = 256

Integers = npt.NDArray[np.int64]

Floats = npt.NDArray[np.float64]


@dataclass(eq=False)
class Tally:
    """The counts and sums of one tensor, or of several. The first axis is of the models."""

    varied: tuple[bool, ...]  # of each model, whether the grid is of its slack
    entries: Integers  # of each model, in the tensors that it has
    counts: Integers  # models x COLUMNS
    sums: Floats  # models x SUMS
    lost: Integers  # models x CLASSES x LEVELS: entries
    lost_energy: Floats  # models x LEVELS: sums of the squares of those
    joint: Integers  # models x models x 2: both keep the entry; and with the same sign
    dots: Floats  # models x models: of their deltas
    histogram: Integers  # models x BINS
    positions: Integers  # 3: all, those in a conflict, those whose sign the config's slack changes
    merged_energy: Floats  # 1: squares of the merged delta

    @classmethod
    def empty(cls, varied: Sequence[bool]) -> Tally:
        """Return a tally of nothing, for as many models as are told whether they are varied."""
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
        """Return the tally of the tensors of both."""
        return Tally(
            self.varied,
            **{name: getattr(self, name) + getattr(other, name) for name in self.arrays()},
        )

    @classmethod
    def arrays(cls) -> list[str]:
        """Return the names of what is counted."""
        return [field.name for field in fields(cls) if field.name != "varied"]

    def of_models(self, places: Sequence[int], varied: Sequence[bool]) -> Tally:
        """Return this tally among that of more models; `places` says which of them these are."""
        wide = Tally.empty(varied)
        if places:
            for name in ("entries", "counts", "sums", "lost", "lost_energy", "histogram"):
                getattr(wide, name)[list(places)] = getattr(self, name)
            for i, one in enumerate(places):
                for j, other in enumerate(places[i + 1 :], i + 1):
                    pair = (min(one, other), max(one, other))
                    wide.joint[pair] = self.joint[i, j]
                    wide.dots[pair] = self.dots[i, j]
        wide.positions, wide.merged_energy = self.positions, self.merged_energy
        return wide

    def fill(self, size: int, counts: Integers, sums: Floats) -> None:
        """Take what an engine counted in a tensor of `size` entries, all in one row each.

        The rows are: `counts`, `lost`, `joint` and two of `positions`; `sums`, `lost_energy`,
        `dots` and `merged_energy`.
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
