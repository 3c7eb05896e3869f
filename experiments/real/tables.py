"""The tables of docs/evidence.md about real models, as Markdown, from the rows.

`python experiments/real/tables.py [quick|full|gpu]` prints them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.markup import ratio, signed, table
from real.begins import begins
from real.choices import candidates, confirmed, defaults, links, suggestions, tuned_table
from real.curves import at_same_bits, ct_dial, slack_dial, weight_of
from real.effects import QUESTIONS, Claim, claims
from real.methods import BY_NAME, DEFAULTS
from real.scores import TITLES, Part, Scores, Vectors, added, measured, ratio_of
from real.seen import unseen
from real.shown import (
    difference,
    name_of,
    noted,
    of_skill,
    shown,
    shown_signed,
    value_of,
    with_bits,
)
from real.skills import SKILLS

__all__ = ["RESULTS", "TABLES", "picture"]

RESULTS = Path(__file__).resolve().parent / "results"
PARENTS = ("base", "ct", "sft", "ct_then_sft")
MERGED = tuple(merge.name for merge in DEFAULTS)


def cells(results: Path) -> str:
    """How many models of each kind have been scored, of those that the size has (scores.csv)."""
    scores, lines = Scores(results), []
    size, main = scores.size, (scores.size.ct_main, scores.size.sft_main)
    defaults_of = {(merge.name, merge.values) for merge in DEFAULTS}
    of_a_budget = 6  # the CT or SFT model, CT then SFT, and four merges
    wanted = (
        *(len(PARENTS), len(DEFAULTS), (len(BY_NAME) - len(DEFAULTS)) * size.dials),
        *(of_a_budget * (len(size.ct_steps) - 1), of_a_budget * (len(size.sft_items) - 1)),
    )
    for language in size.languages:
        for seed in range(size.seeds):
            kinds = [0] * len(wanted)
            for part in scores.parts:
                if seed in scores.rows(language, part):
                    kinds[_kind_of(part, main, defaults_of)] += 1
            done = [f"{many} of {of}" if of else "" for many, of in zip(kinds, wanted, strict=True)]
            lines.append([language, str(seed), *done])
    head = ["parents; CT, then SFT", "merges at defaults", "other values"]
    head = ["language", "seed", *head, "other CT budgets", "other SFT budgets"]
    return table(head, lines)


def _kind_of(part: Part, main: tuple[int, int], defaults_of: set[tuple[str, str]]) -> int:
    """Return the column of a model."""
    if part.ct not in {0, main[0]}:
        return 3
    if part.sft not in {0, main[1]}:
        return 4
    if part.method in PARENTS:
        return 0
    return 1 if (part.method, part.values) in defaults_of else 2


def main_table(results: Path) -> str:
    """All methods at their defaults, at the main budgets (scores.csv)."""
    scores, lines, seeds = Scores(results), [], []
    for language in scores.languages:
        for name in (*PARENTS, *MERGED):
            part = scores.part(name)
            right = measured(scores.right(language, part))
            if not right:
                continue
            english = measured(scores.right(language, part, asked="en"))
            bits = ratio_of(scores.bits(language, part))
            beside = ""
            if name != "slack_ties":
                beside = difference(scores, language, scores.part("slack_ties"), part)
            lines.append(
                [
                    *(name_of(language), TITLES[name], shown(right), value_of(english)),
                    *(value_of(bits), beside, str(right.seeds)),
                ]
            )
            seeds.append(right.seeds)
    head = ["language", "model", "items right", "in English", "bits per byte"]
    return noted(table([*head, "slack_ties minus it", "seeds"], lines), seeds)


def skills(results: Path) -> str:
    """Share of items right by skill, in the language / in English (scores.csv)."""
    scores, lines = Scores(results), []
    for language in scores.languages:
        for name in (*PARENTS[1:], *MERGED):
            part = scores.part(name)
            cells_of = [of_skill(scores, language, part, skill) for skill in SKILLS]
            if any(cells_of):
                lines.append([name_of(language), TITLES[name], *cells_of])
    return table(["language", "model", *(f"`{skill}`" for skill in SKILLS)], lines)


def verdicts(results: Path) -> str:
    """The claims, and whether they hold (scores.csv, reports.csv)."""
    every = claims(Scores(results))
    found = [(claim, claim.found) for claim in every if claim.found]
    lines = [
        [
            *(QUESTIONS[claim.question], name_of(claim.language)),
            claim.text + (f" ({claim.note})" if claim.note else ""),
            *(signed(of.interval), claim.verdict, str(of.seeds)),
        ]
        for claim, of in found
    ]
    head = ["question", "language", "claim", "difference", "verdict", "seeds"]
    missing = Counter(
        f"{QUESTIONS[claim.question]}, {name_of(claim.language)}"
        for claim in every
        if not claim.found
    )
    left = "; ".join(f"{name}: {many}" for name, many in missing.items())
    made = noted(table(head, lines), [of.seeds for _, of in found])
    return made + (f"\n\nClaims that were not measured: {left}." if left else "")


# The claims of which the page speaks first; %d are the first and the last CT budget.
FIRST = (
    "slack_ties is better than the SFT model",
    "slack_ties is better than the CT model",
    "slack_ties is better than TIES, at defaults",
    "slack_ties is better than TIES without division, at defaults",
    "slack_ties is better than task arithmetic, at defaults",
    "slack_ties is better than task arithmetic at the same bits per byte",
    "slack_ties is better than task arithmetic at the same bits, mean over all CT weights",
    "slack_ties is better than task arithmetic, both tuned within 1.2 times",
    "slack_ties is better than CT, then SFT, at defaults",
    "TIES without division falls from %d to %d CT steps",
    "slack_ties falls from %d to %d CT steps",
    "The suggested slack is better than the default slack, 0.2",
)


def short(results: Path) -> str:
    """The main claims, by language: difference, verdict, seeds (scores.csv)."""
    scores = Scores(results)
    ends = (min(scores.size.ct_steps), max(scores.size.ct_steps))
    found = {(claim.language, claim.text): claim for claim in claims(scores)}
    lines, seeds = [], []
    said = [text % ends if "%d" in text else text for text in FIRST]
    for text in said:
        of = [found.get((language, text)) for language in scores.languages]
        if any(of):  # with one CT budget there is no claim of a fall
            lines.append([text, *map(_said, of)])
        seeds += [claim.found.seeds for claim in of if claim and claim.found]
    return noted(table(["claim", *map(name_of, scores.languages)], lines), seeds)


def _said(claim: Claim | None) -> str:
    """Return what the rows say of a claim."""
    if claim is None or claim.found is None:
        return f"not measured{f': {claim.note}' if claim and claim.note else ''}"
    note = f"; {claim.note}" if claim.note else ""
    return f"{signed(claim.found.interval)} {claim.verdict} ({claim.found.seeds}{note})"


def same_bits(results: Path) -> str:
    """Items right minus those of task arithmetic at the same bits per byte (scores.csv)."""
    scores, lines, seeds = Scores(results), [], []
    dial = ct_dial(scores)
    slacks = {part: f"slack {slack:g}" for slack, part in slack_dial(scores).items() if slack}
    names = {scores.part(name): TITLES[name] for name in MERGED if name != "task_arithmetic"}
    ours = scores.part("slack_ties")
    named = {part: f"slack_ties, {text}" for part, text in slacks.items()} | {
        part: title + (f", {slacks[ours]}" if part == ours else "") for part, title in names.items()
    }
    named |= {part: f"slack_ties, {weight_of(part)}" for part in ct_dial(scores, "slack_ties")[1:]}
    for language in scores.languages:
        for part, title in named.items():
            found = at_same_bits(scores, language, part, dial)
            by_skill = [
                at_same_bits(scores, language, part, dial, skill=skill).difference
                for skill in SKILLS
            ]
            whole = measured(found.difference)
            if not whole and not found.outside:
                continue
            bits = ratio_of(scores.bits(language, part))
            lines.append(
                [
                    *(name_of(language), title, value_of(bits), shown_signed(whole)),
                    *(_mean(one) for one in by_skill),
                    *(str(whole.seeds if whole else 0), found.note),
                ]
            )
            seeds += [whole.seeds] if whole else []
    head = ["language", "model", "bits per byte", "difference", *(f"`{s}`" for s in SKILLS)]
    return noted(table([*head, "seeds", "seeds left out"], lines), seeds)


def _mean(vectors: Vectors) -> str:
    """Return a difference without its interval; nothing without rows, or items of a skill."""
    found = [one.mean() for one in vectors.values() if len(one)]
    return f"{sum(found) / len(found):+.2f}" if found else ""


def picture(name: str, title: str) -> str:
    """Return a figure of docs/evidence/ as Markdown; nothing if it was not drawn."""
    path = RESULTS.parents[2] / "docs" / "evidence" / f"{name}.svg"
    return f"![{title}](evidence/{name}.svg)\n\n" if path.is_file() else ""


def bits_cost(results: Path) -> str:
    """How many times another model's bits per byte those of slack_ties are (scores.csv)."""
    scores, lines = Scores(results), []
    steps = scores.size.ct_steps
    for language in scores.languages:
        for name in ("ct", "ties_sum", "ties", "task_arithmetic", "ct_then_sft"):
            found = [
                ratio_of(
                    added(
                        (1, scores.bits(language, scores.part("slack_ties", ct=ct))),
                        (-1, scores.bits(language, scores.part(name, ct=ct))),
                    )
                )
                for ct in steps
            ]
            if any(found):
                cells_of = [f"{ratio(f.interval)} (seeds: {f.seeds})" if f else "" for f in found]
                lines.append([name_of(language), TITLES[name], *cells_of])
    return table(["language", "divided by", *(f"{ct} CT steps" for ct in steps)], lines)


