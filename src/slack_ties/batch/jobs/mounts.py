"""Let models that are mounted as read-only folders be found in the Hub cache, by id and commit.

So a mounted parent is the same model as its Hub id for all stages: it is not downloaded, and
records, cards and `verify` name ID@COMMIT and never a folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slack_ties.errors import CheckpointError
from slack_ties.private.hub_cache import snapshot_folder

__all__ = ["Mounted", "link_mounted"]

CONFIG = "config.json"  # every model has it, and so does every adapter that PEFT wrote

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Mounted:
    """A model of the Hub at a commit, and the folder in which its files are."""

    repo_id: str
    commit: str  # 40 hex digits
    folder: Path


def link_mounted(mounted: Mounted, cache: str | Path) -> Path:
    """Let the Hub cache contain the files of a mounted model; return the snapshot's folder.

    The snapshot is a folder of links to the files, one by one, and not a link to the mounted
    folder: if a file turns out to be damaged, it is downloaded and the link replaced, and nobody
    writes to the mount.

    Args:
        mounted: The model. Files that the cache has already stay as they are.
        cache: The folder of the Hub cache.

    Raises:
        CheckpointError: The folder is not there, or contains no model.

    """
    source = mounted.folder
    if not any((source / name).is_file() for name in (CONFIG, ADAPTER_CONFIG)):
        what = f"contains no {CONFIG}" if source.is_dir() else "is not there"
        msg = f"{mounted.repo_id} was to be mounted at {source}, but that folder {what}"
        raise CheckpointError(msg, hint="slack-ties batch status  # then try again")
    snapshot = snapshot_folder(str(cache), mounted.repo_id, mounted.commit)
    for folder, _, names in os.walk(source):
        inside = snapshot / Path(folder).relative_to(source)
        inside.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (inside / name).exists():
                (inside / name).unlink(missing_ok=True)  # a link to a mount of before
                (inside / name).symlink_to(Path(folder, name).resolve())
    return snapshot
