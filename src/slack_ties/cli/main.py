"""The entry point of the `slack-ties` command, and of `hf slack-ties`.

Each command parses its arguments, calls one function of the package, and prints what it returns.
The modules imported here define the commands. A command that needs torch, transformers, mergekit
or the Hub client imports it itself: `--help` needs none of them.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import NoReturn

import click

from slack_ties.cli import (  # noqa: F401 - adds them
    batch_start,
    chatting,
    checking,
    configure,
    demo,
    evaluating,
    exporting,
    languages,
    merging,
    publishing,
    recipes,
    run,
    trying,
    tuning,
)
from slack_ties.cli.group import BROKEN_PIPE, cli
from slack_ties.cli.program import program
from slack_ties.errors import AS_UTF_8
from slack_ties.progress import end_progress

__all__ = ["cli", "main"]

GO_ON = "the same command goes on; what was downloaded or uploaded is kept"

BEGIN_AGAIN = "the same command begins again; what was downloaded is kept"

# Commands that begin again.
BEGIN = ("doctor", "try", "chat", "merge", "export", "report", "compare", "verify")

# The output is on a full disk, beyond a limit of its size, or its device is broken.
UNWRITABLE = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Stop(SystemExit):
    """A signal ends the command; the exit code is that of a shell."""

    def __init__(self, number: int) -> None:
        """Take the exit code."""
        super().__init__(number)
        self.number = number


def main() -> None:
    """Run the command line; the entry point of the `slack-ties` command."""
    _stop_on_signals()
    _check_streams()
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show an endonym must not cause an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        _check_letters()
        cli(prog_name=program())
    except SystemExit as stop:
        _flush()
        if isinstance(stop, Stop):
            end_progress()
            click.echo(f"Stopped: {_what_next(sys.argv[1:])}", err=True)
            sys.stderr.flush()
            # All is cleaned up. Python would take torch and mergekit apart, which takes seconds.
            os._exit(stop.number)
        raise
    except Exception as error:  # noqa: BLE001 - a bug of ours
        if isinstance(error, OSError) and error.errno in UNWRITABLE and not error.filename:
            _give_up_output(error)
        from slack_ties.cli.bug import report_bug  # noqa: PLC0415 - seldom needed

        report_bug(error, sys.argv[1:])
        sys.exit(1)


def _what_next(words: list[str]) -> str:
    """Return what the same command does after a stop."""
    if words and words[0] in BEGIN:
        return BEGIN_AGAIN
    if words[:1] == ["run"] and "--stream" not in words:
        return f"{GO_ON}; a merge that was not complete begins again"
    return GO_ON


def _check_streams() -> None:
    """Refuse a closed standard output, as after `>&-`; without standard error, say nothing."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end
    if sys.stdout is None:
        click.echo("Error: the standard output is closed: the result has no place", err=True)
        click.echo("Next: end the command with > FILE instead of >&-", err=True)
        sys.exit(1)


def _check_letters() -> None:
    """Refuse words with letters that this Python cannot read, as under LC_ALL=C PYTHONUTF8=0."""
    names = sys.getfilesystemencoding()
    if names != "utf-8" and any("\udc80" <= c <= "\udcff" for word in sys.argv for c in word):
        msg = f"here Python takes file names for {names}, which lacks letters of this command"
        click.echo(f"Error: {msg}", err=True)
        click.echo(f"Next: {AS_UTF_8}", err=True)
        sys.exit(1)


def _stop_on_signals() -> None:
    """Clean up after Ctrl-C, and if a job scheduler stops us or the terminal closes."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # SIGHUP: the terminal closed; not on Windows
        number = getattr(signal, name, None)
        # A shell lets a command in the background ignore Ctrl-C.
        if number and not (name == "SIGINT" and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, _stop)


def _stop(number: int, _: object) -> NoReturn:
    raise Stop(128 + number)


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
    if isinstance(error, BrokenPipeError):  # `| head` has seen enough
        sys.exit(BROKEN_PIPE)
    click.echo(f"Error: cannot write the output: {error.strerror}", err=True)
    sys.exit(1)
