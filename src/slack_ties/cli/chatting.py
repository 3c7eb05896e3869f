"""The command `chat`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from slack_ties.cli.group import cli, print_json
from slack_ties.cli.mergekit_options import MergeCommand, device_is_given
from slack_ties.cli.options import with_settings
from slack_ties.cli.writing_options import OPTIONS, refuse_code, writing_options
from slack_ties.errors import visible

if TYPE_CHECKING:
    from slack_ties.settings import Settings

__all__: list[str] = []

LOG = logging.getLogger("slack_ties")


@cli.command(cls=MergeCommand, short_help="Talk with a merged model.", epilog=OPTIONS)
@click.argument("what", metavar="OUT|REPO_ID")
@click.option("--system", default="", metavar="TEXT", help="Begin with this system text.")
@writing_options(512, cut=", or where the model can take no more")
@with_settings
def chat(  # noqa: PLR0913 - one per option
    *,
    what: str,
    system: str,
    max_tokens: int,
    chat_template: bool,
    seed: int | None,
    dtype: str,
    as_json: bool,
    settings: Settings,
) -> None:
    """Talk with a merged model, or with any other one, in the terminal.

    OUT is a model's folder, REPO_ID (OWNER/NAME[@REVISION]) a model on the Hub. The answer is shown
    while the model writes it. A model with a chat template gets the conversation in it; another
    one continues the text. Ctrl-C stops an answer, Ctrl-D ends the session. No code of a model is
    run.

    Lines that begin with / are commands: /system TEXT, /reset, /save FILE, /help, /exit. From a
    pipe, each line is a message or a command, and the first error ends the session; --json prints
    what /save writes.

    \b
    Examples:
      slack-ties chat tibetan
      slack-ties chat tibetan --system 'Answer in Tibetan.' --max-tokens 100
      slack-ties chat ME/Llama-2-7b-Tibetan --json < messages.txt
    """
    from slack_ties.cli.chat_session import Session  # noqa: PLC0415 - heavy
    from slack_ties.trying.chat import open_chat  # noqa: PLC0415 - heavy

    refuse_code(settings, "chat")
    with open_chat(
        what,
        system=system,
        max_tokens=max_tokens,
        chat_template=chat_template,
        seed=seed,
        dtype=dtype,
        device="" if device_is_given() else "auto",
        **vars(settings),
    ) as opened:
        LOG.info("%s", visible(opened.about()))
        Session(opened, quiet=settings.quiet, answers_to_stdout=not as_json).run()
        data = opened.data()
    if as_json:
        print_json(data)
