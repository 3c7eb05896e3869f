"""The command `languages`: the catalogue as a table that fits the terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from slack_ties.cli.group import cli, command, print_json
from slack_ties.cli.options import as_json
from slack_ties.cli.program import as_typed
from slack_ties.plan.languages import HEAD, cells_of, choose_languages, legend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.catalogue.languages import Triple
    from slack_ties.plan.expected import Expected

__all__: list[str] = []

CUT = "A wider terminal, a pipe, or --json shows whole licences and the CT MODEL too."

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Bytes(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """A number of bytes as people write it: 4GB, 4GiB, 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kmgt]i?)b?", str(value).strip().lower())
        if not match:
            self.fail(f"expected a size such as 4GB, 4GiB or 500MB, got {value!r}", param, ctx)
        if not match[2] and float(match[1]):
            self.fail(f"{match[0]} needs a unit: {match[1]}GB", param, ctx)
        return int(float(match[1]) * {**UNITS, **BINARY}[match[2]])


@cli.command(short_help="List the languages and models of the catalogue.")
@click.argument("lang", nargs=-1)
@click.option("--under", type=Bytes(), metavar="SIZE", help="Only with a download of at most SIZE.")
@click.option("--open", "is_open", is_flag=True, help="Only without a gate, with a known licence.")
@as_json
@command
def languages(*, lang: tuple[str, ...], under: int | None, is_open: bool, as_json: bool) -> None:
    """List the languages of the catalogue, and the models that a merge of each needs.

    LANG is a key, a language code, a name in English or in the language itself, or the code of a
    script, such as Tibt. Without LANG, all are listed. In each language, the smallest download
    comes first, and models with a gate (you must ask for access) come last. SIZE is, for example,
    4GB, 4GiB or 500MB.

    \b
    Examples:
      slack-ties languages
      slack-ties languages tibetan uyghur
      slack-ties languages Latn --under 10GB --open
      slack-ties languages bo --json
    """
    shown = choose_languages(lang, under=under, is_open=is_open)
    if as_json:
        print_json([{**asdict(t), "expected": {**asdict(e), "open": e.open}} for t, e in shown])
        return
    lines, cut = _table(shown, _width())
    for line in [*lines, "", *legend(shown), *([CUT] if cut else [])]:
        click.echo(line)
    key = shown[0][0].key if lang else "KEY"
    step = f"slack-ties config {key}  # or config and merge: slack-ties run {key} --out DIR"
    click.echo(f"\nNext: {as_typed(step)}")


def _width() -> int:
    """Return the columns of the terminal; 0 if the output goes to a file or another program."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return 0


def _table(rows: Sequence[tuple[Triple, Expected]], width: int) -> tuple[list[str], bool]:
    """Return the lines of the table, and whether the last columns are cut off to fit in."""
    cells = [HEAD, *(cells_of(triple, cost) for triple, cost in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEAD))]
    used = 2 + sum(widths[:6]) + 2 * 6 - 1  # the marks follow the key after one space
    cut = bool(width) and used + widths[6] + 2 + widths[7] > width
    if cut:
        widths[7] = 0
        widths[6] = min(widths[6], max(width - used, len(HEAD[6])))
    lines = [_line(cells[0], widths)]
    named = ""
    for (triple, _), row in zip(rows, cells[1:], strict=True):
        one = triple.language
        if one.tag != named:
            lines.append(f"{one.name} ({one.tag}, {one.script})  {one.endonym}")
            named = one.tag
        lines.append(_line(row, widths))
    return lines, cut


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    key, marks, base, download, result, gate, license_, ct = (
        cell if len(cell) <= width else cell[: width - 1] + "…" if width else ""
        for cell, width in zip(cells, widths, strict=True)
    )
    numbers = f"{download:>{widths[3]}}  {result:>{widths[4]}}"
    left = f"  {key:{widths[0]}} {marks:{widths[1]}}  {base:{widths[2]}}  {numbers}"
    return f"{left}  {gate:{widths[5]}}  {license_:{widths[6]}}  {ct}".rstrip()
