"""The errors of the Hub client, and our settings for it."""

from __future__ import annotations

import json

from huggingface_hub.errors import HFValidationError

from slack_ties.private.http import WRONG_ADDRESS, TransportError

__all__ = ["CLIENT_ERRORS", "UPLOAD_ERRORS", "AskAgainError", "TransportError"]


class AskAgainError(ConnectionError):
    """A call failed and may succeed if we retry at once; the message says why it failed."""


# What the Hub client raises: errors of the connection and of the disk, a wrong id or address, an
# answer that is no JSON, and a token that cannot be sent. Other errors are bugs, ours or its own.
CLIENT_ERRORS: tuple[type[Exception], ...] = (
    TransportError,
    OSError,
    HFValidationError,
    *WRONG_ADDRESS,
    json.JSONDecodeError,
    UnicodeEncodeError,
)

# The client documents these too for calls that upload files: for a transfer that failed, and for
# an answer that it does not understand. Catch them around one call of the client only.
UPLOAD_ERRORS: tuple[type[Exception], ...] = (*CLIENT_ERRORS, RuntimeError, ValueError)
