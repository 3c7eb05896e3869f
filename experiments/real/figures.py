"""The figures of docs/evidence.md about real models, from the rows.

`python experiments/real/figures.py` draws them into docs/evidence/, those of another size beside
its rows; the same rows and the same matplotlib give the same files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.drawing import COLOURS, OUT, save_all
from real.curves import ct_dial, slack_dial, weight_of
from real.scores import ALL, TITLES, Part, Scores
from real.sizes import BLOCK
from real.skills import SKILLS
from real.tables import RESULTS

__all__ = ["FIGURES", "draw"]

POINTS = ("ties", "trimmed", "linear", "dare_ties", "layer_swap", "widen", "ct_then_sft", "ct")


def dials(scores: Scores) -> Figure | None:
    """Draw items right against bits per byte: two dials, and other merges beside them."""
    panels = _panels(scores)
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 4), squeeze=False)
    slacks = {f"{slack:g}": part for slack, part in slack_dial(scores).items()}
    weights = {weight_of(part)[10:]: part for part in ct_dial(scores)}
    ours = {weight_of(part)[10:]: part for part in ct_dial(scores, "slack_ties")}
    others = {name: scores.part(name) for name in (*POINTS, "sft")}
    for panel, language in zip(axes[0], panels, strict=True):
        drawn = _Drawn.of(
            scores,
            language,
            [*slacks.values(), *weights.values(), *ours.values(), *others.values()],
        )
        _dial(panel, drawn, slacks, "slack", "slack_ties, by slack")
        _dial(panel, drawn, ours, "slack_ties", "slack_ties, by the CT model's weight")
        title = "task arithmetic, by the CT model's weight"
        _dial(panel, drawn, weights, "task_arithmetic", title)
        for name in POINTS:
            if point := drawn.points.get(others[name]):
                panel.scatter(*point, color=COLOURS[name], s=28, label=TITLES[name])
        if point := drawn.points.get(others["sft"]):
            beside = f"{TITLES['sft']} ({point[0]:.2f} bits)"
            panel.axhline(point[1], color=COLOURS["sft"], ls="--", lw=1, label=beside)
        panel.set_title(drawn.title)
        panel.set_xlabel("bits per byte of text in the language")
    axes[0][0].set_ylabel("items right")
    _legend(figure, axes[0], 3)
    return figure


def skills(scores: Scores) -> Figure | None:
    """Draw items right by skill, asked in the language."""
    panels = _panels(scores)
    names = [
        name
        for name in ("sft", "ct_then_sft", "slack_ties", "task_arithmetic", "ties_sum", "ties")
        if any(scores.right(language, scores.part(name)) for language in panels)
    ]
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 2.6 * len(panels)), squeeze=False)
    width = 0.85 / len(names)
    for panel, language in zip(axes[:, 0], panels, strict=True):
        for number, name in enumerate(names):
            for place, skill in enumerate(SKILLS):
                right = scores.right(language, scores.part(name), skill=skill)
                shares = [one.mean() for one in right.values() if len(one)]
                at = place + width * (number - (len(names) - 1) / 2)
                label = TITLES[name] if place == 0 else None
                height = float(np.mean(shares)) if shares else 0.0
                panel.bar(at, height, 0.9 * width, color=COLOURS[name], label=label)
        panel.set_xticks(range(len(SKILLS)), SKILLS)
        panel.set_title(language)
        panel.set_ylabel("items right")
    _legend(figure, axes[:, 0], 3)
    return figure


def more_ct(scores: Scores) -> Figure | None:
    """Draw items right and bits per byte as CT grows, merges at their defaults."""
    tokens = [ct * BLOCK * scores.size.ct_batch for ct in scores.size.ct_steps]
    names = ("slack_ties", "task_arithmetic", "ties_sum", "ties", "ct_then_sft")

    def part_of(name: str, number: int) -> Part:
        return scores.part(name, ct=scores.size.ct_steps[number])

    labels = [f"{many / 1e6:.2g} M" for many in tokens]
    return _lines(scores, names, part_of, tokens, labels, "tokens of continual pre-training")


def scarce(scores: Scores) -> Figure | None:
    """Draw items right and bits per byte by the number of SFT items."""
    items = scores.size.sft_items
    names = ("slack_ties", "task_arithmetic", "ties_sum", "ties", "ct_then_sft", "sft")

    def part_of(name: str, number: int) -> Part:
        return scores.part(name, sft=items[number])

    return _lines(scores, names, part_of, items, [f"{many}" for many in items], "SFT items")


def _lines(
    scores: Scores,
    names: Sequence[str],
    part_of: Callable[[str, int], Part],
    places: Sequence[int],
    labels: Sequence[str],
    title: str,
) -> Figure | None:
    """Draw two rows of panels over budgets; nothing if no language has two of them."""
    panels = _panels(scores)
    figure, rows = plt.subplots(2, len(panels), figsize=(8, 5), sharex=True, squeeze=False)
    budgets = 0
    for above, below, language in zip(*rows, panels, strict=True):
        parts = {name: [part_of(name, number) for number in range(len(places))] for name in names}
        drawn = _Drawn.of(scores, language, [part for some in parts.values() for part in some])
        for name in names:
            points = [drawn.points.get(part) for part in parts[name]]
            known = [(at, *point) for at, point in zip(places, points, strict=True) if point]
            budgets = max(budgets, len(known))
            if known:
                at, bits, right = zip(*known, strict=True)
                style = {"color": COLOURS[name], "marker": "o", "markersize": 3}
                above.plot(at, right, label=TITLES[name], **style)
                if name != "sft":  # twice the others'
                    below.plot(at, bits, **style)
        above.set_title(drawn.title)
        below.set_xscale("log")
        below.set_xticks(places, labels)
        below.minorticks_off()
        below.set_xlabel(title)
    rows[0][0].set_ylabel("items right")
    rows[1][0].set_ylabel("bits per byte")
    _legend(figure, rows[0], 3)
    if budgets < 2:  # noqa: PLR2004
        plt.close(figure)
        return None
    return figure


@dataclass(frozen=True)
class _Drawn:
    """What a panel shows: means over the seeds that all of its points have."""

    title: str
    points: dict[Part, tuple[float, float]]  # bits per byte, items right

    @classmethod
    def of(cls, scores: Scores, language: str, parts: Sequence[Part]) -> _Drawn:
        """Return the points of those models that have rows."""
        right = {part: scores.right(language, part) for part in parts}
        right = {part: by_seed for part, by_seed in right.items() if by_seed}
        seeds = sorted(set.intersection(*map(set, right.values()))) if right else []
        points = {}
        for part in right if seeds else ():
            bits = scores.bits(language, part)
            shares = [float(right[part][seed].mean()) for seed in seeds]
            mean_bits = np.exp(np.mean([float(bits[seed].mean()) for seed in seeds]))
            points[part] = float(mean_bits), float(np.mean(shares))
        return cls(f"{language}, seeds: {len(seeds)}", points)


def _dial(axes: Axes, drawn: _Drawn, dial: dict[str, Part], name: str, title: str) -> None:
    """Draw a curve whose points are labelled; nothing without rows."""
    known = {label: drawn.points[part] for label, part in dial.items() if part in drawn.points}
    if not known:
        return
    bits, right = zip(*known.values(), strict=True)
    axes.plot(bits, right, color=COLOURS[name], marker="o", markersize=4, label=title)
    for label, point in known.items():
        axes.annotate(label, point, (3, -9), textcoords="offset points", fontsize=7)


def _panels(scores: Scores) -> list[str]:
    return [language for language in scores.languages if language != ALL]


def _legend(figure: Figure, panels: Sequence[Axes], columns: int) -> None:
    """Put one legend below all panels, of all that some of them have."""
    made: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        made |= dict(zip(labels, handles, strict=True))
    figure.legend(made.values(), made.keys(), loc="outside lower center", ncols=columns)


FIGURES: dict[str, Callable[[Scores], Figure | None]] = {
    "real_dials": dials,
    "real_skills": skills,
    "real_more_ct": more_ct,
    "real_scarce": scarce,
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw every figure of which there are rows into `out`, and return their paths."""
    scores = Scores(results)
    every = FIGURES.items() if scores.languages else ()
    return save_all(((name, partial(of, scores)) for name, of in every), out)


def main() -> None:
    """Draw the figures of a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", nargs="?", default="full")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of all results")
    parser.add_argument("--out", type=Path, help="folder for the figures; of full docs/evidence")
    chosen = parser.parse_args()
    results: Path = chosen.results / chosen.size
    if not (results / "versions.json").is_file():
        parser.error(f"no results: python experiments/real/run.py {chosen.size}")
    for path in draw(results, chosen.out or (OUT if chosen.size == "full" else results)):
        print(path)


if __name__ == "__main__":
    main()
