"""The commands `config` and `plan`."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from slack_ties.catalogue.languages import list_languages
from slack_ties.cli.download_options import download_flags, download_options
from slack_ties.cli.group import PATH, cli, print_json
from slack_ties.cli.mergekit_options import MergeCommand
from slack_ties.cli.options import (
    allow_unrelated,
    with_output,
    with_settings,
)
from slack_ties.cli.options import choices as choice_options
from slack_ties.cli.program import say_next
from slack_ties.cli.timeout import timeout_option
from slack_ties.config.make import look_at_choices
from slack_ties.config.write import write_configs, write_recipes
from slack_ties.errors import HubError, NotOnHubError, SlackTiesError
from slack_ties.recipe.read import read_recipe
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slack_ties.config.choices import Choices
    from slack_ties.plan.plan import Plan
    from slack_ties.plan.shown import ShownPlan
    from slack_ties.settings import Settings

__all__ = ["models_may_be_away", "print_plan"]


@cli.command(short_help="Write merge configs, one per language.")
@click.argument("lang", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All languages of the catalogue.")
@click.option(
    "-o",
    "--output",
    default="merge_configs",
    type=PATH,
    help="Folder for the configs; or, with one LANG, a file that ends in .yml.  [merge_configs]",
)
@click.option(
    "--joint", is_flag=True, help="Write one config that merges the CT models of all LANG."
)
@choice_options
@click.option("--overwrite", is_flag=True, help="Replace configs that were edited.")
@with_output
@timeout_option
def config(  # noqa: PLR0913 - one per option
    *,
    lang: tuple[str, ...],
    every: bool,
    output: Path,
    joint: bool,
    choices: Choices,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write one merge config per language: plain YAML that mergekit-yaml runs unchanged.

    LANG is a key of `slack-ties languages`, a language code or a name. For a language outside
    the catalogue, give its ISO 639 code and --base, --ct and --sft. If you name models, their
    config and tokenizer files are read to find the weight type and any added tokens.

    \b
    Examples:
      slack-ties config bo ug
      slack-ties config bo -o tibetan.yml
      slack-ties config --all -o merge_configs
      slack-ties config tibetan --slack 0.3 --density 0.4
      slack-ties config bo --method chat-vector
      slack-ties config bo ug mn-Mong --joint --weight bo=1,ug=0.5,mn-Mong=0.5,sft=1
      slack-ties config eu --base BASE --ct BASQUE_MODEL --sft CHAT_MODEL
    """
    _check_lang(lang, choices, every=every, joint=joint)
    names = [triple.key for triple in list_languages()] if every else lang
    with models_may_be_away(quiet=quiet):
        choices = look_at_choices(choices, lang)
    paths = write_configs(
        names, output, choices=choices, joint=joint, overwrite=overwrite, look_at_models=False
    )
    if as_json:
        print_json({"configs": [str(path) for path in paths]})
        return
    for path in paths:
        click.echo(path)
    if not quiet and choices.base and not (choices.ct and choices.sft):
        models = ", ".join(read_recipe(paths[0]).models)
        click.echo(
            f"\nModels that you did not name are taken from the catalogue. All models: {models}",
            err=True,
        )
    if not quiet:
        say_next(f"slack-ties plan {shlex.quote(str(paths[0]))}")


@contextmanager
def models_may_be_away(*, quiet: bool, missing: bool = False) -> Iterator[None]:
    """Only say it if the Hub cannot be asked about models now, or with `missing` lacks one."""
    try:
        yield
    except HubError as error:
        if isinstance(error, NotOnHubError) and not missing:
            raise
        if not quiet:
            click.echo(
                f"Could not check the models now: {error}. "
                "Run `slack-ties plan` later to check them.",
                err=True,
            )


def _check_lang(lang: tuple[str, ...], choices: Choices, *, every: bool, joint: bool) -> None:
    """Refuse arguments that cannot be used together."""
    if bool(lang) == every:
        msg = "give one or more LANG, or --all"
        raise click.UsageError(msg)
    if every and any((choices.base, choices.ct, choices.sft)):
        msg = "--base, --ct and --sft need LANG and cannot be used with --all"
        raise click.UsageError(msg)
    if len(lang) > 1 and not joint and any((choices.base, choices.ct, choices.sft)):
        msg = "--base, --ct and --sft need a single LANG, or --joint"
        raise click.UsageError(msg)
    if joint and len(lang) < 2:  # noqa: PLR2004 - several
        msg = "--joint needs two LANG or more"
        raise click.UsageError(msg)


