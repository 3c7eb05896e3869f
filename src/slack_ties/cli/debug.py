"""`--debug` of every command: show where an error was raised, and every request to the Hub."""

from __future__ import annotations

import traceback
from typing import Any

import click

from slack_ties.errors import masked

__all__ = ["debug_option", "debug_wanted", "show_traceback", "traceback_wanted", "want_traceback"]

WANTED = "slack_ties.debug"  # in the context of click, which all commands share


def debug_option(*, short: bool) -> click.Option:
    """Return the option; with `short` it is -v too, which some commands have from mergekit."""

    def keep(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
        if value:
            ctx.meta[WANTED] = "all"

    return click.Option(
        ["-v", "--debug"] if short else ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=keep,
        help="Show where an error was raised, and every request to the Hub.",
    )


def want_traceback() -> None:
    """Show where an error is raised, as the option does."""
    if ctx := click.get_current_context(silent=True):
        ctx.meta.setdefault(WANTED, "traceback")


def traceback_wanted() -> bool:
    """Say whether the user wants to see where an error was raised."""
    return bool(_wanted())


def debug_wanted() -> bool:
    """Say whether the user wants to see every request too."""
    return bool(_wanted() == "all")


def show_traceback(error: BaseException) -> None:
    """Print where an error was raised, also the errors that it replaces."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        one.__suppress_context__ = False
        one.__dict__.pop("__notes__", None)  # the next step, which follows
        one = one.__cause__ or one.__context__
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    click.echo(masked("".join(lines).rstrip()), err=True)


def _wanted() -> Any:
    ctx = click.get_current_context(silent=True)
    return ctx.meta.get(WANTED) if ctx else None
