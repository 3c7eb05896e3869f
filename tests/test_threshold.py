"""The k-th largest magnitude equals what a full sort says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from slack_ties.rule.threshold import LANES, kth_largest


class NothingReadBack(TorchDispatchMode):
    """Refuses operations whose result Python has to wait for."""

    def __torch_dispatch__(
        self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run the operation if its result stays on the device."""
        assert "_local_scalar_dense" not in str(func)  # item(), int(), bool()
        assert "nonzero" not in str(func)  # a size that depends on values: also x[mask]
        assert "bincount" not in str(func)
        return func(*args, **kwargs or {})


FLOATS = [torch.float32, torch.float64]


def in_blocks(values: torch.Tensor, block: int = 7) -> list[torch.Tensor]:
    """Call with the values cut into blocks, and return all ranks."""
    ranks = list(range(1, len(values) + 1))
    return kth_largest(lambda: iter(values.split(block)), ranks, values.dtype, values.device)


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


@pytest.mark.parametrize("lanes", [1, 3, 32])
def test_counting_side_by_side_changes_nothing(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs count into several tables: on the CPU that gives the same, also where a block is odd."""
    monkeypatch.setitem(LANES, "cpu", lanes)
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).abs()
    ranks = [1, 17, 500, 1000]

    found = kth_largest(lambda: iter(values.split(101)), ranks, values.dtype, values.device)

    ordered = values.sort(descending=True).values
    assert [ordered[k - 1] for k in ranks] == found


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_never_waits_for_the_device(device: str) -> None:
    """No value is read back while tensors are counted: a GPU works on while Python goes ahead."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    values = torch.ones(100, device=device)

    with NothingReadBack():
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            found = kth_largest(lambda: iter([values]), [1, 50], values.dtype, values.device)
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")

    assert found == [1.0, 1.0]


def test_equals_a_sort_on_many_values() -> None:
    """A quarter of a million random magnitudes, at a few ranks."""
    values = torch.randn(250_000, generator=torch.Generator().manual_seed(0)).abs()
    ranks = [1, 1000, 125_000, 250_000]

    found = kth_largest(lambda: iter(values.split(9999)), ranks, values.dtype, values.device)

    ordered = values.sort(descending=True).values
    assert [ordered[k - 1] for k in ranks] == found
