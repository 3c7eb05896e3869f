"""Read ahead of the merge, several ranges at once, within a window of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slack_ties.hub.ranges import HubFile, Ranges
    from slack_ties.models.places import FilePlaces
    from slack_ties.remote.schedule import Schedule

__all__ = ["Window"]

AT_ONCE = 8  # requests


class Window:
    """The bytes that were read and are not used yet."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        schedule: Schedule,
        files: Sequence[HubFile],
        places: Sequence[FilePlaces],
        *,
        ranges: Ranges,
        size: int,
        compared: Callable[[HubFile], None] | None = None,
    ) -> None:
        """Prepare; `start` begins to read.

        Args:
            schedule: The ranges to ask for.
            files: The files that its numbers mean.
            places: Their spans.
            ranges: Asks for them.
            size: Bytes that may be in memory at once; what the merge waits for is read beyond it.
            compared: Called when the checksum of a file was found to be the Hub's.

        """
        raise NotImplementedError

    def start(self) -> None:
        """Begin to read ahead, in threads."""
        raise NotImplementedError

    def take(self, file: int, span: int) -> memoryview:
        """Wait for the bytes of a span and return them; each use is taken once.

        Raises:
            HubError: They cannot be read.
            WrongBytesError: A file has another checksum than the Hub states.

        """
        raise NotImplementedError

    def finish(self) -> None:
        """Read what is left of the files that are read from front to back, and compare them.

        Raises:
            SlackTiesError: As for `take`.

        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop reading; never waits for a request."""
        raise NotImplementedError
