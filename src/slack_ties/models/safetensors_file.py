"""Read the header of a safetensors file."""

from __future__ import annotations

import json
from math import prod
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from slack_ties.models.weight_index import damaged

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.models.few_reads import FewReads

__all__ = ["MOST_HEADER", "Entry", "read_table", "safetensors_header", "safetensors_places"]

MOST_HEADER = 100_000_000  # bytes: safetensors' own limit

FIRST = 128 * 1024  # bytes to read at a file's beginning, for most headers

# safetensors' names for types -> bits of an entry.
BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


class Entry(NamedTuple):
    """A tensor in the header of a safetensors file."""

    dtype: str  # the name in the file
    shape: tuple[int, ...]
    first: int  # byte, counted from the end of the header
    end: int


def read_table(reads: FewReads) -> tuple[dict[str, Entry], int]:
    """Return the tensors of a safetensors file, and the position at which its data begin.

    The header is checked as safetensors itself does: the tensors fill the file without gaps.

    Raises:
        Exception: The file is damaged.

    """
    reads.part(0, FIRST)
    length = int.from_bytes(reads.part(0, 8), "little")
    start = 8 + length
    if start > reads.size:
        msg = f"its header would end at byte {start}, and the file at byte {reads.size}"
        raise ValueError(msg)
    table = json.loads(reads.part(8, start).decode())
    metadata = table.pop("__metadata__", None) or {}
    if not all(isinstance(value, str) for value in metadata.values()):
        msg = "its metadata are not texts"
        raise ValueError(msg)
    found = {name: _entry(name, info) for name, info in table.items()}
    place = 0
    for name, entry in sorted(found.items(), key=lambda item: item[1][2:]):
        if entry.first != place:
            msg = f"{name} begins at byte {entry.first} of the data, expected {place}"
            raise ValueError(msg)
        place = entry.end
    if start + place != reads.size:
        msg = f"it has {reads.size} bytes, expected {start + place} as its header says"
        raise ValueError(msg)
    return found, start


def _entry(name: str, info: Any) -> Entry:
    dtype, shape, (first, end) = info["dtype"], info["shape"], info["data_offsets"]
    numbers = [*shape, first, end]
    if not isinstance(shape, list) or any(type(one) is not int or one < 0 for one in numbers):
        msg = f"the shape or the position of {name} is not of whole numbers"
        raise ValueError(msg)
    bits = prod(shape) * BITS[dtype]
    if bits != 8 * (end - first):
        msg = f"{name} has {end - first} bytes, expected {bits / 8:g}"
        raise ValueError(msg)
    return Entry(dtype, tuple(shape), first, end)


def safetensors_places(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the position at which its data begin.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        msg = f"its header would be {length} bytes long"
        raise ValueError(msg)
    places = json.loads(file.read(length))
    places.pop("__metadata__", None)
    return places, 8 + length


def safetensors_header(path: Path) -> tuple[bytes, dict[str, int]]:
    """Return the bytes before the data of a safetensors file, and the size of each tensor.

    Raises:
        CheckpointError: The file is damaged.

    """
    try:
        with path.open("rb") as file:
            places, start = safetensors_places(file)
            file.seek(0)
            offsets = {name: info["data_offsets"] for name, info in places.items()}
            return file.read(start), {name: end - first for name, (first, end) in offsets.items()}
    except Exception as error:  # noqa: BLE001 - a damaged file can cause errors of any type
        raise damaged(path.name, path.name, error) from None
