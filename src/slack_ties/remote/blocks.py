"""The memory of what is read from the Hub."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from slack_ties.models.places import Span
    from slack_ties.remote.schedule import Request

__all__ = ["Block", "Job", "Part", "memory"]

ALIGNED = 16  # bytes: numpy's memory and torch.save's storages begin at multiples of them

MAPPED = 1 << 20  # bytes from which memory is mapped


class Part(NamedTuple):
    """The bytes of a request that belong to a span, by their positions in the file."""

    span: int
    first: int
    end: int  # not included


class Block:
    """The memory of one span."""

    def __init__(self, span: Span, *, zipped: bool) -> None:
        """Take the memory.

        Args:
            span: Where its bytes are in the file.
            zipped: It is of a .bin file, whose storages are aligned but its spans are not.

        """
        lead = span.first % ALIGNED if zipped else 0
        self.first, self.missing = span.first, span.size
        self.view = memory(lead + span.size)[lead:]

    def part(self, first: int, end: int) -> memoryview:
        """Return the memory of the bytes between two positions in the file."""
        return self.view[first - self.first : end - self.first]


class Job(NamedTuple):
    """A request that runs."""

    request: Request
    view: memoryview  # where its bytes go
    parts: list[tuple[Part, Block]]
    own: int  # bytes of memory that only the request has


def memory(size: int) -> memoryview:
    """Return so many bytes of memory, to be filled.

    Large ones are mapped: the system gets them back at once when nobody uses them any more. What
    malloc is given back between blocks that are still used, it keeps: up to as much again.
    """
    if size >= MAPPED:
        private = {} if os.name == "nt" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
        return memoryview(mmap.mmap(-1, size, **private))
    import numpy as np  # noqa: PLC0415 - not for --help

    return np.empty(size, dtype=np.uint8).data
