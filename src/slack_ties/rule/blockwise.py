"""The rule of `slack_ties` in torch operations: for GPUs, float64, or if no kernel was compiled.

It processes a tensor in blocks: beside inputs and output it needs memory for a few blocks.
`native/merge.c` is the same rule for CPUs, and tests check that both make the same bytes. If you
reorder or fuse operations here, change that file too.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from slack_ties.rule.tally_blocks import Counter
from slack_ties.rule.threshold import kth_largest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from slack_ties.rule.shares import Share, Threshold
    from slack_ties.rule.tally import Tally

__all__ = ["merge_blocks"]

# Entries per block. On a CPU a float32 block is 1 MiB: the few blocks in use stay in the cache. A
# GPU needs larger blocks to be fully used (64 MiB).
CPU_BLOCK = 1 << 18

ACCELERATOR_BLOCK = 1 << 24


def merge_blocks(  # noqa: C901, PLR0913 - the rule in one place
    base: torch.Tensor,
    models: Sequence[torch.Tensor],
    shares: Sequence[Share],
    *,
    normalize: bool,
    lambda_: float,
    tally: Tally | None = None,
    block: int | None = None,
) -> tuple[torch.Tensor, bool]:
    """Merge 1-D tensors of one size and device: the last two steps of `slack_ties_merge`.

    Returns the merged tensor, of the base's type, and whether all deltas and results are finite.
    If they are not, do not use the tensor.
    """
    work = _work_type(base, *models)
    if block is None:
        block = CPU_BLOCK if base.device.type == "cpu" else ACCELERATOR_BLOCK
    starts = range(0, base.numel(), block)

    def delta(model: torch.Tensor, start: int) -> torch.Tensor:
        return model[start : start + block].to(work) - base[start : start + block].to(work)

    def magnitudes(model: torch.Tensor) -> Iterator[torch.Tensor]:
        return (delta(model, start).abs_() for start in starts)

    all_thresholds = [
        _thresholds(partial(magnitudes, model), share, base, work)
        for model, share in zip(models, shares, strict=True)
    ]
    thresholds = [(found[0], found[1]) for found in all_thresholds]
    counter = Counter(tally, shares, all_thresholds, base) if tally is not None else None
    out = torch.empty_like(base)
    finite = torch.ones((), dtype=torch.bool, device=base.device)
    for start in starts:
        origin = base[start : start + block].to(work)
        ballots = torch.zeros_like(origin)
        first_ballots = torch.zeros_like(origin)
        any_protected = torch.zeros_like(origin, dtype=torch.bool)
        votes = []
        for model, share, (trim, protect) in zip(models, shares, thresholds, strict=True):
            change = delta(model, start)
            finite &= change.isfinite().all()
            magnitude = change.abs()
            # Multiply separately, without fused multiply-add, which would round differently in
            # the vectorised part and in the rest of a block.
            vote = (change * share.weight).masked_fill_(magnitude < trim, 0)
            ballots += vote
            if share.protected:
                protected = (magnitude >= protect) & (magnitude > 0)
                first_ballots += vote.masked_fill(~protected, 0)
                any_protected |= protected
            votes.append(vote)
            if counter:
                counter.count_model(change, vote)
        positive = torch.where(any_protected, first_ballots, ballots) >= 0
        if counter:
            counter.count_election(ballots)
        total = torch.zeros_like(origin)
        divisor = torch.zeros_like(origin)
        for vote, share in zip(votes, shares, strict=True):
            agrees = torch.where(positive, vote > 0, vote < 0)
            total += vote.masked_fill_(~agrees, 0)
            if normalize:
                divisor += agrees.to(work) * share.weight
        if normalize:
            total /= divisor.masked_fill_(divisor == 0, 1)
        total *= lambda_
        if counter:
            counter.count_merged(total)
        # Where nothing is added, keep the base's bits: -0.0 + 0.0 would be 0.0.
        merged = torch.where(total == 0, origin, origin + total).to(base.dtype)
        finite &= merged.isfinite().all()
        out[start : start + block] = merged
    if counter:
        counter.finish(base.numel())
    return out, bool(finite)


def _work_type(*tensors: torch.Tensor) -> torch.dtype:
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if wide else torch.float32


def _thresholds(
    magnitudes: Callable[[], Iterator[torch.Tensor]],
    share: Share,
    base: torch.Tensor,
    work: torch.dtype,
) -> list[Threshold]:
    """Return the smallest magnitude that is kept, that is protected, and of each mark."""
    found: dict[int, Threshold] = {base.numel(): 0.0, 0: math.inf}  # all, and none
    wanted = (share.kept, share.protected, *share.marks)
    ranks = sorted(set(wanted) - found.keys())
    if ranks:
        found |= dict(zip(ranks, kth_largest(magnitudes, ranks, work, base.device), strict=True))
    return [found[rank] for rank in wanted]
