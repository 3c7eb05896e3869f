"""The HTTP library of the Hub client: httpx (huggingface_hub 1) or httpx2 (huggingface_hub 2)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

__all__ = [
    "BROKEN",
    "LIBRARY",
    "SILENT",
    "UNCONNECTED",
    "WRONG_ADDRESS",
    "TransportError",
    "end_answer",
    "watch_bytes",
]


def _transport_error() -> type[Exception]:
    """Return httpx.HTTPError (huggingface_hub 1) or httpx2.HTTPError (2).

    The client raises it if a connection is refused or breaks. If a future client uses another
    library, only Python's own connection errors are retried.
    """
    bases = [base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"]
    return bases[0] if bases else ConnectionError


Waits = Callable[[], AbstractContextManager[Any]]

TransportError: type[Exception] = _transport_error()
LIBRARY = TransportError.__module__.partition(".")[0]  # its name, also for pip
_HTTP = import_module(LIBRARY)


def _types(*names: str) -> tuple[type[Exception], ...]:
    """Return the library's errors with these names; one that is missing is not recognized."""
    found = [getattr(_HTTP, name, None) for name in names]
    return tuple(one for one in found if isinstance(one, type) and issubclass(one, Exception))


UNCONNECTED = _types("ConnectError", "ProxyError")
SILENT = _types("TimeoutException")
BROKEN = _types("ReadError", "WriteError", "CloseError", "RemoteProtocolError")
WRONG_ADDRESS = _types("InvalidURL", "UnsupportedProtocol")


def end_answer(response: Any) -> None:
    """End an answer that another thread reads: its connection breaks at once.

    If the library does not show the socket, the other thread waits for its next block.
    """
    stream = response.extensions.get("network_stream")
    line = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(line, socket.socket):
        # Not `line.shutdown`: a socket with TLS would end TLS first, and the other thread would
        # read encrypted bytes as those of the answer.
        with suppress(OSError):  # closed in the meantime
            socket.socket.shutdown(line, socket.SHUT_RDWR)


class _Watched(getattr(_HTTP, "SyncByteStream", object)):  # type: ignore[misc]
    """The blocks of a stream, counted."""

    def __init__(self, inner: Any, count: Callable[[int], None], waits: Waits) -> None:
        """Take the stream, and what to call."""
        self.inner, self.count, self.waits = inner, count, waits

    def __iter__(self) -> Iterator[bytes]:
        """Yield each block, and count it."""
        blocks = iter(self.inner)
        while True:
            with self.waits():
                block = next(blocks, None)
            if block is None:
                return
            self.count(len(block))
            yield block

    def close(self) -> None:
        """Close the stream."""
        self.inner.close()


def watch_bytes(message: Any, count: Callable[[int], None], waits: Waits = nullcontext) -> None:
    """Call `count` with the number of bytes of each block of a request or an answer.

    If the library has no such streams, only the beginning of an answer is counted.

    Args:
        message: The request or the answer.
        count: It is called after each block that comes, and when a block is to be sent.
        waits: Each block is read within this context.

    """
    inner = getattr(message, "stream", None)
    if _Watched.__mro__[1] is not object and isinstance(inner, _Watched.__mro__[1]):
        message.stream = _Watched(inner, count, waits)
