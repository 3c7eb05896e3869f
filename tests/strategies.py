"""Hypothesis inputs for the merge method: small tensors whose arithmetic is exact.

Entries are multiples of 1/64 and weights multiples of 1/4, so that sums and products have
no rounding and a law can be tested bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

# Many zeros and ties, which have rules of their own, and many different values.
ENTRIES = st.one_of(st.integers(-2, 2), st.integers(-64, 64))
WEIGHTS = st.integers(-8, 8).map(lambda quarter: quarter / 4)
FLOAT32 = st.just(torch.float32)
DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
COUNTS = st.integers(1, 5)
SHARES = st.one_of(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.floats(0, 1))


@dataclass(frozen=True)
class Inputs:
    """One call of the method."""

    base: torch.Tensor
    models: list[torch.Tensor]
    weight: list[float]
    density: list[float]
    slack: list[float]
    normalize: bool

    def parameters(self, **changed: object) -> dict[str, object]:
        """Return the keyword arguments, some of them changed."""
        names = ("weight", "density", "slack", "normalize")
        return {**{name: getattr(self, name) for name in names}, **changed}


@st.composite
def inputs(
    draw: st.DrawFn,
    *,
    models: st.SearchStrategy[int] = COUNTS,
    weights: st.SearchStrategy[float] = WEIGHTS,
    entries: st.SearchStrategy[int] = ENTRIES,
    dtypes: st.SearchStrategy[torch.dtype] = FLOAT32,
) -> Inputs:
    """Draw a base and some models of 1 to 24 entries, with parameters."""
    size = draw(st.integers(1, 24))
    dtype = draw(dtypes)
    count = draw(models)

    def tensor() -> torch.Tensor:
        values = draw(st.lists(entries, min_size=size, max_size=size))
        return (torch.tensor(values) / 64).to(dtype)  # exact: at most 8 bits

    base = tensor()
    each = {"min_size": count, "max_size": count}
    return Inputs(
        base=base,
        models=[base + tensor() for _ in range(count)],
        weight=draw(st.lists(weights, **each)),
        density=draw(st.lists(SHARES, **each)),
        slack=draw(st.lists(SHARES, **each)),
        normalize=draw(st.booleans()),
    )
