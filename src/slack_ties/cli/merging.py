"""The commands `merge`, `report` and `compare`."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from slack_ties.cli.download_options import download_options
from slack_ties.cli.group import PATH, cli, print_json
from slack_ties.cli.mergekit_options import MergeCommand
from slack_ties.cli.options import (
    allow_unrelated,
    report_option,
    with_settings,
)
from slack_ties.cli.program import say_next
from slack_ties.errors import RecipeError

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.settings import Settings

__all__: list[str] = []


@cli.command(cls=MergeCommand, short_help="Run a merge config.")
@click.argument("config", type=PATH)
@click.argument("folder", metavar="OUT", required=False, type=PATH)
@click.option("--out", metavar="OUT", type=PATH, help="New folder for the result, as after CONFIG.")
@click.option(
    "--help-mergekit",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _param, wanted: _show_and_exit(ctx) if wanted else None,
    help="Show mergekit's options too.",
)
@report_option
@allow_unrelated
@download_options
@with_settings
def merge(  # noqa: PLR0913 - one per option, one line each
    *,
    config: Path,
    folder: Path | None,
    out: Path | None,
    report: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Run the merge config CONFIG into the new folder OUT.

    Models are folders or Hub ids. OUT is created only when the result is complete.

    \b
    Examples:
      slack-ties merge merge_configs/bo.yml tibetan
      slack-ties merge merge_configs/bo.yml tibetan --cuda --out-shard-size 2B
      slack-ties merge merge_configs/bo.yml --out tibetan --report
    """
    out = _one_folder(config, folder, out)
    from slack_ties.merge.merge import merge_models  # noqa: PLC0415 - heavy

    record = merge_models(
        config,
        out,
        **vars(settings),
        report=report,
    )
    if as_json:
        print_json({"folder": str(out), **asdict(record)})
        return
    click.echo(f"{out}: {record.parameters:,} parameters, {record.dtype}")
    if report and not settings.quiet:
        _show_report(out)
    if not settings.quiet:
        name = shlex.quote(str(out))
        click.echo(f"\nScores: none yet: slack-ties evaluate {name}", err=True)
        say_next(f"slack-ties card {name}")


@cli.command(cls=MergeCommand, short_help="See what a merge keeps and loses.")
@click.argument("what", metavar="CONFIG|OUT", type=PATH)
@click.option(
    *("-o", "--out", "--output", "output"),
    type=PATH,
    help="Folder to write to.  [OUT, or CONFIG-report]",
)
@click.option("--pictures", is_flag=True, help="Write images/*.png too, for the model card.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace a report.json, report.html or picture that slack-ties did not write, or cannot "
    "read.",
)
@allow_unrelated
@download_options
@with_settings
def report(  # noqa: PLR0913 - one per option
    *,
    what: Path,
    output: Path | None,
    pictures: bool,
    overwrite: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show what a merge keeps and loses of each model, and what other slacks would change.

    It reads the models once, as a merge does, and writes no model. CONFIG is a merge config of
    slack_ties or ties. OUT is a merged folder, and gets the report. The report is two files:
    report.json and report.html. `merge --report` makes it during the merge.

    \b
    Examples:
      slack-ties report merge_configs/bo.yml
      slack-ties report merge_configs/bo.yml -o bo-report --pictures
      slack-ties report tibetan
    """
    from slack_ties.explore.report import make_report  # noqa: PLC0415 - heavy
    from slack_ties.report.file import report_as_json  # noqa: PLC0415 - heavy

    made, folder = make_report(
        what,
        output,
        **vars(settings),
        pictures=pictures,
        overwrite=overwrite,
    )
    if as_json:
        print_json({"folder": str(folder), **report_as_json(made, tensors=False)})
        return
    if not settings.quiet:
        _show_report(folder)
    click.echo(folder / "report.html")


@cli.command(cls=MergeCommand, short_help="Compare two merges.")
@click.argument("one", metavar="A", type=PATH)
@click.argument("other", metavar="B", type=PATH)
@allow_unrelated
@download_options
@with_settings
def compare(
    *,
    one: Path,
    other: Path,
    as_json: bool,
    settings: Settings,
) -> None:
    """Compare two merges side by side: settings, figures of their reports, and scores.

    A and B are merge configs, merged folders, or report.json files. If a merge has a report.json,
    it is used; if not, the models are read, as by `slack-ties report`. If both have an
    evaluation.json, the scores of the merged models are compared too, item by item. Two
    evaluation.json files are compared by their scores alone.

    \b
    Examples:
      slack-ties compare tibetan merge_configs/bo.yml
      slack-ties compare bo-report other/report.json --json
      slack-ties compare tibetan/evaluation.json other/evaluation.json
    """
    from slack_ties.explore.compare import compare_merges  # noqa: PLC0415 - heavy

    found = compare_merges(one, other, **vars(settings))
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(found.as_text())


def _one_folder(config: Path, folder: Path | None, out: Path | None) -> Path:
    """Return OUT, given as an argument or as an option; refuse one that is the config."""
    given = [one for one in (folder, out) if one]
    if len(given) != 1:
        msg = "give OUT once: after CONFIG, or as --out OUT"
        raise click.UsageError(msg)
    (out,) = given
    if out.suffix in {".yml", ".yaml"} and out.is_file() and not config.is_file():
        msg = f"CONFIG and OUT are swapped: {str(out)!r} is a config, and {str(config)!r} is not"
        raise RecipeError(msg, hint=shlex.join(["slack-ties", "merge", str(out), str(config)]))
    return out


def _show_report(folder: Path) -> None:
    from slack_ties.report.file import read_report  # noqa: PLC0415 - imports numpy
    from slack_ties.report.terminal import summarise  # noqa: PLC0415

    click.echo(f"{summarise(read_report(folder))}\n")


def _show_and_exit(ctx: click.Context) -> None:
    click.echo(ctx.get_help())
    ctx.exit()
