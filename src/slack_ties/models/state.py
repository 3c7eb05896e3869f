"""Tell whether models are still the same, without reading their weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from slack_ties.files import sha256_of
from slack_ties.models.cached import local_folder
from slack_ties.models.names import split_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from slack_ties.models.cached import Snapshot

__all__ = ["commits_of", "local_state", "state_of"]


def state_of(folder: Path) -> list[list[str | int]]:
    """Return name, size and time of the files in a model folder, but for texts about the model."""
    return [
        [file.name, file.stat().st_size, file.stat().st_mtime_ns]
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix != ".md"
    ]


def local_state(names: Iterable[str]) -> str:
    """Return a checksum that changes with the files of the models in local folders.

    Args:
        names: Models as a config names them; those on the Hub count as nothing.

    Raises:
        CheckpointError: A folder does not exist.

    """
    folders = [local_folder(*part) for name in names for part in split_reference(name)]
    return sha256_of(json.dumps([state_of(one) if one else [] for one in folders]))


def commits_of(snapshots: Mapping[str, Sequence[Snapshot]]) -> dict[str, str]:
    """Return the commits of the models on the Hub, by their ids."""
    return {
        path: part.commit
        for name, found in snapshots.items()
        for (path, _), part in zip(split_reference(name), found, strict=True)
        if part.commit
    }
