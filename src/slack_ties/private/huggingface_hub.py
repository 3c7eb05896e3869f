"""The parts of the Hub client and of the Hub that we use although they are not documented.

Each function says what happens if a future version of huggingface_hub lacks its part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, ModelCardData, constants, utils
from huggingface_hub import set_client_factory as set_factory
from huggingface_hub.errors import HFValidationError

from slack_ties.private.lazy import gone

__all__ = [
    "HF_XET",
    "add_sent_file",
    "as_it_is",
    "cached_commit",
    "cached_sums",
    "change_client",
    "counting_bar",
    "hide_progress_bars",
    "is_in_cache",
    "is_offline",
    "is_repo_id",
    "no_progress",
    "report_uploads_to",
    "sends_no_stored_token",
    "set_checksum",
    "uses_xet",
    "was_sent",
]

LOG = logging.getLogger("slack_ties")
LIBRARY, BOUNDS = "huggingface-hub", ">=1.12,<3"
# hf_xet reads its limits from environment variables with this prefix. If a future version does not
# know a variable, its own limit applies.
HF_XET = "HF_XET_CLIENT_"


def change_client(change: Callable[[Callable[[], Any]], Any]) -> None:
    """Let the Hub client use the HTTP client that `change` returns, from now on.

    If the client's factory cannot be found, nothing is changed and a warning is logged: the Hub
    client then waits without a timeout.

    Args:
        change: It gets the function that makes the HTTP client.

    """
    inner = getattr(getattr(utils, "_http", None), "_GLOBAL_CLIENT_FACTORY", None)
    if inner is None:
        LOG.warning("  %s: no timeout is set", gone(LIBRARY, BOUNDS, "_GLOBAL_CLIENT_FACTORY"))
    elif not isinstance(inner, _Factory):
        set_factory(_Factory(inner, change))


class _Factory:
    """A factory of ours for the HTTP client."""

    def __init__(self, inner: Callable[[], Any], change: Callable[[Any], Any]) -> None:
        """Take the factory so far."""
        self.inner, self.change = inner, change

    def __call__(self) -> Any:
        """Return the HTTP client."""
        return self.change(self.inner)


# Uploads by hf_xet


def report_uploads_to(began: Callable[[], None], progress: Callable[[Any], None]) -> bool:
    """Let hf_xet's reports of uploads come to us instead of progress bars, until Python ends.

    `began` is called when an upload begins.

    Return False if the client does not pass on reports (before huggingface_hub 2.0).
    """
    try:
        from huggingface_hub.utils import _xet_progress_reporting as found  # noqa: PLC0415 - private
    except ImportError:  # an older client without hf_xet
        return False
    if not hasattr(found, "XetUploadProgressReporter"):
        return False

    class Reporter:
        """Passes on each report."""

        def __init__(self) -> None:
            """Note that an upload begins."""
            began()

        def update_progress(self, report: Any, _items: Any) -> None:
            """Pass on a report."""
            progress(report)

        def close(self, *_: Any, **__: Any) -> None:
            """Do nothing: there are no bars."""

    found.XetUploadProgressReporter = Reporter  # type: ignore[misc, assignment]
    utils.are_progress_bars_disabled = lambda *_: False  # type: ignore[attr-defined]
    return True


# Downloads


def counting_bar(count: Callable[[int], None]) -> Any:
    """Return the class of a progress bar that is never shown, and that reports all bytes so far.

    Return None if the client has no such class: then nothing is reported.
    """
    bar: Any = getattr(utils, "tqdm", None)
    if not isinstance(bar, type):
        return None
    # The client reports each file in pieces of 10 MB: on a slow line that is a minute.
    if hasattr(constants, "DOWNLOAD_CHUNK_SIZE"):
        constants.DOWNLOAD_CHUNK_SIZE = 1 << 18

    class Counting(bar):
        """A progress bar that only counts."""

        def __init__(self, *given: Any, **named: Any) -> None:
            """Disable the bar; note whether it counts bytes."""
            self.bytes = int(named.get("initial") or 0) if named.get("unit") == "B" else None
            super().__init__(*given, **{**named, "disable": True})

        def update(self, n: float | None = 1) -> None:
            """Count."""
            if self.bytes is not None:
                self.bytes += int(n or 0)
                count(self.bytes)

    return Counting


def uses_xet() -> bool:
    """Say whether hf_xet transfers files; True if the client does not tell."""
    runtime = getattr(utils, "_runtime", None)
    return bool(getattr(runtime, "is_xet_available", lambda: True)())


# Operations of a commit


def set_checksum(operation: CommitOperationAdd, sha256: str) -> None:
    """Give a file's SHA-256 to the client, which then does not compute it a second time."""
    operation.upload_info.sha256 = bytes.fromhex(sha256)


