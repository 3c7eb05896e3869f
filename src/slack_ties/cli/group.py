"""What all commands share: the group, errors as exit codes, progress lines, JSON and tables.

This module turns our errors into exit code 1. click uses exit code 2 for a wrong command line.
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from slack_ties.cli.debug import (
    debug_option,
    debug_wanted,
    show_traceback,
    traceback_wanted,
    want_traceback,
)
from slack_ties.cli.docstrings import check_docstrings, restore_help
from slack_ties.cli.log_lines import Lines, Masked
from slack_ties.cli.program import as_typed, name_as_typed, program
from slack_ties.errors import SlackTiesError
from slack_ties.progress import end_progress

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

__all__ = [
    "BROKEN_PIPE",
    "PATH",
    "Group",
    "cli",
    "command",
    "one_line",
    "prepare",
    "print_json",
    "print_table",
    "say",
]

LOG = logging.getLogger("slack_ties")

F = TypeVar("F", bound=Callable[..., Any])


class _Path(click.Path):
    """A path. It expands ~ also where the shell does not, as in --out=~/x."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path with ~ expanded."""
        return super().convert(os.path.expanduser(value), param, ctx)  # noqa: PTH111 - never raises


PATH = _Path(path_type=Path)


# The order of the commands in --help: the order of use.
ORDER = (
    *("demo", "doctor", "languages", "config", "plan", "merge", "report", "compare", "tune"),
    *("try", "chat", "evaluate", "card", "publish", "export", "run", "batch", "recipes", "verify"),
    *("search", "pull", "adapt"),  # of `recipes`
    *("start", "status", "logs", "cancel", "work"),  # of `batch`
)


CLICKS_OWN = (click.ClickException, click.exceptions.Exit, click.Abort)

MOST_SHOWN = 60  # letters of a name that is too long

BROKEN_PIPE = 128 + 13  # the exit code of a tool that SIGPIPE ends

# The option that says where the result goes has these names in every command.
OUT_NAMES = ("-o", "--out", "--output")
OUT = frozenset(OUT_NAMES[1:])

TOKEN_OPTIONS = {"--token", "--hf-token", "--auth-token"}


class UsageError(click.UsageError):
    """A wrong command line: what is wrong, and the next command to type."""

    def __init__(self, error: click.UsageError, command: str) -> None:
        """Take over what click found; click does not always know in which command."""
        super().__init__(error.format_message(), ctx=error.ctx)
        self.command = error.ctx.command_path if error.ctx else command

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it as our other errors are printed."""
        if self.ctx:
            click.echo(f"{self.ctx.get_usage()}\n", file=file, err=True)
        click.echo(f"Error: {as_typed(self.format_message())}", file=file, err=True)
        click.echo(f"Next: {self.command} --help", file=file, err=True)


@contextmanager
def _with_next(group: click.Context | None = None) -> Iterator[None]:
    """Add the next step to errors of click."""
    try:
        yield
    except BrokenPipeError:  # `| head` has seen enough
        sys.exit(BROKEN_PIPE)
    except (UsageError, click.exceptions.NoArgsIsHelpError):  # the second one prints the help
        raise
    except click.UsageError as error:
        words = [group.command_path, group.invoked_subcommand] if group else [program()]
        raise UsageError(error, " ".join(filter(None, words))) from None


class Group(click.Group):
    """A group that lists its commands in the order of use, not alphabetically."""

    def make_context(self, *given: Any, **named: Any) -> click.Context:
        """Parse the command line; the help is there under every Python."""
        for command in (self, *self.commands.values()):
            restore_help(command)
            name_as_typed(command)
        with _with_next():
            return super().make_context(*given, **named)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, and the option --debug to it."""
        for param in cmd.params:
            if not OUT.isdisjoint(param.opts):
                param.opts = list(OUT_NAMES)
        if not isinstance(cmd, click.Group):
            cmd.params.append(debug_option(short=type(cmd) is click.Command))
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of use."""
        return sorted(self.commands, key=ORDER.index)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Say where a token is read from, if one was to be given as an option."""
        with _with_next(ctx):
            try:
                return super().invoke(ctx)
            except click.NoSuchOption as error:
                if error.option_name not in TOKEN_OPTIONS:
                    raise
                msg = f"No such option: {error.option_name}. A token is never an option: others "
                msg += "could see it. Leave it out, and type once: hf auth login  # or set HF_TOKEN"
                raise click.UsageError(msg, ctx=error.ctx) from None


