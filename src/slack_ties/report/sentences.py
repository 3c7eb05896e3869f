"""Describe the figures of a report in a few sentences, by the rules in docs/report.md.

A sentence tells what was counted in the weights, never how good the merged model is: only a test
of the model tells that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.report.figures import Figures, cosine
from slack_ties.report.in_effect import say_groups, say_in_effect, say_jumps, with_effect
from slack_ties.report.rows import IMPORTANT, percent
from slack_ties.report.slacks import COST, LITTLE, Slacks, Step, chosen, slacks_of
from slack_ties.rule.tally import CONFIG, KEPT, NONZERO, RESCUED, TIES

if TYPE_CHECKING:
    from slack_ties.report.report import Report

__all__ = ["Reading", "read_figures", "times"]

RATIO = 1.25  # if the embedding changes the ratio of the norms by this factor, both are said

SPREAD = 0.02  # if layers differ by less, they are treated as equal

FLIPPED = 0.1  # if a cosine is below minus this, the sentence says so


@dataclass(frozen=True)
class Reading:
    """Sentences, and a slack if the rule suggests one."""

    sentences: tuple[str, ...]
    slack: float | None = None
    in_effect: float | None = None  # the share of entries that this slack protects
    of_slack: str = ""  # the caption of the picture of the slacks
    of_losses: str = ""  # the caption of the picture of the losses of TIES


def times(number: float) -> str:
    """Return a factor for people."""
    if number < 1:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < 10 else f"{number:.0f}"  # noqa: PLR2004


def read_figures(report: Report) -> Reading:
    """Return three to nine sentences about a report, and the slack that they suggest."""
    unchanged = _nothing_to_merge(report)
    if len(report.models) == 1:
        figures = Figures(report.total, 0)
        size = (
            f"Its delta has norm {figures.norm:.3g}; trimming keeps {percent(figures.density)} of "
            f"the entries with {percent(figures.energy_kept)} of its energy."
        )
        return Reading(
            (
                f"{report.models[0].label} is the only model: nothing can be lost to the election.",
                *(unchanged or [size]),
                "A slack changes nothing here.",
            )
        )
    sft, ct = (chosen(report, report.of_role(role)) for role in ("sft", "ct"))
    if sft is None or ct is None:
        return Reading((*_without_roles(report), *unchanged))
    if unchanged:
        return Reading((*unchanged, *_without_roles(report)[:1], "No slack is suggested."))
    sizes, losses = _sizes(report, sft, ct), _losses(report, sft, ct)
    slacks = slacks_of(report)
    step = slacks.suggested() if slacks else None
    why = _suggestion(slacks, step) if slacks else ""
    asked = ASKED if slacks else ""
    effects = [say_in_effect(report), say_jumps(slacks), say_groups(slacks)]
    sentences = [sizes, *losses, _where(report, sft), *effects, why, asked]
    return Reading(
        tuple(filter(None, sentences)),
        step.slack if step else None,
        step.in_effect if step else None,
        of_slack=losses[1] if len(losses) > 1 else why if step and step.slack == 0 else "",
        of_losses=f"{sizes} {losses[0]}",
    )


def _nothing_to_merge(report: Report) -> list[str]:
    """Name the models of which nothing is merged: no share of them can be said."""
    texts = []
    for position, model in enumerate(report.models):
        figures = Figures(report.total, position)
        if figures.count(NONZERO) == 0:
            texts.append(
                f"{model.label} does not differ from the base: there is nothing of it to merge."
            )
        elif figures.count(KEPT) == 0:
            texts.append(f"{model.label} has density 0: nothing of it is merged.")
    return texts


def _without_roles(report: Report) -> list[str]:
    """Describe models whose roles are not known."""
    return [
        _most_lost(report),
        "The config does not say which model is the SFT model and which the CT model.",
        "So no slack is suggested, and none is varied.",
    ]


def _most_lost(report: Report) -> str:
    """Name the model that plain TIES takes the most of."""
    shares = {
        t: found
        for t in range(len(report.models))
        if (found := Figures(report.total, t).top_lost(IMPORTANT, TIES))
    }
    if not shares:
        return "At slack 0 (plain TIES) no model loses an entry of its top 10 %."
    most = max(shares, key=shares.__getitem__)
    return (
        f"At slack 0 (plain TIES) the most is lost by {report.models[most].label}: "
        f"{percent(shares[most])} of its top-10 % entries."
    )


def _sizes(report: Report, sft: int, ct: int) -> str:
    """Compare the deltas: without the embedding first, if it changes the ratio."""
    ratio, inner = (
        Figures(tally, ct).norm / Figures(tally, sft).norm for tally in (report.total, report.inner)
    )
    apart = max(ratio, inner) > RATIO * min(ratio, inner)
    tally = report.inner if apart else report.total
    angle = cosine(tally, min(sft, ct), max(sft, ct))
    turned = "; they point against each other" if (angle or 0) < -FLIPPED else ""
    several = len(report.of_role("ct")) + len(report.of_role("sft")) > 2  # noqa: PLR2004 - a pair
    which = f" ({report.models[ct].label}, {report.models[sft].label})" if several else ""
    size = f"{_factor(inner if apart else ratio)} the SFT delta{which}"
    if apart:
        them = "them" if " and " in report.outer else "it"
        size += f" without {report.outer} (with {them}: {times(ratio)})"
    angle_text = f"{round(angle or 0, 2) + 0:.2f}"  # + 0: not -0.00
    return f"The CT delta is {size}, with cosine {angle_text}{turned}."


def _factor(ratio: float) -> str:
    return f"{times(ratio)} times" if ratio >= 1 else f"{times(ratio)} of"


def _losses(report: Report, sft: int, ct: int) -> list[str]:
    """Say what TIES loses, and how the config's slack changes that."""
    figures, other = Figures(report.total, sft), Figures(report.inner, ct)
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
    return [
        first,
        (
            f"{name} {dropped}: it rescues {figures.losses(RESCUED):,} SFT entries, and costs the "
            f"CT model {_costs(other.cost(CONFIG), other.energy_cost(CONFIG))}{_left_out(report)}."
        ),
    ]


