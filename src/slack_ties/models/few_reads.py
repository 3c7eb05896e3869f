"""Read a few parts of a file with few requests: each read of a file on the Hub is a request."""

from __future__ import annotations

import io
from typing import IO

__all__ = ["FewReads"]


class FewReads(io.RawIOBase):
    """A file to read from, which keeps what was read."""

    def __init__(self, opened: IO[bytes], size: int, most: int) -> None:
        """Read from a file.

        Args:
            opened: The file; it is seekable.
            size: Its bytes.
            most: The bytes to read at once at most.

        """
        self._opened, self.size, self._most = opened, size, most
        self._place = 0
        self._kept: list[tuple[int, bytes]] = []

    def part(self, first: int, end: int) -> bytes:
        """Return the bytes from `first` to `end`, or to the file's end if it comes before.

        Raises:
            ValueError: These are more than `most`, or the file ends before its size.

        """
        end = min(end, self.size)
        if not 0 <= first < end:
            return b""
        for begin, data in self._kept:
            if begin <= first and end <= begin + len(data):
                return data[first - begin : end - begin]
        if end - first > self._most:
            msg = f"its header would be {end - first} bytes long, expected at most {self._most}"
            raise ValueError(msg)
        data = b""
        self._opened.seek(first)
        while len(data) < end - first:
            more = self._opened.read(end - first - len(data))
            if not more:
                msg = f"it ends after {first + len(data)} bytes, expected {self.size}"
                raise ValueError(msg)
            data += more
        self._kept.append((first, data))
        return data

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position; nothing is read."""
        self._place = offset + (0, self._place, self.size)[whence]
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes from the position on, and go behind them."""
        end = self.size if size is None or size < 0 else self._place + size
        data = self.part(self._place, end)
        self._place += len(data)
        return data
