"""Read ranges of files on the Hub, checked against what the Hub stated for the file.

Requests go to the resolve address of a pinned commit, through the Hub client's session, with its
token and proxy. Nothing is written to this disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries

__all__ = ["HubFile", "Ranges"]


@dataclass(frozen=True)
class HubFile:
    """A file of one commit on the Hub, as the Hub states it."""

    repo_id: str
    commit: str  # 40 hex digits
    name: str
    size: int  # bytes
    checksum: str = ""  # SHA-256 of a large file (64 hex digits), git's SHA-1 of a small one


class Ranges:
    """Reads ranges of files on the Hub; several threads may use it at once."""

    def __init__(self, *, api: HfApi, retries: Retries | None = None) -> None:
        """Prepare; nothing is asked yet.

        Args:
            api: The Hub client.
            retries: How long to wait for the Hub; within a block of `timeouts` its policy applies.

        """
        self.api, self.retries = api, retries
        self.received = 0  # bytes of answers so far

    def read_into(self, file: HubFile, first: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes of a file from position `first` on.

        Raises:
            HubError: The Hub cannot be reached, refuses, ignores ranges, or sends another file.

        """
        raise NotImplementedError

    def read(self, file: HubFile, first: int, end: int) -> bytes:
        """Return the bytes from `first` to `end`, which is not included; errors as above."""
        raise NotImplementedError

    def open(self, file: HubFile) -> IO[bytes]:
        """Return a seekable file object: each read brings its bytes and some after them."""
        raise NotImplementedError

    def stop(self) -> None:
        """Let no request begin any more, and end those that run; they raise StoppedError."""
        raise NotImplementedError
