"""The options of the commands that let a model write: `try` and `chat`."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slack_ties.errors import SlackTiesError
from slack_ties.recipe.check import DTYPES

if TYPE_CHECKING:
    from slack_ties.settings import Settings

__all__ = ["OPTIONS", "refuse_code", "writing_options"]

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = """\b
Options of mergekit-yaml that say where a model runs work here too:
  --device DEVICE          cpu, cuda, cuda:1, mps  [a GPU if there is one]
  --cuda                   short for --device cuda
  --transformers-cache DIR folder for downloads
"""


def writing_options(most: int, *, cut: str = "") -> Callable[[F], F]:
    """Return the options that say how a model writes.

    Args:
        most: The default of --max-tokens.
        cut: When else an answer is cut, for the help.

    """
    options = (
        click.option(
            "--max-tokens",
            type=click.IntRange(min=1),
            default=most,
            show_default=True,
            metavar="N",
            help=f"Cut an answer after N new tokens{cut}.",
        ),
        click.option(
            "--no-chat-template",
            "chat_template",
            is_flag=True,
            flag_value=False,
            default=True,
            help="Give a model plain text, even if it has a chat template.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0, max=2**32 - 1),
            metavar="N",
            help="Sample with this seed, by a model's own settings.  [the likeliest token each "
            "time]",
        ),
        click.option(
            "--dtype",
            type=click.Choice(("auto", *DTYPES)),
            default="auto",
            show_default="that of the model",
            help="Number type in which a model runs.",
        ),
    )

    def add(command: F) -> F:
        return reduce(lambda one, option: option(one), reversed(options), command)

    return add


def refuse_code(settings: Settings, command: str) -> None:
    """Refuse --trust-remote-code.

    Args:
        settings: Of the command.
        command: Its name.

    Raises:
        SlackTiesError: It was given.

    """
    if settings.options and settings.options.trust_remote_code:
        msg = f"--trust-remote-code: {command} runs no code of a model"
        raise SlackTiesError(msg, hint="leave --trust-remote-code out")
