"""What an engine of the rule is told about one model, and which entries it may count."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Share", "Threshold"]

Threshold = float | torch.Tensor


@dataclass(frozen=True)
class Share:
    """What one model brings to a tensor of N entries.

    `kept` and `protected` count its largest magnitudes, 0 to N, and protected is at most kept.
    Ties with the smallest of them belong to them; zeros do not. `marks` are more such numbers,
    those of `tally.TOPS` and of `tally.GRID`, and only there for a tally.
    """

    weight: float
    kept: int
    protected: int
    marks: tuple[int, ...] = ()
