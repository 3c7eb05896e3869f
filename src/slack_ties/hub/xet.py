"""What hf_xet is told of how long the Hub may be silent, and a watch over what it does.

Large files go to the Hub by hf_xet, a library with an HTTP client of its own. Left alone it asks
again for minutes where nobody answers, and waits without end for the last answer of an upload.
Its own time-out is of no use here: it is for a whole block of 64 MB, which a slow line needs
longer for. So progress is watched.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from slack_ties.hub.client import AskAgainError
from slack_ties.private.huggingface_hub import (
    HF_XET,
    abort_uploads,
    can_watch_uploads,
    report_uploads_to,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slack_ties.hub.retries import Retries

__all__ = ["SilenceTimeoutError", "told", "watched"]

T = TypeVar("T")

STEP = 0.2  # seconds between two looks

ABORT = 3.0  # seconds to end after an abort

BLOCK, LONGEST_BLOCK = 64_000_000, 3600.0  # bytes that hf_xet sends at once; seconds for them

PATIENT = f"{LONGEST_BLOCK:.0f}s"  # its own limit for one, where progress is watched

ALMOST = 0.99


class SilenceTimeoutError(AskAgainError):
    """There was no progress for too long."""


@contextmanager
def told(retries: Retries) -> Iterator[None]:
    """Set what hf_xet reads from the environment when its session begins; a user's own stays."""
    words = {
        "CONNECT_TIMEOUT": f"{retries.timeout:g}s",
        "READ_TIMEOUT": PATIENT if can_watch_uploads() else f"{retries.commit:g}s",
        "RETRY_MAX_ATTEMPTS": str(retries.tries),
        "RETRY_BASE_DELAY": f"{retries.first_wait * 1000:.0f}ms",
    }
    new = {f"{HF_XET}{name}": value for name, value in words.items()}
    new = {name: value for name, value in new.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


class _Watch:
    """When the last progress was."""

    def __init__(self) -> None:
        self.began = False
        self.at = self.start = time.monotonic()
        self.seen: tuple[int, ...] = (0, 0, 0, 0)
        self.all_sent = False

    def begin(self) -> None:
        """Note that an upload begins."""
        self.began = True
        self.at = self.start = time.monotonic()

    def look(self, report: Any) -> None:
        """Note a report of hf_xet's. One without the fields that we know ends the watch."""
        names = ("bytes", "bytes_completed", "transfer_bytes", "transfer_bytes_completed")
        if not all(hasattr(report, f"total_{name}") for name in names):
            self.began = False
            return
        seen = tuple(int(getattr(report, f"total_{name}") or 0) for name in names)
        if seen != self.seen:
            self.seen, self.at = seen, time.monotonic()
        # The last bytes are counted with the answer.
        self.all_sent = seen[1] >= ALMOST * seen[0] and seen[3] >= ALMOST * seen[2]

    def limit(self, retries: Retries) -> float:
        """Seconds that may be silent.

        hf_xet does not count what it sends a second time, after an error: so that a whole block
        may go again, at the speed so far.
        """
        if self.all_sent:
            return max(retries.commit, retries.timeout) + retries.longest_pause
        speed = self.seen[3] / max(self.at - self.start, STEP)
        again = min(BLOCK, self.seen[2]) / speed if speed else 0.0
        return retries.timeout + retries.longest_pause + min(again, LONGEST_BLOCK)

    @property
    def silence(self) -> float:
        """Seconds since then; none before hf_xet is at work."""
        return time.monotonic() - self.at if self.began else 0


def watched(call: Callable[[], T], retries: Retries) -> T:
    """Return what `call` returns, which uploads files; end it if nothing moves any more.

    Raises:
        SilenceTimeoutError: hf_xet reported no progress for longer than `_Watch.limit`: about
            `retries.timeout` while it sends, `retries.commit` when all is sent.
        Exception: What `call` raises.

    """
    if not can_watch_uploads():
        return call()
    watch, done = _Watch(), threading.Event()
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["value"] = call()
        except BaseException as error:  # noqa: BLE001 - raised below
            outcome["error"] = error
        done.set()

    with report_uploads_to(watch.begin, watch.look):
        threading.Thread(target=work, name="slack-ties uploads", daemon=True).start()
        try:
            while not done.wait(STEP):
                silence = watch.silence
                if silence > watch.limit(retries):
                    abort_uploads()
                    done.wait(ABORT)
                    msg = f"no progress for {silence:.0f} s"
                    raise SilenceTimeoutError(msg)
        except (KeyboardInterrupt, SystemExit):
            abort_uploads()
            raise
    if "error" in outcome:
        raise outcome["error"]
    value: T = outcome["value"]
    return value
