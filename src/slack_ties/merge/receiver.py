"""The protocols between the writer of weight files and the receiver that uploads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["Done", "Receiver", "Sent", "Streaming"]


class Done(Protocol):
    """A weight file of an earlier run, which is not written again."""

    @property
    def file(self) -> str:
        """The writer's name for it."""

    @property
    def tensors(self) -> dict[str, int]:
        """The names of its tensors, and the bytes of each."""


class Receiver(Protocol):
    """Takes the weight files."""

    @property
    def done(self) -> Sequence[Done]:
        """The files of an earlier run, in order; each has a local file that is renamed later."""

    @property
    def takes_all(self) -> bool:
        """Whether it takes the last file too, before files get their final names."""

    def take(self, path: Path) -> None:
        """Take a file that is complete; the merge continues when this returns."""

    def settle(self) -> None:
        """Finish the work on all files: the writer renames them next."""


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
            facts: All that the merged bytes depend on, as JSON values.
            resumes: Whether an interrupted merge can resume: it can if a tensor gets the same
                bytes after any other tensors.

        """

    @property
    def not_compared(self) -> set[str]:
        """The parents' files that this run or earlier ones have read from the Hub in pieces.

        ID@COMMIT/FILE of those of which bytes were read that were not compared with a checksum.
        """

    def note_read(self, file: str) -> None:
        """Add such a file: bytes of it are read from now on, and not compared yet."""

    def note_compared(self, file: str) -> None:
        """Take a file out: all bytes that were read of it are compared now."""

    def note_wrong(self) -> None:
        """Note that bytes of a parent were wrong: no later run resumes from this one."""

    def send_rest(self) -> Mapping[str, Sent]:
        """Return all files by their final names, which they have by now."""
