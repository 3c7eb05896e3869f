"""Make the record of a merge: the checksums of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.files import sha256
from slack_ties.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["checksums"]


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files, by name.

    The files were just written, so the system reads them from memory.
    """
    listed = sorted(names)
    # Hashing releases Python's global lock.
    sums = in_threads(lambda name: sha256(folder / name), listed, most=2)
    return dict(zip(listed, sums, strict=True))
