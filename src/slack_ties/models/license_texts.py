"""Find and read a model's files with licences and notices: texts of strangers, in any encoding."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST_LICENSE", "decode_text", "is_license_file", "kind_of_text", "license_files"]

MOST_LICENSE = 1_000_000  # bytes of one file; the longest licences of models have 50 KB

# The files that a licence may require to be passed on, by the words that their names contain.
KINDS = {
    "policy": re.compile(r"(^|[-_.])use[-_]?policy([-_.]|$)"),
    "notice": re.compile(r"(^|[-_.])notices?([-_.]|$)"),
    "license": re.compile(r"(^|[-_.])(licen[cs]es?|copying)([-_.]|$)"),
}

# What comes after the last dot: one of these, or a word with a digit, as in LICENSE_LLAMA3.1.
TEXT_NAME = re.compile(r"[\w+-]+(\.[\w+-]*\d[\w+-]*)*(\.(txt|md|rst|text|lesser))?")

BINARY = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text contains

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

MANY = 4  # of a Chinese text, more than one byte in so many is not ASCII


def kind_of_text(name: str) -> str:
    """Return what a file holds by its name: policy, notice, license, or "" for anything else."""
    lower = name.lower()
    if not TEXT_NAME.fullmatch(lower):
        return ""
    return next((kind for kind, pattern in KINDS.items() if pattern.search(lower)), "")


def is_license_file(name: str) -> bool:
    """Say whether a file of this name holds a licence, a notice or a policy of use."""
    return bool(kind_of_text(name))


def license_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files in a model's folder that hold licences and notices.

    Files without text are left out: they hold nothing that could be passed on.
    """
    try:
        found = [one for one in folder.iterdir() if is_license_file(one.name)]
        names = [one.name for one in found if not one.is_dir()]
        return tuple(sorted(name for name in names if not _is_blank(folder / name)))
    except OSError:
        return ()


def decode_text(content: bytes) -> tuple[str, str]:
    """Return a text with Unix line ends, and its encoding; "" as encoding if it is no text.

    Old editors on Windows write windows-1252 or, in China, GB 18030.
    """
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding)
    if BINARY.search(content):
        return "", ""
    foreign = sum(byte > 127 for byte in content)  # noqa: PLR2004 - ASCII
    old = ("gb18030", "cp1252") if foreign * MANY > len(content) else ("cp1252",)
    for encoding in ("utf-8", *old, "latin-1"):
        text, found = _decoded(content, encoding)
        if found:
            return text, found
    return "", ""


def _decoded(content: bytes, encoding: str) -> tuple[str, str]:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return "", ""
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _is_blank(path: Path) -> bool:
    """Say whether a file has no text; a file that cannot be read may have one."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_LICENSE:
            return False
        text, encoding = decode_text(path.read_bytes())
    except OSError:
        return False
    return bool(encoding) and not text.strip()
