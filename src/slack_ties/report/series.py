"""The series of a report that are drawn twice: on its page, and as PNG for the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.report.figures import Figures
from slack_ties.report.sentences import IMPORTANT
from slack_ties.rule.tally import CONFIG, TIES, TOPS

if TYPE_CHECKING:
    from slack_ties.report.report import Report

__all__ = ["Points", "config_slack", "lost_by_layer", "slack_curves"]

Points = list[tuple[float, float | None]]


def config_slack(report: Report) -> float | None:
    """Return the slack that the config gives the models that are varied, if it is one number."""
    slacks = {model.setting("slack", 0.0) for model in report.models if model.varied}
    return next(iter(slacks)) if len(slacks) == 1 else None


def lost_by_layer(report: Report, ours: str) -> list[tuple[str, Points, int]]:
    """Return, for the models that are varied or for all, what of their top 10 % is lost by layer.

    Each with its name, in which `ours` is what to call the config, and a number for its colour.
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
    """Return what each slack keeps of the first model that is varied, and what others lose by it.

    Each with its name; the second of the models that are not varied, in their order.
    """
    first = next(t for t, model in enumerate(report.models) if model.varied)
    points = Figures(report.total, first).curve()
    kept: list[tuple[str, Points]] = [
        (
            f"kept of the SFT model's top {100 * share:g} %",
            [(point.slack, point.top_kept[top]) for point in points],
        )
        for top, share in enumerate(TOPS)
        if top > 0  # the first two lie on each other
    ]
    lost: list[tuple[str, Points]] = [
        (
            f"lost of what {model.label} keeps",
            [(point.slack, point.lost) for point in Figures(report.total, t).curve()],
        )
        for t, model in enumerate(report.models)
        if not model.varied
    ]
    return kept, lost
