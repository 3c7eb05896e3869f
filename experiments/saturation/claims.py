"""The claims to test with the results. Each is an effect that is above zero if the claim holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from common.intervals import Interval
from intervals import Effect, Part, Scores
from methods import MERGES

__all__ = ["Claim", "Found", "claims", "of_cells"]

TITLES = {method.name: method.title for method in MERGES} | {
    "ct": "the CT model alone",
    "sft": "SFT alone",
    "ct_then_sft": "CT, then SFT",
}
OURS = "slack_ties"
FILES = ("tests", "trials", "put_back", "three")


@dataclass(frozen=True)
class Claim:
    """A claim, the question it belongs to, and what says whether it holds."""

    question: int
    text: str
    file: str
    effect: Effect


@dataclass(frozen=True)
class Found:
    """A claim and what the results say: a difference of accuracies, or none without rows."""

    claim: Claim
    interval: Interval | None

    @property
    def verdict(self) -> str:
        """Say what became of the claim."""
        return self.interval.verdict if self.interval else "not measured"


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
    """Return every claim, also those whose rows are missing; none without tests.csv."""
    scores = {name: Scores(results / f"{name}.csv") for name in FILES}
    found = []
    for claim in _all(scores):
        of = scores[claim.file]
        measured = of.can(claim.effect)
        found.append(Found(claim, of.accuracy(claim.effect) if measured else None))
    return found


def _all(scores: dict[str, Scores]) -> Iterator[Claim]:
    cells = of_cells(scores["tests"])
    if not cells:
        return
    kinds = sorted({sft for sft, _ in cells})
    first, last = min(ct for _, ct in cells), max(ct for _, ct in cells)
    ends = tuple((sft, last) for sft in kinds)
    yield from _saturation(kinds, first, last)
    yield from _loses_less(kinds, first, last)
    yield from _from_the_best(scores["trials"], cells)
    yield from _cause(of_cells(scores["put_back"]))
    for name in ("ties", "ties_sum"):
        effect = difference((OURS, "default"), (name, "default"), ends)
        text = f"At {last} CT steps slack_ties is better than {TITLES[name]}, all at their defaults"
        yield Claim(2, text, "tests", effect)
    for setting in ("default", "tuned", "fluent"):
        for method in MERGES:
            if method.name != OURS:
                yield _over_cells(scores["tests"], method.name, setting, cells)
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


def _loses_less(kinds: list[str], first: int, last: int) -> Iterator[Claim]:
    """Claim that the fall from the first to the last CT budget is smaller with slack."""
    for name in ("ties", "ties_sum"):
        for sft in kinds:
            ours, theirs = (
                [Part(method, "default", ((sft, ct),)) for ct in (first, last)]
                for method in (OURS, name)
            )
            effect = [(1.0, theirs[0]), (-1.0, theirs[1]), (-1.0, ours[0]), (1.0, ours[1])]
            text = f"From {first} to {last} CT steps slack_ties loses less than {TITLES[name]}"
            yield Claim(2, f"{text}, defaults, SFT data {sft}", "tests", effect)


def _from_the_best(trials: Scores, cells: tuple[tuple[str, int], ...]) -> Iterator[Claim]:
    """Claim a fall from the best CT budget, if a middle one is best on the validation split.

    The test split must not choose it: its best score would be too high by chance, and the fall too
    large.
    """
    for name in ("ties", "ties_sum", "trimmed", OURS):
        for sft in sorted({sft for sft, _ in cells}):
            cts = [ct for other, ct in cells if other == sft]
            tried = {ct: Part(name, "0", ((sft, ct),)) for ct in cts}  # trial 0: the defaults
            if not all(trials.has(part) for part in tried.values()):
                continue
            means = {ct: mean(r.accuracy for r in trials.of(p)[0]) for ct, p in tried.items()}
            best, last = max(cts, key=means.__getitem__), max(cts)
            if min(cts) < best < last:
                text = f"{TITLES[name]} falls from {best} CT steps, its best by validation"
                before, after = (Part(name, "default", ((sft, ct),)) for ct in (best, last))
                effect = [(1.0, before), (-1.0, after)]
                yield Claim(1, f"{text}, to {last}, SFT data {sft}", "tests", effect)


def _over_cells(
    scores: Scores, name: str, setting: str, cells: tuple[tuple[str, int], ...]
) -> Claim:
    """Claim that slack_ties is better than a method, over the cells in which both have rows."""
    both = tuple(
        cell for cell in cells if scores.can(difference((OURS, setting), (name, setting), (cell,)))
    )
    where = "all cells" if both == cells else f"{len(both)} of {len(cells)} cells"
    text = f"slack_ties is better than {TITLES[name]}, both {setting}, over {where}"
    return Claim(2, text, "tests", difference((OURS, setting), (name, setting), both))


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
        for name in ("ties", "ties_sum", "trimmed", "task_arithmetic"):
            text = f"slack_ties is better than {TITLES[name]} in {language.upper()}, at defaults"
            effect = difference((OURS, "default"), (name, "default"), cells, language)
            yield Claim(5, text, "three", effect)
    for language in ("x", "y"):
        text = f"Slack on the SFT model alone is better than on all, in {language.upper()}"
        effect = difference((OURS, "default"), (OURS, "slack on all"), cells, language)
        yield Claim(5, text, "three", effect)
