"""The command `batch`, its group: `batch status`, `batch logs` and `batch cancel`."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slack_ties.batch.task import OUT, typed_out
from slack_ties.cli.group import PATH, Group, cli, print_json, print_table, say
from slack_ties.cli.options import with_output
from slack_ties.cli.program import say_next
from slack_ties.cli.timeout import timeout_option
from slack_ties.errors import OutputError, visible
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.batch.executor import Executor
    from slack_ties.batch.state import State
    from slack_ties.batch.task import Batch

__all__ = ["batch", "out_option", "show"]

LOG = logging.getLogger("slack_ties")

out_option = click.option(
    "--out", type=PATH, default=OUT, help="Folder of the batch.  [merges]", show_default=False
)


class _BatchGroup(Group):
    """A group in which `batch LANG` means `batch start LANG`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Add the word `start` if no command is named."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["start", *args]
        return super().parse_args(ctx, args)


@cli.group(cls=_BatchGroup, short_help="Run many merges: languages, settings, engines.")
def batch() -> None:
    """Run many merges with one command, here, on Slurm or on Hugging Face Jobs.

    The same command goes on after an interruption: what is complete is not done again, and what
    failed is tried again. `batch LANG...` is short for `batch start LANG...`.

    \b
    Examples:
      slack-ties batch bo ug mn-Mong
      slack-ties batch bo ug mn-Mong --publish 'ME/Llama-2-7b-{name}' --stream
      slack-ties batch sweep.yml --out sweep
      slack-ties batch status
      slack-ties batch logs bo
      slack-ties batch start --help
    """


def show(out: Path, found: Batch, engine: Executor, *, as_json: bool, quiet: bool) -> None:
    """Print the state of all tasks; end with exit code 1 if one has failed."""
    from slack_ties.batch.page.page import PAGE_FILE, write_page  # noqa: PLC0415
    from slack_ties.batch.state import states_of  # noqa: PLC0415
    from slack_ties.batch.table import in_a_line, reasons, table  # noqa: PLC0415

    states, page = states_of(out, found.tasks, engine), ""
    try:
        write_page(out, found.tasks, states)
        page = f"Page: {out / PAGE_FILE}"
    except OutputError as error:  # the state can be shown, whoever owns the folder
        LOG.warning("Warning: %s", error)
    if as_json:
        print_json({"out": str(out), "on": found.on, "tasks": [asdict(one) for one in states]})
    else:
        print_table(table(states))
        for line in reasons(states):
            click.echo(line)
        if not quiet:
            click.echo(f"\n{in_a_line(states)} of {len(states)}, in {out}", err=True)
            if page:
                click.echo(page, err=True)
            _say_what_next(out, states)
    if any(one.state in {"failed", "stopped"} for one in states):
        sys.exit(1)


def _say_what_next(out: Path, states: Sequence[State]) -> None:
    kinds = {one.state for one in states}
    if kinds & {"running", "waiting"}:
        say_next(shlex.join(["slack-ties", "batch", "status", *typed_out(out)]))
    elif kinds & {"failed", "stopped", "new"}:
        again = shlex.join(["slack-ties", "batch", "start", *typed_out(out)])
        say_next(f"{again}  # tries again what is not complete")


@batch.command(short_help="Show the state of each task.")
@out_option
@with_output
@timeout_option
def status(*, out: Path, quiet: bool, as_json: bool) -> None:
    """Show each task: its state, since when, where, and the result or why it failed.

    \b
    Examples:
      slack-ties batch status
      slack-ties batch status --out sweep --json
    """
    from slack_ties.batch.engines import engine_of  # noqa: PLC0415
    from slack_ties.batch.task import read_batch  # noqa: PLC0415

    say(quiet=quiet)
    found = read_batch(out)
    show(out, found, engine_of(found, out), as_json=as_json, quiet=quiet)


@batch.command(short_help="Print what a task has printed.")
@click.argument("name")
@out_option
@with_output
@timeout_option
def logs(*, name: str, out: Path, quiet: bool, as_json: bool) -> None:
    """Print what the commands of a task have printed so far.

    \b
    Example:
      slack-ties batch logs bo
    """
    from slack_ties.batch.engines import engine_of  # noqa: PLC0415
    from slack_ties.batch.task import read_batch  # noqa: PLC0415

    say(quiet=quiet)
    found = read_batch(out)
    (task,) = found.named([name])
    lines = engine_of(found, out).logs(task)
    if as_json:
        print_json({"name": name, "lines": [*lines]})
        return
    for line in lines:
        click.echo(visible(line.expandtabs()))  # a log may have anything in it


@batch.command(short_help="Stop tasks.")
@click.argument("name", nargs=-1)
@out_option
@with_output
@timeout_option
def cancel(*, name: tuple[str, ...], out: Path, quiet: bool, as_json: bool) -> None:
    """Stop the tasks NAME, or all that are not complete. What is complete stays.

    \b
    Examples:
      slack-ties batch cancel bo
      slack-ties batch cancel
    """
    from slack_ties.batch.engines import engine_of  # noqa: PLC0415
    from slack_ties.batch.marks import Marks  # noqa: PLC0415
    from slack_ties.batch.task import read_batch  # noqa: PLC0415

    say(quiet=quiet)
    found = read_batch(out)
    tasks = [task for task in found.named(name) if not Marks(out, task).done]
    engine_of(found, out).cancel(tasks)
    if as_json:
        print_json({"cancelled": [task.name for task in tasks]})
    else:
        which = join_names([repr(one) for one in name]) or "all"
        names = ", ".join(task.name for task in tasks)
        click.echo(f"Cancelled: {names or f'nothing: {which} is complete'}")


@batch.command(hidden=True)
@click.argument("out", type=PATH)
@click.argument("name")
@click.option("--ends-with-input", is_flag=True, help="End when the standard input is closed.")
@with_output
def work(*, out: Path, name: str, ends_with_input: bool, quiet: bool, as_json: bool) -> None:  # noqa: ARG001 - those of all commands
    """Work on one task of a batch. The engines run this.

    \b
    Example:
      slack-ties batch work merges bo
    """
    from slack_ties.batch.work import work_on  # noqa: PLC0415 - needs the Hub client
    from slack_ties.cli.in_process import run_command  # noqa: PLC0415 - imports this module

    if ends_with_input:
        threading.Thread(target=_end_with_input, daemon=True).start()
    sys.exit(work_on(out, name, run_command))


def _end_with_input() -> None:
    """End this process, with what it has begun cleaned up, when its starter ends."""
    while os.read(0, 1):  # sys.stdin would be locked when Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
