"""Find a model on this disk: a local folder, or a complete snapshot in the Hub cache."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError

from slack_ties.errors import AS_UTF_8, CheckpointError
from slack_ties.files import any_matches, expanded
from slack_ties.models.names import HUB_ID
from slack_ties.models.parent_card import ParentCard, read_parent_card
from slack_ties.models.text_files import VOCABULARY_FILES
from slack_ties.models.weight_index import find_weights
from slack_ties.private.huggingface_hub import cached_commit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

    from slack_ties.hub.ranges import HubFile
    from slack_ties.models.places import FilePlaces

__all__ = [
    "AwayFile",
    "Snapshot",
    "cached_file",
    "find_in_cache",
    "local_folder",
    "patterns_for",
    "snapshot_of",
    "sums_of_wanted",
]

TEXT_FILES = ("*.json", "*.jinja", "merges.txt", "README.md", *VOCABULARY_FILES)


@dataclass(frozen=True)
class AwayFile:
    """A weight file that is read from the Hub while it is merged."""

    on_hub: HubFile
    places: FilePlaces


@dataclass(frozen=True)
class Snapshot:
    """A model on this disk; its weights may be on the Hub."""

    path: Path
    commit: str = ""  # of the Hub repository, 40 hex digits; empty for a local folder
    card: ParentCard = field(default_factory=ParentCard)
    away: Mapping[str, AwayFile] = field(default_factory=dict)  # weight files that are not here


def local_folder(path: str, revision: str | None = None) -> Path | None:
    """Return the folder that `path` names; None if it can only be a Hub id."""
    if revision and HUB_ID.fullmatch(path) and not path.startswith("."):
        return None  # a folder has no revisions
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        names = sys.getfilesystemencoding()
        msg = f"model folder {path[:100]!r}: here Python takes file names for {names}, which lacks "
        msg += "some of these letters"
        raise CheckpointError(msg, hint=AS_UTF_8) from None
    try:
        folder = expanded(path)
        exists = folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, too long, a NUL
        msg = f"model folder {path[:100]!r}: {error}"
        raise CheckpointError(msg) from None
    if folder.is_dir():
        return folder
    if exists or not HUB_ID.fullmatch(path) or path.startswith("."):
        what = "is a file" if exists else "does not exist"
        msg = f"model folder {path!r} {what}, expected a folder with config.json and weights"
        raise CheckpointError(msg, hint=_other_folder(folder, path, exists=exists))
    return None


def _other_folder(folder: Path, path: str, *, exists: bool) -> str:
    """Return the next step for the path of a folder that is not there, or is a file."""
    if exists:
        return f"name the folder that the file is in: {shlex.quote(str(Path(path).parent))}"
    try:
        names = [one.name for one in folder.parent.iterdir() if one.is_dir()]
    except OSError:
        names = []
    if near := get_close_matches(folder.name, names, n=1):
        return f"use {shlex.quote(str(Path(path).parent / near[0]))}, which exists"
    return "check the path; a model of the Hub is named OWNER/NAME"


def patterns_for(weights: tuple[str, ...], more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the download arguments for these weights and the text files, in the root only."""
    literal = [re.sub(r"([*?[])", r"[\1]", name) for name in weights]
    return {"allow_patterns": [*TEXT_FILES, *more, *literal], "ignore_patterns": ["*/*"]}


def sums_of_wanted(
    sums: Mapping[str, str] | None, wanted: Mapping[str, Any]
) -> dict[str, str] | None:
    """Return the checksums of the files that `wanted` downloads."""
    if sums is None:
        return None
    return {
        name: one
        for name, one in sums.items()
        if "/" not in name and any_matches([name], tuple(wanted["allow_patterns"]))
    }


def snapshot_of(folder: Path) -> Snapshot:
    """Return the model in a folder of the Hub cache; the folder has the name of its commit."""
    return Snapshot(folder, commit=cached_commit(folder), card=read_parent_card(folder))


def cached_file(repo_id: str, name: str, commit: str, cache: str | None = None) -> Path | None:
    """Return a file of a commit in the Hub cache; None if it is not there.

    Args:
        repo_id: The model's id on the Hub.
        name: The file's name there.
        commit: The commit.
        cache: The folder of the cache; the Hub's own if not given.

    """
    found = try_to_load_from_cache(repo_id, name, cache or constants.HF_HUB_CACHE, commit)
    return Path(found) if isinstance(found, str) else None


def find_in_cache(
    path: str, revision: str | None, api: HfApi, *, cache_dir: str | None
) -> Snapshot | None:
    """Return the model in the Hub cache; None if it is missing or not complete."""
    try:
        found = api.snapshot_download(
            path, revision=revision, cache_dir=cache_dir, local_files_only=True, **patterns_for(())
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    folder = Path(str(found))
    weights = find_weights(folder, path)
    if weights and all((folder / name).is_file() for name in weights.files):
        return snapshot_of(folder)
    return None
