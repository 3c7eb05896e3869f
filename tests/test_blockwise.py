"""Torch's way of the rule: memory for a few blocks, and no waiting for the device."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from slack_ties.rule.blockwise import CPU_BLOCK, merge_blocks
from slack_ties.rule.shares import Share

SHARES = [Share(1.0, 150_000, 0), Share(0.5, 150_000, 60_000)]


class Operations(TorchDispatchMode):
    """Watches the size of every tensor that is made, and how often Python waits for a value."""

    entries, waits = 0, 0

    def __torch_dispatch__(
        self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run the operation, and look at what it returns."""
        result = func(*args, **kwargs or {})
        name = str(func)
        is_view = name.startswith(("aten.view", "aten.slice", "aten._unsafe_view"))
        if isinstance(result, torch.Tensor) and not is_view and "empty_like" not in name:
            self.entries = max(self.entries, result.numel())
        self.waits += "_local_scalar_dense" in name or "nonzero" in name or "bincount" in name
        return result


@pytest.mark.parametrize("block", [999, 70_000])
def test_needs_memory_for_a_few_blocks_only(block: int) -> None:
    """Beyond inputs and output no tensor is larger than a block or a table of counts."""
    base, *models = (torch.randn(300_000).bfloat16() for _ in range(3))

    with Operations() as operations:
        merge_blocks(base, models, SHARES, normalize=True, lambda_=1.0, block=block)

    assert operations.entries == max(block, 1 << 16)
    assert CPU_BLOCK < 1 << 20


def test_waits_for_the_device_once() -> None:
    """At the end, to learn whether all is finite: however many blocks and models there are."""
    base, *models = (torch.randn(300_000).bfloat16() for _ in range(3))

    with Operations() as operations:
        merge_blocks(base, models, SHARES, normalize=True, lambda_=1.0, block=9_999)

    assert operations.waits == 1
