"""The commands `card` and `publish`."""

from __future__ import annotations

import logging
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from slack_ties.cli.group import PATH, cli, print_json, say
from slack_ties.cli.options import (
    collection_option,
    license_options,
    public_option,
    update_option,
    with_output,
)
from slack_ties.cli.program import say_next
from slack_ties.cli.published import other_id_in_full, what_now
from slack_ties.cli.timeout import timeout_option
from slack_ties.licenses.names import suggest_name
from slack_ties.recipe.public import as_known
from slack_ties.recipe.read import read_recipe
from slack_ties.record import read_record

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.licenses.known import Stated
    from slack_ties.licenses.resolve import Resolution

__all__ = ["how_to_publish", "known_as_option"]


def _known_as(
    _context: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Return ID or ID@COMMIT by folder."""
    pairs = [value.rpartition("=") for value in values]
    for value, (folder, _, name) in zip(values, pairs, strict=True):
        if not (folder and name):
            msg = f"{value!r}: expected FOLDER=OWNER/NAME or FOLDER=OWNER/NAME@COMMIT"
            raise click.BadParameter(msg)
    return {folder: name for folder, _, name in pairs}


known_as_option = click.option(
    "--is",
    "known_as",
    multiple=True,
    metavar="FOLDER=ID[@COMMIT]",
    callback=_known_as,
    help="This merged folder is a copy of the Hub model ID: publish that id.  [the folder's name]",
)

LOG = logging.getLogger("slack_ties")


@cli.command(short_help="Write the model card.")
@click.argument("source", metavar="OUT", type=PATH)
@click.option("--repo-id", metavar="OWNER/NAME", help="Future Hub id, for the example in the card.")
@license_options
@click.option("--description", metavar="FILE", type=PATH, help="Your text about the model.")
@click.option(
    "--in-language", metavar="FILE", type=PATH, help="Your paragraph in the model's language."
)
@click.option(
    "--intended-use", metavar="FILE", type=PATH, help="What the model is for, and not for."
)
@click.option("--contact", metavar="FILE", type=PATH, help="How to reach you.")
@click.option(
    "--eval-results", metavar="FILE", type=PATH, help="Results, in the Hub's .eval_results format."
)
@click.option(
    "--examples",
    metavar="FILE",
    type=PATH,
    help="Answers to show: a file that `slack-ties try` wrote.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a README.md that was edited; keep a copy of it."
)
@click.option("--offline", is_flag=True, help="With a config: read no model's card.")
@with_output
@timeout_option
def card(  # noqa: PLR0913 - one per option
    *,
    source: Path,
    repo_id: str | None,
    license: Stated | None,  # noqa: A002 - the Hub's word for it
    eval_results: Path | None,
    examples: Path | None,
    overwrite: bool,
    offline: bool,
    quiet: bool,
    as_json: bool,
    **texts: Path | None,
) -> None:
    """Write the model card of the merged model OUT: OUT/README.md, LICENSE and Notice.

    It fills in metadata, parents, licence, use, limits, and how to repeat the merge. You can run
    it again at any time: it keeps your own texts (from files, or typed between the comments of
    the card) and the keys and tags that you added.

    OUT may also be a model that mergekit-yaml merged: the card says what is not known of that
    merge.

    If you give a config (.yml) instead of OUT, it prints the card that the merge would get. For
    that it reads the cards of the models, here or on the Hub.

    \b
    Examples:
      slack-ties card tibetan
      slack-ties card tibetan --description about.md --in-language about-bo.md
      slack-ties card tibetan --license llama2 --repo-id ME/Llama-2-7b-Tibetan
      slack-ties card merge_configs/bo.yml > bo.md
    """
    say(quiet=quiet)

    from slack_ties.card.own_text import read_text_file  # noqa: PLC0415
    from slack_ties.card.write import (  # noqa: PLC0415 - the Hub client
        NOT_EVALUATED,
        resolve_for,
        write_card,
    )

    if source.suffix in {".yml", ".yaml"}:
        if license or eval_results or examples or any(texts.values()):
            msg = f"{source} is a config: only --repo-id and --offline can be used with a config"
            raise click.UsageError(msg)
        _card_of_config(source, repo_id, offline=offline, as_json=as_json)
        return
    if offline:
        msg = "--offline is for a config: the models of a merged model are not read again"
        raise click.UsageError(msg)
    path = write_card(
        source,
        repo_id=repo_id,
        license=license,
        texts={
            name.replace("_", "-"): read_text_file(file) for name, file in texts.items() if file
        },
        results=eval_results,
        examples=examples,
        overwrite=overwrite,
    )
    found = resolve_for(source)
    if as_json:
        print_json({"card": str(path), **_license_facts(found)})
        return
    click.echo(path)
    if quiet:
        return
    known = "" if found.license else "not known. "
    click.echo(f"\nLicence: {known}{found.reason}", err=True)
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    text = path.read_text(encoding="utf-8")
    if NOT_EVALUATED in text and read_record(source).has_weights(source):
        click.echo(f"Scores: none yet: slack-ties evaluate {shlex.quote(str(source))}", err=True)
    say_next(f"{how_to_publish(source, found)}  # after you read the card")


def _license_facts(found: Resolution) -> dict[str, Any]:
    return {
        "license": found.license.key if found.license else "",
        "license_reasons": found.steps,
        "license_problems": found.problems,
        "warnings": found.warnings,
        "duties": [asdict(one) for one in found.duties],
    }


def _card_of_config(source: Path, repo_id: str | None, *, offline: bool, as_json: bool) -> None:
    """Print the card that the merge of a config would get."""
    from slack_ties.card.planned import read_parents  # noqa: PLC0415 - the Hub client
    from slack_ties.card.text import make_card, planned_parents  # noqa: PLC0415
    from slack_ties.licenses.resolve import resolve_license  # noqa: PLC0415
    from slack_ties.models.front_matter import front_matter  # noqa: PLC0415

    recipe = read_recipe(source)
    parents, problems = ((), {}) if offline else read_parents(recipe)
    for name, why in problems.items():
        LOG.warning("Warning: the card of %s is not known: %s", name, why)
    card = make_card(recipe, repo_id=repo_id, planned=parents)
    if not as_json:
        sys.stdout.buffer.write(str(card).encode())
        return
    found = resolve_license(parents or planned_parents(recipe))
    facts = {"config": str(source), "text": str(card), "metadata": front_matter(str(card))}
    print_json({**facts, **_license_facts(found), "not_read": problems})


def how_to_publish(out: Path, found: Resolution) -> str:
    """Return the command that publishes a model, with the name and flag its licence needs."""
    from slack_ties.card.repo_id import repo_id_of  # noqa: PLC0415 - imports the Hub client

    record = read_record(out)
    if record.files and not record.has_weights(out):  # after `run --stream`
        return shlex.join(["hf", "upload", repo_id_of(out), str(out / "README.md"), "README.md"])
    name = f"OWNER/{suggest_name('NAME', found.prefix)}"
    flag = "" if found.license else f" --license {found.suggestion or 'ID'}"
    return f"slack-ties publish {shlex.quote(str(out))} {name}{flag}"


@cli.command(short_help="Upload a merged model to the Hub.")
@click.argument("out", type=PATH)
@click.argument("repo_id", metavar="REPO_ID")
@public_option
@license_options
@known_as_option
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@update_option
@click.option("--revision", default="", metavar="BRANCH", help="Publish to this branch.  [main]")
@click.option("--pr", is_flag=True, help="Open a pull request, or continue an open one.")
@click.option("--tag", default="", metavar="NAME", help="Tag the commit.")
@collection_option
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Upload these files too; may be repeated."
)
@with_output
@timeout_option
def publish(  # noqa: PLR0913 - one per option
    *,
    out: Path,
    repo_id: str,
    public: bool | None,
    license: Stated | None,  # noqa: A002 - the Hub's word for it
    known_as: dict[str, str],
    dry_run: bool,
    update: bool,
    revision: str,
    pr: bool,
    tag: str,
    collection: str,
    include: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Upload the merged model OUT to the Hugging Face Hub as REPO_ID (OWNER/NAME).

    It uses the token of `hf auth login`, or HF_TOKEN. A new repository is private unless you
    give --public. All files are in one commit: before it, nobody sees a change. If the upload
    stops, run the same command again: it continues from the files that were sent.

    The paths of merged folders are not published, only their last names. If a folder is a copy of
    a model on the Hub, say so with --is: then others can repeat the merge.

    If the model's licence does not follow from its parents' licences, you must give --license.
    If a parent's licence does not allow REPO_ID as a name, the command suggests one that it
    allows.

    \b
    Examples:
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan --dry-run
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan
      slack-ties publish tibetan ME/Llama-2-7b-Tibetan --public --tag v1
      slack-ties publish tibetan SOMEBODY/Llama-2-7b-Tibetan --pr
      slack-ties publish basque ME/Llama-3.1-8B-Basque --license llama3.1
    """
    say(quiet=quiet)

    from slack_ties.publish.destination import Destination  # noqa: PLC0415 - imports the Hub client
    from slack_ties.publish.publish import plan_publish, publish_model  # noqa: PLC0415

    def to(name: str) -> Destination:
        return Destination(name, public, update, revision, pr, tag, collection)

    more = license.flags() if license else []
    more += [word for folder, name in known_as.items() for word in ("--is", f"{folder}={name}")]
    more += [word for pattern in include for word in ("--include", pattern)]
    with other_id_in_full(out, to, [*more, *["--dry-run"] * dry_run]):
        if dry_run:
            planned = plan_publish(
                out, to(repo_id), license=license, include=include, known_as=known_as
            )
            if as_json:
                print_json(asdict(planned))
            else:
                click.echo(planned.as_text())
                if not quiet and (planned.send or planned.remove or tag or collection):
                    step = ["slack-ties", "publish", str(out), repo_id, *to(repo_id).flags()]
                    say_next(shlex.join([*step, *more]))
            return
        published = publish_model(
            out, to(repo_id), license=license, include=include, known_as=known_as
        )
    if as_json:
        print_json(asdict(published))
        return
    click.echo(published.as_text())
    if not quiet:
        parents = as_known(read_record(out)).parents
        click.echo(what_now(published, parents), err=True)