@contextmanager
def one_line() -> Iterator[None]:
    """Turn our errors into one line, a next step and exit code 1; with --debug, say where."""
    try:
        yield
    except Exception as error:
        end_progress()
        if traceback_wanted() and not isinstance(error, CLICKS_OWN):
            show_traceback(error)
        ours = _ours(error)
        if ours is None:
            raise
        click.echo(f"Error: {ours}", err=True)
        if ours.hint:
            click.echo(f"Next: {as_typed(ours.hint)}", err=True)
        sys.exit(1)


def _ours(error: Exception) -> SlackTiesError | None:
    """Return an error of ours; also for a text that was given in the place of a file or folder."""
    if isinstance(error, SlackTiesError):
        return error
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    name = str(error.filename)
    shown = name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}..."
    msg = f"this system has no files with so long a name: {shown!r}"
    return SlackTiesError(msg, hint="give a file or a folder there, and a text where one is meant")


def command(function: F) -> F:
    """Turn our errors into one line, a next step and exit code 1."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with one_line():
            check_docstrings()
            return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: slack-ties languages",
)
@click.version_option(package_name="slack-ties", prog_name="slack-ties")
def cli() -> None:
    """Give a language its own LLM by merging a base, its CT model and its SFT model.

    \b
    Examples:
      slack-ties demo                          all stages on small models, without network
      slack-ties doctor                        what is in place here, and what is missing
      slack-ties languages                     which languages have public models
      slack-ties run bo --out tibetan          config, merge and card in one command
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan
      slack-ties config bo                     the same, one stage at a time
      slack-ties plan merge_configs/bo.yml
      slack-ties merge merge_configs/bo.yml tibetan
      slack-ties report tibetan                what was kept and what was lost
      slack-ties card tibetan
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan
      slack-ties batch bo ug mn-Mong           many merges in one command
      slack-ties recipes search                recipes that others published
      slack-ties verify ME/Llama-2-7b-Tibetan
    """


def say(*, quiet: bool, debug: bool = False) -> None:
    """Send progress to stderr; only results go to stdout."""
    debug = debug or debug_wanted()
    handler = Lines()
    handler.setFormatter(Masked("%(message)s"))
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.INFO)
    LOG.propagate = False
    if debug:
        client = logging.getLogger("huggingface_hub")
        client.handlers[:], client.propagate = [handler], False
        client.setLevel(logging.DEBUG)
    if quiet:
        from slack_ties.private.huggingface_hub import hide_progress_bars  # noqa: PLC0415

        hide_progress_bars()


def prepare(options: MergeOptions | None, *, quiet: bool) -> bool:
    """Apply the options that concern the whole process; return whether to be quiet.

    If the user gives an option of mergekit, our --quiet arrives in `options`: mergekit has a
    field of that name.
    """
    quiet = options.quiet if options else quiet
    if options and options.verbosity:
        want_traceback()
    say(quiet=quiet, debug=bool(options and options.verbosity > 1))
    if not options:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # transformers reads it on import
        return quiet
    try:
        _without_threads_of_before(options).apply_global_options()  # threads, seed, log
    except (RuntimeError, ValueError) as error:  # -j 0, --random-seed -1
        wrong = "--num-threads" if "threads" in str(error) else "--random-seed"
        msg = f"{wrong}: {error}"
        raise click.UsageError(msg) from None
    if not options.verbosity and "TRANSFORMERS_VERBOSITY" not in os.environ:
        from transformers.utils import logging as transformers_logging  # noqa: PLC0415

        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return quiet


def _without_threads_of_before(options: MergeOptions) -> MergeOptions:
    """Leave out a number of threads that this process has: torch takes it once only."""
    import torch  # noqa: PLC0415 - mergekit has imported it

    if options.num_threads != torch.get_num_interop_threads():
        return options
    torch.set_num_threads(options.num_threads)
    return options.model_copy(update={"num_threads": None})


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as left-aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_json(value: object) -> None:
    """Print a value as JSON: the same data on a console that cannot show all letters."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "")
    click.echo(json.dumps(value, indent=2, ensure_ascii=encoding != "utf8", default=str))