def _costs(entries: float | None, energy: float | None) -> str:
    return f"{percent(entries)} of its kept entries and {percent(energy)} of its energy"


def _left_out(report: Report) -> str:
    return f" (without {report.outer})" if report.outer else ""


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


ASKED = (
    "This rule asks what the SFT model's largest entries need. `tune` asks which values keep most "
    "of the CT and the SFT models together, so it may find another slack."
)


def _beyond(slacks: Slacks) -> str:
    """Say what the first slack costs that costs too much."""
    for step in slacks.steps:
        if step.most_cost > COST:
            return f" Slack {with_effect(step)} would cost {_costs(step.cost, step.energy_cost)}."
    return ""


def _suggestion(slacks: Slacks, step: Step | None) -> str:
    """Say which slack is suggested, and why."""
    limit = f"{100 * COST:g} % of its kept entries or its energy"
    if step is None:
        first = with_effect(slacks.steps[1])
        return f"No slack is suggested: {first} already costs the CT model more than {limit}."
    if step.slack == 0:
        return (
            "TIES drops at most 1 % of the SFT model's top-20 %: by these figures there is "
            "little for a slack to rescue."
        )
    costs = _costs(step.cost, step.energy_cost)
    last = "Try it: these are figures of weights, not of quality."
    if step.lost > LITTLE:
        return (
            f"Suggested slack: {with_effect(step)}, the most in the table that costs the CT model "
            f"no more than {limit}: it costs {costs}, and {percent(step.lost)} of the SFT "
            f"model's top-20 % are still lost.{_beyond(slacks)} {last}"
        )
    return (
        f"Suggested slack: {with_effect(step)}. It keeps all but 1 % of the SFT model's top-20 % "
        f"from the election, and costs the CT model {costs}. {last}"
    )
