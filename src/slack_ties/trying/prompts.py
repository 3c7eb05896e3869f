"""Read the prompts that models are tried with."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["check_prompts", "read_prompts"]

MOST_BYTES = 10_000_000  # of a file

STANDARD_INPUT = "-"

EXAMPLE = 'a list of texts, such as ["prompt 1", "prompt 2"]'


def read_prompts(path: Path) -> list[str]:
    """Read prompts: one in each line; from a file .json a list of texts, which may have lines.

    Args:
        path: A file in UTF-8, or `-` for the standard input. Empty lines are left out.

    Raises:
        SlackTiesError: The file cannot be read, is not UTF-8, or holds no prompts.

    """
    where = "the standard input" if str(path) == STANDARD_INPUT else repr(str(path))
    text = _decoded(_content(path, where), path, where)
    if path.suffix.lower() == ".json":
        return _from_json(text, where)
    # Not splitlines: it also cuts at signs that some scripts have within a paragraph.
    found = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    found = [line for line in found if line]
    if not found:
        msg = f"{where} holds no prompts, expected one in each line"
        raise SlackTiesError(msg, hint="write a prompt into it, then run the same command again")
    return found


def check_prompts(prompts: Sequence[str], *, example: str) -> tuple[str, ...]:
    """Return the prompts; refuse none, and an empty one.

    Args:
        prompts: Texts.
        example: A command with a prompt, for the error.

    Raises:
        SlackTiesError: There is no prompt, or one is empty.

    """
    if not prompts:
        msg = "there is no prompt: nothing to ask the models"
        raise SlackTiesError(msg, hint=example)
    for number, prompt in enumerate(prompts):
        if not prompt.strip():
            msg = f"prompt {number + 1} is empty, expected a text"
            raise SlackTiesError(msg, hint=example)
    return tuple(prompts)


def _content(path: Path, where: str) -> bytes:
    try:
        if str(path) == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
    except OSError as error:
        msg = f"cannot read the prompts in {where}: {error.strerror or error}"
        hint = "give the path of a file that exists: --prompts FILE"
        raise SlackTiesError(msg, hint=hint) from None
    if len(content) > MOST_BYTES:
        msg = f"{where} has more than {MOST_BYTES:,} bytes, expected a few prompts"
        raise SlackTiesError(msg, hint="give a shorter file: --prompts FILE")
    return content


def _decoded(content: bytes, path: Path, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{where} is not UTF-8: byte {error.start} is invalid"
        name = "FILE" if str(path) == STANDARD_INPUT else shlex.quote(str(path))
        hint = f"iconv -f utf-16 -t utf-8 {name} > prompts.txt  # or -f another encoding"
        raise SlackTiesError(msg, hint=hint) from None


def _from_json(text: str, where: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{where} is not JSON: {str(error)[:200]}"
        raise SlackTiesError(msg, hint=f"expected {EXAMPLE}") from None
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        msg = f"{where} holds no list of texts"
        raise SlackTiesError(msg, hint=f"expected {EXAMPLE}")
    return found
