"""Decide which bytes of the files on the Hub are read, in which order, and what waits in memory.

A file that is read from front to back can be hashed on the way. mergekit wants tensors in another
order than most files have, so what is read before it is wanted waits in memory. If that is more
than the window holds, the file is read in the order of the merge, without the rest of it, and its
checksum is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from slack_ties.models.places import FilePlaces

__all__ = ["Request", "Schedule", "Use", "largest_wait", "make_schedule"]


class Use(NamedTuple):
    """One use of a span: the numbers of the file and of the span in it."""

    file: int
    span: int


class Request(NamedTuple):
    """A range to ask for."""

    file: int
    first: int
    end: int  # not included


@dataclass(frozen=True)
class Schedule:
    """All ranges to ask for, in order. No byte is in two of them."""

    requests: tuple[Request, ...]
    uses: Mapping[Use, int]  # how often each span is used
    compared: frozenset[int]  # the files that are read from front to back
    waits: int  # bytes at most that wait in memory until the merge wants them, without read-ahead

    @property
    def total(self) -> int:
        """The bytes of all requests."""
        return sum(one.end - one.first for one in self.requests)


def make_schedule(
    files: Sequence[FilePlaces],
    uses: Sequence[Use],
    *,
    window: int,
    partly: Collection[int] = (),
) -> Schedule:
    """Return the ranges to ask for.

    Args:
        files: The files.
        uses: What the merge wants, in its order; a span may occur more than once.
        window: Bytes that may wait in memory.
        partly: Files of which an earlier run has read a part: they are not read from front to back.

    """
    raise NotImplementedError


def largest_wait(files: Sequence[FilePlaces], uses: Sequence[Use]) -> int:
    """Return the window, in bytes, with which every file can be read from front to back."""
    raise NotImplementedError
