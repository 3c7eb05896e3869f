"""The questions of the experiment as effects: each is above zero if its claim holds.

An effect is a difference of shares of items right, paired by item, with its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from real.advice import Advice
from real.curves import above_curve, at_same_bits, ct_dial, weight_of
from real.methods import DEFAULTS, DIAL
from real.scores import TITLES, Found, Part, Scores, Vectors, added, measured
from real.skills import SKILLS

__all__ = ["LIMITS", "QUESTIONS", "TUNED", "Chosen", "Claim", "claims", "tuned"]

QUESTIONS = {
    1: "What neither parent does",
    2: "More CT",
    3: "Against other methods",
    4: "Few SFT items",
    5: "The report's suggestion",
    6: "Tuned",
}
MERGED = ("slack_ties", "task_arithmetic", "ties_sum", "ties")
FALLING = ("ties", "ties_sum", "slack_ties", "task_arithmetic")
OTHERS = tuple(merge.name for merge in DEFAULTS if merge.name != "slack_ties")
TUNED = tuple(merge.name for merge in DEFAULTS if merge.name not in {"layer_swap", "widen"})
LIMITS = (1.1, 1.2, 1.3)  # times the CT model's bits per byte: what a tuned merge may have
OURS, DIALLED = "slack_ties", "task_arithmetic"


@dataclass(frozen=True)
class Claim:
    """A claim about a language, and what the rows say; None without rows."""

    question: int
    text: str
    language: str
    found: Found | None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Say what became of the claim; of one or two seeds, that it is of these models alone."""
        if not self.found:
            return "not measured"
        said = self.found.interval.verdict
        return f"{said} for these models" if said != "undecided" and self.found.few else said


@dataclass(frozen=True)
class Chosen:
    """The trial of a method that is the best on the validation split within the limit of bits.

    Attributes:
        part: The trial; None if no trial is within the limit.
        tried: How many trials were compared.
        seeds: How many seeds they have in common.

    """

    part: Part | None
    tried: int
    seeds: int


@cache
def claims(scores: Scores) -> list[Claim]:
    """Return every claim for every language, also those whose rows are missing."""
    found: list[Claim] = []
    for language in scores.languages:
        of = _Of(scores, language)
        for part in (_beyond, _more_ct, _others, _same_bits, _scarce, _suggested, _tuned):
            found += part(of)
    return sorted(found, key=lambda claim: claim.question)


@dataclass(frozen=True)
class _Of:
    """The scores of a language."""

    scores: Scores
    language: str

    def part(self, method: str, ct: int | None = None, sft: int = -1) -> Part:
        """Return a model at its defaults."""
        return self.scores.part(method, ct=ct, sft=sft)

    def right(self, part: Part, skill: str = "") -> Vectors:
        """Return the items that a model has right on the test split."""
        return self.scores.right(self.language, part, skill=skill)

    def better(self, question: int, text: str, one: Part, other: Part, skill: str = "") -> Claim:
        """Return the claim that one model is better than another."""
        difference = added((1, self.right(one, skill)), (-1, self.right(other, skill)))
        return Claim(question, text, self.language, measured(difference))


def _beyond(of: _Of) -> Iterator[Claim]:
    for name in MERGED:
        for parent in ("sft", "ct"):
            text = f"{TITLES[name]} is better than {TITLES[parent]}"
            yield of.better(1, text, of.part(name), of.part(parent))
    for name in (OURS, DIALLED):
        for skill in SKILLS:
            text = f"{TITLES[name]} is better than {TITLES['sft']} at `{skill}`"
            yield of.better(1, text, of.part(name), of.part("sft"), skill)
        for part in ct_dial(of.scores, name)[1:]:
            text = f"{TITLES[name]}, {weight_of(part)}, is better than {TITLES['sft']}"
            yield of.better(1, text, part, of.part("sft"))


def _more_ct(of: _Of) -> Iterator[Claim]:
    """Claim that merges fall from one CT budget to the next, and from the first to the last."""
    steps = sorted(of.scores.size.ct_steps)
    spans = list(dict.fromkeys([*pairwise(steps), *[(steps[0], steps[-1])] * (len(steps) > 1)]))
    for first, last in spans:
        fall = {
            name: added(
                (1, of.right(of.part(name, first))),
                (-1, of.right(of.part(name, last))),
            )
            for name in FALLING
        }
        for name in FALLING:
            text = f"{TITLES[name]} falls from {first} to {last} CT steps"
            yield Claim(2, text, of.language, measured(fall[name]))
        for name in ("ties", "ties_sum", DIALLED):
            text = f"From {first} to {last} CT steps slack_ties loses less than {TITLES[name]}"
            yield Claim(2, text, of.language, measured(added((1, fall[name]), (-1, fall[OURS]))))


