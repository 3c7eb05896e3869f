"""The entry point of the `slack-ties` command.

Each command parses its arguments, calls one function of the package, and prints what it returns.
The modules imported here hold the commands, in the order in which `--help` lists them. torch,
transformers, mergekit and the Hub client are imported by the command that needs them, never for
`--help`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from slack_ties.cli import configure, merging, publishing, recipes, run  # noqa: F401 - adds them
from slack_ties.cli.group import cli

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line; the entry point of the `slack-ties` command."""
    # A stop by a job scheduler, or a lost terminal, cleans up as Ctrl-C does.
    for name in ("SIGTERM", "SIGHUP"):  # the latter: a lost connection; not on Windows
        if number := getattr(signal, name, None):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        # Endonyms must not fail on a console that cannot show them.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        cli(prog_name="slack-ties")
    except SystemExit as stop:
        _leave(stop)
        raise


def _leave(stop: SystemExit) -> None:
    """End at once after an error or a stop: Python would wait for threads that wait for the Hub."""
    # It does so for those of a pool even if they are daemons.
    if stop.code and threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)
