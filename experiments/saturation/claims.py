"""The claims that the results are asked about: each an effect that is above zero if it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from intervals import Effect, Interval, Part, Scores
from methods import MERGES

__all__ = ["Claim", "Found", "claims", "of_cells"]

TITLES = {method.name: method.title for method in MERGES} | {
    "ct": "the CT model alone",
    "sft": "SFT alone",
    "ct_then_sft": "CT, then SFT",
}
OURS = "slack_ties"


@dataclass(frozen=True)
class Claim:
    """A claim, the question it belongs to, and what says whether it holds."""

    question: int
    text: str
    file: str
    effect: Effect


@dataclass(frozen=True)
class Found:
    """A claim and what the results say: a difference of accuracies."""

    claim: Claim
    interval: Interval


def of_cells(scores: Scores) -> tuple[tuple[str, int], ...]:
    """Return all pairs of SFT data and CT steps in the results."""
    return tuple(sorted({(sft, ct) for _, _, sft, ct, _ in scores.rows}))


def difference(
    one: tuple[str, str],
    other: tuple[str, str],
    cells: tuple[tuple[str, int], ...],
    language: str = "x",
) -> Effect:
    """Return the effect "`one` is better than `other` in `cells`"; both as (method, setting)."""
    return [(1.0, Part(*one, cells, language)), (-1.0, Part(*other, cells, language))]


def claims(results: Path) -> list[Found]:
    """Return every claim of which the results have all rows."""
    scores = {name: Scores(results / f"{name}.csv") for name in ("tests", "put_back", "three")}
    found = []
    for claim in _all(scores):
        of = scores[claim.file]
        if claim.effect and all(part.cells and of.has(part) for _, part in claim.effect):
            found.append(Found(claim, of.accuracy(claim.effect)))
    return found


def _all(scores: dict[str, Scores]) -> Iterator[Claim]:
    cells = of_cells(scores["tests"])
    if not cells:
        return
    kinds = sorted({sft for sft, _ in cells})
    first, last = min(ct for _, ct in cells), max(ct for _, ct in cells)
    ends = tuple((sft, last) for sft in kinds)
    yield from _saturation(kinds, first, last)
    yield from _cause(of_cells(scores["put_back"]))
    for name in ("ties", "ties_sum"):
        effect = difference((OURS, "default"), (name, "default"), ends)
        text = f"At {last} CT steps slack_ties is better than {TITLES[name]}, all at their defaults"
        yield Claim(2, text, "tests", effect)
    for setting in ("tuned", "fluent"):
        for method in MERGES:
            if method.name != OURS:
                text = f"slack_ties is better than {method.title}, both {setting}, over all cells"
                effect = difference((OURS, setting), (method.name, setting), cells)
                yield Claim(2, text, "tests", effect)
    for part, setting in (("ct", ""), ("sft", "tuned")):
        text = f"slack_ties, tuned, is better than {TITLES[part]}, over all cells"
        yield Claim(2, text, "tests", difference((OURS, "tuned"), (part, setting), cells))
    for sft in kinds:
        some = tuple(cell for cell in cells if cell[0] == sft)
        for where, at in (("all CT budgets", some), (f"{last} CT steps", ((sft, last),))):
            text = f"slack_ties is better than CT, then SFT, both tuned, SFT data {sft}, {where}"
            effect = difference((OURS, "tuned"), ("ct_then_sft", "tuned"), at)
            yield Claim(4, text, "tests", effect)
    yield from _three(of_cells(scores["three"]))


def _saturation(kinds: list[str], first: int, last: int) -> Iterator[Claim]:
    for name in ("ties", "ties_sum", "trimmed", OURS):
        for sft in kinds:
            text = f"{TITLES[name]} falls from {first} to {last} CT steps, SFT data {sft}"
            cells = ((sft, first),), ((sft, last),)
            before, after = (Part(name, "default", cell) for cell in cells)
            yield Claim(1, text, "tests", [(1.0, before), (-1.0, after)])


def _cause(cells: tuple[tuple[str, int], ...]) -> Iterator[Claim]:
    last = max((ct for _, ct in cells), default=0)
    ends = tuple(cell for cell in cells if cell[1] == last)
    for name in ("ties", "ties_sum"):
        for other in ("as merged", "random", "kept"):
            than = "nothing" if other == "as merged" else f"as many {other} ones"
            text = f"{TITLES[name]}: putting lost important entries back helps more than {than}"
            yield Claim(1, text, "put_back", difference((name, "lost"), (name, other), ends))
    for other in ("as merged", "random", "kept"):
        than = "nothing" if other == "as merged" else f"from as many {other} ones"
        text = f"{TITLES['trimmed']}: taking them from the SFT delta harms more than {than}"
        yield Claim(1, text, "put_back", difference(("trimmed", other), ("trimmed", "lost"), ends))


def _three(cells: tuple[tuple[str, int], ...]) -> Iterator[Claim]:
    for language in ("x", "y", "e"):
        for name in ("ties", "ties_sum", "trimmed"):
            text = f"slack_ties is better than {TITLES[name]} in {language.upper()}, at defaults"
            effect = difference((OURS, "default"), (name, "default"), cells, language)
            yield Claim(5, text, "three", effect)
    for language in ("x", "y"):
        text = f"Slack on the SFT model alone is better than on all, in {language.upper()}"
        effect = difference((OURS, "default"), (OURS, "slack on all"), cells, language)
        yield Claim(5, text, "three", effect)
