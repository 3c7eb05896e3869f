"""Convert tensors from one layout to another, as transformers would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.tensors.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.header import Header
    from slack_ties.tensors.layout import Part

__all__ = ["convert", "converted_shapes"]


def converted_shapes(
    known: Any, part: Part, headers: Mapping[str, Header]
) -> dict[Origin | None, tuple[int, ...]]:
    """Return the shapes of tensors in another layout; nothing if they cannot be converted."""
    import torch  # noqa: PLC0415 - whoever has such a layout has imported transformers

    tensors = {name: torch.empty(headers[name].shape, device="meta") for name in part.tensors}
    try:
        return {cut: tuple(one.shape) for cut, one in convert(known, part, tensors).items()}
    except CheckpointError:
        return {}


def convert(known: Any, part: Part, tensors: Mapping[str, Any]) -> dict[Origin | None, Any]:
    """Return what is made of the tensors in which a model has one that the base has otherwise.

    Args:
        known: The base, as transformers knows it.
        part: Which tensors, and what they are joined to.
        tensors: The tensors by their names.

    Returns:
        The joined tensor under None; or, if the base has it in pieces, the pieces.

    Raises:
        CheckpointError: transformers has no conversion for it.

    """
    whole = {origin: tensors[name] for name, origin in part.tensors.items()}
    made = whole.get(Origin(part.joined))
    if made is None and hasattr(known, "join"):
        made = known.join(part.joined, whole)
    if made is None or (part.cut and not hasattr(known, "split")):
        msg = f"transformers has no conversion for {part.joined}"
        raise CheckpointError(msg)
    return {None: made} if part.cut is None else known.split(part.joined, made)
