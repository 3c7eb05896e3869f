"""The time that a command may wait for the Hub without any progress."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["SHORT", "Limit"]

# When the time is over, the command may have other questions, for example about the next model of
# a plan. The Hub may answer those. So each gets a short time: this share of the limit, but at
# least LEAST seconds; all together get at most SPARE of the limit, and those seconds.
SHORT, SPARE, LEAST = 0.05, 0.2, 1.5

# A request that can be repeated gets this share of the limit, but at least a second: so a lost
# packet does not end a command.
PART, LEAST_PART = 1 / 3, 1.0


class Limit:
    """The seconds that a command may wait for the Hub without any progress.

    Progress is a byte that was sent or received, or an answer that is no fault of the Hub. Time in
    which nothing is asked does not count. Threads share a limit: the progress of one is that of
    the command.
    """

    def __init__(self, seconds: float) -> None:
        """Start with all the time."""
        self.seconds = seconds
        self.lock = threading.Lock()
        self.waiting = 0  # requests and pauses that run now
        self.since = 0.0  # when the clock was started
        self.before = 0.0  # seconds that were waited before that
        self.ended = threading.Event()  # after Ctrl-C
        self.reached = False  # whether there was any progress
        self.most: dict[Hashable, int] = {}
        self.pauses: dict[str, float] = {}  # what pause.py knows: when each ends
        self.paused_since: float | None = None  # the first pause that does not count

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Count the time of the block."""
        with self.lock:
            if not self.waiting:
                self.since = time.monotonic()
            self.waiting += 1
        try:
            yield
        finally:
            with self.lock:
                self.waiting -= 1
                if not self.waiting:
                    self.before += time.monotonic() - self.since

    @property
    def used(self) -> float:
        """The seconds waited since the last progress."""
        with self.lock:
            return self.before + (time.monotonic() - self.since if self.waiting else 0.0)

    @property
    def left(self) -> float:
        """The seconds that a call may still wait, with its retries."""
        return 0.0 if self.closed else self.seconds - self.used

    @property
    def left_for_request(self) -> float:
        """The seconds that a new request may wait: a short time when the time is over."""
        if self.closed or self.left > self.seconds * SHORT:
            return self.left
        short = max(self.seconds * SHORT, LEAST)
        return min(short, self.seconds * (1 + SPARE) + LEAST - self.used)

    @property
    def part(self) -> float:
        """The seconds that a request may wait if it can be repeated."""
        return max(self.seconds * PART, LEAST_PART)

    def add(self, seconds: float) -> None:
        """Count a time of waiting that was measured elsewhere."""
        with self.lock:
            self.before += seconds

    def progress(self) -> None:
        """Start again with all the time."""
        with self.lock:
            self.since, self.before, self.reached = time.monotonic(), 0.0, True
            self.paused_since = None

    def moved(self, what: Hashable, count: int = 1) -> None:
        """Note the bytes of a request or an answer so far, or the answer itself.

        In a call that is repeated, the same again is no progress: a file may begin to come each
        time, and never end.
        """
        if count > self.most.get(what, 0):
            self.most[what] = count
            self.progress()

    def succeed(self) -> None:
        """Note that a call has succeeded."""
        self.most.clear()

    @property
    def closed(self) -> bool:
        """Whether no request may wait any longer."""
        return self.ended.is_set()

    def close(self) -> None:
        """Let no request wait any longer."""
        self.ended.set()

    @property
    def paused_for(self) -> float:
        """The seconds since the first pause that did not count, if there was no progress since."""
        since = self.paused_since
        return 0.0 if since is None else time.monotonic() - since

    def begin_pause(self) -> None:
        """Note that a pause begins that does not count."""
        with self.lock:
            if self.paused_since is None:
                self.paused_since = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait before a retry."""
        with self.wait():
            self.ended.wait(seconds)
