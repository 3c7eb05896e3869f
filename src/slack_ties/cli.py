"""The command line: each command parses, calls one function, prints what it returns.

click lives in this module only, and only here errors become exit codes: 1 for what the
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
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slack_ties.config import RECOMMENDED, Choices, write_configs
from slack_ties.errors import SlackTiesError
from slack_ties.languages import list_languages
from slack_ties.recipe import DTYPES, read_recipe
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

__all__ = ["main"]

LOG = logging.getLogger("slack_ties")
F = TypeVar("F", bound=Callable[..., Any])

# mergekit's options that are not offered: we write the card, and have a --quiet.
NOT_OFFERED = {"write_model_card", "quiet"}

MERGEKIT_OPTIONS = """\b
All options of mergekit-yaml work here too. The most used:
  --device DEVICE          cpu, cuda, mps, auto, ...
  --cuda                   short for --device cuda
  --low-cpu-memory         keep results on the GPU: for more GPU memory than RAM
  --out-shard-size SIZE    size of the files written, for example 2B  [1B]
  --async-write            write while merging: faster, with memory for the whole result
  -j, --num-threads N      CPU threads
  --lora-merge-cache DIR   keep what is made of a MODEL+LORA pair
  --trust-remote-code      run code that comes with a model (danger)
  -v, -vv                  say more
All of them: slack-ties merge --help-mergekit
"""


class _MergeCommand(click.Command):
    """A command that takes mergekit's own options, loaded when one is given.

    mergekit takes seconds to import: --help must not, and neither must a wrong config.
    """

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse with our options alone, and with mergekit's too if that fails."""
        if {"-h", "--help"}.intersection(args):
            args = ["--help"]
        if "--help-mergekit" not in args:
            try:
                return super().make_context(info_name, list(args), parent, **extra)
            except click.NoSuchOption:
                pass
        return self._with_mergekit_options().make_context(info_name, args, parent, **extra)

    def _with_mergekit_options(self) -> click.Command:
        from mergekit.options import add_merge_options  # noqa: PLC0415 - see the class

        from slack_ties.merge import DEFAULTS  # noqa: PLC0415

        command = click.Command(self.name, params=list(self.params))
        command.help, command.epilog = self.help, self.epilog
        ours = {param.name for param in self.params}
        with_options: Any = add_merge_options(self.callback)
        command.callback = with_options
        for param in reversed(with_options.__click_params__):
            param.default = DEFAULTS.get(param.name, param.default)
            if param.name == "out_shard_size":
                param.type, param.metavar = click.types.FuncParamType(_size), "SIZE"
                param.help = "Bytes per file written, for example 500M or 2B  [default: 1B]"
            if param.name not in NOT_OFFERED | ours:
                command.params.append(param)
        return command


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
            click.echo(f"Error: {error}", err=True)
            if error.hint:
                click.echo(f"Next: {error.hint}", err=True)
            sys.exit(1)

    return wrapper  # type: ignore[return-value]


def _choices(function: F) -> F:
    """Add the options that choose models and parameters; they arrive as `choices`."""
    recommended = {name: str(value).lower() for name, value in RECOMMENDED.items()}
    number = functools.partial(click.option, type=float, metavar="NUMBER")
    share = functools.partial(click.option, type=click.FloatRange(0, 1), metavar="NUMBER")
    model = functools.partial(click.option, metavar="MODEL")
    options = [
        model("--base", help="Base model: a folder or a Hub id."),
        model("--ct", help="The base continually pre-trained on the language."),
        model("--sft", help="The base instruction-tuned in English."),
        number("--weight", help=f"Factor of both models' deltas.  [{recommended['weight']}]"),
        share(
            "--density",
            help=f"Share of each tensor's entries kept, 0 to 1.  [{recommended['density']}]",
        ),
        share(
            "--slack",
            help=f"Share of the SFT model's that vote first, 0 to 1.  [{recommended['slack']}]",
        ),
        click.option(
            "--normalize/--no-normalize",
            default=None,
            help=f"Divide by the sum of the weights added.  [{recommended['normalize']}]",
        ),
        number(
            "--lambda", "lambda_", help=f"Factor of the merged delta.  [{recommended['lambda']}]"
        ),
        click.option(
            "--dtype", type=click.Choice(DTYPES), help="Type of the merged weights.  [the base's]"
        ),
    ]

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        chosen = {name: kwargs.pop(name) for name in Choices.__dataclass_fields__}
        return function(*args, choices=Choices(**chosen), **kwargs)

    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing but the result and errors.")
