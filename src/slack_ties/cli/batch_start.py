"""The command `batch start`, for which `batch LANG` is short."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from slack_ties.batch.engines import ENGINES
from slack_ties.cli.batch import batch, out_option, show
from slack_ties.cli.download_options import Size, download_options
from slack_ties.cli.group import cli, say
from slack_ties.cli.mergekit_options import MergeCommand
from slack_ties.cli.options import (
    allow_unrelated,
    collection_option,
    license_options,
    public_option,
    report_option,
    with_settings,
)
from slack_ties.cli.options import choices as choice_options
from slack_ties.errors import RecipeError, SlackTiesError, nearest, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.batch.entries import Wanted
    from slack_ties.batch.task import Task
    from slack_ties.settings import Settings

__all__: list[str] = []

# Options of engines.
OF_ENGINES = (
    *("at_once", "time_limit", "partition", "account", "cpus", "gpus", "memory", "flavor"),
    *("namespace", "package"),
)

# Options of `batch` itself; all others are for each `slack-ties run`.
OWN = {
    *("what", "out", "on", "publish", "public", "collection", "tasks", "yes"),
    *("as_json", "quiet", "debug", "verbosity", *OF_ENGINES),
}


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """A time such as 90m, 2h or 1d; it arrives in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds."""
        found = re.fullmatch(r"(\d{1,6})\s*(m|min|h|d)", str(value))
        if isinstance(value, int):
            return value
        if not found or not int(found[1]):
            self.fail(f"expected a time such as 90m, 2h or 1d, got {value!r}", param, ctx)
        return int(found[1]) * {"m": 60, "min": 60, "h": 3600, "d": 86_400}[found[2]]


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
@click.option(
    "--time-limit",
    type=_Duration(),
    metavar="TIME",
    help="On Slurm and Jobs: end a task after this time, such as 90m or 2h.  [from its plan]",
)
@click.option("--partition", metavar="NAME", help="On Slurm: the partition.")
@click.option("--account", metavar="NAME", help="On Slurm: the account that pays.")
@click.option("--cpus", type=click.IntRange(min=1), help="On Slurm: cores of each task.")
@click.option("--gpus", type=click.IntRange(min=0), help="On Slurm: GPUs of each task.")
@click.option(
    "--memory",
    type=Size(),
    metavar="SIZE",
    help="On Slurm: memory of each task, such as 40G.  [from its plan]",
)
@click.option("--flavor", metavar="NAME", help="On Jobs: the machine.  [the cheapest that fits]")
@click.option(
    "--package",
    metavar="URL",
    help="On Jobs: install this instead of the release on PyPI, such as git+https://...",
)
@click.option("--namespace", metavar="OWNER", help="On Jobs: the organization that pays.")
@click.option("-y", "--yes", is_flag=True, help="On Jobs: do not ask before jobs cost money.")
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
    yes: bool,
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
    from slack_ties.batch.engines import engine_of  # noqa: PLC0415 - as below
    from slack_ties.batch.entries import check_distinct, tasks_of  # noqa: PLC0415 - needs the Hub client
    from slack_ties.batch.needs import check_room_for_all, check_scoring  # noqa: PLC0415
    from slack_ties.batch.start import (  # noqa: PLC0415
        begin_batch,
        check_tasks,
        left_of,
        make_collections,
    )
    from slack_ties.batch.state import states_of  # noqa: PLC0415
    from slack_ties.batch.work import share_pauses  # noqa: PLC0415

    options = _options_of_run()
    all_wanted = _wanted(what, options, publish, public, collection, tasks)
    for wanted in all_wanted:
        _check_options(wanted)
    made = [task for wanted in all_wanted for task in tasks_of(wanted, out)]
    check_distinct(made)
    if not what and options.keys() - {"stream"}:
        msg = "options of merges need LANG, CONFIG or SWEEP: without them, the batch stays as it is"
        raise click.UsageError(msg)
    _check_words(made)
    given = click.get_current_context().params
    engine_options = {name: given[name] for name in OF_ENGINES if given[name] is not None}
    found, chosen = begin_batch(out, made, on or "", engine_options)
    share_pauses(out)
    engine = engine_of(found, out)
    states = states_of(out, chosen, engine)
    busy = [one.name for one in states if one.state in {"running", "waiting"}]
    left = left_of(out, chosen, busy)
    away = found.on == "jobs"
    if not away:
        check_scoring(left)
    ready = check_tasks(out, left, partial(_look, quiet=settings.quiet), away=away)
    if not away:
        check_room_for_all(out, ready, streamed=all("--stream" in task.steps[-1] for task in ready))
    engine = engine_of(found, out, ready)
    if ready and (not away or _agreed(engine, ready, yes=yes)):
        make_collections(ready)
        engine.start(ready)
    show(out, found, engine, as_json=as_json, quiet=settings.quiet)


def _check_words(tasks: Sequence[Task]) -> None:
    """Refuse an option that a command of a task does not have, before anything is written."""
    for task in tasks:
        for name, *words in task.steps:
            try:
                cli.commands[name].make_context(name, words).close()
            except click.UsageError as error:
                msg = f"{task.name}: {error.format_message()}"
                raise SlackTiesError(msg, hint=f"slack-ties {name} --help") from None


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

    evaluate: dict[str, Any] | None = None
    if tasks is not None:
        evaluate = {} if tasks == "usual" else {"tasks": tasks}
    sweeps = [one for one in what if is_sweep(one)]
    plain = Wanted(
        [one for one in what if one not in sweeps],
        options=options,
        publish=publish or "",
        evaluate=evaluate,
        collection=collection,
        public=public,
    )
    found = [read_sweep(Path(one)).with_options(plain) for one in sweeps]
    return ([plain] if plain.runs else []) + found


def _check_options(wanted: Wanted) -> None:
    """Refuse what a sweep names and is no option of a merge or an evaluation, such as `out`."""
    evaluate = [one for one in cli.commands["evaluate"].params if "--out" not in one.opts]
    of_run = _flags(click.get_current_context().command.params, OWN)
    for run in wanted.runs:
        entry = run if isinstance(run, Mapping) else {}
        _check_each({k: v for k, v in entry.items() if k not in {"what", "name"}}, of_run, "run")
    for name, values in wanted.vary.items():
        for value in values:
            _check_each({name: value}, of_run, "run")
    _check_each(wanted.evaluate or {}, _flags(evaluate, OWN - {"tasks"}), "evaluate")


def _flags(params: Sequence[click.Parameter], without: set[str]) -> dict[str, click.Option]:
    """Return options by how they are typed, without `--`."""
    return {
        flag.removeprefix("--"): one
        for one in params
        if isinstance(one, click.Option) and one.name not in without
        for flag in one.opts
        if flag.startswith("--")
    }


def _check_each(given: Mapping[Any, Any], known: dict[str, click.Option], command: str) -> None:
    for name, value in given.items():
        option = known.get(f"{name}".strip("_").replace("_", "-"))
        if not isinstance(name, str) or option is None:
            msg = f"in a sweep, {name!r} is no option of `slack-ties {command}`."
            msg += nearest(f"{name}", [*known])
            raise RecipeError(msg, hint="slack-ties batch start --help")
        is_bool = isinstance(value, bool) and (value or bool(option.secondary_opts))
        values = value.values() if isinstance(value, Mapping) else value
        inner = values if isinstance(value, (Mapping, list)) else [value]
        plain = all(isinstance(one, (str, int, float)) for one in inner if one is not None)
        if (option.is_flag and not is_bool) or not plain:
            expected = "true or nothing" if option.is_flag else "a text, a number or a list of them"
            msg = f"in a sweep, expected {expected} for {name!r}, got {visible(repr(value)[:80])}"
            raise RecipeError(msg, hint="slack-ties batch start --help")


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


def _agreed(engine: Any, ready: Sequence[Task], *, yes: bool) -> bool:
    """Show what jobs cost at most, and ask."""
    engine.check(ready)
    click.echo(engine.estimate(ready).as_text(), err=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        msg = "jobs cost money, and nobody can be asked here"
        raise SlackTiesError(msg, hint="add --yes to the same command")
    return click.confirm("Start them?", err=True)
