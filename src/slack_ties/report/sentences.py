"""Describe the figures of a report in a few sentences, by the rules in docs/report.md.

A sentence tells what was counted in the weights, never how good the merged model is: only a test
of the model tells that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.report.figures import Figures, cosine
from slack_ties.rule.tally import CONFIG, FIRST_OF_GRID, GRID, KEPT, NONZERO, RESCUED, TIES, TOPS

if TYPE_CHECKING:
    from slack_ties.report.report import Report

__all__ = ["IMPORTANT", "Reading", "percent", "read_figures", "times"]

IMPORTANT = TOPS.index(0.1)  # the top for sentences and pictures

PROTECTED_TOP = TOPS.index(0.2)  # the top that a suggested slack must keep: see docs/method.md

LITTLE = 0.01  # a loss up to this share needs no slack

# A slack is suggested only if the CT model loses at most this share of its kept entries.
# Independent deltas have opposite signs in half of the entries, so slack s costs at most s / 2:
# 0.1 for slack 0.2.
COST = 0.125

OFF = 0.02  # if a density or slack differs by more, a sentence says so

SPREAD = 0.02  # if layers differ by less, they are treated as equal

FLIPPED = 0.1  # if a cosine is below minus this, the sentence says so


@dataclass(frozen=True)
class Reading:
    """Sentences, and a slack if the rule suggests one."""

    sentences: tuple[str, ...]
    slack: float | None = None
    of_slack: str = ""  # the caption of the picture of the slacks
    of_losses: str = ""  # the caption of the picture of the losses of TIES


def percent(share: float | None) -> str:
    """Return a share for people; a small share is not rounded to 0."""
    if share is None:
        return "-"
    if 0 < share < 0.001:  # noqa: PLR2004 - what would be shown as 0.1 % or 0.0 %
        return "less than 0.1 %"
    number = 100 * share
    return f"{number:.0f} %" if number >= 10 or number == 0 else f"{number:.1f} %"  # noqa: PLR2004


def times(number: float) -> str:
    """Return a factor for people."""
    return f"{number:.1f}" if number < 10 else f"{number:.0f}"  # noqa: PLR2004


def read_figures(report: Report) -> Reading:
    """Return three to six sentences about a report, and the slack that they suggest."""
    unchanged = [
        f"{model.label} does not differ from the base: there is nothing of it to merge."
        for position, model in enumerate(report.models)
        if Figures(report.total, position).count(NONZERO) == 0
    ]
    if len(report.models) == 1:
        figures = Figures(report.total, 0)
        return Reading(
            (
                f"{report.models[0].label} is the only model: nothing can be lost to the election.",
                (
                    f"Its delta has norm {figures.norm:.3g}; trimming keeps "
                    f"{percent(figures.density)} of the entries with "
                    f"{percent(figures.energy_kept)} of its energy."
                ),
                "A slack changes nothing here.",
                *unchanged,
            )
        )
    sft, ct = _chosen(report, "sft"), _chosen(report, "ct")
    if sft is None or ct is None:
        return Reading((*_without_roles(report), *unchanged))
    if unchanged:
        return Reading((*unchanged, *_without_roles(report)[:1], "No slack is suggested."))
    sizes, losses = _sizes(report, sft, ct), _losses(report, sft, ct)
    slack, why = _suggest(report, sft, ct)
    sentences = [sizes, *losses, _where(report, sft), _ties(report, sft), why]
    return Reading(
        tuple(filter(None, sentences)),
        slack,
        of_slack=losses[1] if len(losses) > 1 else why if slack == 0 else "",
        of_losses=f"{sizes} {losses[0]}",
    )


def _chosen(report: Report, role: str) -> int | None:
    """Return the position of the model with the largest delta among those with a role."""
    positions = report.of_role(role)
    return max(positions, key=lambda position: Figures(report.total, position).norm, default=None)


def _without_roles(report: Report) -> list[str]:
    """Describe models whose roles are not known."""
    total, models = report.total, report.models
    losing = max(
        range(len(models)), key=lambda t: Figures(total, t).top_lost(IMPORTANT, TIES) or 0.0
    )
    share = Figures(total, losing).top_lost(IMPORTANT, TIES)
    return [
        (
            "At slack 0 (plain TIES) the most is lost by "
            f"{models[losing].label}: {percent(share)} of its top-10 % entries."
        ),
        "The config does not say which model is the SFT model and which the CT model.",
        "So no slack is suggested, and none is varied.",
    ]


def _sizes(report: Report, sft: int, ct: int) -> str:
    one, other = Figures(report.total, ct), Figures(report.total, sft)
    angle = cosine(report.total, min(sft, ct), max(sft, ct))
    turned = "; they point against each other" if (angle or 0) < -FLIPPED else ""
    several = len(report.of_role("ct")) + len(report.of_role("sft")) > 2  # noqa: PLR2004 - a pair
    which = f" ({report.models[ct].label}, {report.models[sft].label})" if several else ""
    ratio = one.norm / other.norm
    size = f"{times(ratio)} times" if ratio >= 1 else f"{ratio:.2f} of"
    angle_text = f"{round(angle or 0, 2) + 0:.2f}"  # + 0: not -0.00
    return f"The CT delta is {size} the SFT delta{which}, with cosine {angle_text}{turned}."


def _losses(report: Report, sft: int, ct: int) -> list[str]:
    """Say what TIES loses, and how the config's slack changes that."""
    figures, other = Figures(report.total, sft), Figures(report.total, ct)
    lost = figures.top_lost(IMPORTANT, TIES)
    first = (
        f"Plain TIES (slack 0) drops {percent(lost)} of the SFT model's top-10 % entries, and "
        f"{percent(figures.energy_lost(TIES))} of its delta's energy, by the election."
    )
    slacks = [model.settings.get("slack") for model in report.models]
    if report.method != "slack_ties" or not any(slacks):
        return [first]
    slack = report.models[sft].setting("slack", 0.0)
    name = f"Slack {slack:g}" if slack else "The config's slack"
    left = figures.top_lost(IMPORTANT, CONFIG)
    dropped = "keeps all of them" if left == 0 else f"drops {percent(left)} of them"
    more = other.losses(CONFIG) - other.losses(TIES)
    cost = percent(max(more, 0) / other.count(KEPT)) if other.count(KEPT) else "-"
    return [
        first,
        (
            f"{name} {dropped}: it rescues {figures.losses(RESCUED):,} SFT entries, and costs the "
            f"CT model {cost} of its kept entries."
        ),
    ]


