"""Write a text file whole or not at all, and tell files apart."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["checksum", "git_hash", "sha256", "sha256_of", "write_whole"]

BLOCK = 1 << 20  # bytes read at a time


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8, the same bytes on every system; `path` never holds half of it.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.

    """
    path = path.resolve()  # where a link leads to
    new = path.with_name(f".{path.name}.partial")
    try:
        new.write_bytes(text.encode())
        if path.exists():
            new.chmod(path.stat().st_mode)
        os.replace(new, path)  # noqa: PTH105 - replaces on Windows too
    finally:
        new.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return a file's SHA-256, 64 hex digits, as the Hub shows it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(text: str) -> str:
    """Return a text's SHA-256, as UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(path: Path, like: str) -> str:
    """Return a file's SHA-256, or git's SHA-1 if `like` is one (40 digits)."""
    if len(like) == 40:  # noqa: PLR2004 - git's
        return git_hash(path.read_bytes())
    return sha256(path)


def git_hash(content: bytes) -> str:
    """Return git's hash of a file, by which the Hub names small ones."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
