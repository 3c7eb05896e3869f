"""The tables of docs/evidence.md, as Markdown, from the committed rows.

`python experiments/saturation/tables.py [quick|full]` prints them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from beside import other_rules
from claims import TITLES, claims, difference, of_cells
from common.intervals import FEW
from common.markup import MISSING, plain, signed, table
from costs import election, lost_shares, perplexity_ratios
from intervals import Part, Scores
from markup import accuracy_of, perplexity_of
from methods import MERGES
from modes import WORDS_PER_STEP
from put_back import WHAT

__all__ = [
    "RESULTS",
    "TABLES",
    "election",
    "grid",
    "perplexity_ratios",
    "results_of",
]

RESULTS = Path(__file__).resolve().parent / "results"
QUESTIONS = {
    1: "Saturation and its cause",
    2: "What slack recovers",
    4: "Against CT, then SFT",
    5: "Three models",
}


def saturation(results: Path) -> str:
    """Accuracy in X as CT grows, of merges at their defaults (tests.csv, lost.csv)."""
    scores = Scores(results / "tests.csv")
    lost = lost_shares(results / "lost.csv")
    names = ("ties", "ties_sum", "slack_ties", "trimmed")
    lines = []
    for sft, ct in of_cells(scores):
        parts = [Part(name, "default", ((sft, ct),)) for name in names]
        cells = [_with_interval(scores, part) for part in parts]
        row = lost.get((sft, ct))
        share = [f"{row.ratio:.2f}", f"{row.important:.1%}"] if row else ["", ""]
        lines.append([sft, *_tokens(ct), *share, *cells])
    head = ["SFT data", "CT steps", "CT words", "CT / SFT delta", "important entries lost"]
    return table([*head, *(TITLES[name] for name in names)], lines)


def perplexity(results: Path) -> str:
    """Perplexity in X of the same merges, and of their parts (tests.csv)."""
    scores = Scores(results / "tests.csv")
    settings = [("ct", ""), ("sft", "tuned"), ("ct_then_sft", "tuned")]
    settings += [(name, "default") for name in ("ties", "ties_sum", "slack_ties", "trimmed")]
    lines = []
    for sft, ct in of_cells(scores):
        parts = [Part(*setting, ((sft, ct),)) for setting in settings]
        lines.append([sft, str(ct), *(perplexity_of(scores, [(1, p)]) for p in parts)])
    return table(["SFT data", "CT steps", *(TITLES[name] for name, _ in settings)], lines)


def put_back(results: Path) -> str:
    """Accuracy (perplexity) in X with entries changed (put_back.csv)."""
    scores = Scores(results / "put_back.csv")
    lines = []
    for sft, ct in of_cells(scores):
        for name in ("ties", "ties_sum", "trimmed"):
            parts = [Part(name, what, ((sft, ct),)) for what in WHAT]
            cells = [_with_perplexity(scores, part) for part in parts]
            lines.append([sft, str(ct), TITLES[name], *cells])
    return table(["SFT data", "CT steps", "merge", *WHAT], lines)


def methods(results: Path, sft: str, setting: str) -> str:
    """Every method over all CT budgets, beside slack_ties (tests.csv)."""
    scores = Scores(results / "tests.csv")
    cells = tuple(cell for cell in of_cells(scores) if cell[0] == sft)
    if not cells:
        return MISSING
    names = [(method.name, setting) for method in MERGES]
    names += [("ct_then_sft", setting), ("sft", setting)] if setting != "default" else []
    names += [("sft", "merged"), ("ct", "")]
    found = []
    for name, at in names:
        done = tuple(cell for cell in cells if scores.has(Part(name, at, (cell,))))
        if not done:
            continue
        of_x, of_e = (Part(name, at, done, language) for language in "xe")
        accuracy = scores.accuracy([(1, of_x)])
        effects = {cell: difference(("slack_ties", setting), (name, at), (cell,)) for cell in done}
        both = tuple(cell for cell, effect in effects.items() if scores.can(effect))
        beside = ""
        if both and name != "slack_ties":
            beside = signed(scores.accuracy(difference(("slack_ties", setting), (name, at), both)))
            beside += "" if both == done else f" (in {len(both)})"
        note = "" if done == cells else f" (in {len(done)} of {len(cells)} cells)"
        found.append(
            (
                accuracy.value,
                [
                    ("the SFT model that is merged" if at == "merged" else TITLES[name]) + note,
                    plain(accuracy),
                    f"{scores.perplexity([(1, of_x)]).value:.2f}",
                    accuracy_of(scores, [(1, of_e)]),
                    f"{_strict(scores, of_x):.3f}",
                    beside,
                ],
            )
        )
    head = ["method", "accuracy in X", "perplexity in X", "accuracy in E", "strict, in X"]
    lines = [line for _, line in sorted(found, key=lambda pair: -pair[0])]
    return table([*head, "slack_ties minus it"], lines)


def sensitivity(results: Path, sft: str, ct: int, *, normalize: bool) -> str:
    """Accuracy (perplexity) in X of slack_ties by slack and density (sensitivity.csv)."""
    found = grid(results, sft, ct, normalize=normalize)
    densities = sorted({density for density, _ in found})
    slacks = sorted({slack for _, slack in found})
    lines = [
        [f"{density:g}", *(_pair(found.get((density, slack))) for slack in slacks)]
        for density in densities
    ]
    return table(["density", *(f"slack {slack:g}" for slack in slacks)], lines)


def grid(
    results: Path, sft: str, ct: int, *, normalize: bool
) -> dict[tuple[float, float], tuple[float, float]]:
    """Return mean accuracy and perplexity over seeds by density and slack."""
    made: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for rows in Scores(results / "sensitivity.csv").rows.values():
        for row in rows:
            values = dict(part.split("=") for part in row.values.split())
            if (row.sft, row.ct, bool(int(values["normalize"]))) == (sft, ct, normalize):
                key = float(values["density"]), float(values["slack"])
                made.setdefault(key, []).append((row.accuracy, row.perplexity))
    return {
        key: (mean(a for a, _ in pairs), mean(p for _, p in pairs)) for key, pairs in made.items()
    }


def against_training(results: Path) -> str:
    """The tuned merges and CT, then SFT, in each cell (tests.csv)."""
    scores = Scores(results / "tests.csv")
    names = ("ct_then_sft", "slack_ties", "trimmed", "task_arithmetic")
    lines = []
    for cell in of_cells(scores):
        parts = [Part(name, "tuned", (cell,)) for name in names]
        values = [accuracy_of(scores, [(1, part)]) for part in parts]
        effects = [
            difference((name, "tuned"), ("ct_then_sft", "tuned"), (cell,))
            for name in ("slack_ties", "trimmed")
        ]
        beside = [signed(scores.accuracy(e)) if scores.can(e) else "" for e in effects]
        ratio = perplexity_of(scores, effects[0])
        lines.append([cell[0], str(cell[1]), *values, *beside, ratio])
    head = ["SFT data", "CT steps", *(TITLES[name] for name in names)]
    head += [f"{TITLES[name]} minus CT, then SFT" for name in ("slack_ties", "trimmed")]
    return table([*head, "slack_ties: ratio of perplexities"], lines)


def three(results: Path) -> str:
    """Two CT models and one SFT model: accuracy (perplexity) in each language (three.csv)."""
    scores = Scores(results / "three.csv")
    cells = of_cells(scores)
    settings = [(method.name, "default") for method in MERGES]
    settings.insert(3, ("slack_ties", "slack on all"))
    lines = []
    for name, setting in settings if cells else []:
        line = [TITLES[name] + (", slack on all" if setting != "default" else "")]
        for language in "xye":
            part = Part(name, setting, cells, language)
            line.append(_with_perplexity(scores, part, interval=True))
        for language in "xy":
            part = Part(name, f"{setting}, pair", cells, language)
            line.append(accuracy_of(scores, [(1, part)]))
        lines.append(line)
    head = ["method", "X", "Y", "E", "X, merged without Y", "Y, merged without X"]
    return table(head, lines)


def verdicts(results: Path) -> str:
    """Every claim, with its difference in accuracy, the 95 % interval and the verdict."""
    lines = [
        [
            QUESTIONS[found.claim.question],
            found.claim.text,
            signed(found.interval) if found.interval else "",
            found.verdict,
            f"{found.claim.file}.csv",
        ]
        for found in claims(results)
    ]
    return table(["question", "claim", "difference", "verdict", "rows"], lines)


def choices(results: Path) -> str:
    """The values that the validation split chose, by method and cell (tests.csv)."""
    lines = []
    for (name, setting, sft, ct, language), rows in sorted(
        Scores(results / "tests.csv").rows.items()
    ):
        if setting in {"tuned", "fluent"} and language == "x":
            lines.append([TITLES[name], sft, str(ct), setting, rows[0].values])
    return table(["method", "SFT data", "CT steps", "setting", "values"], lines)


def _strict(scores: Scores, part: Part) -> float:
    return mean(row.strict for rows in scores.of(part) for row in rows)


def _tokens(ct: int) -> tuple[str, str]:
    return str(ct), f"{ct * WORDS_PER_STEP / 1e6:.2f} M"


def _with_interval(scores: Scores, part: Part) -> str:
    return plain(scores.accuracy([(1, part)])) if scores.can([(1, part)]) else ""


def _with_perplexity(scores: Scores, part: Part, *, interval: bool = False) -> str:
    found = _with_interval(scores, part) if interval else accuracy_of(scores, [(1, part)])
    return f"{found} ({perplexity_of(scores, [(1, part)])})" if found else ""


def _pair(found: tuple[float, float] | None) -> str:
    return "{:.3f} ({:.2f})".format(*found) if found else ""


TABLES = (
    *(saturation, perplexity, put_back, election, perplexity_ratios),
    *(against_training, three, verdicts, choices),
)


def results_of(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> Path:
    """Return the folder of a mode's results; an error if there is none."""
    results: Path = chosen.results / chosen.mode
    if not results.is_dir():
        there = os.path.relpath(results)
        parser.error(f"no results in {there}: python experiments/saturation/run.py {chosen.mode}")
    return results


def main() -> None:
    """Print the tables of a mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", default="full")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of all results")
    chosen = parser.parse_args()
    results = results_of(parser, chosen)
    scores = Scores(results / "tests.csv")
    if len({row.seed for rows in scores.rows.values() for row in rows}) < FEW:
        print("Fewer than 3 seeds: intervals and verdicts are of these models, not of others.")
    for made in TABLES:
        print(f"\n## {made.__doc__}\n\n{made(results)}")
    for sft in sorted({sft for sft, _ in of_cells(scores)}):
        for setting in ("default", "tuned", "fluent"):
            print(f"\n## SFT data {sft}, {setting}\n\n{methods(results, sft, setting)}")
    for sft, ct in of_cells(Scores(results / "sensitivity.csv")):
        for normalize in (False, True):
            how = "divided" if normalize else "not divided"
            print(f"\n## {sft}, {ct} CT steps, {how}\n")
            print(sensitivity(results, sft, ct, normalize=normalize))
    print(f"\n## {other_rules.__doc__}\n\n{other_rules(results)}")


if __name__ == "__main__":
    main()
