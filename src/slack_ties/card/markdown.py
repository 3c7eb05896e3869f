"""Text of others, written so that Markdown shows it as it is."""

from __future__ import annotations

import re

__all__ = ["plain_sentence", "plain_text"]


def plain_text(text: str, length: int = 200) -> str:
    """Make somebody's text harmless in markdown: one line, no markup, of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:length]
    return re.sub(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def plain_sentence(text: str) -> str:
    """Return text of others on one line, cut to a length that a sentence may have."""
    return plain_text(text, 1000)
