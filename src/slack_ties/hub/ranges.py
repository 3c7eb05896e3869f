"""Read ranges of files on the Hub, checked against what the Hub stated for the file.

Requests go to the resolve address of a pinned commit, through the Hub client's session, with its
token and proxy. Nothing is written to this disk.
"""

from __future__ import annotations

import io
import threading
from contextlib import closing
from functools import partial
from typing import IO, Any, cast

from huggingface_hub import HfApi

from slack_ties.errors import HubError, NoRangesError
from slack_ties.hub.address import (
    Address,
    HubFile,
    WholeFileError,
    WrongAnswerError,
    check_bytes,
    has_expired,
    next_address,
)
from slack_ties.hub.errors import hub_error
from slack_ties.hub.faults import BrokenError, UnconnectedError
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import STOP, in_force
from slack_ties.hub.transfer import StoppedError
from slack_ties.hub.turns import Turns
from slack_ties.private.http import end_answer
from slack_ties.private.hub_cache import request_headers
from slack_ties.private.hub_requests import begin_answer

__all__ = ["HubFile", "Ranges"]

READ_AHEAD = 32 * 1024  # further bytes with each read of a file object
MOST_REDIRECTS = 5


class Ranges:
    """Reads ranges of files on the Hub; several threads may use it at once."""

    def __init__(self, *, api: HfApi, retries: Retries | None = None) -> None:
        """Prepare; nothing is asked yet.

        Args:
            api: The Hub client.
            retries: How long to wait for the Hub; within a block of `timeouts` its policy applies.

        """
        self.api, self.retries = api, retries or Retries()
        self.received = 0  # bytes of answers so far
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._turns = Turns(self._stopped)
        self._addresses: dict[HubFile, Address] = {}  # those that are not the Hub's own
        self._etags: dict[HubFile, dict[str, str]] = {}  # host -> what it calls the file
        self._running: set[Any] = set()  # answers that are read now

    def read_into(self, file: HubFile, first: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes of a file from position `first` on.

        Args:
            file: The file.
            first: The position of the first byte.
            buffer: It may hold a part when an error is raised.

        Raises:
            HubError: The Hub cannot be reached, refuses, or sends another file.
            NoRangesError: The server ignores ranges.
            StoppedError: `stop` was called.
            ValueError: The file has no such bytes.

        """
        buffer = buffer.cast("B")
        if first < 0 or first + len(buffer) > file.size:
            msg = f"{file.name} has no bytes {first} to {first + len(buffer)}: {file.size} bytes"
            raise ValueError(msg)
        reading = _Reading(file, first, buffer)
        while reading.left:
            self._ask(reading)

    def read(self, file: HubFile, first: int, end: int) -> bytes:
        """Return the bytes from `first` to `end`, which is not included; errors as above."""
        if not 0 <= first <= end <= file.size:
            msg = f"{file.name} has no bytes {first} to {end}: {file.size} bytes"
            raise ValueError(msg)
        content = bytearray(end - first)
        self.read_into(file, first, memoryview(content))
        return bytes(content)

    def open(self, file: HubFile) -> IO[bytes]:
        """Return a seekable file object: each read brings its bytes and some after them."""
        return cast("IO[bytes]", _Opened(self, file))

    def stop(self) -> None:
        """Let no request begin any more, and end those that run; they raise StoppedError."""
        self._stopped.set()
        with self._lock:
            running = list(self._running)
        for response in running:
            end_answer(response)

    def _ask(self, reading: _Reading) -> None:
        """Ask for the bytes that are missing, until they are there or the policy gives up."""

        def as_ours(error: Exception) -> Exception:
            if isinstance(error, WrongAnswerError):
                kind = NoRangesError if isinstance(error, WholeFileError) else HubError
                return kind(f"{reading.file.what}: {error}", hint=error.hint)
            # The server that failed may be another one than the Hub: messages name it.
            api = self.api if not reading.server else HfApi(reading.server, token=self.api.token)
            return hub_error(reading.file.what, api, error)

        self._turns.ask(in_force(self.retries), lambda: self._once(reading), as_ours)

    def _once(self, reading: _Reading) -> None:
        """Make one request for the bytes that are missing, and the redirects of it."""
        file = reading.file
        of_hub = Address.of(file, self.api, self._etags.setdefault(file, {}))
        at = self._addresses.get(file) or of_hub
        for _ in range(MOST_REDIRECTS):
            reading.server = "" if at.hub else at.server
            with closing(self._begin(reading, at)) as response:
                if has_expired(at, response):
                    self._forget(file, at)
                    there: Address | None = of_hub
                else:
                    there = next_address(file, at, response, self.api)
                if there is None:
                    self._receive(reading, at, response)
                    return
            at = there
        msg = f"{at.host} answered with more than {MOST_REDIRECTS} redirects"
        raise WrongAnswerError(msg)

    def _forget(self, file: HubFile, at: Address) -> None:
        """Ask the Hub for the address of a file with the next request."""
        with self._lock:
            if self._addresses.get(file) is at:
                del self._addresses[file]

    def _begin(self, reading: _Reading, at: Address) -> Any:
        """Return the beginning of the answer to a request."""
        if self._stopped.is_set():
            raise StoppedError
        headers = request_headers(self.api)
        if not at.hub:
            headers.pop("authorization", None)  # no token for other servers
        last = reading.first + len(reading.buffer) - 1
        headers |= {"Range": f"bytes={reading.at}-{last}", "Accept-Encoding": "identity"}
        ask = partial(begin_answer, at.url, headers, {STOP: self._stopped})
        try:
            return ask()
        except UnconnectedError:
            self._forget(reading.file, at)  # the Hub may name another server
            raise
        except BrokenError:
            # A server closes a connection that nobody uses, perhaps just as a request comes.
            return ask()

    def _receive(self, reading: _Reading, at: Address, response: Any) -> None:
        """Read the body of an answer into the buffer."""
        file, end = reading.file, reading.first + len(reading.buffer)
        try:
            reading.due = check_bytes(file, reading.at, end, at, response) - reading.at
        except WrongAnswerError:
            self._forget(file, at)
            raise
        if not at.hub:
            self._addresses[file] = at
        at.fresh = False
        self._turns.recovered()
        with self._lock:
            self._running.add(response)
        try:
            if self._stopped.is_set():  # `stop` may not have seen this answer
                raise StoppedError
            for block in response.iter_raw():
                if self._stopped.is_set():
                    raise StoppedError
                with self._lock:
                    self.received += len(block)
                reading.take(block, at)
        finally:
            with self._lock:
                self._running.discard(response)
        if reading.due:
            msg = f"{at.host} sent {reading.due} bytes less than it stated"
            raise WrongAnswerError(msg)


class _Reading:
    """What was asked for, and how much of it is there."""

    def __init__(self, file: HubFile, first: int, buffer: memoryview) -> None:
        """Take the file, the position of the first byte, and where the bytes go."""
        self.file, self.first, self.buffer, self.filled = file, first, buffer, 0
        self.server = ""  # that was asked last, if it is not the Hub
        self.due = 0  # bytes that the answer has not brought yet

    @property
    def at(self) -> int:
        """The position of the first byte that is missing."""
        return self.first + self.filled

    @property
    def left(self) -> int:
        """How many bytes are missing."""
        return len(self.buffer) - self.filled

    def take(self, block: bytes, at: Address) -> None:
        """Put the next bytes into the buffer."""
        if len(block) > self.due:
            msg = f"{at.host} sent more bytes than it stated"
            raise WrongAnswerError(msg)
        self.buffer[self.filled : self.filled + len(block)] = block
        self.filled += len(block)
        self.due -= len(block)


class _Opened(io.RawIOBase):
    """A file on the Hub as a file object."""

    def __init__(self, ranges: Ranges, file: HubFile) -> None:
        """Begin at the beginning."""
        super().__init__()
        self.ranges, self.file, self.at = ranges, file, 0
        self.kept, self.first = b"", 0  # the bytes that came last, and the position of the first

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it has positions."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.file.size}[whence]
        if base + offset < 0:
            msg = f"no position {base + offset}"
            raise ValueError(msg)
        self.at = base + offset
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, or fewer if the file ends before; all that are left for -1."""
        left = max(0, self.file.size - self.at)
        end = self.at + (left if size is None or size < 0 else min(size, left))
        if end > self.at and not (self.first <= self.at and end <= self.first + len(self.kept)):
            self._fetch(end)
        found = self.kept[self.at - self.first : end - self.first] if end > self.at else b""
        self.at = end
        return found

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, unless the file ends before."""
        view = memoryview(buffer).cast("B")
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)

    def _fetch(self, end: int) -> None:
        """Read from the position to `end`, and some bytes more."""
        ahead = min(end + READ_AHEAD, self.file.size)
        # The directory of a zip is at the end of the file, and is read backwards.
        first = max(0, min(self.at, ahead - READ_AHEAD))
        self.first, self.kept = first, self.ranges.read(self.file, first, ahead)
