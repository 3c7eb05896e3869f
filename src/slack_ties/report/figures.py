"""Compute figures from a tally: shares, norms, angles. docs/report.md defines each of them.

If the whole is 0, a share is None, not 0: a model that equals its base has no delta to lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from slack_ties.rule.tally import (
    CLASSES,
    CONFIG,
    CONFLICT,
    ENERGY,
    ENERGY_KEPT,
    FIRST_OF_GRID,
    GRID,
    IN_GRID,
    IN_TOP,
    KEPT,
    NONZERO,
    PROTECTED,
    RESCUED,
    TIES,
    TOPS,
    WITH_MERGED,
    Tally,
)

__all__ = [
    "Figures",
    "as_numbers",
    "conflict_share",
    "cosine",
    "same_sign",
    "share",
    "tally_of",
]

BIAS = 127  # bin b of the histogram begins at 2^(b - BIAS)


def share(part: float, whole: float) -> float | None:
    """Return a share; None if the whole is 0."""
    return float(part / whole) if whole else None


@dataclass(frozen=True)
class Figures:
    """The figures of one model in one tensor, or in all tensors of a layer, a kind or a merge."""

    tally: Tally
    model: int

    @property
    def entries(self) -> int:
        """The number of entries of its tensors."""
        return int(self.tally.entries[self.model])

    def count(self, column: int) -> int:
        """Return a column of the tally's counts."""
        return int(self.tally.counts[self.model, column])

    @property
    def norm(self) -> float:
        """The Euclidean norm of its delta."""
        return math.sqrt(self.tally.sums[self.model, ENERGY])

    @property
    def density(self) -> float | None:
        """The share of entries that trimming kept, with ties at the threshold."""
        return share(self.count(KEPT), self.entries)

    @property
    def slack(self) -> float | None:
        """The share of entries that voted first, with ties at the threshold."""
        return self.slack_at(CONFIG)

    @property
    def energy_kept(self) -> float | None:
        """The share of the delta's energy that trimming kept."""
        sums = self.tally.sums[self.model]
        return share(sums[ENERGY_KEPT], sums[ENERGY])

    @property
    def weight(self) -> float | None:
        """The effective weight: the merged delta's projection on this delta, relative to it."""
        sums = self.tally.sums[self.model]
        return share(sums[WITH_MERGED], sums[ENERGY])

    def losses(self, level: int) -> int:
        """Return the kept entries that lose the election, are in a conflict, or are rescued."""
        return int(self.tally.lost[self.model, :, level].sum())

    def lost(self, level: int) -> float | None:
        """Return the share of kept entries that loses the election."""
        return share(self.losses(level), self.count(KEPT))

    def energy_lost(self, level: int) -> float | None:
        """Return the share of the delta's energy that loses the election."""
        lost = self.tally.lost_energy[self.model, level]
        return share(lost, self.tally.sums[self.model, ENERGY])

    def in_top(self, top: int) -> int:
        """Return the entries of a top, with ties at its threshold."""
        return self.count(IN_TOP + top)

    def top_losses(self, top: int, level: int) -> int:
        """Return the entries of a top that lose the election."""
        return int(self.tally.lost[self.model, : top + 1, level].sum())

    def top_lost(self, top: int, level: int) -> float | None:
        """Return the share of a top's entries that loses the election."""
        return share(self.top_losses(top, level), self.in_top(top))

    def top_kept(self, top: int, level: int) -> float | None:
        """Return the share of a top's entries that is in the merge: neither trimmed nor lost."""
        # Both sets are the largest entries: so the smaller set is their intersection.
        kept = min(self.in_top(top), self.count(KEPT))
        return share(kept - self.top_losses(top, level), self.in_top(top))

    def slack_at(self, level: int) -> float | None:
        """Return the share of entries that votes first at a level, with ties at the threshold."""
        columns = {TIES: None, CONFIG: PROTECTED}
        column = columns.get(level, IN_GRID + level - FIRST_OF_GRID)
        return share(self.count(column) if column is not None else 0, self.entries)

    def cost(self, level: int) -> float | None:
        """Return the share of kept entries that loses at a level, less the share at plain TIES."""
        return share(max(self.losses(level) - self.losses(TIES), 0), self.count(KEPT))

    def energy_cost(self, level: int) -> float | None:
        """Return the share of the delta's energy that loses at a level, less that at plain TIES."""
        lost = self.tally.lost_energy[self.model]
        more = max(float(lost[level] - lost[TIES]), 0.0)
        return share(more, self.tally.sums[self.model, ENERGY])

    def histogram(self) -> dict[int, int]:
        """Return counts by the exponent of the delta: {-9: 5} means five from 2^-9 up to 2^-8."""
        bins = self.tally.histogram[self.model]
        return {int(b) - BIAS: int(bins[b]) for b in np.flatnonzero(bins) if b > 0}


