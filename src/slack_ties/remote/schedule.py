"""Decide which bytes of the files on the Hub are read, in which order, and what waits in memory.

A file that is read from front to back can be hashed on the way. mergekit wants tensors in another
order than most files have, so what is read before it is wanted waits in memory. If that is more
than the window holds, the file is read in the order of the merge, without the rest of it, and its
checksum is not compared.

Time is counted in uses: the first tensor that the merge wants is wanted at time 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from slack_ties.remote.pieces import cut, join

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slack_ties.models.places import FilePlaces

__all__ = ["Request", "Schedule", "Use", "largest_wait", "make_schedule"]

LARGEST = 17 << 20  # bytes of a request: 16 MiB of a large span, and its small neighbours

SHARE = 8  # a request is at most this part of the window: so many can run at once

LEAST = 4096  # bytes; no window makes the largest request smaller than this


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
    largest: int = LARGEST,
) -> Schedule:
    """Return the ranges to ask for.

    A quarter of the window is left for reading ahead. A file without uses is not read.

    Args:
        files: The files.
        uses: What the merge wants, in its order; a span may occur more than once.
        window: Bytes that may wait in memory.
        partly: Files of which an earlier run has read a part, or which have no checksum: they are
            not read from front to back.
        largest: Bytes of a request at most.

    """
    waits = _Waits(files, uses, partly)
    limit = window * 3 // 4
    compared = waits.chosen(limit)
    total = waits.total(compared)
    room = [limit - one for one in total]
    most = max(min(largest, window // SHARE), min(largest, LEAST))
    found: list[tuple[int, Request]] = []
    for number, first in waits.first.items():
        whole = number in compared
        part = -(-most * 16 // 17)
        pieces = cut(files[number], first, most=part, whole=whole, last=len(uses))
        for group in join(pieces, most=most, room=room):
            request = Request(number, group.first, group.end)
            found.append((group.wanted, request))
    counts: dict[Use, int] = {}
    for use in uses:
        counts[use] = counts.get(use, 0) + 1
    requests = tuple(request for _, request in sorted(found))
    most_waits = limit - min(room, default=limit)
    return Schedule(requests, counts, frozenset(compared), most_waits)


def largest_wait(
    files: Sequence[FilePlaces], uses: Sequence[Use], *, partly: Collection[int] = ()
) -> int:
    """Return the least window, in bytes, with which every file is read from front to back.

    Args:
        files: The files.
        uses: What the merge wants, in its order.
        partly: Files that are not read from front to back with any window.

    """
    waits = _Waits(files, uses, partly)
    total, base = waits.total(waits.possible), waits.total(())
    most = max((one for one, least in zip(total, base, strict=True) if one > least), default=0)
    return -(-most * 4 // 3)


class _Wait(NamedTuple):
    """Bytes that wait in memory from one time to another."""

    since: int
    until: int  # not included
    size: int


class _Waits:
    """What waits in memory, for each choice of files that are read from front to back."""

    def __init__(
        self, files: Sequence[FilePlaces], uses: Sequence[Use], partly: Collection[int]
    ) -> None:
        """Find when each span is wanted for the first and the last time."""
        self.times = len(uses)
        self.first: dict[int, dict[int, int]] = {}  # by file and span
        last: dict[Use, int] = {}
        for time, use in enumerate(uses):
            self.first.setdefault(use.file, {}).setdefault(use.span, time)
            last[use] = time
        self.possible = [file for file in self.first if file not in partly and files[file].size]
        self.by_use: dict[int, list[_Wait]] = {}
        self.whole: dict[int, list[_Wait]] = {}
        for file, first in self.first.items():
            spans = files[file].spans
            ends = {span: last[Use(file, span)] for span in first}
            self.by_use[file] = [
                _Wait(time, ends[one], spans[one].size) for one, time in first.items()
            ]
            self.whole[file], wanted = [], self.times
            for one in sorted(first, reverse=True):
                if spans[one].size:
                    wanted = min(wanted, first[one])
                    self.whole[file].append(_Wait(wanted, ends[one], spans[one].size))

    def total(self, compared: Collection[int]) -> list[int]:
        """Return the bytes that wait at each time, if these files are read from front to back."""
        change = [0] * (self.times + 1)
        for file in self.first:
            for wait in self._of(file, compared):
                change[wait.since] += wait.size
                change[wait.until] -= wait.size
        return list(accumulate(change))[: self.times]

    def chosen(self, limit: int) -> set[int]:
        """Return the files that are read from front to back, so that at most `limit` bytes wait.

        At the time at which most waits, the file of which most waits is given up; and so on.
        """
        base, chosen, given_up = self.total(()), set(self.possible), list[int]()
        while (time := self._worst(chosen, base, limit)) is not None:
            file = max(sorted(chosen), key=lambda one: self._saved(one, time))
            chosen.remove(file)
            given_up.append(file)
        for file in reversed(given_up):  # what was given up later may make room for it
            if self._worst(chosen | {file}, base, limit) is None:
                chosen.add(file)
        return chosen

    def _worst(self, chosen: set[int], base: Sequence[int], limit: int) -> int | None:
        """Return the time at which most waits, if it is too much and could be less."""
        total = self.total(chosen)
        times = [t for t in range(self.times) if total[t] > max(limit, base[t])]
        return max(times, key=lambda t: total[t], default=None)

    def _saved(self, file: int, time: int) -> int:
        """Return how much less waits at a time if a file is read in the order of the merge."""
        return _at(self.whole[file], time) - _at(self.by_use[file], time)

    def _of(self, file: int, compared: Collection[int]) -> list[_Wait]:
        return self.whole[file] if file in compared else self.by_use[file]


def _at(waits: Iterable[_Wait], time: int) -> int:
    return sum(one.size for one in waits if one.since <= time < one.until)
