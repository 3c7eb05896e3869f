"""Read the header of a safetensors file."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from slack_ties.models.few_reads import FewReads
from slack_ties.models.weight_index import damaged

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST_HEADER", "Entry", "read_table", "safetensors_header"]

MOST_HEADER = 100_000_000  # bytes: safetensors' own limit

MOST_DIMENSIONS = 64  # of a tensor: torch computes with no more

MOST_NUMBER = 1 << 63  # entries of a tensor, and bytes of a file

FIRST = 32 * 1024  # bytes to read at a file's beginning, for most headers

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


def read_table(reads: FewReads, *, whole: bool = True) -> tuple[dict[str, Entry], int]:
    """Return the tensors of a safetensors file, and the position at which its data begin.

    The header is checked as safetensors itself does: the tensors fill the file without gaps.
    Source: https://huggingface.co/docs/safetensors/index#format

    Args:
        reads: The file.
        whole: False: the file may end after its header.

    Raises:
        Exception: The file is damaged.

    """
    reads.part(0, FIRST)
    start = 8 + int.from_bytes(reads.part(0, 8), "little")
    if start > min(reads.size, 8 + MOST_HEADER):
        msg = f"its header would end at byte {start}, and the file has {reads.size} bytes"
        raise ValueError(msg)
    table = json.loads(reads.part(8, start).decode())
    if not isinstance(table, dict) or not all(
        isinstance(one, dict) for one in table.values() if one
    ):
        msg = "its header is not a table of tensors"
        raise ValueError(msg)
    if not _is_text_only(table.pop("__metadata__", None) or {}):
        msg = "its metadata are not texts"
        raise ValueError(msg)
    found = {name: _entry(name, info) for name, info in table.items()}
    place = 0
    for name, entry in sorted(found.items(), key=lambda item: item[1][2:]):
        if entry.first != place:
            msg = f"{name} begins at byte {entry.first} of the data, expected {place}"
            raise ValueError(msg)
        place = entry.end
    if whole and start + place != reads.size:
        msg = f"it has {reads.size} bytes, expected {start + place}, as its header says"
        raise ValueError(msg)
    return found, start


def _is_text_only(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(one, str) for one in metadata.values())


def _entry(name: str, info: Any) -> Entry:
    name.encode()  # half of a surrogate pair raises an error: such a name cannot be printed
    dtype, shape, (first, end) = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        msg = f"{name} has an unknown type, {str(dtype)[:20]}"
        raise ValueError(msg)
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        msg = f"the shape of {name} is not of whole numbers, at most {MOST_DIMENSIONS}"
        raise ValueError(msg)
    if any(type(one) is not int or not 0 <= one < MOST_NUMBER for one in (*shape, first, end)):
        msg = f"the shape or the position of {name} is not of whole numbers"
        raise ValueError(msg)
    bits = prod(shape) * BITS[dtype]
    if bits != 8 * (end - first) or prod(filter(None, shape)) >= MOST_NUMBER:
        msg = f"{name} has {end - first} bytes, which does not agree with its shape and type"
        raise ValueError(msg)
    return Entry(dtype, tuple(shape), first, end)


def safetensors_header(path: Path) -> tuple[bytes, dict[str, int]]:
    """Return the bytes before the data of a safetensors file, and the size of each tensor.

    Raises:
        CheckpointError: The file is damaged.

    """
    try:
        with path.open("rb") as file:
            reads = FewReads(file, path.stat().st_size, MOST_HEADER)
            table, start = read_table(reads, whole=False)
            return reads.part(0, start), {
                name: entry.end - entry.first for name, entry in table.items()
            }
    except Exception as error:  # noqa: BLE001 - a damaged file can cause errors of any type
        raise damaged(path.name, path.name, error) from None
