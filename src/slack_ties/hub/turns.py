"""After a fault, one thread asks again, and the other threads wait for it.

So a message comes once and not from each thread, and a server that is busy is not asked by all.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from slack_ties.hub.client import CLIENT_ERRORS, AskAgainError
from slack_ties.hub.faults import as_fault
from slack_ties.hub.transfer import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slack_ties.hub.retries import Retries

__all__ = ["Turns"]

T = TypeVar("T")

LOOK_AGAIN = 0.2  # seconds; `stop` is noticed within this time


class Turns:
    """Who asks again."""

    def __init__(self, stop: threading.Event) -> None:
        """Take the event that ends all waits."""
        self.stop = stop
        self.changed = threading.Condition()  # with a lock that a thread may take twice
        self.who = 0  # the thread that asks again; 0: there was no fault
        self.recoveries = 0  # how often a thread has asked again with success
        self.given_up: tuple[int, Exception | None] = (0, None)  # how often, and the last error

    def ask(
        self, retries: Retries, call: Callable[[], T], as_ours: Callable[[Exception], Exception]
    ) -> T:
        """Call, and retry as `Retries.ask`; while another thread retries, wait for it.

        Args:
            retries: The policy.
            call: The call; it may say `recovered` before it ends.
            as_ours: Returns the error to raise for an error of the client.

        Raises:
            StoppedError: `stop` is set.
            Exception: The error of the last call, also if another thread made it.

        """
        try:
            return retries.ask(lambda: self._call(call))
        except _GivenUpError as error:
            raise error.error from None
        except CLIENT_ERRORS as error:
            ours = as_ours(error)
            with self.changed:
                if self.who == threading.get_ident() and _may_go_away(error):
                    self.given_up = (self.given_up[0] + 1, ours)
            raise ours from None
        finally:
            self._leave()

    def recovered(self) -> None:
        """Let the others go on, if they wait for this thread: its call succeeds."""
        with self.changed:
            self.recoveries += self.who == threading.get_ident()
            self._leave()

    def _leave(self) -> None:
        """Let the others go on, if they wait for this thread."""
        with self.changed:
            if self.who == threading.get_ident():
                self.who = 0
                self.changed.notify_all()

    def _call(self, call: Callable[[], T]) -> T:
        excused = False
        while True:
            self._wait(self.given_up[0])
            recoveries, given_up = self.recoveries, self.given_up[0]
            try:
                return call()
            except CLIENT_ERRORS as error:
                if self.stop.is_set():
                    raise StoppedError from None
                if not _may_go_away(error):
                    raise
                self._check(given_up)
                if self.recoveries > recoveries and not excused:
                    excused = True  # the fault is of the time before another thread's success
                elif self._take():
                    raise

    def _take(self) -> bool:
        """Be the thread that asks again, if there is none; say whether it is this one."""
        with self.changed:
            self.who = self.who or threading.get_ident()
            return self.who == threading.get_ident()

    def _wait(self, given_up: int) -> None:
        """Wait for the thread that asks again, if it is another one."""
        with self.changed:
            while self.who not in {0, threading.get_ident()} and not self.stop.is_set():
                self.changed.wait(LOOK_AGAIN)
        if self.stop.is_set():
            raise StoppedError
        self._check(given_up)

    def _check(self, before: int) -> None:
        """Raise the error of another thread that has given up since `before`."""
        count, error = self.given_up
        if count > before and error:
            raise _GivenUpError(error)


def _may_go_away(error: Exception) -> bool:
    """Say whether a call with this error is retried."""
    return isinstance(error, AskAgainError) or as_fault(error) is not None


class _GivenUpError(Exception):
    """The thread that asked again has given up."""

    def __init__(self, error: Exception) -> None:
        """Keep its error."""
        super().__init__(str(error))
        self.error = error
