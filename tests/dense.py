"""The figures of a report in a few lines of dense torch, written apart from what they test.

Everything is sorted, and whole tensors are held: nothing here is shared with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Dense:
    """One tensor: the deltas of its models, and for each which entries are kept."""

    deltas: list[torch.Tensor]
    weight: Sequence[float]
    kept: list[torch.Tensor]

    @classmethod
    def of(
        cls,
        base: torch.Tensor,
        models: Sequence[torch.Tensor],
        weight: Sequence[float],
        density: Sequence[float],
    ) -> Dense:
        """Take the tensors of a base and its models."""
        deltas = [(model.float() - base.float()).flatten() for model in models]
        kept = [
            largest(delta, max(1, int(d * delta.numel())) if d > 0 else 0)
            for delta, d in zip(deltas, density, strict=True)
        ]
        return cls(deltas, weight, kept)

    def negative(self, slack: Sequence[float]) -> torch.Tensor:
        """Return where the negative sign is elected."""
        votes = [
            torch.where(kept, w * delta, 0.0)
            for w, delta, kept in zip(self.weight, self.deltas, self.kept, strict=True)
        ]
        first = [
            kept & largest(delta, int(s * delta.numel())) & torch.tensor(w != 0)
            for delta, kept, s, w in zip(self.deltas, self.kept, slack, self.weight, strict=True)
        ]
        anybody = torch.stack(first).any(0)
        voters = [torch.where(anybody, f, torch.tensor(True)) for f in first]
        total = torch.zeros_like(votes[0])
        for vote, voter in zip(votes, voters, strict=True):
            total = total + torch.where(voter, vote, 0.0)
        return total < 0

    def lost(self, model: int, slack: Sequence[float]) -> torch.Tensor:
        """Return which kept entries of a model are on the side that is not elected."""
        vote = self.weight[model] * self.deltas[model]
        negative = self.negative(slack)
        return self.kept[model] & ((vote > 0) & negative | (vote < 0) & ~negative)

    def conflict(self) -> torch.Tensor:
        """Return where kept entries pull to both sides."""
        votes = [
            torch.where(k, w * d, 0.0)
            for w, d, k in zip(self.weight, self.deltas, self.kept, strict=True)
        ]
        stacked = torch.stack(votes)
        return (stacked > 0).any(0) & (stacked < 0).any(0)

    def top(self, model: int, share: float) -> torch.Tensor:
        """Return the largest entries of a model: a share of all, but one at least."""
        delta = self.deltas[model]
        return largest(delta, max(1, int(share * delta.numel())))


def largest(delta: torch.Tensor, number: int) -> torch.Tensor:
    """Return where the entries are that are as large as the number-th largest, without zeros."""
    if number == 0:
        return torch.zeros_like(delta, dtype=torch.bool)
    least = delta.abs().sort(descending=True).values[number - 1]
    return (delta.abs() >= least) & (delta != 0)


def merged_densely(
    base: torch.Tensor,
    *models: torch.Tensor,
    weight: Sequence[float] = (1, 1),
    density: Sequence[float] = (0.5, 0.5),
    slack: Sequence[float] = (0, 0.2),
) -> torch.Tensor:
    """Return the merged tensor by the definition in docs/method.md, without division, lambda 1.

    In float32, or float64 where an input is, and in that type.
    """
    wide = (
        torch.float64 if any(t.dtype == torch.float64 for t in (base, *models)) else torch.float32
    )
    start = base.to(wide)
    deltas = [(model.to(wide) - start).flatten() for model in models]
    kept = [
        largest(delta, max(1, int(d * delta.numel())) if d > 0 else 0)
        for delta, d in zip(deltas, density, strict=True)
    ]
    first = [
        keep & largest(delta, int(s * delta.numel()))
        for delta, keep, s in zip(deltas, kept, slack, strict=True)
    ]
    anybody = torch.stack(first).any(0)
    votes = [w * delta for w, delta in zip(weight, deltas, strict=True)]
    total = torch.zeros_like(start).flatten()
    for vote, keep, protected in zip(votes, kept, first, strict=True):
        total = total + torch.where(torch.where(anybody, protected, keep), vote, 0.0)
    added = torch.zeros_like(total)
    for vote, keep in zip(votes, kept, strict=True):
        same = keep & (vote != 0) & ((vote > 0) == (total >= 0))
        added = added + torch.where(same, vote, 0.0)
    return start + added.view_as(start)
