"""Make a tensor of the bytes of its span."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from slack_ties.models.places import FilePlaces

__all__ = ["tensor_of"]


def tensor_of(places: FilePlaces, tensor: str, data: memoryview) -> torch.Tensor:
    """Return a tensor; it shares the memory of its span where it can.

    Args:
        places: The file's tensors.
        tensor: The name.
        data: The bytes of its span.

    Raises:
        CheckpointError: The bytes are not those of such a file.

    """
    raise NotImplementedError
