"""Escape other people's text for Markdown."""

from __future__ import annotations

import re

__all__ = ["plain_sentence", "plain_text"]


def plain_text(text: str, length: int = 200) -> str:
    """Return a text as one line without markup, cut to a length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:length]
    plain = re.sub(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)
    # At the beginning of a line these would begin a list or a heading: 1) 1. - + #
    return re.sub(r"^(\d{0,9})([.)+#-])(?=[\s#]|$)", r"\1\\\2", plain)


def plain_sentence(text: str) -> str:
    """Return a text as one line without markup, cut to the length of a long sentence."""
    return plain_text(text, 1000)
