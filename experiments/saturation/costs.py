"""What slack costs in perplexity, and what the election costs as more important entries lose."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np

from claims import TITLES, difference, of_cells
from common.intervals import Interval, correlation
from common.markup import MISSING, ratio, signed, table
from intervals import Part, Scores

__all__ = ["election", "lost_shares", "perplexity_ratios", "points"]


@dataclass(frozen=True)
class Lost:
    """A row of lost.csv: norm of the CT delta over the SFT delta's, important entries lost."""

    seed: int
    sft: str
    ct: int
    ratio: float
    important: float


Point = tuple[int, float, float]  # seed, share of important entries lost, accuracy lost


def perplexity_ratios(results: Path) -> str:
    """Perplexity in X of slack_ties, divided by that of others (tests.csv)."""
    scores = Scores(results / "tests.csv")
    cells = of_cells(scores)
    last = max((ct for _, ct in cells), default=0)
    lines = []
    for sft in sorted({sft for sft, _ in cells}):
        some = tuple(cell for cell in cells if cell[0] == sft)
        for setting in ("default", "tuned"):
            for name in ("ct", "ties", "ties_sum", "trimmed", "task_arithmetic"):
                one, other = ("slack_ties", setting), (name, "" if name == "ct" else setting)
                effects = [difference(one, other, at) for at in (some, ((sft, last),))]
                if all(scores.can(effect) for effect in effects):
                    found = [ratio(scores.perplexity(effect)) for effect in effects]
                    lines.append([sft, setting, TITLES[name], *found])
    head = ["SFT data", "setting", "divided by", "all CT budgets", f"{last} CT steps"]
    return table(head, lines)


def points(results: Path, sft: str) -> list[Point]:
    """Return, by seed and CT budget, the share of important entries lost and what that costs.

    The cost is the accuracy in X of trimmed task arithmetic, which has no election, minus that
    of TIES without division, which differs in nothing else; both at their defaults.
    """
    scores = Scores(results / "tests.csv")
    found = []
    for row in _lost(results / "lost.csv"):
        if row.sft != sft:
            continue
        seed, ct, lost = row.seed, row.ct, row.important
        parts = [Part(name, "default", ((sft, ct),)) for name in ("trimmed", "ties_sum")]
        if all(scores.has(part) for part in parts):
            right = [{row.seed: row.accuracy for row in scores.of(part)[0]} for part in parts]
            if all(seed in of for of in right):
                found.append((seed, lost, right[0][seed] - right[1][seed]))
    return found


def election(results: Path) -> str:
    """What the election costs, and its correlation with entries lost (tests.csv, lost.csv)."""
    scores = Scores(results / "tests.csv")
    cells = of_cells(scores)
    last = max((ct for _, ct in cells), default=0)
    lines = []
    for sft in sorted({sft for sft, _ in cells}):
        found = points(results, sft)
        at_last = difference(("trimmed", "default"), ("ties_sum", "default"), ((sft, last),))
        if found and scores.can(at_last):
            link = _link(found)
            said = signed(link) if link else MISSING
            lines.append([sft, signed(scores.accuracy(at_last)), said, str(len(found))])
    head = ["SFT data", f"accuracy lost at {last} CT steps", "correlation", "models"]
    return table(head, lines)


def _link(found: list[Point]) -> Interval | None:
    seeds, shares, drops = (np.array(column) for column in zip(*found, strict=True))
    varies = len(set(shares)) > 1 and len(set(drops)) > 1
    return correlation(seeds, shares, drops) if varies else None


def lost_shares(path: Path) -> dict[tuple[str, int], Lost]:
    """Return the means over seeds of lost.csv, by SFT data and CT steps; none without it."""
    cells: dict[tuple[str, int], list[Lost]] = {}
    for row in _lost(path):
        cells.setdefault((row.sft, row.ct), []).append(row)
    return {
        cell: replace(
            rows[0],
            ratio=mean(row.ratio for row in rows),
            important=mean(row.important for row in rows),
        )
        for cell, rows in cells.items()
    }


def _lost(path: Path) -> list[Lost]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Lost(
                int(line["seed"]),
                line["sft"],
                int(line["ct"]),
                ratio=float(line["ratio"]),
                important=float(line["top_lost"]),
            )
            for line in csv.DictReader(file)
        ]
