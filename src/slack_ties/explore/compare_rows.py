"""The rows of `compare`: settings and figures of two merges, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.models.names import COMMIT, split_reference
from slack_ties.report.figures import Figures, conflict_share, cosine
from slack_ties.report.rows import ROWS, percent
from slack_ties.report.sentences import read_figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slack_ties.report.report import Report

__all__ = ["Row", "rows_of"]

# What the rows about a merge and the settings say; the figures of a model have theirs in ROWS.
MEANINGS = {
    "positions in conflict": "positions where kept entries have opposite signs",
    "cosine CT, SFT": "1: deltas of one direction, 0: unrelated, -1: opposite",
    "suggested slack": "by a rule about weights; try it",
    "weight": "factor of the model's delta",
    "density": "share of entries to keep, as the config says",
    "slack": "share of entries to vote first, as the config says",
} | {row.name: row.meaning for row in ROWS}


@dataclass(frozen=True)
class Row:
    """One setting or figure of both merges; None if a merge does not have it."""

    about: str  # the merge, or a model by its role
    name: str
    one: Any
    other: Any
    is_share: bool = False

    @property
    def meaning(self) -> str:
        """Return what the row says, in one line; "" if its name says it."""
        return MEANINGS.get(self.name, "")

    def texts(self) -> tuple[str, str]:
        """Return both values for people."""
        one, other = (_show(value, is_share=self.is_share) for value in (self.one, self.other))
        return one, other

    @property
    def differs(self) -> bool:
        """Return whether the two values differ."""
        return bool(self.one != self.other)


def rows_of(one: Report, other: Report) -> Iterator[Row]:
    """Yield the rows of two merges: about the merge, then about each model."""
    yield Row("the merge", "method", one.method, other.method)
    for name in sorted({*one.settings, *other.settings}):
        yield Row("the merge", name, one.settings.get(name), other.settings.get(name))
    figures = bool(one.tensors and other.tensors)
    if figures:
        shares = [conflict_share(report.total) for report in (one, other)]
        yield _row("the merge", "positions in conflict", shares, is_share=True)
        angles = [_angle(report) for report in (one, other)]
        yield _row("the merge", "cosine CT, SFT", angles)
        slacks = [read_figures(report).slack for report in (one, other)]
        yield _row("the merge", "suggested slack", slacks)
    first, second = _model_numbers(one), _model_numbers(other)
    for about in dict.fromkeys([*first, *second]):
        pair = (first.get(about), second.get(about))
        models = [
            None if number is None else report.models[number]
            for report, number in zip((one, other), pair, strict=True)
        ]
        named = [_name_and_commit(model.model) if model else ("", "") for model in models]
        yield _row(about, "model", [name or None for name, _ in named])
        if any(commit for _, commit in named):
            yield _row(about, "commit", [commit or None for _, commit in named])
        given = [name for model in models if model for name in model.settings]
        for name in dict.fromkeys(["weight", "density", "slack", *given]):
            values = [model.settings.get(name) if model else None for model in models]
            if values != [None, None]:
                yield _row(about, name, values)
        for row in ROWS if figures else ():
            found = [
                None if number is None else row.value(Figures(report.total, number))
                for report, number in zip((one, other), pair, strict=True)
            ]
            yield _row(about, row.name, found, is_share=row.show is percent)


def _row(about: str, name: str, values: Sequence[Any], *, is_share: bool = False) -> Row:
    one, other = values
    return Row(about, name, one, other, is_share)


def _name_and_commit(model: str) -> tuple[str, str]:
    """Return a model's name without commits, and the beginnings of its commits."""
    parts = split_reference(model)
    commits = [c[:7] if c and COMMIT.fullmatch(c) else c for _, c in parts]
    return "+".join(name for name, _ in parts), " + ".join(filter(None, commits))


def _model_numbers(report: Report) -> dict[str, int]:
    """Return the number of each model, by its role; by its name if several have that role."""
    found: dict[str, int] = {}
    for number, model in enumerate(report.models):
        several = len(report.of_role(model.role)) > 1 or not model.role
        found[model.label if several else f"the {model.role.upper()} model"] = number
    return found


def _angle(report: Report) -> float | None:
    ct, sft = report.of_role("ct"), report.of_role("sft")
    if len(ct) != 1 or len(sft) != 1:
        return None
    return cosine(report.total, *sorted((ct[0], sft[0])))


def _show(value: Any, *, is_share: bool) -> str:
    if value is None:
        return "-"
    if is_share:
        return percent(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
