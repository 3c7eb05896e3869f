"""What the writer of weight files and a receiver of them expect from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["Done", "Receiver", "Sent", "Streaming"]


class Done(Protocol):
    """A weight file of an earlier run, which need not be written again."""

    @property
    def file(self) -> str:
        """Its name, as the writer calls it."""

    @property
    def tensors(self) -> dict[str, int]:
        """The names of its tensors, and the bytes of each."""


class Receiver(Protocol):
    """What takes the weight files."""

    @property
    def done(self) -> Sequence[Done]:
        """Those of an earlier run, in order, of which each has a file to be renamed."""

    def take(self, path: Path) -> None:
        """Take a file that was written whole; the merge goes on when this returns."""

    def settle(self) -> None:
        """Be done with all files: they are renamed next."""


class Sent(Protocol):
    """A weight file that was sent."""

    @property
    def sha256(self) -> str:
        """Its checksum, 64 hex digits."""


class Streaming(Receiver, Protocol):
    """A receiver that keeps no weight file on this disk."""

    def working(self, facts: Mapping[str, Any], *, resumes: bool) -> AbstractContextManager[Path]:
        """Return the folder to merge into.

        Args:
            facts: What the merged bytes depend on; JSON.
            resumes: Whether an interrupted merge can go on, because a tensor is merged to the
                same bytes whatever was merged before it.

        """

    def send_rest(self) -> Mapping[str, Sent]:
        """Send the files that were written last; return all files by their final names."""