def cosine(tally: Tally, one: int, other: int) -> float | None:
    """Return the cosine between two models' deltas, over all entries."""
    norms = math.sqrt(tally.sums[one, ENERGY]) * math.sqrt(tally.sums[other, ENERGY])
    return share(tally.dots[one, other], norms)


def same_sign(tally: Tally, one: int, other: int) -> float | None:
    """Return the share of entries with the same sign, among those that both models keep."""
    both, same = tally.joint[one, other]
    return share(int(same), int(both))


def conflict_share(tally: Tally) -> float | None:
    """Return the share of positions at which kept entries disagree."""
    return share(int(tally.positions[1]), int(tally.positions[0]))


def as_numbers(tally: Tally) -> dict[str, Any]:
    """Return a tally as JSON values: the counts, and the shares computed from them."""
    return {
        "entries": int(tally.positions[0]),
        "conflicts": int(tally.positions[1]),
        "changed": int(tally.positions[2]),
        "merged_energy": float(tally.merged_energy[0]),
        "models": [_model(Figures(tally, t)) for t in range(len(tally.varied))],
        "pairs": [
            {
                "models": [one, other],
                "both_kept": int(tally.joint[one, other, 0]),
                "same_sign": int(tally.joint[one, other, 1]),
                "dot": float(tally.dots[one, other]),
                "cosine": cosine(tally, one, other),
            }
            for one in range(len(tally.varied))
            for other in range(one + 1, len(tally.varied))
        ],
    }


def _model(figures: Figures) -> dict[str, Any]:
    tally, t = figures.tally, figures.model
    bins = tally.histogram[t]
    used = np.flatnonzero(bins)
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, -1)
    return {
        "entries": figures.entries,
        "nonzero": figures.count(NONZERO),
        "kept": figures.count(KEPT),
        "protected": figures.count(PROTECTED),
        "top": [figures.in_top(top) for top in range(len(TOPS))],
        "grid_protected": [figures.count(IN_GRID + i) for i in range(len(GRID))],
        "energy": float(tally.sums[t, ENERGY]),
        "energy_kept": float(tally.sums[t, ENERGY_KEPT]),
        "dot_merged": float(tally.sums[t, WITH_MERGED]),
        "lost": tally.lost[t].T.tolist(),
        "lost_energy": tally.lost_energy[t].tolist(),
        "histogram": {"first_bin": first, "counts": bins[first : last + 1].tolist()},
        "shares": {
            "norm": figures.norm,
            "density": figures.density,
            "slack": figures.slack,
            "effective_weight": figures.weight,
            "in_conflict": figures.lost(CONFLICT),
            "lost": {"ties": figures.lost(TIES), "config": figures.lost(CONFIG)},
            "energy_lost": {
                "ties": figures.energy_lost(TIES),
                "config": figures.energy_lost(CONFIG),
            },
            "top_lost": {
                "ties": [figures.top_lost(top, TIES) for top in range(len(TOPS))],
                "config": [figures.top_lost(top, CONFIG) for top in range(len(TOPS))],
            },
            "rescued": figures.losses(RESCUED),
            "won": figures.losses(CONFLICT) - figures.losses(CONFIG),
        },
    }


def tally_of(data: dict[str, Any], varied: tuple[bool, ...]) -> Tally:
    """Return the tally for the output of `as_numbers`.

    Raises:
        KeyError, TypeError, ValueError: The data are not an output of `as_numbers`.

    """
    tally = Tally.empty(varied)
    for t, one in enumerate(data["models"]):
        tally.entries[t] = one["entries"]
        marks = [*one["top"], *one["grid_protected"]]
        tally.counts[t] = [one["nonzero"], one["kept"], one["protected"], *marks]
        tally.sums[t] = [one["energy"], one["energy_kept"], one["dot_merged"]]
        tally.lost[t] = np.array(one["lost"], np.int64).reshape(-1, CLASSES).T
        tally.lost_energy[t] = one["lost_energy"]
        bins = one["histogram"]
        first = int(bins["first_bin"])
        tally.histogram[t, first : first + len(bins["counts"])] = bins["counts"]
    for pair in data["pairs"]:
        one, other = pair["models"]
        tally.joint[one, other] = [pair["both_kept"], pair["same_sign"]]
        tally.dots[one, other] = pair["dot"]
    tally.positions[:] = [data["entries"], data["conflicts"], data["changed"]]
    tally.merged_energy[0] = data["merged_energy"]
    return tally
