"""The command `run`: all stages in one."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from slack_ties.cli.configure import print_plan
from slack_ties.cli.download_options import download_flags, download_options
from slack_ties.cli.group import PATH, cli, print_json
from slack_ties.cli.mergekit_options import MergeCommand
from slack_ties.cli.options import (
    allow_unrelated,
    collection_option,
    license_options,
    public_option,
    report_option,
    update_option,
    with_settings,
)
from slack_ties.cli.options import choices as choice_options
from slack_ties.cli.program import say_next
from slack_ties.cli.publishing import how_to_publish, known_as_option
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.config.choices import Choices
    from slack_ties.licenses.known import Stated
    from slack_ties.settings import Settings

__all__: list[str] = []


@cli.command(cls=MergeCommand, short_help="Run all stages in one command.")
@click.argument("what", metavar="LANG|CONFIG|REPO_ID")
@click.option("--out", required=True, type=PATH, help="New folder for the result.")
@click.option("--publish", metavar="REPO_ID", help="Publish the result to this Hub id.")
@click.option(
    "--stream",
    is_flag=True,
    help="Keep no weights on this disk: upload each file when it is merged, then delete it.",
)
@public_option
@update_option
@collection_option
@license_options
@known_as_option
@choice_options
@report_option
@click.option("-n", "--dry-run", is_flag=True, help="Check all, show the plan, and end.")
@allow_unrelated
@download_options
@with_settings
def run(  # noqa: PLR0913 - one per option
    *,
    what: str,
    out: Path,
    publish: str | None,
    stream: bool,
    public: bool | None,
    update: bool,
    collection: str,
    license: Stated | None,  # noqa: A002 - the Hub's word for it
    known_as: dict[str, str],
    choices: Choices,
    report: bool,
    dry_run: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Make a model for a language in one command: config, plan, merge, card; --publish sends it.

    LANG is a key of `slack-ties languages`, a language code or a name; CONFIG is a merge
    config; REPO_ID (OWNER/NAME) is a published model: its recipe is run again.

    \b
    Examples:
      slack-ties run bo --out tibetan
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan --stream
      slack-ties run merge_configs/bo.yml --out tibetan --cuda
      slack-ties run bo --base ./base --ct ./ct --sft ./sft --out tibetan
      slack-ties run SOMEBODY/Llama-2-7b-Tibetan --out tibetan
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan --dry-run
    """
    if (public is not None or update or collection or stream or known_as) and not publish:
        msg = "--stream, --public, --update, --collection and --is need --publish"
        raise click.UsageError(msg)
    from slack_ties.publish.destination import Destination  # noqa: PLC0415 - imports the Hub client
    from slack_ties.run import run_all  # noqa: PLC0415 - heavy

    to = Destination(publish, public, update, collection=collection) if publish else None
    how: dict[str, Any] = {
        **vars(settings),
        "choices": choices,
        "publish": to,
        "stream": stream,
        "license": license,
        "known_as": known_as,
        "report": report,
    }
    if dry_run:
        _show_plan(what, out, how, as_json=as_json, quiet=settings.quiet)
        return
    result = run_all(what, out, **how)
    again = ["slack-ties", "run", str(out / CONFIG_FILE), "--out", f"{out}-again"]
    again += download_flags(settings.download, settings.window)
    again += result.record.flags() + (["--publish", publish] if publish else [])
    again += (to.flags() if to else []) + ["--stream"] * stream
    again += license.flags() if license else []
    for folder, name in known_as.items():
        again += ["--is", f"{folder}={name}"]
    if as_json:
        print_json({**asdict(result), "repeat": shlex.join(again)})
        return
    if not settings.quiet:
        click.echo(err=True)
    click.echo(result.as_text())
    if result.published and not result.record.has_weights(out):
        download = ["hf", "download", result.published.repo_id, "--include", "*.safetensors"]
        download_here = shlex.join([*download, "--local-dir", str(out)])
        click.echo(f"Weights:   only on the Hub; to download them: {download_here}")
    click.echo(f"Repeat it: {shlex.join(again)}")
    if result.record.has_weights(out) and not settings.quiet:
        click.echo(f"\nScores: none yet: slack-ties evaluate {shlex.quote(str(out))}", err=True)
    if not publish and not settings.quiet:
        from slack_ties.card.write import resolve_for  # noqa: PLC0415 - heavy, and here already

        found = resolve_for(out)
        for warning in found.warnings:
            click.echo(f"Warning: {warning}", err=True)
        say_next(how_to_publish(out, found))


def _show_plan(what: str, out: Path, how: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Make all checks that come before the merge, and show the plan."""
    from slack_ties.check_run import check_run  # noqa: PLC0415 - heavy

    plan = check_run(what, out, **how)
    if as_json:
        text = "" if plan.errors else plan.pinned().text
        print_json({**plan.as_json(), "recipe": text})
        sys.exit(1 if plan.errors else 0)
    print_plan(plan, quiet=quiet)
    if not quiet:
        say_next("the same command without --dry-run")
