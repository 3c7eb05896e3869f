"""What the figures of docs/evidence.md have in common: colours, style, and how they are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

__all__ = ["COLOURS", "OUT", "save_all"]

OUT = Path(__file__).resolve().parents[2] / "docs" / "evidence"
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
    "ties": "#D55E00",
    "ties_sum": "#E69F00",
    "slack_ties": "#0072B2",
    "slack": "#88BBDD",
    "trimmed": "#009E73",
    "task_arithmetic": "#56B4E9",
    "dare_ties": "#CC79A7",
    "della": "#999999",
    "layer_swap": "#999999",
    "soup": "#F0E442",
    "linear": "#F0E442",
    "widen": "#8C564B",
    "ct_then_sft": "#000000",
    "sft": "#777777",
    "ct": "#BBBBBB",
}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
    "svg.hashsalt": "slack-ties",
    "svg.fonttype": "path",
    "figure.constrained_layout.use": True,
}


def save_all(figures: Iterable[tuple[str, Callable[[], Figure | None]]], out: Path) -> list[Path]:
    """Draw figures into NAME.svg in `out`, the same bytes each time, and return their paths.

    Args:
        figures: Names, and what draws each; one that returns None is left out.
        out: A folder; it is made.

    """
    mpl.use("svg")
    out.mkdir(parents=True, exist_ok=True)
    made = []
    with mpl.rc_context(STYLE):
        for name, figure_of in figures:
            if figure := figure_of():
                path = out / f"{name}.svg"
                figure.savefig(path, metadata={"Date": None, "Creator": None})
                plt.close(figure)
                made.append(path)
    return made
