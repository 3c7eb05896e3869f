"""The k-th largest magnitude of a tensor, exactly, without sorting or copying it.

A non-negative IEEE float and its bit pattern, read as an integer, are in the same
order. So the k-th largest is found digit by digit: count the upper 16 bits of every
magnitude, find the count that contains the k-th, then count the next 16 bits of the
magnitudes with those upper bits. Counts are integers: the order of evaluation, block
size and device cannot change the result. No function here waits for the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["kth_largest"]

DIGIT = 16  # bits to count per pass: 65,536 counts fit the cache, float32 takes two passes

BITS = {torch.float32: (torch.int32, 32), torch.float64: (torch.int64, 64)}

# Number of parallel tables. The magnitudes of a model have only a few hundred different
# leading digits: with one table, thousands of GPU threads would wait for the same counts.
LANES = {"cpu": 1}

ACCELERATOR_LANES = 32  # a warp's neighbours count in neighbouring columns


def kth_largest(
    magnitudes: Callable[[], Iterable[torch.Tensor]],
    ranks: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
) -> list[torch.Tensor]:
    """Return for each rank k the k-th largest value (1 = the largest), ties counted.

    Args:
        magnitudes: Starts a new pass over the values: 1-D blocks without negative values. It is
            called once per 16 bits of the type.
        ranks: Each from 1 to the number of values.
        dtype: torch.float32 or torch.float64, the blocks' type.
        device: The blocks' device.

    Returns:
        One 0-D tensor of `dtype` per rank, on `device`.

    NaN has a larger bit pattern than infinity, so it counts as the largest value.

    """
    integer, width = BITS[dtype]
    lanes = LANES.get(device.type, ACCELERATOR_LANES)
    mask = (1 << DIGIT) - 1
    left = [
        torch.full((), k, dtype=torch.int64, device=device) for k in ranks
    ]  # the rank among the values with the prefix
    prefixes = [torch.zeros((), dtype=integer, device=device) for _ in ranks]  # digits found
    for shift in range(width - DIGIT, -1, -DIGIT):
        first = shift + DIGIT == width  # all have the empty prefix: one table is enough
        tables = [
            torch.zeros(1 << DIGIT, lanes, dtype=torch.int64, device=device)
            for _ in (ranks[:1] if first else ranks)
        ]
        for block in magnitudes():
            bits = block.view(integer)
            digits = ((bits >> shift) & mask).long()
            for table, prefix in zip(tables, prefixes, strict=False):
                same = None if first else (bits >> (shift + DIGIT)) == prefix
                _count(table, digits, torch.ones_like(digits) if same is None else same.long())
        for i, table in enumerate(tables * len(ranks) if first else tables):
            from_top = table.sum(1).flip(0).cumsum(0)  # values with this digit or a higher one
            row = (from_top < left[i]).sum()
            higher = torch.where(row > 0, from_top.take((row - 1).clamp(min=0)), 0)
            left[i] = left[i] - higher
            prefixes[i] = (prefixes[i] << DIGIT) | (mask - row).to(integer)
    return [prefix.view(dtype) for prefix in prefixes]


def _count(table: torch.Tensor, digits: torch.Tensor, ones: torch.Tensor) -> None:
    """Add `ones` (0 or 1 each) to the rows of `table` (65,536 x lanes) that `digits` name."""
    lanes = table.shape[1]
    even = digits.numel() - digits.numel() % lanes
    table.scatter_add_(0, digits[:even].view(-1, lanes), ones[:even].view(-1, lanes))
    table[:, :1].scatter_add_(0, digits[even:, None], ones[even:, None])
