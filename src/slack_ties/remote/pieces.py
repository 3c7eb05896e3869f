"""Cut the bytes of a file into pieces, and join small neighbours into one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slack_ties.models.places import FilePlaces

__all__ = ["Piece", "cut", "join"]

SMALL = 64 << 10  # bytes; so few are read and kept rather than asked for on their own

NEAR = 64  # uses; larger neighbours are joined if the merge wants them within this time


class Piece(NamedTuple):
    """Bytes that one request may bring."""

    first: int
    end: int  # not included
    wanted: int  # when the merge wants them at the latest
    kept: int  # bytes of the spans of which it has a part; they wait from its request on

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.end - self.first


def cut(
    file: FilePlaces, first: Mapping[int, int], *, most: int, whole: bool, last: int
) -> list[Piece]:
    """Return the pieces of a file in the order of their positions.

    Args:
        file: The spans.
        first: When each span that the merge uses is wanted for the first time.
        most: Bytes of a piece at most.
        whole: The file is read from front to back, also what the merge does not use.
        last: When what nobody waits for is wanted.

    """
    used = [span for span in sorted(first) if file.spans[span].size]
    wanted = {span: first[span] for span in used}
    if whole:
        soonest = last
        for span in reversed(used):
            soonest = wanted[span] = min(soonest, wanted[span])
    pieces: list[Piece] = []
    at = 0
    for span in used:
        begin, end = file.spans[span]
        if whole:
            pieces += _parts(at, begin, wanted[span], 0, most)
        pieces += _parts(begin, end, wanted[span], end - begin, most)
        at = end
    if whole:  # a checksum is wanted soon, but what the merge waits for comes before a long rest
        soon = bool(used) and file.size - at <= most
        pieces += _parts(at, file.size, wanted[used[-1]] if soon else last, 0, most)
    return pieces


def _parts(first: int, end: int, wanted: int, kept: int, most: int) -> Iterator[Piece]:
    """Cut a range into equal parts."""
    size = end - first
    count = -(-size // most)
    for number in range(count):
        begin, stop = (first + size * one // count for one in (number, number + 1))
        yield Piece(begin, stop, wanted, kept)


def join(pieces: Iterable[Piece], *, most: int, room: list[int]) -> Iterator[Piece]:
    """Join neighbours, where a request of at most `most` bytes holds both.

    Args:
        pieces: In the order of their positions.
        most: Bytes of a request at most.
        room: How many bytes more may wait at each time; what is used of it is taken off.

    """
    now: Piece | None = None
    for piece in pieces:
        if now and _fit(now, piece, most) and _take(now, piece, room):
            kept, wanted = now.kept + piece.kept, min(now.wanted, piece.wanted)
            now = Piece(now.first, piece.end, wanted, kept)
            continue
        if now:
            yield now
        now = piece
    if now:
        yield now


def _fit(one: Piece, other: Piece, most: int) -> bool:
    """Say whether two neighbours may be one request."""
    if other.first - one.end > SMALL or other.end - one.first > most:
        return False
    later = max(one, other, key=lambda piece: piece.wanted)
    return abs(one.wanted - other.wanted) <= NEAR or later.size <= SMALL


def _take(one: Piece, other: Piece, room: list[int]) -> bool:
    """Let the piece that is wanted later wait from the time of the other, if there is room."""
    begin, end = sorted((one.wanted, other.wanted))
    kept = max(one, other, key=lambda piece: piece.wanted).kept
    if not kept or begin == end:
        return True
    times: Sequence[int] = room[begin:end]
    if min(times) < kept:
        return False
    room[begin:end] = [left - kept for left in times]
    return True
