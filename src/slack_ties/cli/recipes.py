"""The commands `recipes search`, `recipes pull`, `recipes adapt` and `verify`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slack_ties.cli.configure import models_may_be_away
from slack_ties.cli.download_options import download_options
from slack_ties.cli.group import PATH, Group, cli, command, print_json, print_table, say
from slack_ties.cli.mergekit_options import MergeCommand
from slack_ties.cli.options import as_json, with_output, with_settings
from slack_ties.cli.program import say_next
from slack_ties.cli.timeout import timeout_option
from slack_ties.config.write import write_recipes
from slack_ties.recipe.read import read_recipe

if TYPE_CHECKING:
    from slack_ties.settings import Settings

__all__: list[str] = []


@cli.group(cls=Group, short_help="Find, fetch and adapt published recipes.")
def recipes() -> None:
    """Find recipes that others published, to run, verify or adapt them.

    \b
    Examples:
      slack-ties recipes search --language bo
      slack-ties recipes pull SOMEBODY/Llama-2-7b-Tibetan -o tibetan.yml
      slack-ties recipes adapt tibetan.yml --language dz --ct ME/Llama-2-7b-dzongkha
    """


@recipes.command(short_help="List published recipes.")
@click.option("--language", metavar="LANG", help="Only this language: a name or a code.")
@click.option("--base", metavar="REPO_ID", help="Only merges of this base.")
@click.option("--author", metavar="OWNER", help="Only of this user or organization.")
@as_json
@command
@timeout_option
def search(*, language: str | None, base: str | None, author: str | None, as_json: bool) -> None:
    """List the models on the Hub that have a slack-ties recipe, the newest first.

    \b
    Examples:
      slack-ties recipes search
      slack-ties recipes search --language bo --base meta-llama/Llama-2-7b-hf
    """
    from slack_ties.sharing.search import search_recipes  # noqa: PLC0415 - imports the Hub client

    found = search_recipes(language=language, base=base, author=author)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        every = "slack-ties recipes search  # without a filter it shows all"
        own = "slack-ties config LANG  # writes a recipe of your own"
        click.echo("No published recipe matches.", err=True)
        say_next(every if language or base or author else own)
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
    print_table(rows)
    # `pull` refuses a recipe of folders.
    if best := next((one.repo_id for one in found if one.bases), ""):
        say_next(f"slack-ties recipes pull {shlex.quote(best)}")


@recipes.command(short_help="Fetch a recipe from the Hub.")
@click.argument("repo_id", metavar="REPO_ID[@REVISION]")
@click.option("-o", "--output", type=PATH, help="The file to write.  [NAME.yml]")
@click.option("--overwrite", is_flag=True, help="Replace a file with other content.")
@with_output
@timeout_option
def pull(*, repo_id: str, output: Path | None, overwrite: bool, quiet: bool, as_json: bool) -> None:
    """Fetch the recipe of a published model, with its commit, and check it.

    It downloads nothing else. The recipe may come from anybody and use any method of mergekit.
    If the method is not slack_ties, the command lists the changes to make it so. It refuses a
    recipe that names folders or has programs in it, and says what mergekit ignores.

    \b
    Examples:
      slack-ties recipes pull SOMEBODY/Llama-2-7b-Tibetan
      slack-ties recipes pull SOMEBODY/Llama-2-7b-Tibetan@v1 -o tibetan.yml
    """
    say(quiet=quiet)

    from slack_ties.sharing.pull import pull_recipe  # noqa: PLC0415 - imports the Hub client

    pulled = pull_recipe(repo_id)
    path = output or Path(f"{pulled.repo_id.rpartition('/')[2]}.yml")
    write_recipes({path: pulled.recipe}, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "config": str(path),
                "repo_id": pulled.repo_id,
                "commit": pulled.commit,
                "method": pulled.recipe.method,
                "models": pulled.recipe.models,
                "changes": pulled.changes,
                "ignored": pulled.ignored,
            }
        )
        return
    click.echo(path)
    if quiet:
        return
    click.echo(f"\n{pulled.recipe.method} of {', '.join(pulled.recipe.models)}", err=True)
    click.echo(f"from {pulled.repo_id} at commit {pulled.commit}", err=True)
    if pulled.ignored:
        click.echo("\nWithout effect:", err=True)
        for words in pulled.ignored:
            click.echo(f"  - {words}", err=True)
    if pulled.changes:
        click.echo("\nTo make it slack_ties:", err=True)
        for change in pulled.changes:
            click.echo(f"  - {change}", err=True)
    say_next(f"slack-ties plan {shlex.quote(str(path))}")


@recipes.command(short_help="Change a recipe for another language.")
@click.argument("config", metavar="FILE", type=PATH)
@click.option("--language", metavar="LANG", required=True, help="A language, or its code.")
@click.option("--ct", metavar="MODEL", required=True, help="The CT model of that language.")
@click.option("--instead-of", metavar="MODEL", help="The model to replace.  [the CT model]")
@click.option("--language-name", metavar="NAME", help="English name, if the catalogue has none.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="The file to write.  [merge_configs/LANG.yml]",
)
@click.option("--overwrite", is_flag=True, help="Replace a file with other content.")
@with_output
@timeout_option
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
    """Change the recipe FILE for another language: same base, SFT model and values.

    The models' tokenizers are read: if the CT model has tokens of its own, the new recipe gets
    the tokenizer section that keeps them.

    \b
    Examples:
      slack-ties recipes adapt tibetan.yml --language dz --ct ME/Llama-2-7b-dzongkha
      slack-ties recipes adapt theirs.yml --language eu --ct ME/basque --instead-of THEM/finnish
    """
    say(quiet=quiet)

    from slack_ties.sharing.adapt import adapt_recipe, with_tokens  # noqa: PLC0415 - the Hub client

    recipe = adapt_recipe(
        read_recipe(config),
        language=language,
        ct=ct,
        instead_of=instead_of,
        language_name=language_name,
        file=output.name if output else "",
    )
    why = ""
    with models_may_be_away(quiet=quiet, missing=True):  # it may be published later
        recipe, why = with_tokens(recipe)
    path = output or Path("merge_configs", recipe.where)
    write_recipes({path: recipe}, overwrite=overwrite)
    if as_json:
        print_json({"config": str(path), "tokenizer": recipe.data.get("tokenizer")})
        return
    click.echo(path)
    if why and not quiet:
        click.echo(f"\nTokenizer section added, for {why}", err=True)
    if not quiet:
        say_next(f"slack-ties plan {shlex.quote(str(path))}")


@cli.command(cls=MergeCommand, short_help="Repeat a published merge and compare.")
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
@download_options
@with_settings
def verify(
    *,
    what: str,
    out: Path | None,
    against: Path | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Verify a published merge: run its recipe again and compare every tensor.

    Of published files with another checksum, each tensor is read and compared. Without --out, each
    file is compared when it is merged and then deleted. With --no-download too, about 2 GB of disk
    are enough for a 7B model. The exit code is 0 if all tensors have the same bytes, 1 if not.

    \b
    Examples:
      slack-ties verify SOMEBODY/Llama-2-7b-Tibetan
      slack-ties verify SOMEBODY/Llama-2-7b-Tibetan --no-download
      slack-ties verify SOMEBODY/Llama-2-7b-Tibetan@v1 --out tibetan
      slack-ties verify SOMEBODY/Llama-2-7b-Tibetan --against tibetan
    """
    if out and against:
        msg = "--out and --against cannot be used together: --against makes no new model"
        raise click.UsageError(msg)
    from slack_ties.sharing.verify import verify_model  # noqa: PLC0415 - heavy

    result = verify_model(what, out=out, against=against, **vars(settings))
    if as_json:
        print_json({**asdict(result), "same": result.same})
    else:
        click.echo(result.as_text())
    if not result.same:
        sys.exit(1)
