"""The table of the catalogue: what `slack-ties languages`, print() and a notebook show of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.catalogue import languages as catalogue
from slack_ties.catalogue.languages import Triple
from slack_ties.notebook import ShownList, html_lines
from slack_ties.plan.expected import Expected, expect
from slack_ties.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HEAD", "Languages", "cells_of", "legend", "list_languages"]

HEAD = ("KEY", "", "BASE", "DOWNLOAD", "RESULT", "GATE", "LICENCE", "CT MODEL")

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
        return super().as_html() + html_lines(self._legend())

    def _legend(self) -> list[str]:
        return legend([(one, expect(one)) for one in self])


def list_languages() -> Languages:
    """Return the catalogue's triples, in its order; the first triple of a language is its default.

    Source: `catalogue/languages.toml`; it names a source for every fact.
    """
    return Languages(catalogue.list_languages())


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
