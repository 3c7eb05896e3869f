"""How the user calls this program: `slack-ties`, or `hf slack-ties` as an extension of hf."""

from __future__ import annotations

import re
import sys
from pathlib import PurePath

import click

__all__ = ["as_typed", "name_as_typed", "program", "say_next"]

OURS, EXTENSION = "slack-ties", "hf-slack-ties"

# Our name where a command begins, such as in `slack-ties plan`; not in "a slack-ties recipe".
COMMAND = re.compile(rf"(?<![\w./-]){OURS}(?= (?!recipe\b)[a-z-])")


def program() -> str:
    """Return the words before the name of a command.

    hf runs the console script of an extension, which is in an environment of its own. There,
    `slack-ties` is a command of the shell only by chance.
    """
    called = PurePath(sys.argv[0]).name if sys.argv else ""
    return f"hf {OURS}" if called.removesuffix(".exe") == EXTENSION else OURS


def as_typed(text: str) -> str:
    """Return a text in which our commands are written as the user has to type them.

    Args:
        text: A next step, or a help text.

    """
    name = program()
    return text if name == OURS else COMMAND.sub(name, text)


def name_as_typed(command: click.Command) -> None:
    """Write the commands in the help of a command as the user has to type them."""
    for part in ("help", "epilog", "short_help"):
        if text := getattr(command, part):
            setattr(command, part, as_typed(text))


def say_next(step: str) -> None:
    """Print the next step below a result."""
    click.echo(f"\nNext: {as_typed(step)}", err=True)
