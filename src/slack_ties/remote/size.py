"""Choose how much memory is used to read ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.remote.schedule import largest_wait, make_schedule

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slack_ties.models.places import FilePlaces
    from slack_ties.remote.schedule import Use

__all__ = ["fitting_window"]

LEAST, MOST = 1_000_000_000, 4_000_000_000  # bytes


def fitting_window(
    files: Sequence[FilePlaces],
    uses: Sequence[Use],
    *,
    partly: Collection[int] = (),
    free: int | None = None,
) -> int:
    """Return the window, in bytes, that lets as many files as possible be read from front to back.

    It is at least 1 GB and at most 4 GB, but never more than half of the free memory. It is not
    larger than what helps.

    Args:
        files: The files.
        uses: What the merge wants, in its order.
        partly: Files that are not read from front to back with any window.
        free: Bytes of memory that are free; asked for if not given.

    """
    if free is None:
        import psutil  # noqa: PLC0415 - not for --help

        free = int(psutil.virtual_memory().available)
    most = min(MOST, free // 2)
    wanted = largest_wait(files, uses, partly=partly)
    if wanted > most:
        compared = make_schedule(files, uses, window=most, partly=partly).compared
        others = {number for number in range(len(files)) if number not in compared}
        wanted = largest_wait(files, uses, partly=others)
    return min(max(wanted, LEAST), most)
