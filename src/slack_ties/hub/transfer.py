"""Transfer large files in a process of its own, which can be ended at any moment.

The Hub client waits for its threads, and hf_xet for minutes if nobody answers. A process can be
ended: when nothing moves any more, or by Ctrl-C. It is told all by a line on its standard input,
which holds the token; an argument or a file could be read by others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import asdict
from queue import Empty
from typing import TYPE_CHECKING, Any

from slack_ties import errors
from slack_ties.errors import HubError
from slack_ties.hub.client import CLIENT_ERRORS, AskAgainError
from slack_ties.hub.errors import hub_error
from slack_ties.hub.pause import last_end
from slack_ties.hub.process import (
    XET_TRIES,
    ChildError,
    died,
    messages_of,
    started,
    tell,
    xet_delay,
)
from slack_ties.hub.timeouts import in_force, timeouts
from slack_ties.progress import Progress
from slack_ties.threads import CHECK_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from huggingface_hub import HfApi

    from slack_ties.hub.limit import Limit
    from slack_ties.hub.retries import Retries

__all__ = [
    "SilenceTimeoutError",
    "StoppedError",
    "download",
    "upload",
]

LOG = logging.getLogger("slack_ties")

LAST_LINES = 20  # of what the process prints, for an error


class SilenceTimeoutError(AskAgainError):
    """A transfer made no progress for too long."""


class StoppedError(Exception):
    """The transfer was stopped by the thread that waits for it."""


def download(  # noqa: PLR0913 - all by name
    repo_id: str,
    files: Mapping[str, tuple[int, str]],
    *,
    commit: str,
    cache: str,
    what: str,
    retries: Retries,
    api: HfApi,
    again: bool = False,
) -> None:
    """Download files of a commit into the Hub cache; go on with half files of a killed run.

    Args:
        repo_id: The model's id on the Hub.
        files: Name -> size and checksum as the Hub states them.
        commit: The commit.
        cache: The folder of the cache.
        what: What to name in errors.
        retries: How long to wait.
        api: The Hub client.
        again: Download files that are in the cache too.

    Raises:
        HubError: The Hub cannot be reached, or refuses.

    """
    job = {
        "do": "download",
        "again": again,
        "repo_id": repo_id,
        "commit": commit,
        "cache": cache,
        "files": {name: {"size": length, "blob": blob} for name, (length, blob) in files.items()},
    }
    total = sum(length for length, _ in files.values())
    with Progress(f"{repo_id}: downloaded", total) as progress:
        _do(job, what, retries, api, progress)


def upload(  # noqa: PLR0913 - all by name
    repo_id: str,
    files: Sequence[Mapping[str, Any]],
    *,
    revision: str,
    what: str,
    retries: Retries,
    api: HfApi,
    tell: bool = False,
    stop: threading.Event | None = None,
) -> dict[str, tuple[str, int]]:
    """Upload the contents of files; return the SHA-256 and size of those that are large files.

    Args:
        repo_id: The repository.
        files: Each with its name, path, size, whether it is large, and its sha256 if known.
        revision: The branch.
        what: What to name in errors.
        retries: How long to wait.
        api: The Hub client.
        tell: Whether to log a line for each large file.
        stop: Ends the upload when it is set.

    Raises:
        HubError: The Hub cannot be reached, or refuses.
        StoppedError: `stop` is set.

    """
    job = {
        "do": "upload",
        "repo_id": repo_id,
        "revision": revision,
        "tell": tell,
        "files": [{**file, "path": str(file["path"])} for file in files],
    }
    with Progress("uploaded", sum(file["size"] for file in files)) as progress:
        found = _do(job, what, retries, api, progress, stop)
    return {one["name"]: (one["sha256"], one["size"]) for one in found if one["sha256"]}


def _do(  # noqa: PLR0913, PLR0917 - for the two above
    job: dict[str, Any],
    what: str,
    retries: Retries,
    api: HfApi,
    progress: Progress,
    stop: threading.Event | None = None,
) -> Any:
    retries = in_force(retries)
    job |= {
        "what": what,
        "endpoint": api.endpoint,
        "token": api.token,
        "retries": asdict(retries),
        "levels": {
            name: logging.getLogger(name).getEffectiveLevel()
            for name in ("slack_ties", "huggingface_hub")
        },
    }
    try:
        return retries.ask(
            lambda: _once(job, retries, progress, stop), errors=(SilenceTimeoutError,)
        )
    except CLIENT_ERRORS as error:
        raise hub_error(what, api, error) from None


def _once(
    job: dict[str, Any], retries: Retries, progress: Progress, stop: threading.Event | None
) -> Any:
    """Start the process and return its result; end it if nothing moves, or we are to end."""
    printed: deque[str] = deque(maxlen=LAST_LINES)
    with timeouts(retries) as allowed, started(retries, printed) as process:
        messages = messages_of(process)
        tell(process.stdin, job)
        waits = xet_delay(retries) * 2**XET_TRIES / 2  # of hf_xet, before its own retries
        longest = min(allowed.left_for_request, allowed.part + waits)
        limit, at = None, time.monotonic()  # no limit: the process starts
        while True:
            if stop and stop.is_set():
                raise StoppedError
            try:
                message = messages.get(timeout=CHECK_INTERVAL)
            except Empty:
                if limit is not None and time.monotonic() - at > limit:
                    at = max(at, last_end())
                silence = time.monotonic() - at
                if limit is not None and silence > limit:
                    allowed.add(silence)
                    msg = f"no progress for {silence:.0f} s"
                    raise SilenceTimeoutError(msg) from None
                continue
            if message is None:
                raise died(process, printed, job["what"])
            at = time.monotonic()
            if "waits" in message:
                # The next report is hf_xet's first. Before it, the limit of the process applies.
                limit = None if job["do"] == "upload" else longest
            elif "moved" in message:
                limit = longest + message["grace"]
                allowed.moved(("moved", job["what"]), message["moved"])
                progress.at(message["moved"])
            elif "log" in message:
                name, level, text = message["log"]
                logging.getLogger(name).log(level, "%s", text)
            else:
                return _result(message, allowed)


def _result(message: Mapping[str, Any], allowed: Limit) -> Any:
    """Return what the process has made, or raise its error."""
    if "error" in message:
        kind, text, hint = message["error"]
        raise getattr(errors, kind, HubError)(text, hint=hint)
    if "bug" in message:
        raise ChildError(message["bug"])
    allowed.progress()
    return message["result"]
