"""The file of a conversation: the messages, the model, and how it ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError
from slack_ties.files import check_writable, json_text, read_json, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["CHAT_VERSION", "write_chat"]

CHAT_VERSION = 1  # raised when the meaning of a field changes

MOST_BYTES = 10_000_000  # of a file that is there

KEYS = frozenset({"chat", "messages", "model", "settings"})


def write_chat(data: Mapping[str, Any], path: Path) -> None:
    """Write the file of a conversation, as JSON.

    Args:
        data: What it is to hold.
        path: The file; one that has a conversation is replaced.

    Raises:
        OutputError: It cannot be written, or the file there has no conversation.

    """
    again = "choose another file: /save FILE"
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # the name is too long, or has a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"cannot write {str(path)!r}: {reason}"
        raise OutputError(msg, hint=again) from None
    if path.is_dir():
        msg = f"{str(path)!r} is a folder, expected a file for the conversation"
        raise OutputError(msg, hint=again)
    if path.exists() and not _is_chat(path):
        msg = f"{str(path)!r} exists, and has no conversation of slack-ties chat"
        raise OutputError(msg, hint=again)
    check_writable(path, hint=again)
    # A text of a terminal may be invalid: JSON writes that as an escape.
    text = json_text(data).encode(errors="backslashreplace").decode()
    try:
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg, hint=again) from None


def _is_chat(path: Path) -> bool:
    """Say whether a file has a conversation that slack-ties wrote."""
    try:
        return path.stat().st_size <= MOST_BYTES and set(read_json(path)) >= KEYS
    except OSError:
        return False
