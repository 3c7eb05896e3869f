"""Count for a tally in torch operations, one block at a time: `blockwise.py` calls it.

`tally_block` of native/tally.h does the same. Before `finish`, no function waits for the device.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from slack_ties.rule.tally import (
    BINS,
    CLASSES,
    COLUMNS,
    CONFIG,
    CONFLICT,
    ENERGY,
    ENERGY_KEPT,
    FIRST_OF_GRID,
    IN_TOP,
    KEPT,
    LEVELS,
    NONZERO,
    PROTECTED,
    RESCUED,
    SUMS,
    TIES,
    TOPS,
    WITH_MERGED,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.rule.shares import Share, Threshold
    from slack_ties.rule.tally import Tally

__all__ = ["Counter"]

SMALLEST = -127  # the exponent of bin 0 of the histogram


class Counter:
    """The counts and sums of a tensor, on its device; `finish` moves them into a tally."""

    def __init__(
        self,
        tally: Tally,
        shares: Sequence[Share],
        thresholds: Sequence[Sequence[Threshold]],
        base: torch.Tensor,
    ) -> None:
        """Store the thresholds of each model's share."""
        n = len(shares)
        device = base.device
        # MPS has no 64-bit floating-point type.
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.tally, self.thresholds = tally, thresholds
        self.deltas: list[torch.Tensor] = []
        self.votes: list[torch.Tensor] = []

        def counts(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        def sums(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=wide, device=device)

        self.wide = wide
        self.counts, self.sums = counts(n, COLUMNS), sums(n, SUMS)
        self.lost, self.lost_energy = counts(n, CLASSES, LEVELS), sums(n, CLASSES, LEVELS)
        self.joint, self.dots = counts(n, n, 2), sums(n, n)
        self.positions, self.merged_energy = counts(2), sums(1)
        self.histogram = counts(n, BINS)

    def count_model(self, delta: torch.Tensor, vote: torch.Tensor) -> None:
        """Count a model's deltas in a block, and compare them with those of earlier models."""
        t = len(self.deltas)
        trim, protect, *marks = self.thresholds[t]
        magnitude = delta.abs()
        square = delta.to(self.wide).square()
        changed = magnitude > 0
        kept = (magnitude >= trim) & changed
        self.counts[t, NONZERO] += changed.sum()
        self.counts[t, KEPT] += kept.sum()
        self.counts[t, PROTECTED] += ((magnitude >= protect) & changed).sum()
        self.sums[t, ENERGY] += square.sum()
        self.sums[t, ENERGY_KEPT] += square.masked_fill(~kept, 0).sum()
        for k, least in enumerate(marks):  # of the tops, and then of the grid
            self.counts[t, IN_TOP + k] += ((magnitude >= least) & changed).sum()
        for i, other in enumerate(self.deltas):
            both = kept & (other.abs() >= self.thresholds[i][0]) & (other != 0)
            self.joint[i, t, 0] += both.sum()
            self.joint[i, t, 1] += (both & ((other > 0) == (delta > 0))).sum()
            self.dots[i, t] += (other.to(self.wide) * delta.to(self.wide)).sum()
        exponent = torch.frexp(magnitude)[1] - 1
        bins = torch.where(changed, exponent - SMALLEST, 0).clamp_(0, BINS - 1).long()
        self.histogram[t].scatter_add_(0, bins, torch.ones_like(bins))
        self.deltas.append(delta)
        self.votes.append(vote.clone())  # the merge changes its own tensor later

    def count_election(self, ballots: torch.Tensor) -> None:
        """Count the entries that lose at each level, where kept entries disagree."""
        if not self.votes:
            return
        votes = torch.stack(self.votes)
        conflict = votes.gt(0).any(0) & votes.lt(0).any(0)
        by_all = ballots < 0
        against = {TIES: by_all, CONFIG: self._against(CONFIG, by_all)}
        for level in range(FIRST_OF_GRID, LEVELS):
            against[level] = self._against(level, by_all)
        self.positions[0] += conflict.sum()
        self.positions[1] += (conflict & (against[TIES] != against[CONFIG])).sum()
        for t, (delta, vote) in enumerate(zip(self.deltas, self.votes, strict=True)):
            magnitude, square = delta.abs(), delta.to(self.wide).square()
            counted = conflict & (vote != 0)
            tops = self.thresholds[t][2 : 2 + len(TOPS)]
            outside = [magnitude < least for least in tops]
            inside = [counted & ~outside[0]]
            inside += [counted & a & ~b for a, b in pairwise(outside)]
            inside.append(counted & outside[-1])
            lost = {CONFLICT: counted}
            lost |= {
                level: torch.where(vote > 0, wins, ~wins) & counted
                for level, wins in against.items()
            }
            lost[RESCUED] = lost[TIES] & ~lost[CONFIG]
            for c, part in enumerate(inside):
                for level, entries in lost.items():
                    these = part & entries
                    self.lost[t, c, level] += these.sum()
                    self.lost_energy[t, c, level] += square.masked_fill(~these, 0).sum()

    def _against(self, level: int, by_all: torch.Tensor) -> torch.Tensor:
        """Return the positions at which negative votes win, with the protection of a level."""
        first_ballots, any_protected = torch.zeros_like(self.votes[0]), torch.zeros_like(by_all)
        for t, (delta, vote) in enumerate(zip(self.deltas, self.votes, strict=True)):
            column = 1
            if level >= FIRST_OF_GRID and self.tally.varied[t]:
                column = 2 + len(TOPS) + level - FIRST_OF_GRID
            magnitude = delta.abs()
            protected = (magnitude >= self.thresholds[t][column]) & (magnitude > 0)
            first_ballots += vote.masked_fill(~protected, 0)
            any_protected |= protected
        return torch.where(any_protected, first_ballots < 0, by_all)

    def count_merged(self, change: torch.Tensor) -> None:
        """Count the merged delta of a block. This is the last count of a block."""
        wide = change.to(self.wide)
        self.merged_energy += wide.square().sum()
        for t, delta in enumerate(self.deltas):
            self.sums[t, WITH_MERGED] += (wide * delta.to(self.wide)).sum()
        self.deltas, self.votes = [], []

    def finish(self, size: int) -> None:
        """Move all counts and sums into the tally."""
        parts = (self.counts, self.lost, self.joint, self.positions)
        counts = torch.cat([part.flatten() for part in parts]).cpu()
        parts = (self.sums, self.lost_energy, self.dots, self.merged_energy)
        sums = torch.cat([part.flatten() for part in parts]).cpu().double()
        self.tally.histogram = self.histogram.cpu().numpy()
        self.tally.fill(size, counts.numpy(), sums.numpy())
