"""The entry point of the `slack-ties` command.

Each command parses its arguments, calls one function of the package, and prints what it returns.
The modules imported here define the commands. A command that needs torch, transformers, mergekit
or the Hub client imports it itself: `--help` needs none of them.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import NoReturn

import click

from slack_ties.cli import (  # noqa: F401 - adds them
    configure,
    demo,
    languages,
    merging,
    publishing,
    recipes,
    run,
)
from slack_ties.cli.group import cli
from slack_ties.errors import AS_UTF_8

__all__ = ["cli", "main"]

# The output is on a full disk, beyond a limit of its size, or its device is broken.
UNWRITABLE = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}


def main() -> None:
    """Run the command line; the entry point of the `slack-ties` command."""
    # If a job scheduler stops us or the terminal closes, clean up as after Ctrl-C.
    for name in ("SIGTERM", "SIGHUP"):  # SIGHUP: the terminal closed; not on Windows
        if number := getattr(signal, name, None):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show an endonym must not cause an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        _check_letters()
        cli(prog_name="slack-ties")
    except SystemExit as stop:
        _flush()
        _leave(stop)
        raise
    except Exception as error:  # noqa: BLE001 - a bug of ours
        if isinstance(error, OSError) and error.errno in UNWRITABLE and not error.filename:
            _give_up_output(error)
        from slack_ties.cli.bug import report_bug  # noqa: PLC0415 - seldom needed

        report_bug(error, sys.argv[1:])
        sys.exit(1)


def _check_letters() -> None:
    """Refuse words with letters that this Python cannot read, as under LC_ALL=C PYTHONUTF8=0."""
    names = sys.getfilesystemencoding()
    if names != "utf-8" and any("\udc80" <= c <= "\udcff" for word in sys.argv for c in word):
        msg = f"here Python takes file names for {names}, which lacks letters of this command"
        click.echo(f"Error: {msg}", err=True)
        click.echo(f"Next: {AS_UTF_8}", err=True)
        sys.exit(1)


def _flush() -> None:
    """Write out what was printed."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_output(error)


def _give_up_output(error: OSError) -> NoReturn:
    """Say that the output cannot be written, and end."""
    # Python would try again at its end, and print a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):  # `| head` has seen enough
        click.echo(f"Error: cannot write the output: {error.strerror}", err=True)
    sys.exit(1)


def _leave(stop: SystemExit) -> None:
    """Exit at once after an error or a stop: Python would wait for threads that use the Hub."""
    # Python waits for the threads of a pool even if they are daemons.
    if stop.code and threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)
