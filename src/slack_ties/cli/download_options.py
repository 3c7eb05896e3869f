"""The options that say whether the models' weights are downloaded, and how much is read ahead."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import click

__all__ = ["Size", "download_flags", "download_options"]

F = TypeVar("F", bound=Callable[..., Any])

SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGB]?)B?", re.IGNORECASE | re.ASCII)  # 1G, 1B and 1.5GB
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}
LEAST = 1000  # bytes; a smaller number without a unit is a forgotten unit


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """A number of bytes, such as 500M or 1GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        found = SIZE.fullmatch(value)
        if not found:
            self.fail(f"expected a number of bytes such as 500M or 1GB, got {value!r}", param, ctx)
        size = int(Decimal(found[1]) * UNITS[found[2].upper()])
        if size and not found[2] and size < LEAST:
            self.fail(f"{value} needs a unit: {found[1]}M or {found[1]}G", param, ctx)
        if size < LEAST:
            self.fail(f"{value} is too small: 500M or more is useful", param, ctx)
        return size


def download_options(function: F) -> F:
    """Add --download, --no-download and --window; they arrive in the settings."""
    options = [
        click.option(
            "--download/--no-download",
            default=None,
            help="Whether weights on the Hub are downloaded into the cache. --no-download reads "
            "them as the merge needs them, and keeps none here.  [download, if there is room]",
        ),
        click.option(
            "--window",
            type=Size(),
            metavar="SIZE",
            help="Without download: memory for what is read ahead, such as 500M or 2GB.  [1 to "
            "4GB, so that the checksum of every file can be compared]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def download_flags(download: bool | None, window: int | None) -> list[str]:  # noqa: FBT001 - as in `Settings`
    """Return the options of these settings, to repeat a command."""
    flags = [] if download is None else ["--download" if download else "--no-download"]
    return flags + ([] if window is None else ["--window", str(window)])
