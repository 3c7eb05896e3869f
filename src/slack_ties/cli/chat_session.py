"""A session of `slack-ties chat`: read what the user types, show what the model answers."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import click

from slack_ties.cli.program import as_typed
from slack_ties.errors import SlackTiesError
from slack_ties.files import expanded
from slack_ties.trying.saved import write_chat
from slack_ties.wording import readable

if TYPE_CHECKING:
    from slack_ties.trying.chat import Chat

__all__ = ["Session"]

PROMPT = "> "

BEGIN = "/help lists the commands. Ctrl-C stops an answer, Ctrl-D ends the session."

END = "To end the session: /exit or Ctrl-D"

MOST_BYTES = 10_000_000  # of a line of a pipe

HELP = """\
/system TEXT  set the system text of the chat template; without TEXT: take it away
/reset        forget the conversation; the system text stays
/save FILE    write messages, model and settings to FILE, as JSON
/help         show these lines
/exit         end the session, as Ctrl-D does
A text that begins with / needs a space before it."""


class Session:
    """The lines of a user, in a terminal or from a pipe, and the answers of a model."""

    def __init__(self, chat: Chat, *, quiet: bool, answers_to_stdout: bool) -> None:
        """Take the conversation.

        Args:
            chat: The model, in memory.
            quiet: Show only answers and errors.
            answers_to_stdout: Show answers on the standard output. If not: in a terminal on the
                standard error, from a pipe not at all.

        """
        self.chat, self.quiet = chat, quiet
        self.terminal = sys.stdin is not None and sys.stdin.isatty()
        self.answers_to_stdout = answers_to_stdout
        self.commands: dict[str, Callable[[str], None]] = {
            "system": self._system,
            "reset": self._reset,
            "save": self._save,
            "help": self._help,
        }

    def run(self) -> None:
        """Take lines until they end, or until /exit.

        Raises:
            SlackTiesError: A line of a pipe is wrong. In a terminal it is shown, and the session
                goes on.

        """
        with _interrupts() if self.terminal else contextlib.nullcontext():
            if self.terminal:
                self._note(BEGIN)
            for line in _typed() if self.terminal else _piped():
                if line.rstrip() == "/exit":
                    return
                try:
                    self._take(line)
                except KeyboardInterrupt:  # after the answer, or in a terminal without one
                    self._note(f"\n{END}")
                except SlackTiesError as error:
                    if not self.terminal:
                        raise
                    click.echo(f"Error: {error}", err=True)
                    if error.hint:
                        click.echo(f"Next: {as_typed(error.hint)}", err=True)

    def _take(self, line: str) -> None:
        """Run a command, or ask the model."""
        if not line.startswith("/"):
            if text := line.strip():
                self._ask(text)
            return
        name, _, value = line[1:].partition(" ")
        if name.rstrip() not in self.commands:
            msg = f"there is no command {line.split(maxsplit=1)[0]!r}"
            raise SlackTiesError(msg, hint="/help  # lists the commands")
        self.commands[name.rstrip()](value.strip())

    def _ask(self, text: str) -> None:
        reply = self.chat.ask(text, self._show)
        self._show("\n")
        if reply.end():
            self._note(f"[{reply.end()}]")

    def _show(self, text: str) -> None:
        """Show a part of an answer; signs that could steer the terminal are shown as escapes."""
        if self.answers_to_stdout or self.terminal:
            lines = text.replace("\r", "").split("\n")
            safe = "\n".join("\t".join(map(readable, line.split("\t"))) for line in lines)
            click.echo(safe, nl=False, err=not self.answers_to_stdout)

    def _note(self, text: str) -> None:
        if not self.quiet:
            click.echo(text, err=True)

    def _system(self, text: str) -> None:
        self.chat.messages.set_system(text)
        self._note("the system text is set" if text else "there is no system text")

    def _reset(self, _: str) -> None:
        self.chat.messages.forget()
        self._note("the conversation is forgotten")

    def _save(self, name: str) -> None:
        if not name:
            msg = "/save needs the name of a file"
            raise SlackTiesError(msg, hint="/save chat.json")
        path = expanded(name)
        write_chat(self.chat.data(), path)
        self._note(f"saved: {path}")

    def _help(self, _: str) -> None:
        click.echo(HELP, err=True)


@contextmanager
def _interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt for a while; outside of it, Ctrl-C ends the command."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _typed() -> Iterator[str]:
    """Yield the lines that a person types, until Ctrl-D."""
    with contextlib.suppress(ImportError):  # Windows has none, and edits lines itself
        import readline  # noqa: F401, PLC0415 - `input` then knows the arrow keys
    while True:
        try:
            line = _line()
            line.encode()
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo(f"\n{END}", err=True)
        except UnicodeError:
            click.echo("Error: this line is not UTF-8", err=True)
        else:
            yield line


def _line() -> str:
    """Return a line of the terminal; the prompt never goes into a file."""
    if sys.stdout.isatty():
        return input(PROMPT)
    click.echo(PROMPT, nl=False, err=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _piped() -> Iterator[str]:
    """Yield the lines of a pipe or file, in UTF-8.

    Raises:
        SlackTiesError: A line is not UTF-8, or too long.

    """
    if sys.stdin is None:
        return
    source: BinaryIO = sys.stdin.buffer
    number = 0
    while raw := source.readline(MOST_BYTES + 1):
        number += 1
        if len(raw) > MOST_BYTES:
            msg = f"line {number} of the input has more than {MOST_BYTES:,} bytes"
            raise SlackTiesError(msg, hint="give a shorter text in each line")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            msg = f"line {number} of the input is not UTF-8: byte {error.start} is invalid"
            raise SlackTiesError(msg, hint="iconv -f utf-16 -t utf-8 FILE > messages.txt") from None
