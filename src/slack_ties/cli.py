"""The command line: each command parses, calls one function, prints what it returns.

click lives here and in cli_options.py, and only here errors become exit codes: 1 for what the
user can mend, 2 for a wrong command line. torch, transformers, mergekit and the Hub client
are imported by the command that needs them, never for --help.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slack_ties.cli_options import (
    MERGEKIT_OPTIONS,
    MergeCommand,
    allow_unrelated,
    as_json,
    collection_option,
    license_options,
    numbers_option,
    public_option,
    quiet,
    report_option,
    timeout_option,
    update_option,
)
from slack_ties.cli_options import choices as choice_options
from slack_ties.config import Choices, look_at_choices, write_configs, write_recipes
from slack_ties.errors import HubError, NotOnHubError, SlackTiesError, masked
from slack_ties.languages import list_languages
from slack_ties.licenses import Stated, suggest_name
from slack_ties.recipe import read_recipe
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

    from slack_ties.licenses import Resolution
    from slack_ties.publish import Published

__all__ = ["main"]

LOG = logging.getLogger("slack_ties")
F = TypeVar("F", bound=Callable[..., Any])


class _Path(click.Path):
    """A path; ~ is the home folder also where the shell left it, as in --out=~/x."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path with the home folder written out."""
        return super().convert(os.path.expanduser(value), param, ctx)  # noqa: PTH111 - never raises


PATH = _Path(path_type=Path)


class _Group(click.Group):
    """Commands in the order of use, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of this file."""
        return list(self.commands)


def _command(function: F) -> F:
    """Turn our errors into one line, a next step and exit code 1."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SlackTiesError as error:
            LOG.debug("Where it was raised:", exc_info=True)
            click.echo(f"Error: {error}", err=True)
            if error.hint:
                click.echo(f"Next: {error.hint}", err=True)
            sys.exit(1)

    return wrapper  # type: ignore[return-value]


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: slack-ties languages",
)
@click.version_option(package_name="slack-ties", prog_name="slack-ties")
def cli() -> None:
    """Give a language its own LLM by merging a base, its CT model and its SFT model.

    \b
    Examples:
      slack-ties languages                     which languages have public models
      slack-ties run bo --out tibetan          config, merge and card in one command
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan
      slack-ties config bo                     the same stage by stage
      slack-ties plan merge_configs/bo.yml
      slack-ties merge merge_configs/bo.yml tibetan
      slack-ties report tibetan                what was kept, what was lost
      slack-ties card tibetan
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan
      slack-ties recipes search                what others made
      slack-ties verify ME/Llama-2-7b-Tibetan
    """


@cli.command(short_help="List the languages and models of the catalogue.")
@as_json
@_command
def languages(*, as_json: bool) -> None:
    """List the languages and models of the catalogue.

    \b
    Examples:
      slack-ties languages
      slack-ties languages --json
    """
    triples = list_languages()
    if as_json:
        _print_json([asdict(triple) for triple in triples])
        return
    rows = [("LANG", "LANGUAGE", "SCRIPT", "BASE", "CT MODEL")]
    rows += [
        (
            t.key,
            t.language.name,
            t.language.script,
            t.family,
            t.ct.id + ("  *" if t.unverified else ""),
        )
        for t in triples
    ]
    _print_table(rows)
    if any(t.unverified for t in triples):
        click.echo("\n* has something to be verified on the Hub: `unverified` of --json says what")
    click.echo("\nNext: slack-ties config LANG, or slack-ties run LANG --out DIR")


@cli.command(short_help="Write merge configs, one per language.")
@click.argument("lang", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of the catalogue.")
@click.option(
    "-o",
    "--output",
    default="merge_configs",
    show_default=True,
    type=PATH,
    help="Folder for the configs.",
)
@click.option("--joint", is_flag=True, help="One config that merges the CT models of all LANG.")
@choice_options
@click.option("--overwrite", is_flag=True, help="Replace configs that were edited.")
@quiet
@as_json
@_command
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

    LANG is a key of `slack-ties languages`, a language code or a name. A language outside
    the catalogue is taken by its ISO 639 code, with --base, --ct and --sft. Of models that
    are named so, the small files are read: for the type, and for a vocabulary that was
    extended.

    \b
    Examples:
      slack-ties config bo ug
      slack-ties config --all -o merge_configs
      slack-ties config tibetan --slack 0.3 --density 0.4
      slack-ties config bo ug mn-Mong --joint --weight bo=1,ug=0.5,mn-Mong=0.5,sft=1
      slack-ties config eu --base BASE --ct BASQUE_MODEL --sft CHAT_MODEL
    """
    _check_lang(lang, choices, every=every, joint=joint)
    names = [triple.key for triple in list_languages()] if every else lang
    try:
        choices = look_at_choices(choices, lang)
    except NotOnHubError:
        raise
    except HubError as error:
        if not quiet:
            click.echo(f"Not looked into: {error}. `slack-ties plan` will do it.", err=True)
    paths = write_configs(names, output, choices=choices, joint=joint, overwrite=overwrite)
    if as_json:
        _print_json({"configs": [str(path) for path in paths]})
        return
    for path in paths:
        click.echo(path)
    if not quiet and choices.base and not (choices.ct and choices.sft):
        models = ", ".join(read_recipe(paths[0]).models)
        click.echo(f"\nWhat you did not name is the catalogue's: {models}", err=True)
    if not quiet:
        click.echo(f"\nNext: slack-ties plan {shlex.quote(str(paths[0]))}", err=True)


