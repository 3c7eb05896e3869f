"""The content-addressed store behind a Hub, as hf_xet speaks to it: xorbs, and shards of metadata.

Files come as chunks packed into xorbs, and a shard says of which chunks each file is made. Once
the shard is here the file is put together, and kept under its SHA-256 like any large file.

Format: https://huggingface.co/docs/xet/xorb and https://huggingface.co/docs/xet/shard
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import lz4.frame

HEADER = 48  # bytes, of a shard and of each of its entries
NO_COMPRESSION, LZ4, GROUPED_LZ4 = 0, 1, 2
HAS_VERIFICATION, HAS_METADATA = 1 << 31, 1 << 30
END = b"\xff" * 32


def chunks(xorb: bytes) -> list[bytes]:
    """Return the chunks of a xorb, uncompressed."""
    found, at = [], 0
    while at + 8 <= len(xorb) and xorb[at] == 0:  # version 0; a footer begins otherwise
        stored = int.from_bytes(xorb[at + 1 : at + 4], "little")
        scheme = xorb[at + 4]
        length = int.from_bytes(xorb[at + 5 : at + 8], "little")
        data = xorb[at + 8 : at + 8 + stored]
        if scheme != NO_COMPRESSION:
            data = lz4.frame.decompress(data)
        if scheme == GROUPED_LZ4:
            data = _ungrouped(data)
        assert len(data) == length
        found.append(data)
        at += 8 + stored
    return found


def _ungrouped(data: bytes) -> bytes:
    """Return bytes in their places, of which every fourth was put side by side."""
    out, at = bytearray(len(data)), 0
    for first in range(4):
        count = len(range(first, len(data), 4))
        out[first::4] = data[at : at + count]
        at += count
    return bytes(out)


def name_of(raw: bytes) -> str:
    """Return a hash as it stands in addresses: four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def files(shard: bytes, xorbs: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the SHA-256 and the content of each file that a shard describes."""
    at = HEADER
    while (entry := shard[at : at + HEADER])[:32] != END:
        flags, count = struct.unpack("<II", entry[32:40])
        at += HEADER
        content = b""
        for i in range(count):
            segment = shard[at + i * HEADER : at + (i + 1) * HEADER]
            _, length, first, end = struct.unpack("<4I", segment[32:])
            xorb = (xorbs / name_of(segment[:32])).read_bytes()
            part = b"".join(chunks(xorb)[first:end])
            assert len(part) == length
            content += part
        at += HEADER * count * (2 if flags & HAS_VERIFICATION else 1)
        assert flags & HAS_METADATA
        announced = name_of(shard[at : at + 32])
        at += HEADER
        assert hashlib.sha256(content).hexdigest() == announced
        yield announced, content
