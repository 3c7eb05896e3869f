"""The figures of docs/evidence.md, from the committed rows.

`python experiments/saturation/figures.py` draws them into docs/evidence/, those of another mode
beside its rows; the same rows and the same matplotlib give the same files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from claims import TITLES, of_cells
from common.drawing import COLOURS, OUT, save_all
from costs import lost_shares
from intervals import Part, Scores
from methods import MERGES
from modes import WORDS_PER_STEP
from tables import RESULTS, grid, results_of

__all__ = ["FIGURES", "draw"]


def saturation(results: Path) -> Figure:
    """Draw accuracy in X as CT grows, and the important entries that the election removes."""
    scores, lost = Scores(results / "tests.csv"), lost_shares(results / "lost.csv")
    budgets = _budgets(scores)
    figure, rows = plt.subplots(
        2,
        len(budgets),
        figsize=(8, 5),
        sharex=True,
        sharey="row",
        height_ratios=(3, 1.2),
        squeeze=False,
    )
    for axes, below, (sft, cts) in zip(*rows, budgets.items(), strict=True):
        for name in ("slack_ties", "task_arithmetic", "trimmed", "ties_sum", "ties"):
            _line(axes, scores, name, "default", sft, cts)
        axes.set_title(f"SFT data: {sft}")
        counted = [ct for ct in cts if (sft, ct) in lost]
        shares = [100 * lost[sft, ct].important for ct in counted]
        below.plot(_words(counted), shares, color="#555555", marker="o", markersize=3)
        _mark_budgets(below, cts)
    rows[0][0].set_ylabel("accuracy in X")
    rows[1][0].set_ylabel("important SFT\nentries lost, %")
    _legend(figure, rows[0][0], 3)
    return figure


def put_back(results: Path) -> Figure:
    """Draw what putting lost entries back does, beside as many others."""
    scores = Scores(results / "put_back.csv")
    last = max(ct for _, ct in of_cells(scores))
    cells = [cell for cell in of_cells(scores) if cell[1] == last]
    figure, axes = plt.subplots(1, len(cells), figsize=(8, 3), sharey=True, squeeze=False)
    kinds = {"as merged": "#bbbbbb", "lost": "#0072B2", "random": "#E69F00", "kept": "#009E73"}
    for panel, cell in zip(axes[0], cells, strict=True):
        for place, name in enumerate(("ties", "ties_sum")):
            for number, (what, colour) in enumerate(kinds.items()):
                at, label = place + 0.2 * (number - 1.5), what if place == 0 else ""
                _bar(panel, scores, Part(name, what, (cell,)), (at, 0.18), colour, label)
        panel.set_xticks([0, 1], [TITLES["ties"], TITLES["ties_sum"]])
        panel.set_title(f"SFT data: {cell[0]}, {last} CT steps")
    axes[0][0].set_ylabel("accuracy in X")
    _legend(figure, axes[0][0], 4, "put back")
    return figure


def methods(results: Path) -> Figure:
    """Draw accuracy against perplexity in X, over all CT budgets."""
    scores = Scores(results / "tests.csv")
    budgets = _budgets(scores)
    figure, axes = plt.subplots(1, len(budgets), figsize=(8, 4), squeeze=False)
    names = [*(method.name for method in MERGES), "ct_then_sft"]
    for panel, (sft, cts) in zip(axes[0], budgets.items(), strict=True):
        cells = tuple((sft, ct) for ct in cts)
        for name in names:
            for setting, marker in (("default", "o"), ("tuned", "*"), ("fluent", "D")):
                part = Part(name, setting, cells)
                if scores.can([(1, part)]):
                    panel.scatter(
                        scores.perplexity([(1, part)]).value,
                        scores.mean_accuracy([(1, part)]),
                        marker=marker,
                        s=70 if marker == "*" else 26,
                        color=COLOURS[name],
                        edgecolors="#333333",
                        linewidths=0.4,
                        label=TITLES[name] if setting == "tuned" else None,
                    )
        panel.set_title(f"SFT data: {sft}")
        panel.set_xlabel("perplexity in X")
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
    axes[0][0].set_ylabel("accuracy in X")
    _legend(figure, axes[0][0], 5)
    return figure


def sensitivity(results: Path) -> Figure:
    """Draw accuracy and perplexity in X over slack, for each density, without division."""
    cells = of_cells(Scores(results / "sensitivity.csv"))
    figure, axes = plt.subplots(2, len(cells), figsize=(9, 4.6), sharex=True, squeeze=False)
    for number, (sft, ct) in enumerate(cells):
        found = grid(results, sft, ct, normalize=False)
        densities = sorted({density for density, _ in found})
        for density in densities:
            slacks = sorted(slack for other, slack in found if other == density)
            shade = mpl.colormaps["viridis"](0.9 * densities.index(density) / len(densities))
            for row in (0, 1):
                values = [found[density, slack][row] for slack in slacks]
                axes[row][number].plot(
                    slacks, values, color=shade, marker="o", markersize=3, label=f"{density:g}"
                )
        axes[0][number].set_title(f"{sft}, {ct} CT steps")
        axes[1][number].set_xlabel("slack")
    axes[0][0].set_ylabel("accuracy in X")
    axes[1][0].set_ylabel("perplexity in X")
    _legend(figure, axes[0][0], 4, "density")
    return figure


def against_training(results: Path) -> Figure:
    """Draw the tuned merges beside CT, then SFT, as CT grows."""
    scores = Scores(results / "tests.csv")
    budgets = _budgets(scores)
    figure, axes = plt.subplots(1, len(budgets), figsize=(8, 3.4), sharey=True, squeeze=False)
    for panel, (sft, cts) in zip(axes[0], budgets.items(), strict=True):
        for name in ("ct_then_sft", "slack_ties", "trimmed", "sft"):
            _line(panel, scores, name, "tuned", sft, cts)
        panel.set_title(f"SFT data: {sft}")
        _mark_budgets(panel, cts)
    axes[0][0].set_ylabel("accuracy in X")
    _legend(figure, axes[0][0], 4)
    return figure


def three(results: Path) -> Figure:
    """Draw merges of two CT models and one SFT model, at their defaults."""
    scores = Scores(results / "three.csv")
    cells = of_cells(scores)
    kinds = [("slack_ties", "default", TITLES["slack_ties"], COLOURS["slack_ties"])]
    kinds += [("slack_ties", "slack on all", "slack_ties, slack on all", "#bbbbbb")]
    kinds += [
        (name, "default", TITLES[name], COLOURS[name])
        for name in ("task_arithmetic", "trimmed", "ties_sum", "ties")
    ]
    figure, axes = plt.subplots(figsize=(8, 3))
    for number, (name, setting, title, colour) in enumerate(kinds):
        for place, language in enumerate("xye"):
            at, label = place + 0.14 * (number - 2.5), title if place == 0 else ""
            _bar(axes, scores, Part(name, setting, cells, language), (at, 0.13), colour, label)
    axes.set_xticks([0, 1, 2], ["X", "Y", "E"])
    axes.set_ylabel("accuracy")
    _legend(figure, axes, 3)
    return figure


def _legend(figure: Figure, axes: Axes, columns: int, title: str | None = None) -> None:
    """Put the legend of one panel below all of them."""
    made = axes.get_legend_handles_labels()
    figure.legend(*made, loc="outside lower center", ncols=columns, title=title)


def _bar(
    axes: Axes, scores: Scores, part: Part, place: tuple[float, float], colour: str, label: str
) -> None:
    """Draw an accuracy at a place of some width, with its interval; nothing without rows."""
    if not scores.can([(1, part)]):
        return
    found = scores.accuracy([(1, part)])
    at, width = place
    # With few and skewed draws, a percentile interval may not contain the estimate.
    error = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
    thin = {"linewidth": 0.8}
    axes.bar(
        *(at, found.value, width),
        yerr=error,
        color=colour,
        ecolor="#444444",
        error_kw=thin,
        label=label or None,
    )


def _line(axes: Axes, scores: Scores, name: str, setting: str, sft: str, cts: list[int]) -> None:
    """Draw a method's accuracy over CT budgets, with a band for the interval."""
    parts = {ct: Part(name, setting, ((sft, ct),)) for ct in cts}
    scored = [ct for ct, part in parts.items() if scores.can([(1, part)])]
    found = [scores.accuracy([(1, parts[ct])]) for ct in scored]
    words, colour = _words(scored), COLOURS[name]
    axes.plot(
        words, [f.value for f in found], color=colour, marker="o", markersize=3, label=TITLES[name]
    )
    axes.fill_between(
        words, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.15
    )


