"""The names of half files and locks in the Hub cache, and the client's function for half files.

If a future client has other names, no half file is found. If it lacks the function, none is
completed: the client downloads the file from its beginning.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, utils

__all__ = [
    "blobs_folder",
    "half_file_of",
    "http_get",
    "lock_file",
    "request_headers",
    "snapshot_folder",
]

# huggingface_hub 2 names a half file BLOB.XXXXXXXX.incomplete, by chance anew in each download.
HALF_FILE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\.[0-9a-f]{8}\.incomplete")


def half_file_of(path: Path) -> str:
    """Return the name of the blob that a file is a half of; "" if it is no half file."""
    match = HALF_FILE.fullmatch(path.name)
    return match[1] if match else ""


def _folder(repo_id: str) -> str:
    return f"models--{repo_id.replace('/', '--')}"


def blobs_folder(cache: str, repo_id: str) -> Path:
    """Return the cache's folder for the contents of a model's files."""
    return Path(cache, _folder(repo_id), "blobs")


def snapshot_folder(cache: str, repo_id: str, commit: str) -> Path:
    """Return the cache's folder for the files of a model at a commit.

    If a future client looks elsewhere, it downloads what is linked here.
    """
    return Path(cache, _folder(repo_id), "snapshots", commit)


def lock_file(cache: str, repo_id: str, blob: str) -> Path:
    """Return the file that a client locks while it downloads a blob."""
    return Path(cache, ".locks", _folder(repo_id), f"{blob}.lock")


def http_get() -> Any:
    """Return the client's function that downloads the rest of a file; None if it has none."""
    from huggingface_hub import file_download  # noqa: PLC0415 - not at the start of every command

    return getattr(file_download, "http_get", None) if _headers() else None


def request_headers(api: HfApi) -> dict[str, str]:
    """Return the headers of the client's requests, with the token."""
    made: dict[str, str] = _headers()(token=api.token)
    return made


def _headers() -> Any:
    return getattr(utils, "build_hf_headers", None)
