"""Escape other people's text for Markdown."""

from __future__ import annotations

import re

__all__ = ["plain_sentence", "plain_text"]


def plain_text(text: str, length: int = 200) -> str:
    """Return a text as one line without markup, cut to a length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:length]
    return re.sub(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def plain_sentence(text: str) -> str:
    """Return a text as one line without markup, cut to the length of a long sentence."""
    return plain_text(text, 1000)
