"""Errors of a request that the same request may not have if it is sent again later.

Our HTTP client raises them in place of the library's own errors, because the Hub client retries
after those by itself, and waits as long as it likes.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from slack_ties.private.http import BROKEN, SILENT, UNCONNECTED

__all__ = [
    "LIMITED",
    "AnswerError",
    "BrokenError",
    "BusyError",
    "ClientError",
    "FaultError",
    "SilentError",
    "UnconnectedError",
    "as_fault",
    "is_fault",
    "is_server_fault",
    "stated_wait",
]

# The Hub's header for a rate limit, "api";r=0;t=15: no request is left, more in 15 seconds.
# https://huggingface.co/docs/hub/rate-limits
RESET = re.compile(r";\s*r=0\s*;\s*t=(\d+)")

# Statuses after which the same request may succeed: a time-out and a rate limit.
# https://www.rfc-editor.org/rfc/rfc9110#status.408, https://www.rfc-editor.org/rfc/rfc6585
TIMED_OUT, LIMITED = 408, 429

A_YEAR = 3.2e7  # seconds; a longer wait is no number to count with


class FaultError(ConnectionError):
    """A request failed, and the same request may succeed later."""

    short = "the Hub cannot be reached"

    def __init__(self, error: Exception | None = None) -> None:
        """Keep the library's error."""
        super().__init__(str(error) if error else self.short)
        self.error = error


class SilentError(FaultError):
    """No byte came in time."""

    short = "the Hub did not answer in time"


class UnconnectedError(FaultError):
    """No connection was made."""


class BrokenError(FaultError):
    """A connection was made, and it broke."""

    short = "the connection broke"


class AnswerError(FaultError):
    """The Hub answered that it failed or is busy; `error` is the Hub client's."""

    error: HfHubHTTPError

    def __init__(self, error: HfHubHTTPError) -> None:
        """Keep the Hub client's error."""
        super().__init__(error)
        self.short = f"the Hub answered {error.response.status_code}"


class BusyError(FaultError):
    """The Hub is busy with another operation on a repository."""

    short = "the Hub is busy with that repository"


class ClientError(ConnectionError):
    """The HTTP client cannot be made, for example because of a wrong proxy; see `__cause__`."""


def as_fault(error: Exception) -> FaultError | None:
    """Return an error of the Hub client as one of ours; None if a retry cannot help."""
    if isinstance(error, FaultError):
        return error
    if isinstance(error, HfHubHTTPError):
        return AnswerError(error) if is_server_fault(error) else None
    if isinstance(error, OfflineModeIsEnabled):
        return None
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return as_fault(error.__cause__)  # the client's, which names a file that was not uploaded
    kinds = {SilentError: SILENT, UnconnectedError: UNCONNECTED, BrokenError: BROKEN}
    return next((kind(error) for kind, types in kinds.items() if isinstance(error, types)), None)


def is_server_fault(error: HfHubHTTPError) -> bool:
    """Return whether the Hub failed or is busy: then a retry may help."""
    return is_fault(error.response.status_code)


def is_fault(status: int) -> bool:
    """Return whether a status says that the Hub failed or is busy."""
    return status >= 500 or status in {TIMED_OUT, LIMITED}  # noqa: PLR2004 - HTTP


def stated_wait(error: Exception | None) -> float | None:
    """Return the seconds that the Hub asks us to wait; None if it does not say."""
    if not isinstance(error, HfHubHTTPError):
        return None
    headers = error.response.headers
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return min(float(said), A_YEAR)
    if said:
        try:
            return min(max(0.0, parsedate_to_datetime(said).timestamp() - time.time()), A_YEAR)
        except (ValueError, OverflowError):
            pass
    if error.response.status_code != LIMITED:
        return None
    reset = RESET.search(headers.get("RateLimit", ""))
    return min(float(reset[1]), A_YEAR) if reset else None
