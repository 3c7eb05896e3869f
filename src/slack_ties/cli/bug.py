"""What a user sees of a bug in slack-ties: one line, and a file to send with the report.

The file holds the versions, the kind of command and the traceback. It holds no token, and of paths
only what belongs to installed packages: folders may be named after people and customers.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slack_ties.doctor.packages import system
from slack_ties.errors import masked
from slack_ties.recipe.pin import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["describe_bug", "report_bug"]

SHORTEST_NAME = 4  # shorter words are codes of languages, and occur in the code

# An absolute path up to its last part, on any system: in quotes with spaces, else without.
QUOTED = r"(?<=['\"])(?:[A-Za-z]:)?[/\\][^'\"\n]*[/\\]"
PLAIN = r"(?:\b[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>|*?:]+[/\\])+"
FOLDERS = re.compile(f"{QUOTED}|{PLAIN}")


def report_bug(error: BaseException, arguments: Sequence[str]) -> None:
    """Say that this is a bug, and write what a report of it needs."""
    text = describe_bug(error, arguments)
    click.echo(f"Error: this is a bug in slack-ties: {_first_line(error)}", err=True)
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile(
                "w",
                encoding="utf-8",
                dir=folder,
                prefix="slack-ties-bug-",
                suffix=".txt",
                delete=False,
            ) as file:
                file.write(text)
        except OSError:
            continue
        click.echo(f"Next: report it, with the file {file.name}", err=True)
        return
    click.echo(f"Next: report it, with this text:\n{text}", err=True)


def describe_bug(error: BaseException, arguments: Sequence[str]) -> str:
    """Return the text of the file.

    Args:
        error: What was raised.
        arguments: Of the command line; values are left out, they may be names and paths.

    """
    words = [word.partition("=")[0] for word in arguments]
    shown = [word if i == 0 or word.startswith("-") else "..." for i, word in enumerate(words)]
    lines = [
        f"slack-ties {' '.join(shown)}",
        system(),
        *(f"{name} {version(name)}" for name in PACKAGES),
        "",
        *traceback.format_exception(type(error), error, error.__traceback__),
    ]
    text = "\n".join(line.rstrip("\n") for line in lines)
    for private in (Path.cwd(), Path.home()):  # also with spaces outside of quotes
        text = text.replace(f"{private}{os.sep}", os.sep)
    text = FOLDERS.sub(_public_part, text)
    return f"{masked(_without(text, arguments))}\n"


def _without(text: str, arguments: Sequence[str]) -> str:
    """Return a text without what the user typed: names of models, people, languages."""
    first = 2 if arguments[:1] == ["recipes"] else 1  # the words of the command stay
    values = {word.partition("=")[2] if word[:1] == "-" else word for word in arguments[first:]}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST_NAME:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "...", text)
    return text


def _first_line(error: BaseException) -> str:
    said = (str(error).splitlines() or [""])[0][:200]
    return masked(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _public_part(match: re.Match[str]) -> str:
    """Return what may be shown of the folders in a path: those below an installed package."""
    folders = match[0].replace("\\", "/")
    for public in ("site-packages/", "slack_ties/", f"python{sys.version_info.major}."):
        before, found, after = folders.rpartition(public)
        if found and before:
            return f"{found}{after}"
    return ".../"
