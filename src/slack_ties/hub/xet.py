"""Timeouts for hf_xet, which uploads large files.

hf_xet is a library with its own HTTP client. By default it retries for minutes if nobody answers,
and waits forever for the last answer of an upload. Its own timeout does not help: it limits the
time for a block of 64 MB, and a slow connection needs longer. So we watch its progress instead.
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

__all__ = ["SilenceTimeoutError", "watched", "xet_settings"]

T = TypeVar("T")

CHECK_INTERVAL = 0.2  # seconds between two checks of the progress

ABORT_TIME = 3.0  # seconds that an upload has to end after an abort

XET_BLOCK, XET_BLOCK_TIME = 64_000_000, 3600.0  # bytes that hf_xet sends at once; seconds for them

LONG_TIMEOUT = f"{XET_BLOCK_TIME:.0f}s"  # hf_xet's own timeout for a block, if we watch progress

ALMOST_ALL = 0.99


class SilenceTimeoutError(AskAgainError):
    """An upload made no progress for too long."""


@contextmanager
def xet_settings(retries: Retries) -> Iterator[None]:
    """Set the environment variables that hf_xet reads at its start; keep those of the user."""
    values = {
        "CONNECT_TIMEOUT": f"{retries.timeout:g}s",
        "READ_TIMEOUT": LONG_TIMEOUT if can_watch_uploads() else f"{retries.commit:g}s",
        "RETRY_MAX_ATTEMPTS": str(retries.tries),
        "RETRY_BASE_DELAY": f"{retries.first_wait * 1000:.0f}ms",
    }
    new = {f"{HF_XET}{name}": value for name, value in values.items()}
    new = {name: value for name, value in new.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


class _Watch:
    """The time of the last progress."""

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
        """Note a report of hf_xet. If it lacks the fields that we know, stop watching."""
        names = ("bytes", "bytes_completed", "transfer_bytes", "transfer_bytes_completed")
        if not all(hasattr(report, f"total_{name}") for name in names):
            self.began = False
            return
        seen = tuple(int(getattr(report, f"total_{name}") or 0) for name in names)
        if seen != self.seen:
            self.seen, self.at = seen, time.monotonic()
        # hf_xet counts the last bytes when it has the answer.
        self.all_sent = seen[1] >= ALMOST_ALL * seen[0] and seen[3] >= ALMOST_ALL * seen[2]

    def limit(self, retries: Retries) -> float:
        """Return the seconds that may pass without progress.

        hf_xet does not count bytes that it sends again after an error. So the limit includes the
        time to send a whole block again, at the speed so far.
        """
        if self.all_sent:
            return max(retries.commit, retries.timeout) + retries.longest_pause
        speed = self.seen[3] / max(self.at - self.start, CHECK_INTERVAL)
        again = min(XET_BLOCK, self.seen[2]) / speed if speed else 0.0
        return retries.timeout + retries.longest_pause + min(again, XET_BLOCK_TIME)

    @property
    def silence(self) -> float:
        """Seconds since the last progress; 0 before hf_xet begins."""
        return time.monotonic() - self.at if self.began else 0


def watched(call: Callable[[], T], retries: Retries) -> T:
    """Run `call`, which uploads files, and return its result; abort it if it makes no progress.

    Raises:
        SilenceTimeoutError: hf_xet reported no progress for longer than `_Watch.limit`: about
            `retries.timeout` while it sends, about `retries.commit` when everything is sent.
        Exception: An error of `call`.

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
            while not done.wait(CHECK_INTERVAL):
                silence = watch.silence
                if silence > watch.limit(retries):
                    abort_uploads()
                    done.wait(ABORT_TIME)
                    msg = f"no progress for {silence:.0f} s"
                    raise SilenceTimeoutError(msg)
        except (KeyboardInterrupt, SystemExit):
            abort_uploads()
            raise
    if "error" in outcome:
        raise outcome["error"]
    value: T = outcome["value"]
    return value
