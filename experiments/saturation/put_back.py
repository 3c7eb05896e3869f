"""What the SFT model loses to TIES' sign election, and what happens when it is put back.

Only the experiment needs this: it changes single entries of merged weights, which no merge
method does. The election is the published one (arXiv 2306.01708, section 3.1), by a few lines
of dense torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["WHAT", "lost_share", "put_back"]

Weights = Mapping[str, Tensor]
WHAT = ("as merged", "lost", "random", "kept")
IMPORTANT = 0.1  # the share of each tensor's entries that count as important


def largest(delta: Tensor, share: float) -> Tensor:
    """Return where `delta` is among its `share` largest by magnitude, and not zero."""
    many = max(1, int(share * delta.numel()))
    threshold = delta.abs().flatten().kthvalue(delta.numel() - many + 1).values
    return (delta.abs() >= threshold) & (delta != 0)


def outvoted(of_ct: Tensor, of_sft: Tensor, density: float) -> Tensor:
    """Return where the SFT model's kept entries lose the election, weights being 1."""
    ct = of_ct * largest(of_ct, density)
    sft = of_sft * largest(of_sft, density)
    return (sft != 0) & (torch.where(ct + sft >= 0, 1.0, -1.0) != sft.sign())


def lost_share(base: Weights, of_ct: Weights, of_sft: Weights) -> dict[str, float]:
    """Return how large the CT delta is, and what of the SFT delta the election removes.

    Over all tensors, untrimmed: the ratio of the deltas' norms, the share of the SFT model's
    important entries that are lost, and the share of its delta's squared norm.
    """
    sums = dict.fromkeys(("ct", "sft", "important", "top_lost", "energy_lost"), 0.0)
    for name, start in base.items():
        ct, sft = of_ct[name] - start, of_sft[name] - start
        lost, important = outvoted(ct, sft, 1.0), largest(sft, IMPORTANT)
        sums["ct"] += ct.square().sum().item()
        sums["sft"] += sft.square().sum().item()
        sums["important"] += important.sum().item()
        sums["top_lost"] += (lost & important).sum().item()
        sums["energy_lost"] += sft[lost].square().sum().item()
    return {
        "ratio": (sums["ct"] / sums["sft"]) ** 0.5,
        "top_lost": sums["top_lost"] / sums["important"],
        "energy_lost": sums["energy_lost"] / sums["sft"],
    }


def put_back(
    merged: Weights,
    base: Weights,
    of_ct: Weights,
    of_sft: Weights,
    *,
    what: str,
    by: str,
    density: float,
    seed: int,
) -> dict[str, Tensor]:
    """Return `merged` with some entries replaced by one model's own.

    Args:
        merged: The merged weights.
        base: The base model's weights.
        of_ct: The CT model's.
        of_sft: The SFT model's.
        what: Which entries: "as merged" (none), "lost" (the SFT model's important ones that
            lost the election), "random" (as many of the others of each tensor that the SFT
            model changed), "kept" (as many of its important ones that did not lose).
        by: Whose values they get: "sft" or "ct".
        density: Of the trimming before the election.
        seed: Of chance.

    """
    chance = torch.Generator().manual_seed(seed)
    made = {}
    for name, start in base.items():
        ct, sft = of_ct[name] - start, of_sft[name] - start
        important = largest(sft, IMPORTANT)
        lost = outvoted(ct, sft, density) & important
        pools = {
            "as merged": torch.zeros_like(lost),
            "lost": lost,
            "random": (sft != 0) & ~lost,
            "kept": important & ~lost,
        }
        chosen = _some(pools[what], int(lost.sum()), chance)
        values = of_sft[name] if by == "sft" else of_ct[name]
        made[name] = torch.where(chosen, values, merged[name])
    return made


def _some(pool: Tensor, many: int, chance: torch.Generator) -> Tensor:
    """Return `many` places of `pool`, or all if there are fewer."""
    places = pool.flatten().nonzero().flatten()
    picked = places[torch.randperm(len(places), generator=chance)[:many]]
    chosen = torch.zeros(pool.numel(), dtype=torch.bool)
    chosen[picked] = True
    return chosen.view(pool.shape)
