"""Read the first entries of a tensor on the Hub, without the rest of it."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.models.header import ENTRY_BYTES
from slack_ties.models.places import FilePlaces, Span
from slack_ties.models.weight_index import DOWNLOAD_AGAIN
from slack_ties.remote.tensor import tensor_of

if TYPE_CHECKING:
    import torch

    from slack_ties.hub.ranges import HubFile, Ranges

__all__ = ["read_beginning"]

LOCAL_HEADER = 30  # bytes of a zip entry before its name; the lengths of name and extra field last

SIGNATURE = b"PK\x03\x04"


def read_beginning(
    ranges: Ranges, file: HubFile, places: FilePlaces, tensor: str, count: int
) -> torch.Tensor:
    """Return the first entries of a tensor, flat; all of them if it has fewer.

    Args:
        ranges: Reads the file.
        file: The file.
        places: Its tensors.
        tensor: The name.
        count: How many entries.

    Raises:
        HubError: They cannot be read.
        CheckpointError: The bytes are not those of such a file.

    """
    place = places.tensors[tensor]
    span = places.spans[place.span]
    count = min(count, prod(place.shape))
    size = ENTRY_BYTES.get(place.dtype)
    if place.stride is not None or size is None:  # its entries may be anywhere in the span
        data = memoryview(bytearray(ranges.read(file, span.first, span.end)))
        return tensor_of(places, tensor, data).flatten()[:count].clone()
    first = span.first + (_header(ranges, file, span) if places.zipped else 0)
    first += place.offset * size
    end = min(first + count * size, span.end)
    data = memoryview(bytearray(ranges.read(file, first, end) if first < end else b""))
    # A file without a zip's headers whose only tensor these entries are.
    only = replace(place, span=0, shape=(count,), stride=None, offset=0)
    plain = FilePlaces(places.file, places.size, False, (Span(first, end),), {tensor: only})
    return tensor_of(plain, tensor, data)


def _header(ranges: Ranges, file: HubFile, span: Span) -> int:
    """Return the bytes of the local header at the beginning of a zip entry."""
    data = ranges.read(file, span.first, min(span.end, span.first + LOCAL_HEADER))
    if len(data) < LOCAL_HEADER or data[:4] != SIGNATURE:
        msg = f"{file.name} of {file.repo_id!r} has no zip entry at position {span.first:,}"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
    name, extra = (int.from_bytes(data[at : at + 2], "little") for at in (26, 28))
    return LOCAL_HEADER + name + extra
