"""How the Hub of the tests sends files: in pieces, slowly, from signed addresses, or wrongly."""

from __future__ import annotations

import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 1 << 16  # bytes that are written at once

RANGE = re.compile(r"bytes=(\d+)-(\d*)")

LOST_CREDIT = 0.05  # seconds in which a line may make up for late wake-ups

# Faults of the kind "range" that change an answer; others come instead of it.
OF_ANSWERS = {
    "dropped_inside": "the connection breaks in the middle of the body",
    "stalled_inside": "nothing comes after the middle of the body",
    "truncated": "the connection is closed in the middle of the body",
    "wrong_bytes": "the right number of bytes, and one of them is another one",
    "whole": "200 and the whole file",
    "page": "200 and an HTML page",
    "wrong_range": "a Content-Range that was not asked for",
    "long_range": "a Content-Range with numbers that Python does not read",
    "shorter": "a Content-Range and a body that end one byte too early",
    "other_size": "a Content-Range with another size of the file",
    "other_etag": "another ETag, of the Hub or of the storage server",
    "other_commit": "another commit, if the Hub itself answers",
}


@dataclass
class Line:
    """A line of so many bytes in a second, shared by all that goes over it; 0: no limit."""

    rate: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    free: float = 0.0  # when it has sent all that was given to it

    def take(self, count: int, wake: threading.Event) -> None:
        """Wait until so many bytes have gone over the line."""
        if not self.rate:
            return
        with self.lock:
            now = time.monotonic()
            self.free = max(self.free, now - LOST_CREDIT) + count / self.rate
            wait = self.free - now
        if wait > 0:
            wake.wait(wait)


@dataclass(frozen=True)
class Stored:
    """A file that is to be sent."""

    name: str
    repo_id: str
    size: int
    oid: str
    headers: dict[str, str]
    path: Path | None  # None: it is made while it is sent
    made: Callable[[int, int], bytes] | None = None

    def blocks(self, first: int, end: int) -> Iterator[bytes]:
        """Yield its bytes from `first` to `end`, in pieces."""
        if self.made:
            for at in range(first, end, BLOCK):
                yield self.made(at, min(at + BLOCK, end))
            return
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(first)
            for at in range(first, end, BLOCK):
                yield file.read(min(BLOCK, end - at))


@dataclass
class Signed:
    """A signed address: what it is for, and how long it holds."""

    file: Stored
    uses: float
    until: float  # time.monotonic()


@dataclass
class Addresses:
    """The signed addresses that a Hub has given."""

    uses: float = float("inf")  # how often each may be used
    seconds: float = float("inf")  # how long each holds
    given: dict[str, Signed] = field(default_factory=dict)

    def sign(self, file: Stored) -> str:
        """Return the path and query of a new address of a file."""
        signature = secrets.token_hex(8)
        until = time.monotonic() + self.seconds
        self.given[signature] = Signed(file, self.uses, until)
        return f"/storage/{file.oid}?Expires={self.seconds}&Signature={signature}"

    def use(self, signature: str, *, counts: bool) -> Stored | None:
        """Return the file of an address; None if it does not hold any more."""
        found = self.given.get(signature)
        if found is None or found.uses <= 0 or time.monotonic() > found.until:
            return None
        found.uses -= counts
        return found.file


def send_file(handler: Any, file: Stored, fault: str) -> None:
    """Answer a GET or HEAD with a file or a range of it.

    Args:
        handler: Of the request.
        file: The file.
        fault: What goes wrong: one of `OF_ANSWERS`, or "".

    """
    hub = handler.hub
    asked = RANGE.fullmatch(handler.headers.get("Range", ""))
    first, end = (int(asked[1]), int(asked[2] or file.size - 1) + 1) if asked else (0, file.size)
    end = min(end, file.size)
    if asked and (first >= end or fault == "416"):
        _begin(handler, 416, {"Content-Range": f"bytes */{file.size}", "Content-Length": "0"})
        return
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    status = 206 if asked else 200
    if asked:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size}"
        if handler.command == "GET":
            hub.ranges.append(f"{Path(file.name).name} {handler.headers['Range']}")
    headers |= file.headers
    if fault == "page":
        _send_page(handler)
        return
    if fault == "whole":
        status, first, end = 200, 0, file.size
        headers.pop("Content-Range")
    elif fault == "wrong_range":
        headers["Content-Range"] = f"bytes {first + 1}-{end}/{file.size}"
    elif fault == "long_range":
        headers["Content-Range"] = f"bytes {'9' * 5000}-{end - 1}/{file.size}"
    elif fault == "shorter":
        end -= 1
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size}"
    elif fault == "other_size":
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size + 1}"
    elif fault == "other_etag":
        headers["ETag"] = f'"{"0" * 40}"'
    elif fault == "other_commit":
        headers["X-Repo-Commit"] = "0" * 40
    _begin(handler, status, {**headers, "Content-Length": str(end - first)})
    if handler.command == "GET":
        _send_body(handler, file, first, end, fault)


def _begin(handler: Any, status: int, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def _send_page(handler: Any) -> None:
    page = b"<html><body>Please log in.</body></html>"
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(page))}
    _begin(handler, 200, headers)
    if handler.command == "GET":
        handler.wfile.write(page)


def _send_body(handler: Any, file: Stored, first: int, end: int, fault: str) -> None:
    hub, middle = handler.hub, first + (end - first) // 2
    stops = fault in {"dropped_inside", "stalled_inside", "truncated"}
    with hub.sending():
        at = first
        for whole in file.blocks(first, middle if stops else end):
            block = whole
            if fault == "wrong_bytes" and at <= middle < at + len(block):
                where = middle - at
                block = whole[:where] + bytes([whole[where] ^ 1]) + whole[where + 1 :]
            hub.count(file, len(block))
            try:
                handler.write(block)
            except OSError:  # nobody reads it any more
                handler.close_connection = True
                return
            at += len(block)
    if not stops:
        return
    handler.close_connection = True
    handler.wfile.flush()
    if fault == "stalled_inside":
        hub.wake.wait(600)
    if fault == "dropped_inside":  # closed with a reset
        option = struct.pack("ii" if hasattr(socket, "AF_UNIX") else "hh", 1, 0)
        time.sleep(0.05)  # or the reset overtakes the bytes
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
