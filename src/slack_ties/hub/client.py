"""The errors of the Hub client, and our settings for it."""

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

API_TIMEOUT = 30.0  # seconds; the client has no timeout for API calls

LOGIN = "hf auth login  (or set HF_TOKEN to a token with write access)"


class BusyError(TransportError):  # type: ignore[misc, valid-type]
    """The Hub is busy with a repository; the client would retry forever."""


class AskAgainError(ConnectionError):
    """A call failed and may succeed if we retry at once; the message says why it failed."""


CLIENT_ERRORS = (TransportError, OSError, RuntimeError, ValueError)


def is_server_fault(error: HfHubHTTPError) -> bool:
    """Return whether the Hub failed or is busy: then a retry may help."""
    return error.response.status_code >= 500 or error.response.status_code == 429  # noqa: PLR2004 - HTTP
