"""The table of the catalogue: what `slack-ties languages`, print() and a notebook show of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.catalogue import languages as catalogue
from slack_ties.catalogue.languages import Triple, match_triples
from slack_ties.errors import CatalogueError
from slack_ties.notebook import ShownList, html_table
from slack_ties.plan.expected import Expected, expect
from slack_ties.wording import counted, join_names, size

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HEAD", "Languages", "cells_of", "choose_languages", "legend", "list_languages"]

HEAD = ("KEY", "", "BASE", "DOWNLOAD", "RESULT", "GATE", "LICENCE", "CT MODEL")

WIDE = 10  # columns of the names in the legend

FEW = 8  # triples: if there are no more, all that is not verified is listed


class Languages(ShownList[Triple]):
    """The triples of the catalogue."""

    __slots__ = ()

    HEAD = (*HEAD[:2], "LANGUAGE", *HEAD[2:])

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each triple, as the command shows it, with the language."""
        rows = [(one, cells_of(one, expect(one))) for one in self]
        return [(*cells[:2], one.language.name, *cells[2:]) for one, cells in rows]

    def summary(self) -> str:
        """Return how many there are."""
        return f"{counted(len(self), 'triple')} of models"

    def as_text(self) -> str:
        """Return the table, and what its marks mean."""
        return "\n".join([super().as_text(), "", *self._legend()])

    def as_html(self) -> str:
        """Return the same as HTML."""
        legend = [(line[:WIDE].strip(), line[WIDE:].strip()) for line in self._legend()]
        return super().as_html() + html_table((), legend)

    def _legend(self) -> list[str]:
        return legend([(one, expect(one)) for one in self])


def list_languages(*names: str, under: int | None = None, is_open: bool = False) -> Languages:
    """Return the catalogue's triples; the first triple of a language is its default.

    Without arguments all are returned, in the order of the catalogue. Else they are sorted as
    `slack-ties languages` does: in each language, the smallest download comes first.

    Source: `catalogue/languages.toml`; it names a source for every fact.

    Args:
        names: Keys, language codes, names in English or in the language itself, or codes of
            scripts, such as Tibt.
        under: Only with a download of at most so many bytes.
        is_open: Only without a gate, with a known licence.

    Raises:
        CatalogueError: A name is not known, or nothing fits.

    """
    if not names and under is None and not is_open:
        return Languages(catalogue.list_languages())
    return Languages(one for one, _ in choose_languages(names, under=under, is_open=is_open))


def choose_languages(
    names: Sequence[str], *, under: int | None = None, is_open: bool = False
) -> list[tuple[Triple, Expected]]:
    """Return triples with what each costs, sorted by language, then by gate and download.

    Arguments and errors are those of `list_languages`.
    """
    asked = {triple.key: (triple, expect(triple)) for triple in match_triples(names)}
    order = sorted(asked.values(), key=_place)
    shown = [
        (triple, cost)
        for triple, cost in order
        if (under is None or cost.download <= under) and (cost.open or not is_open)
    ]
    if not shown:
        raise _nothing_fits(order, names, under, is_open=is_open)
    return shown


def cells_of(triple: Triple, cost: Expected) -> tuple[str, ...]:
    """Return the cells of a triple, in the order of HEAD."""
    marks = ("*" if triple.unverified else "") + ("n" if cost.noncommercial else "")
    return (
        triple.key,
        marks,
        triple.family,
        size(cost.download) + ("+" if cost.download_is_least else " "),
        size(cost.result) + ("+" if cost.result_is_least else " "),
        {True: "gate", False: "", None: "?"}[cost.gated],
        cost.license or "not known",
        triple.ct.id,
    )


def legend(rows: Sequence[tuple[Triple, Expected]]) -> list[str]:
    """Explain the columns, and the marks that occur."""
    costs = [cost for _, cost in rows]
    lines = [
        "KEY       what you type. A language's name means the key without a model's name.",
        "DOWNLOAD  the weights of base, CT and SFT model. RESULT: the merged model.",
    ]
    if any(cost.download_is_least or cost.result_is_least for cost in costs):
        lines.append(
            "+         or more: files were not seen; each parameter is counted as 2 bytes."
        )
    if any(cost.gated for cost in costs):
        lines.append("gate      ask for access on a model's page, then log in: hf auth login")
    if any(cost.gated is None for cost in costs):
        lines.append("?         not known whether a model has a gate. `slack-ties plan` finds out.")
    if any(cost.noncommercial for cost in costs):
        lines.append("n         a licence of its models forbids commercial use.")
    doubts = [triple for triple, _ in rows if triple.unverified]
    if doubts and len(rows) <= FEW:
        lines.append("*         not verified on the Hub:")
        lines += [f"            {triple.key}: {triple.unverified}" for triple in doubts]
    elif doubts:
        lines.append(
            "*         not all is verified on the Hub: slack-ties languages KEY says what."
        )
    return lines


def _place(row: tuple[Triple, Expected]) -> tuple[str, str, bool, int]:
    """Return what the table is sorted by."""
    triple, cost = row
    return triple.language.name, triple.language.tag, cost.gated is True, cost.download


def _nothing_fits(
    rows: Sequence[tuple[Triple, Expected]],
    lang: Sequence[str],
    under: int | None,
    *,
    is_open: bool,
) -> CatalogueError:
    """Return the error that no triple passes the filters; it names the one that comes nearest."""
    triple, cost = min(rows, key=lambda row: (is_open and not row[1].open, row[1].download))
    least = " or more" if cost.download_is_least else ""
    facts = [f"its download is {size(cost.download)}{least}"]
    if is_open and cost.gated is not False:
        known = "a model has a gate"
        facts.append(known if cost.gated else "it is not known whether a model has a gate")
    if is_open and not cost.license:
        facts.append("its licence is not known")
    filters = [f"--under {size(under)}"] if under is not None else []
    filters += ["--open"] if is_open else []
    msg = f"nothing in the catalogue{' for ' if lang else ''}{', '.join(lang)} fits "
    msg += f"{' and '.join(filters)}. The nearest is {triple.key}: {join_names(facts)}"
    return CatalogueError(msg, hint=f"slack-ties languages {triple.key}")
