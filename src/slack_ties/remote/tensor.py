"""Make a tensor of the bytes of its span."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from slack_ties.errors import CheckpointError
from slack_ties.models.weight_index import DOWNLOAD_AGAIN

if TYPE_CHECKING:
    from slack_ties.models.places import FilePlaces

__all__ = ["tensor_of"]

LOCAL_HEADER = 30  # bytes of a zip entry's header, before its name

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
        data: The bytes of its span.

    Raises:
        CheckpointError: The bytes are not those of such a file.

    """
    place = places.tensors[tensor]
    dtype = getattr(torch, NAMES.get(place.dtype, place.dtype), None)
    if not isinstance(dtype, torch.dtype):
        msg = f"{places.file}: {tensor} has type {place.dtype}, which this PyTorch does not have"
        raise CheckpointError(msg)
    if 0 in place.shape:
        return torch.empty_strided(place.shape, _stride(place.shape, place.stride), dtype=dtype)
    begin = _begin(data) if places.zipped else 0
    stride = _stride(place.shape, place.stride)
    last = place.offset + sum((n - 1) * step for n, step in zip(place.shape, stride, strict=True))
    begin += place.offset * dtype.itemsize
    count = last - place.offset + 1
    if begin < 0 or begin + count * dtype.itemsize > len(data):
        msg = f"{places.file}: {tensor} is not inside the bytes that were read"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
    if data.readonly:
        data = memoryview(bytearray(data))
    found = torch.frombuffer(data, dtype=dtype, count=count, offset=begin)
    if found.data_ptr() % dtype.itemsize:  # kernels expect that entries are aligned
        found = found.clone()
    return found.as_strided(place.shape, stride)


def _stride(shape: tuple[int, ...], stride: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the given stride, or that of row-major order."""
    if stride is not None:
        return stride
    found, step = [], 1
    for n in reversed(shape):
        found.append(step)
        step *= max(n, 1)
    return tuple(reversed(found))


def _begin(data: memoryview) -> int:
    """Return where the data of a zip entry begin, behind its local header."""
    if len(data) < LOCAL_HEADER or data[:4] != b"PK\x03\x04" or bytes(data[8:10]) != b"\0\0":
        msg = "a storage does not begin with the header of a zip entry that is not compressed"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
    name, extra = (int.from_bytes(data[at : at + 2], "little") for at in (26, 28))
    return LOCAL_HEADER + name + extra
