"""How the user calls this program: `slack-ties`, or `hf slack-ties` as an extension of hf."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import PurePath

import click

__all__ = ["as_typed", "name_as_typed", "program", "say_next"]

OURS, EXTENSION = "slack-ties", "hf-slack-ties"

# Our name where a command begins, such as in `slack-ties plan`; not in "a slack-ties recipe".
COMMAND = re.compile(rf"(?<![\w./-]){OURS}(?= (?!recipe\b)[a-z-])")

PIP = re.compile(r"(?<![\w./-])pip install(?= )")


def program() -> str:
    """Return the words before the name of a command.

    hf runs the console script of an extension, which is in an environment of its own. There,
    `slack-ties` is a command of the shell only by chance.
    """
    called = PurePath(sys.argv[0]).name if sys.argv else ""
    return f"hf {OURS}" if called.lower().removesuffix(".exe") == EXTENSION else OURS


def as_typed(text: str) -> str:
    """Return a text in which our commands are written as the user has to type them.

    Args:
        text: A next step, or a help text.

    """
    name = program()
    if name == OURS:
        return text
    return PIP.sub(lambda _: _pip(), COMMAND.sub(name, text))


def _pip() -> str:
    """Return what calls pip for the environment of the extension: that of the shell is another."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    if find_spec("pip"):
        return f"{python} -m pip install"
    return f"uv pip install --python {python}"  # hf makes it by uv, and without pip


def name_as_typed(command: click.Command) -> None:
    """Write the commands in the help of a command as the user has to type them."""
    for part in ("help", "epilog", "short_help"):
        if text := getattr(command, part):
            setattr(command, part, as_typed(text))


def say_next(step: str) -> None:
    """Print the next step below a result."""
    click.echo(f"\nNext: {as_typed(step)}", err=True)
