"""The k-th largest magnitude equals what a full sort says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slack_ties.threshold import kth_largest

FLOATS = [torch.float32, torch.float64]


def in_blocks(values: torch.Tensor, block: int = 7) -> list[torch.Tensor]:
    """Call with the values cut into blocks, and return all ranks."""
    ranks = list(range(1, len(values) + 1))
    return kth_largest(lambda: iter(values.split(block)), ranks, values.dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "values",
    [
        [1.5],
        [0.0] * 9,
        [2.0] * 9,
        [0.0, 1e-45, 1e-40, 1.1754944e-38, 1e-30],  # denormals, and the smallest normal float32
        [3.0, 1.0, 3.0, 3.0, 0.5, 1.0, 0.5, 3.0, 0.0],  # many ties
        [1.0, 1.0000001, 1.0000002, 0.99999994],  # differences in the last bits only
        [3.4028235e38, 1.0, 3.4028233e38],
    ],
    ids=["one", "zeros", "equal", "denormals", "ties", "last bits", "largest"],
)
def test_equals_a_sort_on_hard_values(values: list[float], dtype: torch.dtype) -> None:
    """Every rank is exactly what sorting gives, however the values tie."""
    tensor = torch.tensor(values, dtype=dtype)

    found = torch.stack(in_blocks(tensor, 4))

    assert torch.equal(tensor.sort(descending=True).values, found)


@pytest.mark.parametrize("dtype", FLOATS)
@given(
    values=st.lists(st.floats(0, width=32), min_size=1, max_size=50),
    block=st.integers(1, 60),
)
def test_equals_a_sort(values: list[float], block: int, dtype: torch.dtype) -> None:
    """Every rank is exactly what sorting gives, for any values and any block size."""
    tensor = torch.tensor(values, dtype=dtype)

    found = torch.stack(in_blocks(tensor, block))

    assert torch.equal(tensor.sort(descending=True).values, found)


def test_equals_a_sort_on_many_values() -> None:
    """A quarter of a million random magnitudes, at a few ranks."""
    values = torch.randn(250_000, generator=torch.Generator().manual_seed(0)).abs()
    ranks = [1, 1000, 125_000, 250_000]

    found = kth_largest(lambda: iter(values.split(9999)), ranks, torch.float32)

    ordered = values.sort(descending=True).values
    assert [ordered[k - 1] for k in ranks] == found
