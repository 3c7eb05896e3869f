"""Compare what was downloaded with the Hub's checksums, once.

The Hub client looks at sizes alone, and a cache may be damaged later: a wrong bit in a parent
would be a wrong bit in every merge. Files that were found intact and did not change since are
not read again; the list of them lies in the cache beside the model.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, ModelInfo

from slack_ties.errors import CheckpointError
from slack_ties.files import checksum, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

from slack_ties.private.huggingface_hub import cached_commit, cached_sums

__all__ = ["check_download", "stated_sums"]

LOG = logging.getLogger("slack_ties")

LIST_FILE = "slack_ties_intact.json"

SUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # git's, and SHA-256 of large files

SLOW = 1_000_000_000  # bytes from which it is said that they are read


def stated_sums(info: ModelInfo) -> dict[str, str]:
    """Return what the Hub states: the SHA-256 of large files, git's SHA-1 of small ones."""
    return {
        one.rfilename: (one.lfs.sha256 if one.lfs else one.blob_id) or ""
        for one in info.siblings or ()
    }


def check_download(
    name: str,
    folder: Path,
    sums: Mapping[str, str] | None = None,
    *,
    cache: str | None = None,
    api: HfApi | None = None,
) -> None:
    """Check the files of a snapshot in the Hub cache; fetch those that are damaged again.

    Args:
        name: The model's id on the Hub.
        folder: The snapshot, which is called after its commit.
        sums: The checksum of each file; without them, those after which the cache names its
            files, and nothing is fetched.
        cache: Where the snapshot was downloaded to; the Hub's own cache if not given.
        api: The Hub client.

    Raises:
        CheckpointError: A file is damaged, and arrives so again, or nothing is to be fetched.

    """
    fetch = sums is not None
    known = sums if sums is not None else _sums_by_name(folder)
    wanted = {file: known[file] for file in known if (folder / file).is_file()}
    damaged = _damaged(name, folder, wanted)
    if damaged and not fetch:
        msg = f"model {name!r}: {damaged[0]} is damaged in the cache: {folder / damaged[0]}"
        raise CheckpointError(msg, hint=_again(name, damaged[0], folder, cache))
    for file in damaged:
        LOG.warning("  %s of %s is damaged in the cache: fetching it again", file, name)
        (api or HfApi()).hf_hub_download(
            name, file, revision=cached_commit(folder), cache_dir=cache, force_download=True
        )
    if still := _damaged(name, folder, {file: wanted[file] for file in damaged}):
        msg = f"model {name!r}: {still[0]} does not have the checksum that the Hub states"
        raise CheckpointError(msg, hint=f"try again later: {_again(name, still[0], folder, cache)}")


def _again(name: str, file: str, folder: Path, cache: str | None) -> str:
    words = ["hf", "download", name, file, "--revision", cached_commit(folder), "--force-download"]
    return shlex.join(words + (["--cache-dir", cache] if cache else []))


def _sums_by_name(folder: Path) -> dict[str, str]:
    """Return the checksums after which the cache names its files, where it does."""
    return {file: blob for file, blob in cached_sums(folder).items() if SUM.fullmatch(blob)}


def _damaged(name: str, folder: Path, sums: Mapping[str, str]) -> list[str]:
    """Return the files that do not have their checksum; remember those that do."""
    listed = folder.parent.parent / LIST_FILE
    intact = _read(listed)
    now = {f"{file} {known}": _state(folder / file) for file, known in sums.items() if known}
    new = [key for key, state in now.items() if intact.get(key) != state]
    todo = {key: folder / key.rpartition(" ")[0] for key in new}
    if (length := sum(path.stat().st_size for path in todo.values())) > SLOW:
        LOG.info("  comparing %s of %s with the Hub's checksums", f"{length / 1e9:.1f} GB", name)
    with ThreadPoolExecutor(max_workers=2) as pool:  # hashing does not hold Python's lock
        found = pool.map(checksum, todo.values(), (key.rpartition(" ")[2] for key in new))
        wrong = [key for key, one in zip(new, found, strict=True) if one != key.rpartition(" ")[2]]
    if good := {key: now[key] for key in new if key not in wrong}:
        try:
            write_whole(listed, json.dumps(intact | good, indent=2))
        except OSError as error:  # a cache that may only be read
            LOG.debug("%s: %s", listed, error)
    return [key.rpartition(" ")[0] for key in wrong]


def _state(path: Path) -> list[int]:
    """Return what changes when a file is written to."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(path: Path) -> dict[str, list[int]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