def _check_lang(lang: tuple[str, ...], choices: Choices, *, every: bool, joint: bool) -> None:
    """Refuse what does not go together."""
    if bool(lang) == every:
        msg = "give one or more LANG, or --all"
        raise click.UsageError(msg)
    if every and any((choices.base, choices.ct, choices.sft)):
        msg = "--base, --ct and --sft go with LANG, not with --all"
        raise click.UsageError(msg)
    if len(lang) > 1 and not joint and any((choices.base, choices.ct, choices.sft)):
        msg = "--base, --ct and --sft go with one LANG, or with --joint"
        raise click.UsageError(msg)
    if joint and len(lang) < 2:  # noqa: PLR2004 - several
        msg = "--joint goes with two LANG or more"
        raise click.UsageError(msg)


@cli.command(cls=MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="Say what a merge would do.")
@click.argument("config", nargs=-1, required=True, metavar="CONFIG", type=PATH)
@click.option("--pin", is_flag=True, help="Write Hub ids with their commits into CONFIG.")
@click.option("-o", "--output", type=PATH, help="With --pin: write here instead.")
@click.option(
    "--offline-lint", is_flag=True, help="Only check configs that are to be shared; no network."
)
@allow_unrelated
@quiet
@as_json
@_command
def plan(  # noqa: PLR0913 - one per option, one line each
    *,
    config: tuple[Path, ...],
    pin: bool,
    output: Path | None,
    offline_lint: bool,
    allow_unrelated: bool,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """Say what the merge CONFIG would do, what it costs, and what is wrong with it.

    Reads configs, tokenizers, cards and the headers of weight files, here or on the Hub; of
    weights some KB at most. Exit code 1 if there are errors. `merge` and `run` do the same
    first.

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
        msg = "give one CONFIG; several go with --offline-lint"
        raise click.UsageError(msg)
    if output and not pin:
        msg = "-o goes with --pin"
        raise click.UsageError(msg)
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.plan import plan_merge, plan_pinned  # noqa: PLC0415 - imports the Hub client

    make = plan_pinned if pin else plan_merge
    planned = make(config[0], options=merge_options, allow_unrelated=allow_unrelated)
    path = output or config[0]
    if pin and not planned.errors:
        write_recipes({path: planned.pinned()}, overwrite=output is None)
    if as_json:
        _print_json(planned.as_json())
        sys.exit(1 if planned.errors else 0)
    if quiet:
        planned.check()
        return
    click.echo(planned.as_text())
    if planned.errors:
        hint = next((error.hint for error in planned.errors if error.hint), "mend the config")
        click.echo(f"\nNext: {hint}", err=True)
        sys.exit(1)
    if pin:
        click.echo(f"\nPinned: {path}", err=True)
    allowed = ["--allow-unrelated"] if allow_unrelated else []
    allowed += ["--allow-crimes"] if merge_options and merge_options.allow_crimes else []
    step = " ".join([f"slack-ties merge {shlex.quote(str(path))} OUT", *allowed])
    click.echo(f"\nNext: {step}", err=True)


def _lint(configs: tuple[Path, ...], *, as_json: bool) -> None:
    """Check configs that are to be shared, all of them, and exit with 1 if one is wrong."""
    from slack_ties.recipes import lint_recipe  # noqa: PLC0415 - imports the Hub client

    found = {}
    for config in configs:
        try:
            lint_recipe(config)
            found[str(config)] = ""
        except SlackTiesError as error:
            found[str(config)] = str(error)
    if as_json:
        _print_json(found)
    else:
        for path, problem in found.items():
            click.echo(f"{'wrong' if problem else 'good '}  {problem or path}")
    if any(found.values()):
        sys.exit(1)


@cli.command(cls=MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="Run a merge config.")
@click.argument("config", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--help-mergekit",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _param, wanted: _show_and_exit(ctx) if wanted else None,
    help="Show mergekit's options as well.",
)
@report_option
@allow_unrelated
@quiet
@as_json
@_command
def merge(  # noqa: PLR0913 - one per option
    *,
    config: Path,
    out: Path,
    report: bool,
    allow_unrelated: bool,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """Run the merge config CONFIG into the new folder OUT.

    Models are folders or Hub ids. OUT holds the whole result afterwards, or is not there.

    \b
    Examples:
      slack-ties merge merge_configs/bo.yml tibetan
      slack-ties merge merge_configs/bo.yml tibetan --cuda --out-shard-size 2B
      slack-ties merge merge_configs/bo.yml tibetan --report
    """
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.merge import merge_models  # noqa: PLC0415 - heavy

    record = merge_models(
        config,
        out,
        options=merge_options,
        quiet=quiet,
        allow_unrelated=allow_unrelated,
        report=report,
    )
    if as_json:
        _print_json({"folder": str(out), **asdict(record)})
        return
    click.echo(f"{out}: {record.parameters:,} parameters, {record.dtype}")
    if report and not quiet:
        _show_report(out)
    if not quiet:
        click.echo(f"\nNext: slack-ties card {shlex.quote(str(out))}", err=True)


@cli.command(
    cls=MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="See what a merge keeps and loses."
)
@click.argument("what", metavar="CONFIG|OUT", type=PATH)
@click.option("-o", "--output", type=PATH, help="Folder to write to.  [OUT, or CONFIG-report]")
@click.option("--pictures", is_flag=True, help="Write images/*.png too, for the model card.")
@allow_unrelated
@quiet
@as_json
@_command
def report(  # noqa: PLR0913 - one per option
    *,
    what: Path,
    output: Path | None,
    pictures: bool,
    allow_unrelated: bool,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """See a merge: what of each model is kept, what is lost, and what each slack would change.

    The models are read once, as in a merge, and no model is written. CONFIG is a merge config
    of slack_ties or ties; OUT a folder that was merged, where the report is put. It consists of
    report.json and report.html. `merge --report` makes it in the merge's own pass.

    \b
    Examples:
      slack-ties report merge_configs/bo.yml
      slack-ties report merge_configs/bo.yml -o bo-report --pictures
      slack-ties report tibetan
    """
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.report import make_report  # noqa: PLC0415 - heavy

    made, folder = make_report(
        what,
        output,
        options=merge_options,
        quiet=quiet,
        allow_unrelated=allow_unrelated,
        pictures=pictures,
    )
    if as_json:
        _print_json({"folder": str(folder), **made.as_json(tensors=False)})
        return
    if not quiet:
        _show_report(folder)
    click.echo(folder / "report.html")


@cli.command(cls=MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="Put two merges side by side.")
@click.argument("one", metavar="A", type=PATH)
@click.argument("other", metavar="B", type=PATH)
@allow_unrelated
@quiet
@as_json
@_command
def compare(  # noqa: PLR0913 - one per option
    *,
    one: Path,
    other: Path,
    allow_unrelated: bool,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """Put two merges side by side: their settings, and what their reports say.

    A and B are merge configs, merged folders, or files report.json. What has a report.json is
    read from it; of anything else the models are read, as by `slack-ties report`.

    \b
    Examples:
      slack-ties compare tibetan merge_configs/bo.yml
      slack-ties compare bo-report other/report.json --json
    """
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.compare import compare_merges  # noqa: PLC0415 - heavy

    found = compare_merges(
        one, other, options=merge_options, quiet=quiet, allow_unrelated=allow_unrelated
    )
    if as_json:
        _print_json(asdict(found))
    else:
        click.echo(found.as_text())


@cli.command(
    cls=MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="Search for slack, density and weight."
)
@click.argument("config", type=PATH)
@click.option(
    "--metric",
    type=click.Choice(["kept", "perplexity"]),
    default="kept",
    show_default=True,
    help="What to go by: figures of the weights, or texts of yours.",
)
@click.option("--text", type=PATH, metavar="FILE", help="For perplexity: a text in the language.")
@click.option(
    "--text-sft", type=PATH, metavar="FILE", help="And one of what the SFT model is to keep."
)
@numbers_option("--slack", "Slacks of the SFT model to try.  [0,0.05,0.1,0.15,0.2,0.3,0.4]")
@numbers_option("--density", "Densities of all models to try.  [the config's]")
@numbers_option("--weight", "Weights of the SFT model to try.  [the config's]")
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="Let Optuna choose N, in their range."
)
@click.option("-o", "--output", type=PATH, help="Where the best config goes.  [CONFIG-tuned.yml]")
@click.option("--study", type=PATH, help="What was tried is kept here.  [CONFIG-tune-METRIC.json]")
@allow_unrelated
@quiet
@as_json
@_command
def tune(  # noqa: PLR0913 - one per option
    *,
    config: Path,
    metric: str,
    text: Path | None,
    text_sft: Path | None,
    slack: tuple[float, ...],
    density: tuple[float, ...],
    weight: tuple[float, ...],
    trials: int | None,
    output: Path | None,
    study: Path | None,
    allow_unrelated: bool,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """Search for slack, density and weight, and write the best config.

    Candidates are merged in memory, several in one pass over the models, and none is written
    to disk. `kept` looks at weights alone: it balances what is in the merge of the most
    important parameters of both sides. `perplexity` runs each candidate on your own texts.
    Neither is a measure of how well a model does a task.

    Stop it at any time: the same command goes on from what was tried.

    \b
    Examples:
      slack-ties tune merge_configs/bo.yml
      slack-ties tune merge_configs/bo.yml --metric perplexity --text tibetan.txt
      slack-ties tune merge_configs/bo.yml --slack 0,0.1,0.2 --density 0.4,0.6 --weight 1,1.25
    """
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.tune import Search, tune_config  # noqa: PLC0415 - heavy

    search = Search(slack or Search.slack, density, weight, trials or 0)
    found = tune_config(
        config,
        metric=metric,
        search=search,
        text=text,
        text_sft=text_sft,
        output=output,
        study=study,
        options=merge_options,
        quiet=quiet,
        allow_unrelated=allow_unrelated,
    )
    if as_json:
        _print_json(asdict(found))
        return
    if not quiet:
        click.echo(f"{found.as_text()}\n\nPicture: {found.page}")
    click.echo(found.config)
    if not quiet:
        click.echo(f"\nNext: slack-ties merge {shlex.quote(str(found.config))} OUT", err=True)


def _show_report(folder: Path) -> None:
    from slack_ties.report_file import read_report  # noqa: PLC0415 - imports numpy
    from slack_ties.report_text import summarise  # noqa: PLC0415

    click.echo(f"{summarise(read_report(folder))}\n")


@cli.command(short_help="Write the model card.")
@click.argument("source", metavar="OUT", type=PATH)
@click.option(
    "--repo-id", metavar="OWNER/NAME", help="Where it will be published, for the example."
)
@license_options
@click.option("--description", metavar="FILE", type=PATH, help="Your text about the model.")
@click.option("--in-language", metavar="FILE", type=PATH, help="A paragraph in its language.")
@click.option("--intended-use", metavar="FILE", type=PATH, help="What it is for, and not for.")
@click.option("--contact", metavar="FILE", type=PATH, help="How to reach you.")
@click.option(
    "--eval-results", metavar="FILE", type=PATH, help="Results, in the Hub's .eval_results format."
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a README.md that was edited; keep the old one."
)
@quiet
@as_json
@_command
def card(  # noqa: PLR0913 - one per option
    *,
    source: Path,
    repo_id: str | None,
    license: Stated | None,  # noqa: A002 - the Hub's word for it
    eval_results: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **texts: Path | None,
) -> None:
    """Write the model card of the merged model OUT: OUT/README.md, LICENSE and Notice.

    Metadata, parents, licence, use, limits and how to repeat the merge follow from what is
    known of it. Run it again whenever you like: your own texts stay, those given as files and
    those typed between the comments of the card, and so do keys and tags that you add.

    Given a config (.yml) instead, it prints the card that its merge would get.

    \b
    Examples:
      slack-ties card tibetan
      slack-ties card tibetan --description about.md --in-language about-bo.md
      slack-ties card tibetan --license llama2 --repo-id ME/Llama-2-7b-Tibetan
      slack-ties card merge_configs/bo.yml > bo.md
    """
    _say(quiet=quiet)

    from slack_ties.card import make_card, resolve_for, write_card  # noqa: PLC0415 - the Hub client
    from slack_ties.own_text import read_text_file  # noqa: PLC0415

    if source.suffix in {".yml", ".yaml"}:
        if license or eval_results or any(texts.values()):
            msg = f"{source} is a config: of options only --repo-id goes with one"
            raise click.UsageError(msg)
        sys.stdout.buffer.write(str(make_card(read_recipe(source), repo_id=repo_id)).encode())
        return
    path = write_card(
        source,
        repo_id=repo_id,
        license=license,
        texts={
            name.replace("_", "-"): read_text_file(file) for name, file in texts.items() if file
        },
        results=eval_results,
        overwrite=overwrite,
    )
    found = resolve_for(source)
    if as_json:
        _print_json(
            {
                "card": str(path),
                "license": found.license.key if found.license else "",
                "license_reasons": found.steps,
                "license_problems": found.problems,
                "warnings": found.warnings,
                "duties": [asdict(one) for one in found.duties],
            }
        )
        return
    click.echo(path)
    if quiet:
        return
    settled = "" if found.license else "not settled. "
    click.echo(f"\nLicence: {settled}{found.reason}", err=True)
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"\nNext: read it, then: {_how_to_publish(source, found)}", err=True)


def _how_to_publish(out: Path, found: Resolution) -> str:
    """Return the command that publishes a model, with what its licence asks for."""
    name = f"OWNER/{suggest_name('NAME', found.prefix)}"
    flag = "" if found.license else f" --license {found.suggestion or 'ID'}"
    return f"slack-ties publish {shlex.quote(str(out))} {name}{flag}"


@cli.command(short_help="Send a merged model to the Hub.")
@click.argument("out", type=PATH)
@click.argument("repo_id", metavar="REPO_ID")
@public_option
@license_options
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@update_option
@click.option("--revision", default="", metavar="BRANCH", help="Publish to this branch.  [main]")
@click.option("--pr", is_flag=True, help="Open a pull request, or go on with an open one.")
@click.option("--tag", default="", metavar="NAME", help="Tag the commit.")
@collection_option
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Send these files too; may be repeated."
)
@timeout_option
@click.option("--debug", is_flag=True, help="Show every request, and where an error was raised.")
@quiet
@as_json
@_command
def publish(  # noqa: PLR0913 - one per option
    *,
    out: Path,
    repo_id: str,
    public: bool,
    license: Stated | None,  # noqa: A002 - the Hub's word for it
    dry_run: bool,
    update: bool,
    revision: str,
    pr: bool,
    tag: str,
    collection: str,
    include: tuple[str, ...],
    timeout: float,
    debug: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Send the merged model OUT to the Hugging Face Hub as REPO_ID (OWNER/NAME).

    It uses the token of `hf auth login`, or HF_TOKEN. A new repository is private unless you
    say --public. All files go in one commit: until then the Hub shows what it showed before.
    If anything stops it, type the same command again: it goes on from what was sent.

    If the model's licence does not follow from its parents', it asks for --license; and it
    refuses a name that a parent's licence does not allow, and says which would do.

    \b
    Examples:
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan --dry-run
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan --public --tag v1
      slack-ties publish tibetan SOMEBODY/Llama-2-7b-Tibetan --pr
      slack-ties publish basque ME/Llama-3.1-8B-Basque --license llama3.1
    """
    _say(quiet=quiet, debug=debug)

    from slack_ties.destination import Destination  # noqa: PLC0415 - imports the Hub client
    from slack_ties.patience import Patience  # noqa: PLC0415
    from slack_ties.publish import plan_publish, publish_model  # noqa: PLC0415

    to = Destination(repo_id, public, update, revision, pr, tag, collection)
    patience = Patience.of(timeout)
    if dry_run:
        planned = plan_publish(out, to, license=license, include=include, patience=patience)
        if as_json:
            _print_json(asdict(planned))
        else:
            click.echo(planned.as_text())
        return
    published = publish_model(out, to, license=license, include=include, patience=patience)
    if as_json:
        _print_json(asdict(published))
        return
    click.echo(f"{published.url} at commit {published.commit}")
    if published.collection:
        click.echo(f"Collection: {published.collection}")
    if not quiet:
        click.echo(_what_now(published), err=True)


def _what_now(published: Published) -> str:
    """Return how a published model is loaded, verified and reused."""
    name, revision = shlex.quote(published.repo_id), published.branch
    at = "" if revision == "main" else f", revision={revision!r}"
    load = f"AutoModelForCausalLM.from_pretrained({published.repo_id!r}{at})"
    here = name if revision == "main" else shlex.quote(f"{published.repo_id}@{published.commit}")
    return (
        f"\nLoad it:   {load}\n"
        f"Check it:  slack-ties verify {here}\n"
        f"Reuse it:  slack-ties recipes pull {here}"
    )


@cli.command(cls=MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="All of it in one command.")
@click.argument("what", metavar="LANG|CONFIG|REPO_ID")
@click.option("--out", required=True, type=PATH, help="New folder for the result.")
@click.option("--publish", metavar="REPO_ID", help="Publish to this Hub id in the end.")
@click.option(
    "--stream",
    is_flag=True,
    help="Keep no weights here: send each file when it is merged, then delete it.",
)
@public_option
@update_option
@collection_option
@timeout_option
@license_options
@choice_options
@report_option
@allow_unrelated
@quiet
@as_json
@_command
def run(  # noqa: PLR0913 - one per option
    *,
    what: str,
    out: Path,
    publish: str | None,
    stream: bool,
    public: bool,
    update: bool,
    collection: str,
    timeout: float,
    license: Stated | None,  # noqa: A002 - the Hub's word for it
    choices: Choices,
    report: bool,
    allow_unrelated: bool,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """From a language to a model in one command: config, plan, merge, card, and publish.

    LANG is a key of `slack-ties languages`, a language code or a name; CONFIG is a merge
    config; REPO_ID (OWNER/NAME) is a published model, whose recipe is run again.

    \b
    Examples:
      slack-ties run bo --out tibetan
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan --stream
      slack-ties run merge_configs/bo.yml --out tibetan --cuda
      slack-ties run bo --base ./base --ct ./ct --sft ./sft --out tibetan
      slack-ties run SOMEBODY/Llama-2-7b-Tibetan --out tibetan
    """
    if (public or update or collection or stream) and not publish:
        msg = "--stream, --public, --update and --collection go with --publish"
        raise click.UsageError(msg)
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.destination import Destination  # noqa: PLC0415 - imports the Hub client
    from slack_ties.patience import Patience  # noqa: PLC0415
    from slack_ties.run import run_all  # noqa: PLC0415 - heavy

    to = Destination(publish, public, update, collection=collection) if publish else None
    result = run_all(
        what,
        out,
        choices=choices,
        options=merge_options,
        quiet=quiet,
        publish=to,
        stream=stream,
        license=license,
        patience=Patience.of(timeout),
        allow_unrelated=allow_unrelated,
        report=report,
    )
    again = ["slack-ties", "run", str(out / CONFIG_FILE), "--out", f"{out}-again"]
    again += result.record.flags() + (["--publish", publish] if publish else [])
    again += (to.flags() if to else []) + ["--stream"] * stream
    again += license.flags() if license else []
    if as_json:
        _print_json({**asdict(result), "repeat": shlex.join(again)})
        return
    if not quiet:
        click.echo(err=True)
    click.echo(f"{out}: {result.record.parameters:,} parameters, {result.record.dtype}")
    click.echo(f"Card:      {result.card}")
    if result.published:
        click.echo(f"Published: {result.published.url} at commit {result.published.commit}")
    if result.published and stream:
        words = ["hf", "download", result.published.repo_id, "--include", "*.safetensors"]
        get = shlex.join([*words, "--local-dir", str(out)])
        click.echo(f"Weights:   on the Hub alone; to have them here: {get}")
    click.echo(f"Repeat it: {shlex.join(again)}")
    if not publish and not quiet:
        from slack_ties.card import resolve_for  # noqa: PLC0415 - heavy, and here already

        click.echo(f"\nNext: {_how_to_publish(out, resolve_for(out))}", err=True)


@cli.group(cls=_Group, short_help="Find, fetch and adapt recipes of others.")
def recipes() -> None:
    """Recipes: what others merged, to be run again, verified, or adapted.

    \b
    Examples:
      slack-ties recipes search --language bo
      slack-ties recipes pull SOMEBODY/Llama-2-7b-Tibetan -o tibetan.yml
      slack-ties recipes adapt tibetan.yml --language dz --ct ME/Llama-2-7b-dzongkha
    """


@recipes.command(short_help="List published recipes.")
@click.option("--language", metavar="LANG", help="A language of the catalogue, or its code.")
@click.option("--base", metavar="REPO_ID", help="Made from this model.")
@click.option("--author", metavar="OWNER", help="Published by this user or organization.")
@as_json
@_command
def search(*, language: str | None, base: str | None, author: str | None, as_json: bool) -> None:
    """List the models on the Hub that carry a recipe of slack-ties, the newest first.

    \b
    Examples:
      slack-ties recipes search
      slack-ties recipes search --language bo --base meta-llama/Llama-2-7b-hf
    """
    from slack_ties.recipes import search_recipes  # noqa: PLC0415 - imports the Hub client

    found = search_recipes(language=language, base=base, author=author)
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    if not found:
        click.echo("No published recipe fits.", err=True)
        return
    rows = [("MODEL", "LANGUAGES", "LICENCE", "CHANGED", "DOWNLOADS", "MADE FROM")]
    rows += [
        (
            one.repo_id,
            " ".join(one.languages),
            one.license,
            one.modified,
            str(one.downloads),
            " ".join(one.bases) or "(folders of its author)",
        )
        for one in found
    ]
    _print_table(rows)
    click.echo(f"\nNext: slack-ties recipes pull {found[0].repo_id}", err=True)


@recipes.command(short_help="Fetch a recipe from the Hub.")
@click.argument("repo_id", metavar="REPO_ID[@REVISION]")
@click.option("-o", "--output", type=PATH, help="The file to write.  [NAME.yml]")
@click.option("--overwrite", is_flag=True, help="Replace a file that says something else.")
@quiet
@as_json
@_command
def pull(*, repo_id: str, output: Path | None, overwrite: bool, quiet: bool, as_json: bool) -> None:
    """Fetch the recipe of a published model, by commit, checked. Nothing else is downloaded.

    It may come from anybody and be of any mergekit method: what would make it slack_ties is
    said. A recipe that names folders, or anything but models and how to merge them, is
    refused.

    \b
    Examples:
      slack-ties recipes pull SOMEBODY/Llama-2-7b-Tibetan
      slack-ties recipes pull SOMEBODY/Llama-2-7b-Tibetan@v1 -o tibetan.yml
    """
    _say(quiet=quiet)

    from slack_ties.recipes import pull_recipe  # noqa: PLC0415 - imports the Hub client

    pulled = pull_recipe(repo_id)
    path = output or Path(f"{pulled.repo_id.rpartition('/')[2]}.yml")
    write_recipes({path: pulled.recipe}, overwrite=overwrite)
    if as_json:
        _print_json(
            {
                "config": str(path),
                "repo_id": pulled.repo_id,
                "commit": pulled.commit,
                "method": pulled.recipe.method,
                "models": pulled.recipe.models,
                "changes": pulled.changes,
            }
        )
        return
    click.echo(path)
    if quiet:
        return
    click.echo(f"\n{pulled.recipe.method} of {', '.join(pulled.recipe.models)}", err=True)
    click.echo(f"from {pulled.repo_id} at commit {pulled.commit}", err=True)
    if pulled.changes:
        click.echo("\nTo make it slack_ties:", err=True)
        for change in pulled.changes:
            click.echo(f"  - {change}", err=True)
    click.echo(f"\nNext: slack-ties plan {shlex.quote(str(path))}", err=True)


@recipes.command(short_help="Make a recipe for another language.")
@click.argument("config", metavar="FILE", type=PATH)
@click.option("--language", metavar="LANG", required=True, help="A language, or its code.")
@click.option("--ct", metavar="MODEL", required=True, help="The CT model of that language.")
@click.option("--instead-of", metavar="MODEL", help="The model that it replaces.  [the CT model]")
@click.option("--language-name", metavar="NAME", help="English name, if the catalogue has none.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="The file to write.  [merge_configs/LANG.yml]",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that says something else.")
@quiet
@as_json
@_command
def adapt(  # noqa: PLR0913 - one per option
    *,
    config: Path,
    language: str,
    ct: str,
    instead_of: str | None,
    language_name: str | None,
    output: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Turn the recipe FILE into one for another language: same base, same SFT, same values.

    \b
    Examples:
      slack-ties recipes adapt tibetan.yml --language dz --ct ME/Llama-2-7b-dzongkha
      slack-ties recipes adapt theirs.yml --language eu --ct ME/basque --instead-of THEM/finnish
    """
    from slack_ties.recipes import adapt_recipe  # noqa: PLC0415 - imports the Hub client

    recipe = adapt_recipe(
        read_recipe(config),
        language=language,
        ct=ct,
        instead_of=instead_of,
        language_name=language_name,
    )
    path = output or Path("merge_configs", recipe.where)
    write_recipes({path: recipe}, overwrite=overwrite)
    if as_json:
        _print_json({"config": str(path)})
        return
    click.echo(path)
    if not quiet:
        click.echo(f"\nNext: slack-ties plan {shlex.quote(str(path))}", err=True)


@cli.command(
    cls=MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="Make a published merge again, compare."
)
@click.argument("what", metavar="REPO_ID|DIR")
@click.option(
    "--out",
    type=PATH,
    help="Keep the rebuilt model in this new folder.  [it is deleted]",
)
@click.option(
    "--against",
    type=PATH,
    help="Compare with this folder, without merging again.",
)
@quiet
@as_json
@_command
def verify(  # noqa: PLR0913 - one per option
    *,
    what: str,
    out: Path | None,
    against: Path | None,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """Verify a published merge: make it again from its recipe and compare every tensor.

    Files of the same checksum are not downloaded. Exit code 0 if all tensors have the same
    bytes, 1 if not.

    \b
    Examples:
      slack-ties verify SOMEBODY/Llama-2-7b-Tibetan
      slack-ties verify SOMEBODY/Llama-2-7b-Tibetan@v1 --out tibetan
      slack-ties verify SOMEBODY/Llama-2-7b-Tibetan --against tibetan
    """
    if out and against:
        msg = "--out keeps what is made, and with --against nothing is: choose one"
        raise click.UsageError(msg)
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.verify import verify_model  # noqa: PLC0415 - heavy

    result = verify_model(what, out=out, against=against, options=merge_options, quiet=quiet)
    if as_json:
        _print_json({**asdict(result), "same": result.same})
    else:
        click.echo(result.as_text())
    if not result.same:
        sys.exit(1)


def _show_and_exit(ctx: click.Context) -> None:
    click.echo(ctx.get_help())
    ctx.exit()


class _Masked(logging.Formatter):
    """Messages and tracebacks without tokens."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line as it is printed."""
        return masked(super().format(record))


def _say(*, quiet: bool, debug: bool = False) -> None:
    """Send progress to stderr; results alone go to stdout."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Masked("%(message)s"))
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
    LOG.propagate = False
    if debug:
        client = logging.getLogger("huggingface_hub")
        client.handlers[:], client.propagate = [handler], False
        client.setLevel(logging.DEBUG)
    if quiet:
        from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

        disable_progress_bars()


def _prepare(options: MergeOptions | None, *, quiet: bool) -> bool:
    """Apply what the options say of the whole process; return whether to be quiet.

    Given any option of mergekit's, our --quiet arrives among them: it is a field of mergekit's.
    """
    quiet = options.quiet if options else quiet
    _say(quiet=quiet, debug=bool(options and options.verbosity > 1))
    if not options:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read when it is imported
        return quiet
    try:
        options.apply_global_options()  # threads, seed, how much to log
    except (RuntimeError, ValueError) as error:  # -j 0, --random-seed -1
        wrong = "--num-threads" if "threads" in str(error) else "--random-seed"
        msg = f"{wrong}: {error}"
        raise click.UsageError(msg) from None
    if not options.verbosity and "TRANSFORMERS_VERBOSITY" not in os.environ:
        from transformers.utils import logging as transformers_logging  # noqa: PLC0415

        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return quiet


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def main() -> None:
    """Run the command line; the entry point of the `slack-ties` command."""
    # A stop by a job scheduler, or a lost terminal, cleans up as Ctrl-C does.
    for name in ("SIGTERM", "SIGHUP"):  # the latter: a lost connection; not on Windows
        if number := getattr(signal, name, None):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        # Endonyms must not fail on a console that cannot show them.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        cli(prog_name="slack-ties")
    except SystemExit as stop:
        _leave(stop)
        raise


def _leave(stop: SystemExit) -> None:
    """End at once after an error or a stop: Python would wait for threads that wait for the Hub."""
    # It does so for those of a pool even if they are daemons.
    if stop.code and threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)
