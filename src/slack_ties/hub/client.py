"""What the Hub client raises, and how it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.private.huggingface_hub import TransportError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

__all__ = [
    "API_TIMEOUT",
    "CLIENT_ERRORS",
    "LOGIN",
    "AskAgainError",
    "BusyError",
    "TransportError",
    "is_server_fault",
]

API_TIMEOUT = 30.0  # seconds; the client has none of its own for API calls

LOGIN = "hf auth login  (or set HF_TOKEN to a token with write access)"


class BusyError(TransportError):  # type: ignore[misc, valid-type]
    """The Hub is doing something else with a repository; the client would ask without end."""


class AskAgainError(ConnectionError):
    """The call may succeed if it is repeated at once; the message says why it failed."""


CLIENT_ERRORS = (TransportError, OSError, RuntimeError, ValueError)


def is_server_fault(error: HfHubHTTPError) -> bool:
    """Say whether the Hub is to blame or busy, so that asking again may help."""
    return error.response.status_code >= 500 or error.response.status_code == 429  # noqa: PLR2004 - HTTP
