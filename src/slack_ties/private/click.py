"""Read the options that click stores on a function, in an attribute without documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.private.lazy import gone

if TYPE_CHECKING:
    import click

__all__ = ["options_of"]


def options_of(function: Any) -> list[click.Parameter]:
    """Return the options that decorators have added to a function, in the order of `--help`.

    Raises:
        SlackTiesError: This version of click has no such attribute.

    """
    try:
        return list(reversed(function.__click_params__))
    except AttributeError:
        msg = "click"
        raise gone(msg, ">=8.2.1,<9", "__click_params__") from None
