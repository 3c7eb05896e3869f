"""Compare downloaded files with the Hub's checksums, once.

The Hub client checks sizes only, and a cache may be damaged later: a wrong bit in a parent
would be a wrong bit in every merge. A file that was found intact is not read again until it
changes. A file in the cache, beside the model, lists the intact files.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, ModelInfo

from slack_ties.errors import CheckpointError
from slack_ties.files import checksum, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

from slack_ties.hub.retries import READING
from slack_ties.models.download import fetch_files
from slack_ties.private.huggingface_hub import cached_commit, cached_sums, is_in_cache
from slack_ties.threads import in_threads

__all__ = ["check_download", "damaged_files", "stated_sums"]

LOG = logging.getLogger("slack_ties")

LIST_FILE = "slack_ties_intact.json"

SUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # git's SHA-1, and SHA-256 of large files

SLOW = 1_000_000_000  # bytes; above it a log line says that files are being compared


def stated_sums(info: ModelInfo) -> dict[str, str]:
    """Return the Hub's checksums: the SHA-256 of large files, git's SHA-1 of small ones."""
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
    """Check the files of a snapshot in the Hub cache; download damaged files again.

    Args:
        name: The model's id on the Hub.
        folder: The snapshot; its name is the commit.
        sums: The checksum of each file. If not given, use the checksums in the cache's file
            names, and download nothing.
        cache: The cache that holds the snapshot; the Hub's own cache if not given.
        api: The Hub client.

    Raises:
        CheckpointError: A file is damaged, and was damaged again after a second download or
            must not be downloaded.

    """
    may_download = sums is not None
    known = sums if sums is not None else _sums_by_name(folder)
    wanted = {file: known[file] for file in known if (folder / file).is_file()}
    damaged = damaged_files(name, folder, wanted)
    if damaged and not may_download:
        msg = f"model {name!r}: {damaged[0]} is damaged in the cache: {folder / damaged[0]}"
        raise CheckpointError(msg, hint=_again(name, damaged[0], folder, cache))
    for file in damaged:
        LOG.warning("  %s of %s is damaged in the cache: downloading it again", file, name)
        size = (folder / file).stat().st_size
        _drop_link_out(folder / file, folder)
        fetch_files(
            name,
            {file: (size, wanted[file])},
            commit=cached_commit(folder),
            what=f"{file} of {name!r}",
            cache=cache,
            retries=READING,
            api=api or HfApi(),
            again=True,
        )
    if still := damaged_files(name, folder, {file: wanted[file] for file in damaged}):
        msg = f"model {name!r}: {still[0]} does not have the checksum that the Hub states"
        raise CheckpointError(msg, hint=f"try again later: {_again(name, still[0], folder, cache)}")


def _drop_link_out(path: Path, folder: Path) -> None:
    """Delete a link to a mounted model's file: the client makes one into the cache instead."""
    if path.is_symlink() and not is_in_cache(path.resolve(), folder.resolve()):
        path.unlink()


def _again(name: str, file: str, folder: Path, cache: str | None) -> str:
    command = ["hf", "download", name, file, "--revision", cached_commit(folder)]
    command.append("--force-download")
    return shlex.join(command + (["--cache-dir", cache] if cache else []))


def _sums_by_name(folder: Path) -> dict[str, str]:
    """Return the checksums that the cache's file names contain."""
    return {file: blob for file, blob in cached_sums(folder).items() if SUM.fullmatch(blob)}


def damaged_files(name: str, folder: Path, sums: Mapping[str, str]) -> list[str]:
    """Return the files whose checksum is wrong; add the others to the list of intact files.

    Args:
        name: The model's id on the Hub.
        folder: The snapshot.
        sums: The checksum of each file; an empty text if it is not known.

    """
    listed = folder.parent.parent / LIST_FILE
    intact = _read(listed)
    now = {f"{file} {known}": _state(folder / file) for file, known in sums.items() if known}
    new = [key for key, state in now.items() if intact.get(key) != state]
    todo = {key: folder / key.rpartition(" ")[0] for key in new}
    if (length := sum(path.stat().st_size for path in todo.values())) > SLOW:
        LOG.info("  comparing %s of %s with the Hub's checksums", f"{length / 1e9:.1f} GB", name)
    # Hashing releases Python's global lock.
    found = in_threads(lambda key: checksum(todo[key], key.rpartition(" ")[2]), new, most=2)
    wrong = [key for key, one in zip(new, found, strict=True) if one != key.rpartition(" ")[2]]
    if good := {key: now[key] for key in new if key not in wrong}:
        try:
            write_whole(listed, json.dumps(intact | good, indent=2))
        except OSError as error:  # the cache may be read-only
            LOG.debug("%s: %s", listed, error)
    return [key.rpartition(" ")[0] for key in wrong]


def _state(path: Path) -> list[int]:
    """Return the size and the time of a file, which change when it is written to."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(path: Path) -> dict[str, list[int]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