def _others(of: _Of) -> Iterator[Claim]:
    for name in (*OTHERS, "ct_then_sft"):
        text = f"slack_ties is better than {TITLES[name]}, at defaults"
        yield of.better(3, text, of.part(OURS), of.part(name))


def _same_bits(of: _Of) -> Iterator[Claim]:
    """Claim that methods are better than task arithmetic of the same bits per byte."""
    dial = ct_dial(of.scores)
    for name in (OURS, *OTHERS):
        if name != DIALLED:
            found = at_same_bits(of.scores, of.language, of.part(name), dial)
            text = f"{TITLES[name]} is better than task arithmetic at the same bits per byte"
            yield Claim(3, text, of.language, measured(found.difference), found.note)
    for part in ct_dial(of.scores, OURS)[1:]:
        found = at_same_bits(of.scores, of.language, part, dial)
        text = f"slack_ties, {weight_of(part)}, is better than task arithmetic at the same bits"
        yield Claim(3, text, of.language, measured(found.difference), found.note)
    above = of.scores.over(of.language, lambda one: above_curve(of.scores, one, OURS))
    text = "slack_ties is better than task arithmetic at the same bits, mean over all CT weights"
    yield Claim(3, text, of.language, measured(above))


def _scarce(of: _Of) -> Iterator[Claim]:
    for items in sorted(of.scores.size.sft_items):
        for name in (OURS, DIALLED):
            text = f"{TITLES[name]} is better than CT, then SFT, of {items} SFT items"
            one, other = of.part(name, sft=items), of.part("ct_then_sft", sft=items)
            yield of.better(4, text, one, other)


def _suggested(of: _Of) -> Iterator[Claim]:
    """Claim that the slack that the report suggests is better than others."""
    advice = Advice(of.scores)
    found = of.scores.over(of.language, advice.right)
    for name, text in ((OURS, "the default slack, 0.2"), ("ties_sum", "slack 0")):
        difference = added((1, found), (-1, of.right(of.part(name))))
        claim = f"The suggested slack is better than {text}"
        yield Claim(5, claim, of.language, measured(difference))


def _tuned(of: _Of) -> Iterator[Claim]:
    for limit in LIMITS:
        ours = tuned(of.scores, of.language, OURS, limit)
        for name in TUNED:
            if name == OURS:
                continue
            text = f"slack_ties is better than {TITLES[name]}, both tuned within {limit:g} times"
            theirs = tuned(of.scores, of.language, name, limit)
            if ours and theirs and ours.part and theirs.part:
                yield of.better(6, text, ours.part, theirs.part)
                continue
            chosen = {OURS: ours, name: theirs}
            over = [TITLES[method] for method, trial in chosen.items() if trial and not trial.part]
            note = f"no trial within the limit: {', '.join(over)}" if over else ""
            yield Claim(6, text, of.language, None, note)


def tuned(scores: Scores, language: str, method: str, limit: float) -> Chosen | None:
    """Return the best trial of a method by items right on the validation split.

    Only trials count whose bits per byte, in the geometric mean over seeds, are at most `limit`
    times the CT model's on that split. None if a trial was not scored.

    Args:
        scores: All.
        language: One, or "all": then one trial for all languages.
        method: One of `TUNED`.
        limit: One of `LIMITS`.

    """
    trials = ct_dial(scores, method)
    right = [scores.right(language, part, split="validation") for part in trials]
    of_ct = scores.bits(language, scores.part("ct"), split="validation")
    more = [
        added((1, scores.bits(language, part, split="validation")), (-1, of_ct)) for part in trials
    ]
    seeds = set.intersection(*({*one} & {*other} for one, other in zip(right, more, strict=True)))
    if not seeds or len(trials) != 1 + len(DIAL):
        return None
    best: tuple[float, Part | None] = (-1.0, None)
    for part, items, logs in zip(trials, right, more, strict=True):
        share = float(np.mean([items[seed].mean() for seed in seeds]))
        bits = float(np.exp(np.mean([logs[seed].mean() for seed in seeds])))
        if bits <= limit and share > best[0]:
            best = share, part
    return Chosen(best[1], len(trials), len(seeds))