def more_ct(results: Path) -> str:
    """Items right (bits per byte) as CT grows, at defaults (scores.csv)."""
    scores = Scores(results)
    names = ("ct", "ct_then_sft", "ties", "ties_sum", "slack_ties", "task_arithmetic")
    lines = []
    for language in scores.languages:
        for ct in scores.size.ct_steps:
            found = [with_bits(scores, language, scores.part(name, ct=ct)) for name in names]
            if any(found):
                lines.append([name_of(language), str(ct), *found])
    return table(["language", "CT steps", *(TITLES[name] for name in names)], lines)


def scarce(results: Path) -> str:
    """Items right (bits per byte) by the number of SFT items, at defaults (scores.csv)."""
    scores = Scores(results)
    names = ("sft", "ct_then_sft", "ties", "ties_sum", "slack_ties", "task_arithmetic")
    lines = []
    for language in scores.languages:
        for items in scores.size.sft_items:
            found = [with_bits(scores, language, scores.part(name, sft=items)) for name in names]
            if any(found):
                lines.append([name_of(language), str(items), *found])
    return table(["language", "SFT items", *(TITLES[name] for name in names)], lines)


TABLES = (
    *(cells, short, main_table, skills, same_bits, bits_cost, more_ct, scarce, defaults),
    *(suggestions, links, tuned_table, candidates, confirmed, begins, unseen, verdicts),
)


def main() -> None:
    """Print the tables of a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", nargs="?", default="full")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of all results")
    chosen = parser.parse_args()
    results: Path = chosen.results / chosen.size
    if not (results / "versions.json").is_file():
        there = os.path.relpath(results)
        parser.error(f"no results in {there}: python experiments/real/run.py {chosen.size}")
    for made in TABLES:
        print(f"\n## {made.__doc__}\n\n{made(results)}")


if __name__ == "__main__":
    main()
