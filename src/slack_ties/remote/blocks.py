"""The memory of what is read from the Hub."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from slack_ties.models.places import Span
    from slack_ties.remote.schedule import Request

__all__ = ["Block", "Job", "Part", "memory"]

# Sums of products differ in the last bits with the position of the first byte between multiples of
# 64: so it is the same here as in a file on this disk, which PyTorch maps into memory.
ALIGNED = 64  # bytes

MAPPED = 1 << 20  # bytes from which memory is mapped


class Part(NamedTuple):
    """The bytes of a request that belong to a span, by their positions in the file."""

    span: int
    first: int
    end: int  # not included


class Block:
    """The memory of one span."""

    def __init__(self, span: Span) -> None:
        """Take the memory for the bytes of a span."""
        self.first, self.missing = span.first, span.size
        self.view = memory(span.size, span.first)

    def part(self, first: int, end: int) -> memoryview:
        """Return the memory of the bytes between two positions in the file."""
        return self.view[first - self.first : end - self.first]


class Job(NamedTuple):
    """A request that runs."""

    request: Request
    view: memoryview  # where its bytes go
    parts: list[tuple[Part, Block]]
    own: int  # bytes of memory that only the request has


def memory(size: int, position: int = 0) -> memoryview:
    """Return so many bytes of memory, to be filled.

    Large ones are mapped: the system gets them back at once when nobody uses them any more. What
    malloc is given back between blocks that are still used, it keeps: up to as much again.

    Args:
        size: The number of bytes.
        position: Where such bytes are in a file: the memory is as aligned.

    """
    lead = position % ALIGNED
    if size >= MAPPED:
        private = {} if os.name == "nt" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
        return memoryview(mmap.mmap(-1, lead + size, **private))[lead:]
    import numpy as np  # noqa: PLC0415 - not for --help

    found = np.empty(size + 2 * ALIGNED, dtype=np.uint8)
    lead += -found.ctypes.data % ALIGNED
    return found[lead : lead + size].data
