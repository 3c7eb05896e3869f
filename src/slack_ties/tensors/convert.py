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
    """Return the shapes of tensors in another layout; {} if they cannot be converted."""
    import torch  # noqa: PLC0415 - for such a layout transformers is already imported

    tensors = {name: torch.empty(headers[name].shape, device="meta") for name in part.tensors}
    try:
        return {cut: tuple(one.shape) for cut, one in convert(known, part, tensors).items()}
    except CheckpointError:
        return {}


def convert(known: Any, part: Part, tensors: Mapping[str, Any]) -> dict[Origin | None, Any]:
    """Convert a model's tensors to the base's layout: join them, and split them again if needed.

    Args:
        known: The base as transformers loads it.
        part: Names the tensors and the tensor that they are joined to.
        tensors: The tensors by their names.

    Returns:
        The joined tensor under None; or its pieces, if the base stores it in pieces.

    Raises:
        CheckpointError: transformers has no conversion for these tensors.

    """
    whole = {origin: tensors[name] for name, origin in part.tensors.items()}
    made = whole.get(Origin(part.joined))
    if made is None and hasattr(known, "join"):
        made = known.join(part.joined, whole)
    if made is None or (part.cut and not hasattr(known, "split")):
        msg = f"transformers has no conversion for {part.joined}"
        raise CheckpointError(msg)
    return {None: made} if part.cut is None else known.split(part.joined, made)
