"""Bring files of one commit into the Hub cache; nothing waits for a silent Hub after Ctrl-C.

Large files come by a process of its own, which goes on with half files of a killed run. Small ones
come by threads that nobody waits for. Afterwards the Hub client finds all files in its cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import constants

from slack_ties.files import SHA256_DIGITS
from slack_ties.hub.transfer import download
from slack_ties.models.cached import cached_file
from slack_ties.private.huggingface_hub import no_progress, uses_xet
from slack_ties.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi, ModelInfo

    from slack_ties.hub.retries import Retries

__all__ = ["FILES_AT_ONCE", "fetch_files", "files_of"]

LARGE = 10_000_000  # bytes; from this size a file is worth a process

FILES_AT_ONCE = 8  # as the Hub client


def files_of(info: ModelInfo) -> dict[str, tuple[int, str]]:
    """Return the size and the checksum of each file in the root of a repository.

    The checksum is the SHA-256 of a large file, and git's SHA-1 of a small one.
    """
    return {
        one.rfilename: (one.size or 0, (one.lfs.sha256 if one.lfs else one.blob_id) or "")
        for one in info.siblings or ()
        if "/" not in one.rfilename
    }


def _is_large(size: int, checksum: str) -> bool:
    """Say whether a file needs a process: hf_xet, which brings it, knows no time limit of ours."""
    return size >= LARGE or (
        len(checksum) == SHA256_DIGITS and uses_xet()
    )  # not git's, of a small file


def fetch_files(  # noqa: PLR0913 - all by name
    repo_id: str,
    files: Mapping[str, tuple[int, str]],
    *,
    commit: str,
    what: str,
    retries: Retries,
    api: HfApi,
    cache: str | None = None,
    again: bool = False,
) -> None:
    """Download files into the Hub cache, except those that are there.

    Args:
        repo_id: The model's id on the Hub.
        files: Name -> size and checksum, as the Hub states them.
        commit: The commit.
        what: What to name in errors.
        retries: How long to wait for the Hub.
        api: The Hub client.
        cache: The folder of the cache; the Hub's own if not given.
        again: Download files that are there too.

    Raises:
        HubError: The Hub cannot be reached, or refuses.
        Exception: An error of the Hub client, about a small file.

    """
    missing = {
        name: stated
        for name, stated in files.items()
        if again or not cached_file(repo_id, name, commit, cache)
    }
    folder = cache or constants.HF_HUB_CACHE
    if large := {name: stated for name, stated in missing.items() if _is_large(*stated)}:
        download(
            repo_id,
            large,
            commit=commit,
            cache=str(folder),
            what=what,
            again=again,
            retries=retries,
            api=api,
        )

    def fetch(name: str) -> str:
        return api.hf_hub_download(
            repo_id,
            name,
            revision=commit,
            cache_dir=folder,
            force_download=again,
            tqdm_class=no_progress(),
        )

    small = [name for name in missing if name not in large]
    retries.ask(lambda: in_threads(fetch, small, most=FILES_AT_ONCE))
