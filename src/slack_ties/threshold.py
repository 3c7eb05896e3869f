"""The k-th largest magnitude of a tensor, exactly, without sorting or copying it.

A non-negative IEEE float and its bit pattern, read as an integer, are in the same
order. So the k-th largest is found digit by digit: count the upper 16 bits of every
magnitude, see in which count the k-th falls, then count the next 16 bits of the
magnitudes that share those. Counts are integers: no order of evaluation, block
size or device can change the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

__all__ = ["kth_largest"]

DIGIT = 16  # bits counted per pass: 65,536 counts fit the cache, float32 takes two passes
BITS = {torch.float32: (torch.int32, 32), torch.float64: (torch.int64, 64)}


def kth_largest(
    magnitudes: Callable[[], Iterable[torch.Tensor]],
    ranks: Sequence[int],
    dtype: torch.dtype,
) -> list[torch.Tensor]:
    """Return for each rank k the k-th largest value (1 = the largest), ties counted.

    Args:
        magnitudes: Starts a new pass over the values: 1-D blocks, no negatives, on one
            device. It is called once per 16 bits of the type.
        ranks: Each from 1 to the number of values.
        dtype: torch.float32 or torch.float64, the blocks' type.

    Returns:
        One 0-D tensor of `dtype` per rank, on the blocks' device.

    NaN has a larger bit pattern than infinity, so it counts as largest of all.

    """
    integer, width = BITS[dtype]
    left = list(ranks)  # rank among the values that share the prefix
    prefixes = [0] * len(ranks)  # the digits found so far
    device = None
    for shift in range(width - DIGIT, -1, -DIGIT):
        counts: dict[int, torch.Tensor] = {}
        for block in magnitudes():
            device = block.device
            bits = block.view(integer)
            digits = (bits >> shift) & ((1 << DIGIT) - 1)
            for prefix in set(prefixes):
                if shift + DIGIT < width:
                    chosen = digits[(bits >> (shift + DIGIT)) == prefix]
                else:
                    chosen = digits
                count = torch.bincount(chosen, minlength=1 << DIGIT)
                counts[prefix] = counts[prefix] + count if prefix in counts else count
        for i, prefix in enumerate(prefixes):
            from_top = counts[prefix].flip(0).cumsum(0)
            place = int((from_top < left[i]).sum())
            if place:
                left[i] -= int(from_top[place - 1])
            prefixes[i] = prefix << DIGIT | ((1 << DIGIT) - 1 - place)
    return [torch.tensor(p, dtype=integer, device=device).view(dtype) for p in prefixes]