def _where(report: Report, sft: int) -> str:
    """Say which layers lose the most and the least, if layers differ."""
    lost = {
        layer: share
        for layer, tally in report.layers.items()
        if (share := Figures(tally, sft).top_lost(IMPORTANT, TIES)) is not None
    }
    if len(lost) < 2:  # noqa: PLR2004 - to compare
        return ""
    most, least = max(lost, key=lost.__getitem__), min(lost, key=lost.__getitem__)
    if lost[most] - lost[least] < SPREAD:
        return ""
    return (
        f"By layer, TIES drops the most of them in layer {most} ({percent(lost[most])}) and the "
        f"least in layer {least} ({percent(lost[least])})."
    )


def _ties(report: Report, sft: int) -> str:
    """Say so if ties at a threshold change the effective density or slack."""
    figures, model = Figures(report.total, sft), report.models[sft]
    for name, found in (("density", figures.density), ("slack", figures.slack)):
        wanted = model.setting(name, 1.0 if name == "density" else 0.0)
        if wanted and found is not None and wanted < 1 and abs(found - wanted) > OFF:
            why = "many deltas are equal" if found > wanted else "many deltas are 0"
            return f"The SFT model's {name} {wanted:g} is in effect {found:.2f}: {why}."
    return ""


def _suggest(report: Report, sft: int, ct: int) -> tuple[float | None, str]:
    """Return the slack that keeps the important entries within COST, and a sentence about it."""
    if not report.models[sft].varied:
        return None, ""
    figures, other = Figures(report.total, sft), Figures(report.total, ct)
    levels = {0.0: TIES} | {slack: FIRST_OF_GRID + i for i, slack in enumerate(GRID)}
    cost = {
        slack: max(other.losses(level) - other.losses(TIES), 0) / max(other.count(KEPT), 1)
        for slack, level in levels.items()
    }
    lost = {slack: figures.top_lost(PROTECTED_TOP, level) or 0.0 for slack, level in levels.items()}
    enough = [slack for slack in levels if lost[slack] <= LITTLE]
    slack = enough[0] if enough else max(levels)
    if cost[slack] > COST:
        slack = max(s for s in levels if cost[s] <= COST)
        if slack == 0:
            return None, (
                f"No slack is suggested: {min(GRID):g} already costs the CT model more than "
                f"{percent(COST)} of its kept entries."
            )
        return slack, (
            f"Suggested slack: {slack:g}, the most that costs the CT model no more than "
            f"{percent(COST)} of its kept entries; {percent(lost[slack])} of the SFT model's "
            "top-20 % are still lost. Try it: these are figures of weights, not of quality."
        )
    if slack == 0:
        return 0.0, (
            "TIES drops at most 1 % of the SFT model's top-20 %: by these figures there is "
            "little for a slack to rescue."
        )
    return slack, (
        f"Suggested slack: {slack:g}, the least that keeps all but 1 % of the SFT model's top-20 % "
        f"from the election, for {percent(cost[slack])} of the CT model's kept entries. Try it: "
        "these are figures of weights, not of quality."
    )
