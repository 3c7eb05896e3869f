"""The rule of `slack_ties`, from top to bottom: TIES in which protected entries vote first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from slack_ties.errors import CheckpointError
from slack_ties.rule.blockwise import merge_blocks
from slack_ties.rule.kernel import can_merge, merge_on_cpu
from slack_ties.rule.parameters import PARAMETERS
from slack_ties.rule.shares import Share
from slack_ties.rule.tally import GRID, TOPS, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Engine", "slack_ties_merge"]


class Engine(Protocol):
    """Merges 1-D tensors, given how many entries of each model are kept and protected."""

    def __call__(  # noqa: PLR0913 - what the definition needs
        self,
        base: torch.Tensor,
        models: Sequence[torch.Tensor],
        shares: Sequence[Share],
        *,
        normalize: bool,
        lambda_: float,
        tally: Tally | None = None,
    ) -> tuple[torch.Tensor, bool]:
        """Return the merged tensor, and whether all deltas and results are finite."""


TABLE = {p.name: p for p in PARAMETERS}


@torch.no_grad()
def slack_ties_merge(  # noqa: PLR0913 - the definition from top to bottom, in one place
    base: torch.Tensor,
    models: Sequence[torch.Tensor],
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    slack: Sequence[float] | None = None,
    normalize: bool = True,
    lambda_: float = 1.0,
    names: Sequence[str] | None = None,
    engine: Engine | None = None,
    tally: Tally | None = None,
) -> torch.Tensor:
    """Merge the tensors of several models into the tensor of their common base.

    A model of weight 0 takes no part. Per tensor of N entries, with delta_t = model_t - base
    in float32 (float64 if an input is float64):

    1. Trim: keep the entries with abs(delta_t) at least the k-th largest of the tensor,
       k = max(1, floor(density_t N)). Ties at the threshold are all kept; zeros never.
    2. Protect: of these, the entries with abs(delta_t) at least the floor(slack_t N)-th
       largest.
    3. Elect: at each position the protected entries vote, or all kept ones where none is
       protected. The sign is that of the sum of weight_t delta_t over the voters; zero
       counts as positive.
    4. Disjoint merge: of all kept entries, those whose weight_t delta_t has the elected
       sign are added; divided by the sum of their weights if `normalize` (a sum of zero
       counts as 1); times lambda.

    The sum with the base is rounded once, to the type of `base`. The result has the same
    bytes for every engine, block size, number of threads and run; no gradient is recorded.

    Args:
        base: Tensor of any shape, of a floating-point type.
        models: Tensors of the same shape, type and device as `base`.
        weight: A finite factor per model.
        density: Share of entries kept per model, in [0, 1]; all by default.
        slack: Share of entries protected per model, in [0, 1]; none by default.
        normalize: Divide by the sum of the weights added.
        lambda_: Factor of the merged delta.
        names: The name of each input in errors, base first.
        engine: `merge_on_cpu` or `merge_blocks`; if not given, the fastest one that can merge
            these tensors. Both make the same bytes.
        tally: Is filled with the counts of this tensor for a report.

    Raises:
        CheckpointError: An input, a delta or the result is infinite or not a number.
        ValueError: A parameter is out of range, or the tensors do not fit each other.

    """
    density = [1.0] * len(models) if density is None else density
    slack = [0.0] * len(models) if slack is None else slack
    _check(base, models, weight=weight, density=density, slack=slack)
    TABLE["lambda"].check(lambda_)
    size = base.numel()
    shares = []
    for w, d, s in zip(weight, density, slack, strict=True):
        kept = min(size, max(1, int(d * size))) if d > 0 else 0
        # A model of weight 0 does not vote: its entries must not count as protected voters.
        most = kept if w != 0 else 0
        marks = [*(max(1, int(top * size)) for top in TOPS)] if tally else []
        marks += [min(most, int(other * size)) for other in GRID] if tally else []
        shares.append(Share(w, kept, min(most, int(s * size)), tuple(marks)))
    if engine is None:
        engine = merge_on_cpu if can_merge(base, *models) else merge_blocks
    flat_base, *flat_models = (tensor.contiguous().view(-1) for tensor in (base, *models))
    out, finite = engine(
        flat_base, flat_models, shares, normalize=normalize, lambda_=lambda_, tally=tally
    )
    if not finite:
        raise CheckpointError(_what_is_not_finite([base, *models], names))
    return out.view(base.shape)


def _check(
    base: torch.Tensor, models: Sequence[torch.Tensor], **parameters: Sequence[float]
) -> None:
    """Refuse parameters and tensors that would give a meaningless result."""
    for name, values in parameters.items():
        if len(values) != len(models):
            msg = f"{name}: expected one value for each of {len(models)} models, got {len(values)}"
            raise ValueError(msg)
        for value in values:
            TABLE[name].check(value)
    for tensor in (base, *models):
        if not tensor.is_floating_point():
            msg = f"expected tensors of a floating-point type, got {tensor.dtype}"
            raise ValueError(msg)
        if tensor.shape != base.shape or tensor.device != base.device:
            msg = (
                f"expected tensors of shape {tuple(base.shape)} on {base.device} as the base, "
                f"got {tuple(tensor.shape)} on {tensor.device}"
            )
            raise ValueError(msg)


def _what_is_not_finite(tensors: Sequence[torch.Tensor], names: Sequence[str] | None) -> str:
    """Say which input contains a NaN or an infinity; if none does, say that the sum overflows."""
    for i, tensor in enumerate(tensors):
        bad = int((~tensor.isfinite()).sum())
        if bad:
            name = names[i] if names else ("the base" if i == 0 else f"model {i}")
            return f"{name}: {bad} of {tensor.numel()} entries are NaN or infinite, expected none"
    name = names[0] if names else "the base"
    return (
        f"{name}: the merged tensor overflows {str(tensors[0].dtype).removeprefix('torch.')}; "
        "expected smaller weights or lambda, or a wider dtype"
    )
