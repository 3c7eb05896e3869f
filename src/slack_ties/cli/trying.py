"""The command `try`."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slack_ties.cli.group import PATH, cli, print_json
from slack_ties.cli.mergekit_options import MergeCommand, device_is_given
from slack_ties.cli.options import with_settings
from slack_ties.cli.program import say_next
from slack_ties.cli.writing_options import OPTIONS, refuse_code, writing_options

if TYPE_CHECKING:
    from slack_ties.settings import Settings

__all__: list[str] = []


@cli.command(
    "try",
    cls=MergeCommand,
    short_help="Ask a merged model and its parents the same.",
    epilog=OPTIONS,
)
@click.argument("what", metavar="OUT|REPO_ID")
@click.argument("prompt", required=False)
@click.option(
    "--prompts",
    type=PATH,
    metavar="FILE",
    help="Ask these: a text in UTF-8 with one prompt in each line, or a .json file with a list of "
    "texts; - is the standard input.",
)
@click.option("--alone", is_flag=True, help="Ask the merged model only, not base, CT and SFT.")
@writing_options(100)
@click.option(
    *("-o", "--output"),
    type=PATH,
    metavar="FILE",
    help="Write the answers to FILE too, as JSON; `slack-ties card OUT --examples FILE` takes it.",
)
@with_settings
def try_(  # noqa: PLR0913 - one per option
    *,
    what: str,
    prompt: str | None,
    prompts: Path | None,
    alone: bool,
    max_tokens: int,
    chat_template: bool,
    seed: int | None,
    dtype: str,
    output: Path | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Ask a merged model, and its base, CT and SFT model, the same prompts; show all answers.

    OUT is a merged folder, REPO_ID (OWNER/NAME[@REVISION]) a published merge. A model with a chat
    template gets the prompt in it, another one gets it as plain text and continues it. One model
    is in memory at a time. A model that cannot be used is left out, but for the merged model. No
    code of a model is run.

    A few answers show how a model writes. They do not measure how good it is.

    \b
    Examples:
      slack-ties try tibetan 'བོད་སྐད'
      slack-ties try tibetan --prompts prompts.txt -o answers.json
      slack-ties try ME/Llama-2-7b-Tibetan 'བོད་སྐད' --alone --max-tokens 30
    """
    from slack_ties.trying.prompts import read_prompts  # noqa: PLC0415
    from slack_ties.trying.try_prompts import try_prompts  # noqa: PLC0415 - heavy

    if prompt is not None and prompts:
        msg = "give PROMPT or --prompts FILE, not both"
        raise click.UsageError(msg)
    refuse_code(settings, "try")
    given = read_prompts(prompts) if prompts else [] if prompt is None else [prompt]
    found = try_prompts(
        what,
        given,
        alone=alone,
        max_tokens=max_tokens,
        chat_template=chat_template,
        seed=seed,
        dtype=dtype,
        device="" if device_is_given() else "auto",
        output=output,
        **vars(settings),
    )
    if as_json:
        print_json(asdict(found))
        return
    click.echo(found.as_text())
    if output and not settings.quiet:
        card = f"slack-ties card OUT --examples {shlex.quote(str(output))}"
        if Path(what).is_dir():
            card = card.replace("OUT", shlex.quote(what), 1)
        click.echo(f"\n{output}", err=True)
        say_next(f"{card}  # shows these answers in the card")