license_option = click.option(
    "--license", metavar="ID", help="The merged model's licence, as a Hub id such as llama2."
)
private_option = click.option(
    "--private", is_flag=True, help="Make a new repository private.  [public]"
)


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
      slack-ties merge merge_configs/bo.yml tibetan
      slack-ties card tibetan
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan
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
    rows += [(t.key, t.language.name, t.language.script, t.family, t.ct.id) for t in triples]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    click.echo("\nNext: slack-ties config LANG, or slack-ties run LANG --out DIR")


@cli.command(short_help="Write merge configs, one per language.")
@click.argument("lang", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of the catalogue.")
@click.option(
    "-o",
    "--output",
    default="merge_configs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the configs.",
)
@_choices
@click.option("--overwrite", is_flag=True, help="Replace configs that were edited.")
@quiet
@as_json
@_command
def config(  # noqa: PLR0913 - one per option
    *,
    lang: tuple[str, ...],
    every: bool,
    output: Path,
    choices: Choices,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write one merge config per language: plain YAML that mergekit-yaml runs unchanged.

    LANG is a key of `slack-ties languages`, a language code or a name. A language outside
    the catalogue is taken by its ISO 639 code, with --base, --ct and --sft.

    \b
    Examples:
      slack-ties config bo ug
      slack-ties config --all -o merge_configs
      slack-ties config tibetan --slack 0.3 --density 0.4
      slack-ties config eu --base BASE --ct BASQUE_MODEL --sft CHAT_MODEL
    """
    if bool(lang) == every:
        msg = "give one or more LANG, or --all"
        raise click.UsageError(msg)
    if every and any((choices.base, choices.ct, choices.sft)):
        msg = "--base, --ct and --sft go with LANG, not with --all"
        raise click.UsageError(msg)
    if len(lang) > 1 and any((choices.base, choices.ct, choices.sft)):
        msg = "--base, --ct and --sft go with one LANG"
        raise click.UsageError(msg)
    names = [triple.key for triple in list_languages()] if every else lang
    paths = write_configs(names, output, choices=choices, overwrite=overwrite)
    if as_json:
        _print_json({"configs": [str(path) for path in paths]})
        return
    for path in paths:
        click.echo(path)
    if not quiet:
        click.echo(f"\nNext: slack-ties merge {shlex.quote(str(paths[0]))} OUT", err=True)


@cli.command(cls=_MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="Run a merge config.")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--help-mergekit",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _param, wanted: _show_and_exit(ctx) if wanted else None,
    help="Show mergekit's options as well.",
)
@quiet
@as_json
@_command
def merge(
    *,
    config: Path,
    out: Path,
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
    """
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.merge import merge_models  # noqa: PLC0415 - heavy

    record = merge_models(config, out, options=merge_options, quiet=quiet)
    if as_json:
        _print_json({"folder": str(out), **asdict(record)})
        return
    click.echo(f"{out}: {record.parameters:,} parameters, {record.dtype}")
    if not quiet:
        click.echo(f"\nNext: slack-ties card {shlex.quote(str(out))}", err=True)


@cli.command(short_help="Write the model card.")
@click.argument("source", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--repo-id", metavar="OWNER/NAME", help="Where it will be published, for the example."
)
@license_option
@click.option("--overwrite", is_flag=True, help="Replace a README.md that is there.")
@quiet
@as_json
@_command
def card(  # noqa: PLR0913 - one per option
    *,
    source: Path,
    repo_id: str | None,
    license: str | None,  # noqa: A002 - the Hub's word for it
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the model card of the merged model OUT, as OUT/README.md.

    Given a config (.yml) instead, it prints the card that its merge would get.

    \b
    Examples:
      slack-ties card tibetan
      slack-ties card tibetan --license llama2 --repo-id ME/Llama-2-7b-Tibetan
      slack-ties card merge_configs/bo.yml > model_cards/bo.md
    """
    from slack_ties.card import make_card, write_card  # noqa: PLC0415 - imports the Hub client

    if source.suffix in {".yml", ".yaml"}:
        text = str(make_card(read_recipe(source), repo_id=repo_id, license=license))
        sys.stdout.buffer.write(text.encode())
        return
    path = write_card(source, repo_id=repo_id, license=license, overwrite=overwrite)
    if as_json:
        _print_json({"card": str(path)})
        return
    click.echo(path)
    if not quiet:
        click.echo(f"\nNext: read it, then: slack-ties publish {source} OWNER/NAME", err=True)


@cli.command(short_help="Send a merged model to the Hub.")
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("repo_id", metavar="REPO_ID")
@private_option
@quiet
@as_json
@_command
def publish(*, out: Path, repo_id: str, private: bool, quiet: bool, as_json: bool) -> None:
    """Send the merged model OUT to the Hugging Face Hub as REPO_ID (OWNER/NAME).

    It uses the token of `hf auth login`, or HF_TOKEN. All files go in one commit.

    \b
    Examples:
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan --private
    """
    _say(quiet=quiet)

    from slack_ties.publish import publish_model  # noqa: PLC0415 - imports the Hub client

    published = publish_model(out, repo_id, private=private)
    if as_json:
        _print_json(asdict(published))
        return
    click.echo(f"{published.url} at commit {published.commit}")


@cli.command(cls=_MergeCommand, epilog=MERGEKIT_OPTIONS, short_help="All of it in one command.")
@click.argument("what", metavar="LANG|CONFIG")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="New folder for the result."
)
@click.option("--publish", metavar="REPO_ID", help="Publish to this Hub id in the end.")
@private_option
@license_option
@_choices
@quiet
@as_json
@_command
def run(  # noqa: PLR0913 - one per option
    *,
    what: str,
    out: Path,
    publish: str | None,
    private: bool,
    license: str | None,  # noqa: A002 - the Hub's word for it
    choices: Choices,
    as_json: bool,
    quiet: bool = False,
    merge_options: MergeOptions | None = None,
) -> None:
    """From a language to a model in one command: config, merge, card, and publish.

    LANG is a key of `slack-ties languages`, a language code or a name; CONFIG is a merge
    config.

    \b
    Examples:
      slack-ties run bo --out tibetan
      slack-ties run bo --out tibetan --publish ME/Llama-2-7b-Tibetan
      slack-ties run merge_configs/bo.yml --out tibetan --cuda
      slack-ties run bo --base ./base --ct ./ct --sft ./sft --out tibetan
    """
    if private and not publish:
        msg = "--private goes with --publish"
        raise click.UsageError(msg)
    quiet = _prepare(merge_options, quiet=quiet)

    from slack_ties.run import run_all  # noqa: PLC0415 - heavy

    result = run_all(
        what,
        out,
        choices=choices,
        options=merge_options,
        quiet=quiet,
        publish=publish,
        private=private,
        license=license,
    )
    again = ["slack-ties", "run", str(out / CONFIG_FILE), "--out", f"{out}-again"]
    again += result.record.flags() + (["--publish", publish] if publish else [])
    again += ["--private"] if private else []
    again += ["--license", license] if license else []
    if as_json:
        _print_json({**asdict(result), "repeat": shlex.join(again)})
        return
    if not quiet:
        click.echo(err=True)
    click.echo(f"{out}: {result.record.parameters:,} parameters, {result.record.dtype}")
    click.echo(f"Card:      {result.card}")
    if result.published:
        click.echo(f"Published: {result.published.url} at commit {result.published.commit}")
    click.echo(f"Repeat it: {shlex.join(again)}")
    if not publish and not quiet:
        click.echo(f"\nNext: slack-ties publish {shlex.quote(str(out))} OWNER/NAME", err=True)


def _show_and_exit(ctx: click.Context) -> None:
    click.echo(ctx.get_help())
    ctx.exit()


def _size(value: str | int) -> int:
    """Return mergekit's sizes as bytes; a usage error in place of its ValueError."""
    from mergekit.common import parse_kmb  # noqa: PLC0415 - see _MergeCommand

    try:
        return int(parse_kmb(value))
    except (ValueError, IndexError):
        msg = f"expected a number of bytes such as 500M or 2B (B: 10^9), got {value!r}"
        raise click.BadParameter(msg) from None


def _say(*, quiet: bool) -> None:
    """Send progress to stderr; results alone go to stdout."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.WARNING if quiet else logging.INFO)
    LOG.propagate = False
    if quiet:
        from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

        disable_progress_bars()


def _prepare(options: MergeOptions | None, *, quiet: bool) -> bool:
    """Apply what the options say of the whole process; return whether to be quiet.

    Given any option of mergekit's, our --quiet arrives among them: it is a field of mergekit's.
    """
    quiet = options.quiet if options else quiet
    _say(quiet=quiet)
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
    cli(prog_name="slack-ties")