def _mark_budgets(axes: Axes, cts: list[int]) -> None:
    """Label a logarithmic axis with the budgets themselves."""
    words = _words(cts)
    axes.set_xscale("log")
    axes.set_xticks(words, [f"{many / 1e6:.2g}" for many in words])
    axes.minorticks_off()
    axes.set_xlabel("millions of words of continual pre-training")


def _words(cts: list[int]) -> list[int]:
    return [ct * WORDS_PER_STEP for ct in cts]


def _budgets(scores: Scores) -> dict[str, list[int]]:
    """Return the CT budgets of each kind of SFT data."""
    made: dict[str, list[int]] = {}
    for sft, ct in of_cells(scores):
        made.setdefault(sft, []).append(ct)
    return made


# The file that a figure needs, and the function that draws it.
FIGURES: dict[str, tuple[str, Callable[[Path], Figure]]] = {
    "saturation": ("tests", saturation),
    "put_back": ("put_back", put_back),
    "methods": ("tests", methods),
    "sensitivity": ("sensitivity", sensitivity),
    "against_training": ("tests", against_training),
    "three": ("three", three),
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw every figure of which there are rows into `out`, and return their paths."""
    drawn = (
        (name, partial(figure_of, results))
        for name, (file, figure_of) in FIGURES.items()
        if Scores(results / f"{file}.csv").rows
    )
    return save_all(drawn, out)


def main() -> None:
    """Draw the figures of a mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", default="full")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of all results")
    parser.add_argument("--out", type=Path, help="folder for the figures; of full docs/evidence")
    chosen = parser.parse_args()
    results = results_of(parser, chosen)
    out = chosen.out or (OUT if chosen.mode == "full" else results)
    for path in draw(results, out):
        print(path)


if __name__ == "__main__":
    main()
