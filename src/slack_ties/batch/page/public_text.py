"""Texts of a batch as its page may show them: without secrets, and without folders of this disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import masked
from slack_ties.publish.scan import find_in_text
from slack_ties.wording import readable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["public_text"]

LONGEST = 2000  # letters of a text

# An absolute path, in quotes or up to a space; an address such as https://... is none.
PATH = re.compile(
    r"(?P<quote>['\"])(?P<quoted>(?:file://|~?/|[A-Za-z]:[\\/]|\\\\)[^'\"]*)(?P=quote)"
    r"|(?<![\w.~/\\%\]-])(?:file://|~?/(?!/)|[A-Za-z]:[\\/]+|\\\\)[^\s'\"<>|,;:=()]+"
)

SEPARATORS = re.compile(r"[\\/]+")


def public_text(text: object, out: Path) -> str:
    """Return a text as one line that may be published.

    A path in the folder of the batch is written from that folder on, and another absolute path as
    its last name.

    Args:
        text: Untrusted, such as the error of a task.
        out: The folder of the batch.

    """
    line = masked(" ".join(str(text).split()))[:LONGEST]
    if found := find_in_text(line.encode(errors="replace").decode(), ()):
        return f"(left out, because it seems to hold {found.what})"
    starts = _starts(out)
    line = PATH.sub(lambda match: _shortened(match, starts), line)
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises if there is none
    if len(Path(home).parts) > 1:
        line = line.replace(home, "~")
    return readable(line)


def _starts(out: Path) -> list[str]:
    """Return how a path begins that is in the folder of the batch."""
    names = (os.path.abspath(out), os.path.realpath(out))  # noqa: PTH100 - the first follows no link
    return ["/".join(SEPARATORS.split(name)) for name in dict.fromkeys(names)]


def _shortened(match: re.Match[str], starts: Sequence[str]) -> str:
    path = match["quoted"] or match[0]
    quote = match["quote"] or ""
    plain = "/".join(SEPARATORS.split(path)).rstrip("/")
    for start in starts:
        if plain == start:
            return f"{quote}.{quote}"
        if plain.startswith(f"{start}/"):
            return f"{quote}{plain[len(start) + 1 :]}{quote}"
    return f"{quote}{plain.rpartition('/')[2]}{quote}"
