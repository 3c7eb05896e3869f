"""Write a text file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_whole"]


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
