"""Half files in the Hub cache: what a download leaves that was killed.

Each download of the Hub client writes a file of a new name, and begins at zero. So a half file
would lie in the cache for ever. Here it is completed instead: the client sees a complete file, and
downloads nothing. The rest comes by HTTP also if the part before it came by hf_xet. Its checksum is
compared with the Hub's; if it differs, the client downloads the whole file.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

from slack_ties.files import mode_of_new_files, sha256
from slack_ties.private.hub_cache import (
    blobs_folder,
    half_file_of,
    http_get,
    lock_file,
    request_headers,
)
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["complete_half_file", "in_use", "remove_half_files"]

LOG = logging.getLogger("slack_ties")

SHA256 = re.compile(r"[0-9a-f]{64}")


def complete_half_file(  # noqa: PLR0913 - all by name
    api: HfApi,
    repo_id: str,
    name: str,
    *,
    commit: str,
    blob: str,
    cache: str,
    bar: Any,
    hashed: Callable[[Path], str] = sha256,
) -> None:
    """Complete a half file of `name` in the cache, if there is one that nobody writes.

    Args:
        api: The Hub client.
        repo_id: The model's id on the Hub.
        name: The file's name there.
        commit: The commit to download.
        blob: The checksum that the Hub states; only a SHA-256 is a large file's.
        cache: The folder of the cache.
        bar: The class of the client's progress bar.
        hashed: Returns the SHA-256 of the complete file, which can take minutes.

    """
    whole, download = blobs_folder(cache, repo_id) / blob, http_get()
    if not SHA256.fullmatch(blob) or whole.exists() or download is None:
        return
    with _locked(cache, repo_id, blob) as free:
        halves = _half_files(cache, repo_id, blob) if free else []
        half = max(halves, key=lambda path: path.stat().st_size, default=None)
        length = half.stat().st_size if half else 0
        if half is None or not length:
            return
        url = hf_hub_url(repo_id, name, revision=commit, endpoint=api.endpoint)
        found = get_hf_file_metadata(url, token=api.token, endpoint=api.endpoint)
        if found.etag != blob or not found.size or length > found.size:
            return
        headers = request_headers(api)
        if urlsplit(found.location).netloc != urlsplit(url).netloc:
            headers.pop("authorization", None)  # as the client: no token for other servers
        LOG.info("  %s: going on after %s of %s", name, size(length), size(found.size))
        with half.open("r+b") as file:
            file.seek(length)
            download(
                found.location,
                file,
                resume_size=length,
                headers=headers,
                expected_size=found.size,
                tqdm_class=bar,
            )
        if hashed(half) == blob:
            half.chmod(mode_of_new_files())
            os.replace(half, whole)  # noqa: PTH105 - replaces on Windows too
        else:
            LOG.warning("  %s: the half file was damaged: downloading it again", name)
            half.unlink()


def remove_half_files(cache: str, repo_id: str) -> None:
    """Delete the half files of a model that nobody writes; no client can use them again."""
    for blob in {half_file_of(path) for path in _half_files(cache, repo_id)}:
        with _locked(cache, repo_id, blob) as free:
            for path in _half_files(cache, repo_id, blob) if free else ():
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:  # on Windows: somebody has opened it
                    LOG.debug("%s: %s", path, error)


def in_use(cache: str, repo_id: str, blob: str) -> bool:
    """Say whether another process downloads this file now."""
    if not SHA256.fullmatch(blob) or not lock_file(cache, repo_id, blob).exists():
        return False
    lock = FileLock(lock_file(cache, repo_id, blob), timeout=0, mode=0o664)
    try:
        lock.acquire()
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # no locks on this file system: nobody knows
        return False
    lock.release()
    return False


def _half_files(cache: str, repo_id: str, blob: str = "") -> list[Path]:
    paths = list(blobs_folder(cache, repo_id).glob("*.incomplete"))
    return [path for path in paths if half_file_of(path) and blob in ("", half_file_of(path))]


@contextmanager
def _locked(cache: str, repo_id: str, blob: str) -> Iterator[bool]:
    """Take the client's lock for a file; yield False if somebody has it, or nobody can have it."""
    path = lock_file(cache, repo_id, blob)
    lock = FileLock(path, timeout=0, mode=0o664)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
