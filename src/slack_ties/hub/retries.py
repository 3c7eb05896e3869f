"""The retry policy: how long to wait for the Hub, and how often to retry.

The Hub client has no timeout for an API call or a commit, and retries only uploads and listings.
Every call that we retry is safe to repeat.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from slack_ties.hub.client import (
    API_TIMEOUT,
    AskAgainError,
    BusyError,
    TransportError,
    is_server_fault,
)
from slack_ties.private.huggingface_hub import is_broken_connection

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["READING", "Retries"]

LOG = logging.getLogger("slack_ties")

T = TypeVar("T")
# The Hub's header for a rate limit, "api";r=0;t=15: no request is left, more in 15 seconds.
# https://huggingface.co/docs/hub/rate-limits
RESET = re.compile(r";\s*r=0\s*;\s*t=(\d+)")

RETRIED = (TransportError, HfHubHTTPError, AskAgainError)


@dataclass(frozen=True)
class Retries:
    """How long to wait for the Hub, and how often to retry.

    Example:
        >>> retries = Retries(timeout=30)
        >>> with timeouts(retries):
        ...     info = retries.ask(lambda: api.model_info("me/model"))

    """

    timeout: float = 60.0  # seconds without a byte, in either direction
    commit: float = 600.0  # seconds for the answer to a commit: the Hub checks files first
    tries: int = 4
    first_wait: float = 1.0  # seconds; each wait is twice as long as the last
    longest_wait: float = 300.0  # seconds; we give up if the Hub asks for more
    if_silent: bool = True  # also retry if the Hub is silent or cannot be reached

    @classmethod
    def of(cls, timeout: float) -> Retries:
        """Return the policy for `--timeout SECONDS`."""
        return cls(timeout, commit=10 * timeout, first_wait=min(cls.first_wait, timeout / 20))

    @property
    def longest_pause(self) -> float:
        """Seconds before the last retry, if the Hub does not say how long to wait."""
        return float(self.first_wait * 2 ** (self.tries - 1))

    def ask(self, call: Callable[[], T], errors: tuple[type[Exception], ...] = RETRIED) -> T:
        """Call, and retry if the Hub is busy or cannot be reached.

        Args:
            call: The call. It must be safe to repeat.
            errors: The errors to retry. Other errors are raised at once.

        Raises:
            Exception: The error of the last call, or the first error that a retry cannot fix.

        """
        wait = self.first_wait
        for left in range(self.tries - 1, 0, -1):
            try:
                return call()
            except errors as error:
                pause = self.pause(error, wait)
                if pause is None:
                    raise
                when = f" in {pause:.0f} s" if pause else ""
                LOG.warning("  %s; retrying%s (%d retries left)", _reason(error), when, left)
                time.sleep(pause)
                wait *= 2 if pause else 1
        return call()

    def pause(self, error: Exception, wait: float) -> float | None:
        """Return the seconds to wait before a retry, or None if a retry cannot help."""
        if isinstance(error, OfflineModeIsEnabled):
            return None
        if isinstance(error, AskAgainError):
            return 0.0
        if not isinstance(error, HfHubHTTPError):
            return wait if self.if_silent or is_broken_connection(error) else None
        if not is_server_fault(error):
            return None
        said = _stated_wait(error)
        if said is None:
            return wait
        return None if said > self.longest_wait else max(wait, said)


# For requests that only read: nothing is lost if they fail. So we wait for a silent Hub only once,
# and without network a plan goes on at once with the models in the cache.
READING = Retries(timeout=API_TIMEOUT, tries=3, if_silent=False)


def _stated_wait(error: HfHubHTTPError) -> float | None:
    """Return the seconds that the Hub asks us to wait; None if it does not say."""
    headers = error.response.headers
    said = headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said)
    if error.response.status_code != 429:  # noqa: PLR2004 - HTTP
        return None
    reset = RESET.search(headers.get("RateLimit", ""))
    return float(reset[1]) if reset else None


def _reason(error: Exception) -> str:
    """Return in a few words why a call failed."""
    if isinstance(error, AskAgainError):
        return str(error)
    if isinstance(error, BusyError):
        return "the Hub is busy with that repository"
    if isinstance(error, HfHubHTTPError):
        return f"the Hub answered {error.response.status_code}"
    kinds = {"Timeout": "the Hub did not answer in time", "Protocol": "the connection broke"}
    name = type(error).__name__
    return next((text for kind, text in kinds.items() if kind in name), "the Hub cannot be reached")
