"""Start the process that transfers files, speak with it, and end it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from slack_ties.errors import HubError, SlackTiesError
from slack_ties.private.huggingface_hub import HF_XET

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator, Mapping, Sequence

    from slack_ties.hub.retries import Retries

__all__ = [
    "PROGRAM",
    "XET_TRIES",
    "ChildError",
    "child_environment",
    "died",
    "messages_of",
    "started",
    "tell",
    "xet_delay",
]

LOG = logging.getLogger("slack_ties")

# Without the current folder, whose modules are not ours; before Python 3.11 no option says so.
PROGRAM = "import sys; sys.path[:] = filter(None, sys.path); from slack_ties.hub import child; "
PROGRAM += "child.main()"

END_TIME = 10.0  # seconds in which a process ends that was killed

# hf_xet's own settings. Its time-out is for a block of 64 MB, which takes long on a slow line.
XET_READ_TIMEOUT, XET_TRIES, XET_DELAY = 3600, 4, 1.0  # seconds; tries; seconds before the first


class ChildError(Exception):
    """A bug in the process that transfers; the message is its traceback."""


@contextmanager
def started(retries: Retries, printed: deque[str]) -> Iterator[Any]:
    """Start the process, and end it at the end of the block."""
    process: Any = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
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
        "RETRY_BASE_DELAY": f"{1000 * xet_delay(retries):.0f}ms",
    }
    return {
        **{f"{HF_XET}{name}": value for name, value in xet.items()},
        **os.environ,
        "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        "PYTHONSAFEPATH": "1",  # no module from the current folder
    }


def xet_delay(retries: Retries) -> float:
    """Return the seconds before hf_xet's first retry; each wait is twice as long as the last."""
    return min(XET_DELAY, retries.timeout / 20)


def messages_of(process: Any) -> SimpleQueue[dict[str, Any] | None]:
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


def tell(stream: IO[bytes], job: Mapping[str, Any]) -> None:
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


def died(process: Any, printed: Sequence[str], what: str) -> SlackTiesError | ChildError:
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
