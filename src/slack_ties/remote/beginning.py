"""Read the first entries of a tensor on the Hub, without the rest of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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
    if place.stride is not None or place.dtype not in ENTRY_BYTES:  # they may be anywhere in it
        data = memoryview(bytearray(ranges.read(file, span.first, span.end)))
        return tensor_of(places, tensor, data).flatten()[:count].clone()
    try:
        raw = places.first_entries(tensor, count, partial(ranges.read, file))
    except ValueError as error:
        msg = f"{file.name} of {file.repo_id!r} cannot be read: {error}"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN) from None
    # A file without a zip's headers whose only tensor these entries are.
    only = replace(place, span=0, shape=(min(count, place.size),), stride=None, offset=0)
    plain = FilePlaces(places.file, places.size, False, (Span(0, len(raw)),), {tensor: only})
    return tensor_of(plain, tensor, memoryview(bytearray(raw)))
