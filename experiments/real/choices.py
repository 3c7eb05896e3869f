"""The tables about choices: of parameters, by the report, on the validation split, of a rule."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np

from common.markup import signed, table
from common.rows import read_rows, right_of
from real.advice import Advice
from real.curves import beside_curve, ct_dial, slack_dial, weight_of
from real.effects import LIMITS, TUNED, tuned
from real.methods import DENSITIES
from real.rows import Row
from real.scores import TITLES, Part, Scores, measured, ratio_of
from real.shown import difference, name_of, noted, shown, shown_signed, value_of

__all__ = ["candidates", "confirmed", "defaults", "links", "suggestions", "tuned_table"]


def defaults(results: Path) -> str:
    """What each parameter does, the others at their defaults (scores.csv)."""
    scores, lines, seeds = Scores(results), [], []
    default = scores.part("slack_ties")
    for language in scores.languages:
        for title, part, beside in _parameters(scores):
            if part == default:
                continue
            right = measured(scores.right(language, part))
            held = measured(scores.right(language, part, split="validation"))
            if not right:
                continue
            bits, held_bits = (
                ratio_of(scores.bits(language, part, split=split))
                for split in ("test", "validation")
            )
            lines.append(
                [
                    *(name_of(language), title, shown(right), value_of(bits)),
                    *(f"{value_of(held)} ({value_of(held_bits)})" if held else "", ""),
                ]
            )
            lines[-1][-1] = difference(scores, language, part, beside)
            seeds.append(right.seeds)
    head = ["language", "changed", "items right", "bits per byte", "validation (bits per byte)"]
    return noted(table([*head, "minus the default"], lines), seeds)


def suggestions(results: Path) -> str:
    """What the report suggests, and what each slack gave: items right (bits per byte)."""
    scores = Scores(results)
    advice, dial = Advice(scores), slack_dial(scores)
    lines = []
    for (language, seed), (slack, effect) in sorted(advice.suggested.items()):
        found = []
        for tried, part in dial.items():
            right = scores.right(language, part).get(seed)
            bits = scores.bits(language, part).get(seed)
            text = ""
            if right is not None and bits is not None:
                text = f"{right.mean():.3f} ({np.exp(bits[0]):.3f})"
            found.append(f"**{text}**" if text and tried == slack else text)
        said = "none" if slack is None else f"{slack:g}"
        said += f" (in effect {effect:.2f})" if effect else ""
        lines.append([language, str(seed), said, *found])
    head = ["language", "seed", "suggested slack", *(f"slack {slack:g}" for slack in dial)]
    return table(head, lines)


def links(results: Path) -> str:
    """Rank correlation of the reports' figures with what was measured (reports.csv)."""
    advice = Advice(Scores(results))
    lines = []
    for name in advice.names:
        every, main = advice.link(name), advice.link(name, main=True)
        if every.merges:
            lines.append(
                [
                    f"`{name}`",
                    *(signed(one) if one else "" for one in (every.skill, every.bits)),
                    str(every.merges),
                    *(signed(one) if one else "" for one in (main.skill, main.bits)),
                    *(str(main.merges), str(every.groups)),
                ]
            )
    head = ["figure", "items right", "bits per byte", "merges"]
    return table(
        [*head, "items right, main budgets", "bits per byte, main budgets", "merges", "seeds"],
        lines,
    )


def tuned_table(results: Path) -> str:
    """Each method's best trial on the validation split, scored on the test split (scores.csv)."""
    scores, lines, seeds = Scores(results), [], []
    for language, limit in product(scores.languages, LIMITS):
        ours = tuned(scores, language, "slack_ties", limit)
        for name in TUNED:
            chosen = tuned(scores, language, name, limit)
            about = [name_of(language), f"{limit:g}", TITLES[name]]
            if not chosen:
                continue
            if not chosen.part:
                lines.append([*about, "no trial is within the limit", "", "", "", ""])
                continue
            right = measured(scores.right(language, chosen.part))
            beside = ""
            if ours and ours.part and name != "slack_ties":
                beside = difference(scores, language, ours.part, chosen.part)
            bits = value_of(ratio_of(scores.bits(language, chosen.part)))
            values = [weight_of(chosen.part), shown(right), bits, beside, str(chosen.seeds)]
            lines.append([*about, *values])
            seeds.append(chosen.seeds)
    head = ["language", "limit", "method", "chosen", "items right", "bits per byte"]
    return noted(table([*head, "slack_ties minus it", "seeds"], lines), seeds)


def candidates(results: Path) -> str:
    """Other rules on the validation split, beside task arithmetic (candidates.csv)."""
    return _other_rules(results, "validation")


def confirmed(results: Path) -> str:
    """Those that did best there, on the test split (candidates.csv)."""
    return _other_rules(results, "test")


def _other_rules(results: Path, split: str) -> str:
    path = results / "candidates.csv"
    points: dict[tuple[str, str], dict[int, tuple[float, np.ndarray]]] = {}
    for row in read_rows(path, Row) if path.exists() else []:
        if isinstance(row.bits_per_byte, float) and row.split == split:
            right = right_of(row.right, row.items)
            points.setdefault((row.language, row.values), {})[row.seed] = row.bits_per_byte, right
    scores, lines, seeds = Scores(results), [], []
    for (language, rule), own in points.items():
        dial = [scores.points(language, part, split=split) for part in ct_dial(scores)]
        found = beside_curve(own, dial, language)
        shares = [right.mean() for _, right in own.values()]
        bits = np.exp(np.mean([np.log(bits) for bits, _ in own.values()]))
        beside = shown_signed(measured(found.difference))
        cells = [f"{np.mean(shares):.3f}", f"{bits:.3f}", beside, str(len(own)), found.note]
        lines.append([language, rule, *cells])
        seeds.append(len(own))
    head = ["language", "rule", "items right", "bits per byte"]
    made = table([*head, "minus task arithmetic at the same bits", "seeds", "left out"], lines)
    return noted(made, seeds)


def _parameters(scores: Scores) -> Iterable[tuple[str, Part, Part]]:
    """Yield what is changed, the model, and the one at the default."""
    default = scores.part("slack_ties")
    for slack, part in slack_dial(scores).items():
        yield f"slack {slack:g}", part, default
    for density in DENSITIES:
        values = default.values.replace("density=0.5", f"density={density:g}")
        yield f"density {density:g}", scores.part("slack_ties", values), default
    for name in ("slack_ties", "task_arithmetic", "ties_sum"):
        beside = scores.part(name)
        for part in ct_dial(scores, name)[1:]:
            yield f"{TITLES[name]}, {weight_of(part)}", part, beside
    yield "with division", scores.part("slack_ties_divided", default.values), default
    yield "TIES, with division", scores.part("ties"), scores.part("ties_sum")
