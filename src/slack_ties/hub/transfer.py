"""Transfer large files in a process of its own, which can be ended at any moment.

The Hub client waits for its threads, and hf_xet for minutes if nobody answers. A process can be
ended: when nothing moves any more, or by Ctrl-C. It is told all by a line on its standard input,
which holds the token; an argument or a file could be read by others.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import asdict
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from slack_ties import errors
from slack_ties.errors import HubError, SlackTiesError
from slack_ties.hub.client import CLIENT_ERRORS, AskAgainError
from slack_ties.hub.errors import hub_error
from slack_ties.private.huggingface_hub import HF_XET
from slack_ties.progress import Progress
from slack_ties.threads import CHECK_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries

__all__ = [
    "ChildError",
    "SilenceTimeoutError",
    "StoppedError",
    "child_environment",
    "download",
    "upload",
]

LOG = logging.getLogger("slack_ties")

PROGRAM = "slack_ties.hub.child"

END_TIME = 10.0  # seconds in which a process ends that was killed

# hf_xet's own settings. Its time-out is for a block of 64 MB, which takes long on a slow line.
XET_READ_TIMEOUT, XET_TRIES, XET_DELAY = 3600, 4, 1.0  # seconds; tries; seconds before the first

LAST_LINES = 20  # of what the process prints, for an error


class SilenceTimeoutError(AskAgainError):
    """A transfer made no progress for too long."""


class StoppedError(Exception):
    """The transfer was stopped by the thread that waits for it."""


class ChildError(Exception):
    """A bug in the process that transfers; the message is its traceback."""


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
    with Progress("downloaded", sum(length for length, _ in files.values())) as progress:
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
        raise hub_error(what, api, error, reading=job["do"] == "download") from None


def _once(
    job: dict[str, Any], retries: Retries, progress: Progress, stop: threading.Event | None
) -> Any:
    """Start the process and return its result; end it if nothing moves, or we are to end."""
    printed: deque[str] = deque(maxlen=LAST_LINES)
    with _child(retries, printed) as process:
        messages = _messages(process)
        _tell(process.stdin, job)
        # An upload tells first when hf_xet begins; before that the client has its own time-outs.
        longest = retries.timeout + _xet_delay(retries) * 2**XET_TRIES / 2
        limit, at = (longest if job["do"] == "download" else None), time.monotonic()
        while True:
            if stop and stop.is_set():
                raise StoppedError
            try:
                message = messages.get(timeout=CHECK_INTERVAL)
            except Empty:
                silence = time.monotonic() - at
                if limit is not None and silence > limit:
                    msg = f"no progress for {silence:.0f} s"
                    raise SilenceTimeoutError(msg) from None
                continue
            if message is None:
                raise _died(process, printed, job["what"])
            if "moved" in message:
                limit, at = longest + message["grace"], time.monotonic()
                progress.at(message["moved"])
            elif "log" in message:
                name, level, text = message["log"]
                logging.getLogger(name).log(level, "%s", text)
            elif "error" in message:
                kind, text, hint = message["error"]
                raise getattr(errors, kind, HubError)(text, hint=hint)
            elif "bug" in message:
                raise ChildError(message["bug"])
            else:
                return message["result"]


@contextmanager
def _child(retries: Retries, printed: deque[str]) -> Iterator[Any]:
    """Start the process, and end it at the end of the block."""
    process: Any = subprocess.Popen(
        [sys.executable, "-m", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(retries),
        # Ctrl-C in the terminal comes to us alone, and we end it.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    lines = threading.Thread(target=_keep_lines, args=(process.stderr, printed), daemon=True)
    lines.start()
    try:
        yield process
    finally:
        process.kill()
        process.wait(END_TIME)
        lines.join(END_TIME)
        for stream in (process.stdin, process.stdout, process.stderr):
            _close(stream)


def child_environment(retries: Retries) -> dict[str, str]:
    """Return the environment of the process: ours, what hf_xet is to know, and our modules."""
    xet = {
        "CONNECT_TIMEOUT": f"{retries.timeout:g}s",
        "READ_TIMEOUT": f"{XET_READ_TIMEOUT}s",
        "RETRY_MAX_ATTEMPTS": f"{XET_TRIES}",
        "RETRY_BASE_DELAY": f"{1000 * _xet_delay(retries):.0f}ms",
    }
    return {
        **{f"{HF_XET}{name}": value for name, value in xet.items()},
        **os.environ,
        "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        "PYTHONSAFEPATH": "1",  # no module from the current folder
    }


def _xet_delay(retries: Retries) -> float:
    """Return the seconds before hf_xet's first retry; each wait is twice as long as the last."""
    return min(XET_DELAY, retries.timeout / 20)


def _messages(process: Any) -> SimpleQueue[dict[str, Any] | None]:
    """Return the queue of what the process says; None when it has ended."""
    messages: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def read() -> None:
        try:
            for line in process.stdout:
                messages.put(json.loads(line))
        except (OSError, ValueError):  # killed within a line
            LOG.debug("the process that transfers files", exc_info=True)
        messages.put(None)

    threading.Thread(target=read, name="slack-ties listens", daemon=True).start()
    return messages


def _tell(stream: IO[bytes], job: Mapping[str, Any]) -> None:
    """Write the job. If the process has ended already, its silence tells."""
    try:
        stream.write(json.dumps(job).encode() + b"\n")
        stream.flush()
    except OSError:
        LOG.debug("the process that transfers files", exc_info=True)


def _keep_lines(stream: IO[bytes], printed: deque[str]) -> None:
    for line in stream:
        text = line.decode(errors="replace").rstrip()
        printed.append(text)
        LOG.debug("%s", text)


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:  # a job that was never read
        LOG.debug("the process that transfers files", exc_info=True)


def _died(process: Any, printed: Sequence[str], what: str) -> SlackTiesError | ChildError:
    """Return the error for a process that ended without a result."""
    code = process.wait(END_TIME)
    if code > 0 and any("Traceback" in line for line in printed):
        return ChildError("\n".join(printed))
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    msg = f"{what}: the process that transfers the files {how}"
    hint = "run the same command again: it goes on"
    if code < 0:  # the system ends processes when memory runs out
        hint = "check whether enough memory is free, then run the same command again: it goes on"
    return HubError(msg, hint=hint)
