"""`python -OO` removes docstrings: take our help from the sources, and refuse what cannot run.

transformers reads its own docstrings when it is imported, and cannot be imported without them.
"""

from __future__ import annotations

import ast
import inspect
import os
import shlex
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from slack_ties.errors import SlackTiesError

if TYPE_CHECKING:
    import click

__all__ = ["check_docstrings", "restore_help"]


def removed() -> bool:
    """Say whether this Python has removed all docstrings."""
    return sys.flags.optimize > 1


def check_docstrings() -> None:
    """Refuse to run a command that transformers may be needed for.

    Raises:
        SlackTiesError: This is `python -OO`, or PYTHONOPTIMIZE is 2.

    """
    if not removed():
        return
    msg = "this Python removes docstrings (-OO or PYTHONOPTIMIZE=2), and transformers needs them"
    variables = ["env", "PYTHONOPTIMIZE=1"] if os.environ.get("PYTHONOPTIMIZE") else []
    words = [*variables, sys.executable, "-O", "-m", "slack_ties", *sys.argv[1:]]
    raise SlackTiesError(msg, hint=shlex.join(words))


def restore_help(command: click.Command) -> None:
    """Give a command its help back if Python has removed it."""
    if removed() and not command.help and command.callback:
        command.help = _docstring(command.callback)


def _docstring(function: Any) -> str:
    """Return the docstring in the source of a function; "" if there is no source."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        (definition,) = ast.parse(source).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return ""
    return ast.get_docstring(definition) or ""  # type: ignore[arg-type]  # a function
