"""The options of the commands that run lm-eval's tasks: `evaluate` and `tune`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from slack_ties.cli.group import PATH

__all__ = [
    "batch_size_option",
    "chat_template_option",
    "fewshot_option",
    "include_option",
    "limit_option",
    "names_in",
]

F = TypeVar("F", bound=Callable[..., Any])


def names_in(value: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(filter(None, (name.strip() for name in (value or "").split(","))))


def include_option(help_text: str) -> Callable[[F], F]:
    """Return the option for folders with task files of the user."""
    return click.option(
        "--include-path", "include", multiple=True, type=PATH, metavar="FOLDER", help=help_text
    )


def limit_option(help_text: str) -> Callable[[F], F]:
    """Return the option that scores only the first items of each task."""
    return click.option("--limit", type=click.IntRange(min=1), metavar="N", help=help_text)


def fewshot_option(help_text: str) -> Callable[[F], F]:
    """Return the option for examples before each item; it has lm-eval's name, too."""
    flags = ("--fewshot", "--num-fewshot")
    return click.option(*flags, type=click.IntRange(min=0), metavar="N", help=help_text)


def batch_size_option(help_text: str) -> Callable[[F], F]:
    """Return the option for the requests that a model answers at once."""
    return click.option(
        "--batch-size", default="", metavar="N|auto", callback=_batch, help=help_text
    )


def chat_template_option(help_text: str) -> Callable[[F], F]:
    """Return the option that puts items into the chat template; it has lm-eval's name, too."""
    flags = ("--chat-template", "--apply-chat-template")
    return click.option(*flags, "chat_template", is_flag=True, help=help_text)


def _batch(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Refuse a batch size that is neither a number nor auto."""
    if value in ("", "auto") or (value.isdecimal() and int(value)):
        return value
    msg = f"expected a number from 1, or auto, got {value!r}"
    raise click.BadParameter(msg)
