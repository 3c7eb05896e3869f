"""Hash a file while its parts arrive in any order, and compare its checksum with the Hub's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from slack_ties.errors import WrongBytesError
from slack_ties.files import begin_checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from slack_ties.hub.ranges import HubFile

__all__ = ["Sums"]

SHOWN = 12  # digits of a checksum in a message


class Sums:
    """The checksum of the beginning of a file."""

    def __init__(self, file: HubFile, compared: Callable[[HubFile], None] | None) -> None:
        """Begin at the first byte.

        Args:
            file: The file; it has a checksum.
            compared: Called when its checksum was found to be the Hub's.

        """
        self.file, self.compared = file, compared
        self.at = 0  # the bytes that are hashed
        self.lock = threading.Lock()
        self.busy = False  # a thread hashes
        self.waiting: dict[int, tuple[memoryview, Callable[[], None]]] = {}  # by position
        self.digest = begin_checksum(file.checksum, file.size)

    def add(self, first: int, data: memoryview, done: Callable[[], None]) -> None:
        """Keep a part of the file until `work` hashes it.

        Args:
            first: The position of the part.
            data: Its bytes; they must stay as they are until `done` is called.
            done: Called when the part is hashed, in any thread.

        """
        with self.lock:
            self.waiting[first] = (data, done)

    def work(self) -> None:
        """Hash the parts that follow what is hashed already, unless another thread does.

        Python's global lock is free meanwhile: each file may have a thread that hashes.

        Raises:
            WrongBytesError: The file has another checksum than the Hub states.

        """
        with self.lock:
            if self.busy:
                return
            self.busy = True
        while True:
            with self.lock:
                if self.at not in self.waiting:
                    self.busy = False
                    return
                data, done = self.waiting.pop(self.at)
            self.digest.update(data)
            at = self.at + len(data)
            if at == self.file.size:
                self._compare()
            self.at = at
            del data  # its memory may be free from now on
            done()

    def close(self) -> None:
        """Forget the parts that are not hashed yet; say nothing of the file any more."""
        with self.lock:
            self.waiting.clear()
            self.compared = None

    def _compare(self) -> None:
        """Compare the checksum of the whole file."""
        found, stated = self.digest.hexdigest(), self.file.checksum
        if found != stated:
            msg = f"model {self.file.repo_id!r}: {self.file.name} arrived with the checksum "
            msg += f"{found[:SHOWN]}..., expected {stated[:SHOWN]}... as the Hub states"
            hint = "run the same command again; if this happens again, run it with --download"
            raise WrongBytesError(msg, hint=hint)
        if compared := self.compared:
            compared(self.file)
