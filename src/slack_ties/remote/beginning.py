"""Read the first entries of a tensor on the Hub, without the rest of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.models.header import ENTRY_BYTES
from slack_ties.models.places import LEAD, FilePlaces, Span
from slack_ties.models.weight_index import DOWNLOAD_AGAIN
from slack_ties.remote.tensor import tensor_of

if TYPE_CHECKING:
    import torch

    from slack_ties.hub.ranges import HubFile, Ranges

__all__ = ["read_beginning"]


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
    count = min(count, place.size)
    size = ENTRY_BYTES.get(place.dtype)
    if place.stride is not None or size is None:  # its entries may be anywhere in the span
        data = memoryview(bytearray(ranges.read(file, span.first, span.end)))
        return tensor_of(places, tensor, data).flatten()[:count].clone()
    first = span.first + (_header(ranges, file, places, span) if places.zipped else 0)
    first = min(first + place.offset * size, span.end)
    end = min(first + count * size, span.end)
    data = memoryview(bytearray(ranges.read(file, first, end)))
    # A file without a zip's headers whose only tensor these entries are.
    only = replace(place, span=0, shape=(count,), stride=None, offset=0)
    plain = FilePlaces(places.file, places.size, False, (Span(first, end),), {tensor: only})
    return tensor_of(plain, tensor, data)


def _header(ranges: Ranges, file: HubFile, places: FilePlaces, span: Span) -> int:
    """Return the bytes of the local header at the beginning of a zip entry."""
    lead = ranges.read(file, span.first, min(span.end, span.first + LEAD))
    try:
        return places.data_begin(lead)
    except ValueError as error:
        msg = f"{file.name} of {file.repo_id!r} cannot be read: {error}"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN) from None
