"""What a tally says: shares, norms, angles. docs/report.md defines each.

A share of nothing is None, never 0: a model that equals its base loses no share of its delta.
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
    "Point",
    "as_numbers",
    "conflict_share",
    "cosine",
    "same_sign",
    "share",
    "tally_of",
]

BIAS = 127  # bin b of the histogram begins at 2^(b - BIAS)


def share(part: float, whole: float) -> float | None:
    """Return a share; None of nothing."""
    return float(part / whole) if whole else None


@dataclass(frozen=True)
class Point:
    """What one slack does to a model; None where there is nothing to have a share of."""

    slack: float
    top_kept: tuple[float | None, ...]  # of each of TOPS, the share that is in the merge
    lost: float | None  # to the election, of the kept entries
    energy_lost: float | None  # to the election, of the delta's energy


@dataclass(frozen=True)
class Figures:
    """One model in one tensor, or in all tensors of a layer, a kind or a merge."""

    tally: Tally
    model: int

    @property
    def entries(self) -> int:
        """Entries of its tensors."""
        return int(self.tally.entries[self.model])

    def count(self, column: int) -> int:
        """A column of the tally's counts."""
        return int(self.tally.counts[self.model, column])

    @property
    def norm(self) -> float:
        """The Euclidean norm of its delta."""
        return math.sqrt(self.tally.sums[self.model, ENERGY])

    @property
    def density(self) -> float | None:
        """The share of entries that trimming kept, ties at the threshold among them."""
        return share(self.count(KEPT), self.entries)

    @property
    def slack(self) -> float | None:
        """The share of entries that voted first, ties at the threshold among them."""
        return share(self.count(PROTECTED), self.entries)

    @property
    def energy_kept(self) -> float | None:
        """The share of the delta's energy that trimming kept."""
        sums = self.tally.sums[self.model]
        return share(sums[ENERGY_KEPT], sums[ENERGY])

    @property
    def weight(self) -> float | None:
        """The effective weight: of the merged delta's projection on this delta."""
        sums = self.tally.sums[self.model]
        return share(sums[WITH_MERGED], sums[ENERGY])

    def losses(self, level: int) -> int:
        """Kept entries that are lost to the election, or are in a conflict, or are rescued."""
        return int(self.tally.lost[self.model, :, level].sum())

    def lost(self, level: int) -> float | None:
        """The share of kept entries that is lost to the election."""
        return share(self.losses(level), self.count(KEPT))

    def energy_lost(self, level: int) -> float | None:
        """The share of the delta's energy that is lost to the election."""
        lost = self.tally.lost_energy[self.model, level]
        return share(lost, self.tally.sums[self.model, ENERGY])

    def in_top(self, top: int) -> int:
        """The entries of a top, ties at its threshold among them."""
        return self.count(IN_TOP + top)

    def top_losses(self, top: int, level: int) -> int:
        """Entries of a top that are lost to the election."""
        return int(self.tally.lost[self.model, : top + 1, level].sum())

    def top_lost(self, top: int, level: int) -> float | None:
        """The share of a top's entries that is lost to the election."""
        return share(self.top_losses(top, level), self.in_top(top))

    def top_kept(self, top: int, level: int) -> float | None:
        """The share of a top's entries that is in the merge: neither trimmed nor lost."""
        # Thresholds are nested: what is kept of a top is the smaller of the two sets.
        kept = min(self.in_top(top), self.count(KEPT))
        return share(kept - self.top_losses(top, level), self.in_top(top))

    def curve(self) -> list[Point]:
        """What each slack of the grid, of the models that are varied, does to this one."""
        levels = {0.0: TIES} if not _others_have_slack(self.tally) else {}
        levels |= {slack: FIRST_OF_GRID + i for i, slack in enumerate(GRID)}
        return [self.at(slack, level) for slack, level in levels.items()]

    def at(self, slack: float, level: int) -> Point:
        """Return a point of the curve."""
        return Point(
            slack,
            tuple(self.top_kept(top, level) for top in range(len(TOPS))),
            self.lost(level),
            self.energy_lost(level),
        )

    def histogram(self) -> dict[int, int]:
        """Entries by the exponent of their delta: {-9: 5} are five from 2^-9 up to 2^-8."""
        bins = self.tally.histogram[self.model]
        return {int(b) - BIAS: int(bins[b]) for b in np.flatnonzero(bins) if b > 0}


def _others_have_slack(tally: Tally) -> bool:
    """Say whether slack 0 of the varied models is not TIES, as others have slack of their own."""
    return any(
        tally.counts[t, PROTECTED] > 0 and not varied for t, varied in enumerate(tally.varied)
    )


def cosine(tally: Tally, one: int, other: int) -> float | None:
    """Return the cosine between two models' deltas, over all entries."""
    norms = math.sqrt(tally.sums[one, ENERGY]) * math.sqrt(tally.sums[other, ENERGY])
    return share(tally.dots[one, other], norms)


def same_sign(tally: Tally, one: int, other: int) -> float | None:
    """Return, of the entries that both models keep, the share with the same sign."""
    both, same = tally.joint[one, other]
    return share(int(same), int(both))


def conflict_share(tally: Tally) -> float | None:
    """Return the share of positions at which kept entries disagree."""
    return share(int(tally.positions[1]), int(tally.positions[0]))


def as_numbers(tally: Tally) -> dict[str, Any]:
    """Return a tally as JSON holds it: what was counted, and the shares that follow."""
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
    """Return the tally that `as_numbers` made these numbers of.

    Raises:
        KeyError, TypeError, ValueError: They are no such numbers.

    """
    tally = Tally.empty(varied)
    for t, one in enumerate(data["models"]):
        tally.entries[t] = one["entries"]
        tally.counts[t] = [one["nonzero"], one["kept"], one["protected"], *one["top"]]
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
