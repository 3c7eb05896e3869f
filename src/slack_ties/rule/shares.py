"""The input of an engine about one model: how many entries are kept, protected and counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Share", "Threshold"]

Threshold = float | torch.Tensor


@dataclass(frozen=True)
class Share:
    """The share of one model in a tensor of N entries.

    `kept` and `protected` say how many of its largest magnitudes are kept and protected, 0 to N;
    protected is at most kept. Ties with the smallest of them are included, zeros are not. `marks`
    are further such numbers, for `tally.TOPS` and `tally.GRID`; empty without a tally.
    """

    weight: float
    kept: int
    protected: int
    marks: tuple[int, ...] = ()
