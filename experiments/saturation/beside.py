"""Other rules beside task arithmetic at the same perplexity, from the rows of `rules.py`.

Task arithmetic's curve has a point for each weight of the CT model. A rule is compared with the
point of the curve that has the same perplexity. The logarithm of the perplexity, to the base 2, is
bits per word: between two neighbours of the curve it is taken to be straight.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.curves import Beside, Point, beside_curve
from common.intervals import bootstrap
from common.markup import signed, table
from common.rows import right_of
from intervals import Matrix
from rows import Row, read_rows

__all__ = ["other_rules"]

Cell = tuple[str, int]  # SFT data, CT steps
Model = tuple[str, str]  # method, values
TITLES = {
    "task_arithmetic": "task arithmetic",
    "slack_ties": "slack_ties",
    "conflicts": "the rule",
}


def other_rules(results: Path) -> str:
    """Accuracy in X on the validation split, minus task arithmetic's at the same perplexity."""
    path = results / "rules.csv"
    rows = read_rows(path) if path.exists() else []
    points: dict[Model, dict[Cell, dict[int, Point]]] = {}
    for row in rows:
        of_cell = points.setdefault((row.method, row.values), {}).setdefault((row.sft, row.ct), {})
        of_cell[row.seed] = float(np.log2(row.perplexity)), right_of(row.right, row.items)
    cells = sorted({(row.sft, row.ct) for row in rows})
    lines = []
    for model in points:
        own = [row for row in rows if (row.method, row.values) == model]
        beside = {cell: _beside(points, model, cell) for cell in cells}
        shown = [_difference([beside[cell]]) for cell in cells]
        line = [_title(model), *_means(own), _difference([*beside.values()]), *shown]
        lines.append([*line, str(len({row.seed for row in own})), _outside([*beside.values()])])
    head = ["model", "accuracy in X", "perplexity in X", "minus task arithmetic, all"]
    return table([*head, *(f"{sft}, {ct}" for sft, ct in cells), "seeds", "outside"], lines)


def _beside(points: dict[Model, dict[Cell, dict[int, Point]]], model: Model, cell: Cell) -> Beside:
    """Return a model minus task arithmetic in a cell; nothing of task arithmetic itself."""
    if model[0] == "task_arithmetic":
        return Beside({})
    curve = [of.get(cell, {}) for (name, _), of in points.items() if name == "task_arithmetic"]
    return beside_curve(points[model].get(cell, {}), curve)


def _difference(parts: list[Beside]) -> str:
    """Return the mean over cells, with its interval over seeds and tasks.

    By seed it is the mean over the cells in which its point lies within the curve.
    """
    seeds = sorted({seed for part in parts for seed in part.difference})
    if not seeds:
        return ""
    found: list[Matrix] = [
        np.mean([part.difference[seed] for part in parts if seed in part.difference], axis=0)
        for seed in seeds
    ]
    return signed(bootstrap(np.stack(found)))


def _outside(parts: list[Beside]) -> str:
    """Return in how many cells of how many a seed's point lies outside the curve."""
    outside = sum(len(part.outside) for part in parts)
    every = outside + sum(len(part.difference) for part in parts)
    return f"{outside} of {every}" if outside else ""


def _means(rows: list[Row]) -> tuple[str, str]:
    """Return the mean accuracy and the geometric mean of perplexities."""
    perplexity = np.exp(np.mean([np.log(row.perplexity) for row in rows]))
    return f"{np.mean([row.accuracy for row in rows]):.3f}", f"{perplexity:.2f}"


def _title(model: Model) -> str:
    method, values = model
    held = dict(part.split("=") for part in values.split())
    share = f", CT x {held['share']} at conflicts" if "share" in held else ""
    return f"{TITLES[method]}{share}, CT weight {held['ct_weight']}"