@cli.command(cls=MergeCommand, short_help="Show what a merge would do and cost, and what is wrong.")
@click.argument("config", nargs=-1, required=True, metavar="CONFIG", type=PATH)
@click.option("--pin", is_flag=True, help="Write Hub ids with their commits into CONFIG.")
@click.option("-o", "--output", type=PATH, help="With --pin: write to this file instead.")
@click.option("--overwrite", is_flag=True, help="With -o: replace a file with other content.")
@click.option(
    "--offline-lint", is_flag=True, help="Only check configs before you share them; no network."
)
@allow_unrelated
@download_options
@with_settings
def plan(  # noqa: PLR0913 - one per option, one line each
    *,
    config: tuple[Path, ...],
    pin: bool,
    output: Path | None,
    overwrite: bool,
    offline_lint: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show what the merge CONFIG would do, what it costs, and what is wrong with it.

    It reads configs, tokenizers, cards and the headers of weight files, on this disk or on the
    Hub, and at most some KB of the weights. The exit code is 1 if there are errors. `merge` and
    `run` make the same checks first.

    \b
    Examples:
      slack-ties plan merge_configs/bo.yml
      slack-ties plan merge_configs/bo.yml --pin -o bo-pinned.yml
      slack-ties plan --offline-lint merge_configs/*.yml
    """
    if offline_lint:
        _lint(config, as_json=as_json)
        return
    if len(config) > 1:
        msg = "give one CONFIG; only --offline-lint takes several"
        raise click.UsageError(msg)
    if output and not pin:
        msg = "-o needs --pin"
        raise click.UsageError(msg)
    if overwrite and not output:
        msg = "--overwrite needs --pin and -o: without -o, --pin always writes to CONFIG"
        raise click.UsageError(msg)
    from slack_ties.plan.make import plan_merge, plan_pinned  # noqa: PLC0415 - the Hub client

    make = plan_pinned if pin else plan_merge
    planned = make(config[0], **vars(settings))
    path = output or config[0]
    if pin and not planned.errors:
        write_recipes({path: planned.pinned()}, overwrite=overwrite or not output)
    if as_json:
        print_json(planned.as_json())
        sys.exit(1 if planned.errors else 0)
    print_plan(planned, quiet=settings.quiet)
    if settings.quiet:
        return
    if pin:
        click.echo(f"\n{_pinned_text(planned, path)}", err=True)
    allowed = ["--allow-unrelated"] if settings.allow_unrelated else []
    allowed += ["--allow-crimes"] if settings.allow_crimes else []
    allowed += download_flags(settings.download, settings.window)
    step = " ".join([f"slack-ties merge {shlex.quote(str(path))} OUT", *allowed])
    say_next(step)


def print_plan(planned: ShownPlan, *, quiet: bool) -> None:
    """Print a plan; end with exit code 1 if it has errors.

    Args:
        planned: The plan.
        quiet: Print a line only.

    """
    from slack_ties.plan.text import plan_as_text, plan_in_short  # noqa: PLC0415 - the Hub client

    if quiet:
        planned.check()
        click.echo(plan_in_short(planned))
        return
    click.echo(plan_as_text(planned))
    if planned.errors:
        hint = next((error.hint for error in planned.errors if error.hint), "correct the config")
        say_next(hint)
        sys.exit(1)


def _pinned_text(planned: Plan, path: Path) -> str:
    """Say what was written, and which models have no commit."""
    folders = [repr(model.model) for model in planned.models if not any(model.commits)]
    if not folders:
        return f"Pinned: {path}"
    if len(folders) == len(planned.models):
        return (
            f"Written: {path}, with the versions of the packages. All models are folders on this "
            "disk, so there are no commits to pin"
        )
    are = "is a folder" if len(folders) == 1 else "are folders"
    return f"Pinned: {path}, except for {join_names(folders)}, which {are} without commits"


def _lint(configs: tuple[Path, ...], *, as_json: bool) -> None:
    """Check all given configs before they are shared; exit with 1 if one is wrong."""
    from slack_ties.sharing.untrusted import lint_recipe  # noqa: PLC0415 - imports the Hub client

    found = {}
    for config in configs:
        try:
            lint_recipe(config)
            found[str(config)] = ""
        except SlackTiesError as error:
            found[str(config)] = str(error)
    if as_json:
        print_json(found)
    else:
        for path, problem in found.items():
            click.echo(f"{'wrong' if problem else 'good '}  {problem or path}")
    if any(found.values()):
        sys.exit(1)
