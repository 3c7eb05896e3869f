"""The retry policy: how long to wait for the Hub.

One limit covers everything that a command waits for: requests, retries, and the waits between
them. Every call that we retry is safe to repeat.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from slack_ties.hub.client import AskAgainError, TransportError
from slack_ties.hub.faults import AnswerError, FaultError, UnconnectedError, as_fault, stated_wait
from slack_ties.hub.limit import SHORT
from slack_ties.hub.pause import kept
from slack_ties.hub.timeouts import another, in_force, timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slack_ties.hub.limit import Limit

__all__ = ["READING", "Retries", "patiently"]

LOG = logging.getLogger("slack_ties")

T = TypeVar("T")

LONG_ENOUGH = 4  # times the first wait, for a connection that never came about

# Of a call in which each time something moves and then something fails.
MOST_TRIES = 20


@dataclass(frozen=True)
class Retries:
    """How long to wait for the Hub.

    Example:
        >>> retries = Retries(timeout=30)
        >>> with timeouts(retries):
        ...     info = retries.ask(lambda: api.model_info("me/model"))

    """

    timeout: float = 300.0  # seconds after the last progress, with all retries
    tries: int = 4  # of a call that may succeed if it is repeated at once
    first_wait: float = 1.0  # seconds; each wait is twice as long as the last
    connect: bool = True  # also retry if no connection can be made

    @property
    def longest_pause(self) -> float:
        """The longest wait before a retry, if the Hub does not say how long to wait."""
        return min(30.0, self.timeout / 4)

    def ask(self, call: Callable[[], T], errors: tuple[type[Exception], ...] = ()) -> T:
        """Call, and retry while there is time if the Hub is busy or cannot be reached.

        Within a block of `timeouts` its limit applies, and not that of this policy.

        Args:
            call: The call. It must be safe to repeat.
            errors: Further errors to retry at once.

        Raises:
            Exception: The error of the last call, or the first error that a retry cannot fix.

        """
        with timeouts(self) as limit:
            at_once: tuple[type[Exception], ...] = (AskAgainError, *errors)
            wait, left = min(self.first_wait, limit.seconds / 20), self.tries - 1
            for _ in range(MOST_TRIES):
                try:
                    value = call()
                except (FaultError, TransportError, RuntimeError) as error:
                    fault = as_fault(error)
                    shared = kept(fault, limit)  # the next request waits so long by itself
                    pause = max(shared, wait) if shared else self._pause(fault, wait, limit)
                    if fault is None or pause is None:
                        raise _of_the_client(error) from error.__cause__
                    when = f" in {pause:.0f} s" if pause >= 1 else ""
                    LOG.warning("  %s; retrying%s", fault.short, when)
                    if pause != shared:
                        limit.sleep(pause)
                    wait = min(2 * wait, self.longest_pause)
                except at_once as error:
                    if not left or limit.left <= 0:
                        raise
                    LOG.warning("  %s; retrying (%d retries left)", error, left)
                    left -= 1
                else:
                    limit.succeed()
                    return value
            return call()

    def _pause(self, fault: FaultError | None, wait: float, limit: Limit) -> float | None:
        """Return the seconds to wait before a retry; None if there is no time for it."""
        # Without network a command ends soon; if the connection is lost later, it may come back.
        soon = not self.connect or (not limit.reached and wait > LONG_ENOUGH * self.first_wait)
        if isinstance(fault, UnconnectedError) and soon:
            return None
        if isinstance(fault, AnswerError):
            wait = max(wait, stated_wait(fault.error) or 0.0)
        # A request needs some time too.
        return wait if wait + limit.seconds * SHORT < limit.left else None


# For requests that only read. Without network a plan goes on at once with the models in the cache.
READING = Retries(timeout=60.0, connect=False)


@contextmanager
def patiently() -> Iterator[None]:
    """Wait for the Hub as long as when publishing, also for a connection that was lost.

    A merge that reads weights for hours must outlive minutes without network. A time limit that
    the user has chosen stays.
    """
    policy = in_force(Retries())
    if policy is READING:
        policy = Retries()
    with timeouts(policy), another(replace(policy, connect=True)):
        yield


def _of_the_client(error: Exception) -> Exception:
    """Return the Hub client's own error for an answer."""
    return error.error if isinstance(error, AnswerError) else error
