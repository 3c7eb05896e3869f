"""The series of a report for both its page and the pictures of the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.report.figures import Figures
from slack_ties.report.rows import IMPORTANT
from slack_ties.report.slacks import slacks_of
from slack_ties.rule.tally import CONFIG, FIRST_OF_GRID, GRID, TIES, TOPS

if TYPE_CHECKING:
    from slack_ties.report.report import Report

__all__ = ["Points", "config_slack", "lost_by_layer", "slack_curves"]

Points = list[tuple[float, float | None]]


def config_slack(report: Report) -> float | None:
    """Return the config's slack for the varied models, if it is one number."""
    slacks = {model.setting("slack", 0.0) for model in report.models if model.varied}
    return next(iter(slacks)) if len(slacks) == 1 else None


def lost_by_layer(report: Report, ours: str) -> list[tuple[str, Points, int]]:
    """Return the lost share of the top 10 % by layer, for the varied models, or for all if none.

    Each series has its name, with `ours` as the name of the config, and a number for its colour.
    """
    varied = [place for place, model in enumerate(report.models) if model.varied]
    shown = varied or list(range(len(report.models)))
    return [
        (
            f"{report.models[t].label}, {name}" if len(shown) > 1 else name,
            [
                (layer, Figures(tally, t).top_lost(IMPORTANT, level))
                for layer, tally in report.layers.items()
            ],
            2 * i + k,
        )
        for i, t in enumerate(shown)
        for k, (name, level) in enumerate((("TIES (slack 0)", TIES), (ours, CONFIG)))
        if level == TIES or report.method == "slack_ties"
    ]


def slack_curves(report: Report) -> tuple[list[tuple[str, Points]], list[tuple[str, Points]]]:
    """Return what is lost of the SFT model at each slack, and what it costs each other model.

    Each series has its name. The first list is empty if no slack is varied; the second has the
    models that are not varied, in their order.
    """
    slacks = slacks_of(report)
    if slacks is None:
        return [], []
    lost: list[tuple[str, Points]] = [
        (
            f"lost of the SFT model's top {100 * share:g} %",
            [(step.slack, step.top_lost[top]) for step in slacks.steps],
        )
        for top, share in enumerate(TOPS)
        if top > 0  # the curves of the first two tops overlap
    ]
    levels = [TIES, *range(FIRST_OF_GRID, FIRST_OF_GRID + len(GRID))]
    cost: list[tuple[str, Points]] = [
        (
            f"cost: lost more of what {model.label} keeps",
            [
                (step.slack, Figures(report.inner, t).cost(level))
                for step, level in zip(slacks.steps, levels, strict=True)
            ],
        )
        for t, model in enumerate(report.models)
        if not model.varied
    ]
    return lost, cost