def add_sent_file(name: str, sha256: str, size: int) -> CommitOperationAdd:
    """Return the operation that adds a file whose content the Hub already has.

    It equals an operation after `preupload_lfs_files`.

    Raises:
        SlackTiesError: This version of the client lacks the needed attributes.

    """
    try:
        from huggingface_hub.lfs import UploadInfo  # noqa: PLC0415 - private
    except ImportError:
        raise gone(LIBRARY, BOUNDS, "lfs.UploadInfo") from None
    operation = CommitOperationAdd(name, b"")
    operation.upload_info = UploadInfo(sha256=bytes.fromhex(sha256), size=size, sample=b"")
    if not hasattr(operation, "_upload_mode") or not hasattr(operation, "_is_uploaded"):
        raise gone(LIBRARY, BOUNDS, "CommitOperationAdd._upload_mode")
    operation._upload_mode, operation._is_uploaded = "lfs", True  # noqa: SLF001
    return operation


def was_sent(operation: CommitOperationAdd) -> bool:
    """Say whether the content of a file was uploaded as a large file.

    Raises:
        SlackTiesError: This version of the client lacks the needed attributes. A guess could call
            a file uploaded that the Hub has refused.

    """
    try:
        ignored, mode = operation._should_ignore, operation._upload_mode  # noqa: SLF001
        uploaded = operation._is_uploaded  # noqa: SLF001
    except AttributeError:
        raise gone(LIBRARY, BOUNDS, "CommitOperationAdd._is_uploaded") from None
    return uploaded and mode == "lfs" and not ignored


# Names and settings


def is_repo_id(name: str) -> bool:
    """Say whether a repository may have this name; True if the client has no check."""
    check = getattr(utils, "validate_repo_id", None)
    try:
        if check:
            check(name)
    except HFValidationError:
        return False
    return True


def is_offline() -> bool:
    """Say whether HF_HUB_OFFLINE is set; False if the client does not tell."""
    return bool(getattr(constants, "HF_HUB_OFFLINE", False))


def sends_no_stored_token() -> bool:
    """Say whether HF_HUB_DISABLE_IMPLICIT_TOKEN is set; False if the client does not tell."""
    return bool(getattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False))


def hide_progress_bars() -> None:
    """Hide the client's progress bars; without that function they are shown."""
    if hide := getattr(utils, "disable_progress_bars", None):
        hide()


def no_progress() -> Any:
    """Return the class of a progress bar that is never shown, for downloads of small files.

    Return None if the client has no such class: then the client shows its bars.
    """
    bar: Any = getattr(utils, "tqdm", None)
    if not isinstance(bar, type):
        return None

    class Hidden(bar):
        """A progress bar that is not shown."""

        def __init__(self, *given: Any, **named: Any) -> None:
            """Disable the bar."""
            super().__init__(*given, **{**named, "disable": True})

    return Hidden


def as_it_is(data: Mapping[str, Any]) -> ModelCardData:
    """Return a card's metadata unchanged: the client's own class would check and sort them."""
    made = ModelCardData()
    made.__dict__.clear()
    made.__dict__.update(eval_results=None, **{str(key): one for key, one in data.items()})
    return made


# The folders of the Hub cache


def cached_commit(folder: Path) -> str:
    """Return the commit of a snapshot in the cache: the name of its folder."""
    return folder.name


def is_in_cache(path: Path, folder: Path) -> bool:
    """Say whether a file is in the cache's folder for the contents of a snapshot's files.

    Args:
        path: The file, with links resolved.
        folder: The snapshot, with links resolved: MODEL/snapshots/COMMIT.

    """
    return len(folder.parents) > 1 and path.is_relative_to(folder.parents[1] / "blobs")


def cached_sums(folder: Path) -> dict[str, str]:
    """Return the cache's name for the content of each file: its checksum on the Hub.

    If a future cache uses other names, these are not checksums, and files in the cache are not
    compared with the Hub's checksums.
    """
    return {path.name: path.resolve().name for path in folder.iterdir()}
