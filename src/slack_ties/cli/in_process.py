"""Run a command of slack-ties within this process, as if it was typed."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from slack_ties.cli.bug import report_bug
from slack_ties.cli.group import cli

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["run_command"]

SIGNALS = 128  # the exit code of a command that a signal ends is more


def run_command(words: Sequence[str], errors: TextIO | None = None) -> tuple[int, str]:
    """Run a command; return its exit code, and what it printed to standard output.

    A signal that ends it ends this process, as it would if the command was typed.

    Args:
        words: The arguments of slack-ties.
        errors: What gets the progress and the errors, if not standard error.

    """
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(errors or sys.stderr):
        try:
            cli.main([*words], prog_name="slack-ties")
        except SystemExit as end:
            if isinstance(end.code, int) and end.code > SIGNALS:  # one ends this process
                raise
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except Exception as error:  # noqa: BLE001 - a bug of ours
            report_bug(error, [*words])
            code = 1
    return code, printed.getvalue()
