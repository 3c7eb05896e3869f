"""The commands `batch`, `batch status`, `batch logs` and `batch cancel`."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from slack_ties.batch.task import OUT, typed_out
from slack_ties.cli.download_options import download_options
from slack_ties.cli.group import PATH, Group, cli, print_json, print_table, say
from slack_ties.cli.mergekit_options import MergeCommand
from slack_ties.cli.options import (
    allow_unrelated,
    collection_option,
    license_options,
    public_option,
    report_option,
    with_output,
    with_settings,
)
from slack_ties.cli.options import choices as choice_options
from slack_ties.cli.program import say_next

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.batch.entries import Wanted
    from slack_ties.batch.executor import Executor
    from slack_ties.batch.state import State
    from slack_ties.batch.task import Batch
    from slack_ties.settings import Settings

__all__: list[str] = []

ENGINES = ("here", "slurm", "jobs")

# Options of `batch` itself; all others are for each `slack-ties run`.
OWN = {
    *("what", "out", "on", "publish", "public", "collection", "tasks", "at_once", "yes"),
    *("partition", "account", "time_limit", "flavor", "namespace", "json", "as_json", "quiet"),
    *("debug", "verbosity"),
}

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


@batch.command(cls=MergeCommand, short_help="Start a batch, or go on with it.")
@click.argument("what", nargs=-1, metavar="[LANG|CONFIG|SWEEP]...")
@out_option
@click.option("--on", type=click.Choice(ENGINES), help="The engine that works.  [here]")
@click.option(
    "--publish", metavar="REPO_ID", help="Publish each; {name} in it is the name of the task."
)
@public_option
@collection_option
@click.option(
    "--evaluate",
    "tasks",
    metavar="TASK,...|usual",
    help="Score each on these tasks, or on the usual ones of its language.",
)
@click.option("--at-once", type=click.IntRange(min=1), help="Tasks at once.  [as memory allows]")
@click.option("--stream", is_flag=True, help="Keep no weights on this disk; needs --publish.")
@license_options
@choice_options
@report_option
@allow_unrelated
@download_options
@with_settings
def start(  # noqa: PLR0913 - one per option
    *,
    what: tuple[str, ...],
    out: Path,
    on: str | None,
    publish: str | None,
    public: bool | None,
    collection: str,
    tasks: str | None,
    at_once: int | None,
    as_json: bool,
    settings: Settings,
    **_others: Any,
) -> None:
    """Merge several languages or configs, each as `slack-ties run` does, and publish each.

    SWEEP is a YAML file with the key `runs`: languages or configs, and what to vary. Without
    arguments, it goes on with the batch in the folder --out. All options of `slack-ties run` work
    here too, and count for each merge. All is checked before the first merge begins.

    \b
    Examples:
      slack-ties batch bo ug mn-Mong
      slack-ties batch bo ug --publish 'ME/Llama-2-7b-{name}' --collection Llama-2-7b
      slack-ties batch bo ug --slack 0.3 --evaluate usual --no-download
      slack-ties batch sweep.yml --out sweep --at-once 2
      slack-ties batch --out sweep
    """
    from slack_ties.batch.entries import tasks_of  # noqa: PLC0415 - needs the Hub client
    from slack_ties.batch.needs import check_room_for_all  # noqa: PLC0415
    from slack_ties.batch.start import begin_batch, check_tasks, left_of  # noqa: PLC0415
    from slack_ties.batch.state import states_of  # noqa: PLC0415

    options = _options_of_run()
    made = [
        task
        for wanted in _wanted(what, options, publish, public, collection, tasks)
        for task in tasks_of(wanted, out)
    ]
    if not what and options.keys() - {"stream"}:
        msg = "options of merges need LANG, CONFIG or SWEEP: without them, the batch stays as it is"
        raise click.UsageError(msg)
    engine_options = {"at_once": at_once} if at_once else {}
    found, chosen = begin_batch(out, made, on or "", engine_options)
    engine = _engine(found, out)
    states = states_of(out, chosen, engine)
    busy = [one.name for one in states if one.state in {"running", "waiting"}]
    left = left_of(out, chosen, busy)
    ready = check_tasks(out, left, partial(_look, quiet=settings.quiet))
    check_room_for_all(out, ready, streamed=all("--stream" in task.steps[-1] for task in ready))
    engine.start(ready)
    _show(out, found, engine, as_json=as_json, quiet=settings.quiet)


def _options_of_run() -> dict[str, Any]:
    """Return the options that were typed and are those of `slack-ties run`."""
    ctx = click.get_current_context()
    return {
        name: value
        for name, value in ctx.params.items()
        if name not in OWN and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
    }


def _wanted(  # noqa: PLR0913, PLR0917 - the options
    what: Sequence[str],
    options: dict[str, Any],
    publish: str | None,
    public: bool | None,  # noqa: FBT001 - an option
    collection: str,
    tasks: str | None,
) -> list[Wanted]:
    """Return what to do: of languages and configs, and of each sweep file."""
    from slack_ties.batch.entries import Wanted, is_sweep, read_sweep  # noqa: PLC0415

    evaluate: tuple[str, ...] | None = None
    if tasks is not None:
        evaluate = () if tasks == "usual" else tuple(tasks.replace(",", " ").split())
    plain = Wanted(
        [one for one in what if not is_sweep(one)],
        options=options,
        publish=publish or "",
        evaluate=evaluate,
        collection=collection,
        public=public,
    )
    sweeps = [read_sweep(Path(one)).with_options(plain) for one in what if is_sweep(one)]
    return ([plain] if plain.runs else []) + sweeps


def _look(words: Sequence[str], *, quiet: bool) -> tuple[int, dict[str, Any], str]:
    """Run a command; return its exit code, what it printed as JSON, and its errors."""
    from slack_ties.cli.in_process import run_command  # noqa: PLC0415 - imports this module

    errors = io.StringIO()
    code, text = run_command([*words, "-q"], errors)
    say(quiet=quiet)  # the command has set up its own
    try:
        printed = json.loads(text)
    except ValueError:
        printed = {}
    return code, printed, errors.getvalue()


def _engine(found: Batch, out: Path) -> Executor:
    """Return the engine of a batch."""
    from slack_ties.batch.here import Here  # noqa: PLC0415
    from slack_ties.batch.needs import at_once_here  # noqa: PLC0415

    options = dict(found.engine)
    return Here(out, options.get("at_once") or at_once_here(out, found.tasks))


def _show(out: Path, found: Batch, engine: Executor, *, as_json: bool, quiet: bool) -> None:
    """Print the state of all tasks; end with exit code 1 if one has failed."""
    from slack_ties.batch.state import states_of  # noqa: PLC0415
    from slack_ties.batch.table import in_a_line, reasons, table  # noqa: PLC0415

    states = states_of(out, found.tasks, engine)
    if as_json:
        print_json({"out": str(out), "on": found.on, "tasks": [asdict(one) for one in states]})
    else:
        print_table(table(states))
        for line in reasons(states):
            click.echo(line)
        if not quiet:
            click.echo(f"\n{in_a_line(states)} of {len(states)}, in {out}", err=True)
            _say_what_next(out, states)
    if any(one.state in {"failed", "stopped"} for one in states):
        sys.exit(1)


def _say_what_next(out: Path, states: Sequence[State]) -> None:
    kinds = {one.state for one in states}
    if kinds & {"running", "waiting"}:
        say_next(f"slack-ties batch status{typed_out(out)}")
    elif kinds & {"failed", "stopped", "new"}:
        say_next(f"slack-ties batch start{typed_out(out)}  # tries again what is not complete")


@batch.command(short_help="Show the state of each task.")
@out_option
@with_output
def status(*, out: Path, quiet: bool, as_json: bool) -> None:
    """Show each task: its state, since when, where, and the result or why it failed.

    \b
    Examples:
      slack-ties batch status
      slack-ties batch status --out sweep --json
    """
    from slack_ties.batch.task import read_batch  # noqa: PLC0415

    say(quiet=quiet)
    found = read_batch(out)
    _show(out, found, _engine(found, out), as_json=as_json, quiet=quiet)


@batch.command(short_help="Print what a task has printed.")
@click.argument("name")
@out_option
@with_output
def logs(*, name: str, out: Path, quiet: bool, as_json: bool) -> None:
    """Print what the commands of a task have printed so far.

    \b
    Example:
      slack-ties batch logs bo
    """
    from slack_ties.batch.task import read_batch  # noqa: PLC0415

    say(quiet=quiet)
    found = read_batch(out)
    (task,) = found.named([name])
    lines = _engine(found, out).logs(task)
    if as_json:
        print_json({"name": name, "lines": [*lines]})
        return
    for line in lines:
        click.echo(line)


@batch.command(short_help="Stop tasks.")
@click.argument("name", nargs=-1)
@out_option
@with_output
def cancel(*, name: tuple[str, ...], out: Path, quiet: bool, as_json: bool) -> None:
    """Stop the tasks NAME, or all that are not complete. What is complete stays.

    \b
    Examples:
      slack-ties batch cancel bo
      slack-ties batch cancel
    """
    from slack_ties.batch.marks import Marks  # noqa: PLC0415
    from slack_ties.batch.task import read_batch  # noqa: PLC0415

    say(quiet=quiet)
    found = read_batch(out)
    tasks = [task for task in found.named(name) if not Marks(out, task).done]
    _engine(found, out).cancel(tasks)
    if as_json:
        print_json({"cancelled": [task.name for task in tasks]})
    else:
        click.echo(f"Cancelled: {', '.join(task.name for task in tasks) or 'nothing'}")


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
