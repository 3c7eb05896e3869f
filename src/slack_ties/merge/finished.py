"""Find out whether a folder already holds the result of a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.merge.inputs import pin_as_merged
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import Settings

__all__ = ["holds_merge"]


def holds_merge(out: Path, recipe: Recipe, settings: Settings) -> bool:
    """Say whether `out` holds the merge of this recipe: models, commits, options and versions.

    A merged folder that was changed after the merge makes it another merge.
    """
    if not (out / RECORD_FILE).is_file():
        return False
    try:
        read_record(out)
        config = out / CONFIG_FILE
        text, made = config.read_bytes(), config.stat().st_mtime_ns
    except (OutputError, OSError):
        return False
    pinned = pin_as_merged(recipe, settings)
    return pinned.text.encode() == text and not _changed_after(pinned, made)


def _changed_after(recipe: Recipe, time: int) -> bool:
    """Say whether a file of a merged folder is newer than this time."""
    from slack_ties.models.cached import local_folder  # noqa: PLC0415 - imports the client
    from slack_ties.models.names import split_reference  # noqa: PLC0415 - imports the client

    parts = [part for name in recipe.models for part in split_reference(name)]
    folders = [folder for part in parts if (folder := local_folder(*part))]
    return any(
        file.stat().st_mtime_ns > time
        for folder in folders
        for file in folder.iterdir()
        if file.is_file() and file.suffix != ".md"
    )
