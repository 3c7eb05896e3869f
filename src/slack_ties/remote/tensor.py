"""Make a tensor of the bytes of its span."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from slack_ties.errors import CheckpointError
from slack_ties.models.weight_index import DOWNLOAD_AGAIN
from slack_ties.remote.blocks import memory

if TYPE_CHECKING:
    from slack_ties.models.places import FilePlaces

__all__ = ["copy_of", "tensor_of"]

# safetensors' names -> torch's; the floating-point types have torch's names in a Place.
NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "C64": "complex64",
    "F4": "float4_e2m1fn_x2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def tensor_of(places: FilePlaces, tensor: str, data: memoryview) -> torch.Tensor:
    """Return a tensor; it shares the memory of its span where it can.

    Args:
        places: The file's tensors.
        tensor: The name.
        data: The bytes of its span. Bytes in the memory of a `Block` need no copy.

    Raises:
        CheckpointError: The bytes are not those of such a file.

    """
    place = places.tensors[tensor]
    dtype = getattr(torch, NAMES.get(place.dtype, place.dtype), None)
    shape = _shape(place.shape, place.dtype)
    if not isinstance(dtype, torch.dtype) or shape is None:
        msg = f"{places.file}: PyTorch {torch.__version__} has no tensors of {tensor}'s type, "
        msg += place.dtype
        raise CheckpointError(msg, hint="pip install --upgrade torch")
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    stride = place.stride or _row_major(shape)
    count = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    try:
        begin = places.data_begin(data) + place.offset * dtype.itemsize
    except ValueError as error:
        msg = f"{places.file}: {tensor} cannot be read: {error}"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN) from None
    if begin + count * dtype.itemsize > len(data):
        msg = f"{places.file}: {tensor} ends after {begin + count * dtype.itemsize} bytes of its "
        msg += f"storage, which has {len(data)}"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
    if data.readonly:  # torch warns that it could be written to
        data = memoryview(bytearray(data))
    found = torch.frombuffer(data, dtype=dtype, count=count, offset=begin)
    if found.data_ptr() % dtype.itemsize:  # an engine expects that entries are aligned
        found = found.clone()
    return found.as_strided(shape, stride)


def copy_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy in memory of its own, as aligned as the tensor."""
    size = tensor.numel() * tensor.itemsize
    if not size or not tensor.is_contiguous():
        return tensor.clone()
    found = torch.frombuffer(memory(size, tensor.data_ptr()), dtype=tensor.dtype)
    return found.view(tensor.shape).copy_(tensor)


def _shape(shape: tuple[int, ...], dtype: str) -> tuple[int, ...] | None:
    """Return the shape that torch gives a tensor; None if torch refuses it."""
    if dtype != "F4":
        return shape
    if not shape or shape[-1] % 2:
        return None
    return (*shape[:-1], shape[-1] // 2)  # torch counts pairs


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps = [1]
    for n in reversed(shape[1:]):
        steps.append(steps[-1] * n)
    return tuple(reversed(steps))[: len(shape)] if shape else ()
