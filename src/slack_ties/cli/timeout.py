"""The option --timeout of every command that talks to the Hub."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

__all__ = ["seconds_option", "timeout_option"]

F = TypeVar("F", bound=Callable[..., Any])

READ_AWAY = ("merge", "report", "compare", "tune", "verify")  # commands with --no-download

LONGEST_TIMEOUT = 604_800  # seconds: a week


def _check_number(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse `nan`, which is in every range."""
    if value is not None and math.isnan(value):
        msg = "nan is no number of seconds"
        raise click.BadParameter(msg, ctx=ctx, param=param)
    return value


def timeout_option(function: F) -> F:
    """Add --timeout: how long the command may wait for the Hub without any progress."""
    publishes = function.__name__ == "publish"

    @functools.wraps(function)
    def wrapper(*args: Any, timeout: float | None, **others: Any) -> Any:
        from slack_ties.hub.retries import READING, Retries  # noqa: PLC0415 - the Hub client
        from slack_ties.hub.timeouts import timeouts  # noqa: PLC0415 - as above

        default = Retries() if publishes or others.get("publish") else READING
        with timeouts(replace(default, timeout=timeout) if timeout else default):
            return function(*args, **others)

    usual = {
        "publish": "300",
        "run": "60, or 300 with --publish, and while weights are read without download",
        **dict.fromkeys(READ_AWAY, "60, or 300 while weights are read without download"),
    }.get(function.__name__, "60")
    return seconds_option(usual)(wrapper)  # type: ignore[return-value]


def seconds_option(usual: str) -> Callable[[F], F]:
    """Return the option alone, which arrives as `timeout`: a number of seconds, or None.

    Args:
        usual: The seconds without it, for --help.

    """
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, max=LONGEST_TIMEOUT, min_open=True),
        callback=_check_number,
        metavar="SECONDS",
        help="Give up after so many seconds in which nothing comes from the Hub or goes to it; "
        f"this includes all retries.  [{usual}]",
    )
