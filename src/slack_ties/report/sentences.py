"""Describe the figures of a report in a few sentences, by the rules in docs/report.md.

A sentence tells what was counted in the weights, never how good the merged model is: only a test
of the model tells that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.report.figures import Figures, cosine
from slack_ties.report.rows import IMPORTANT, percent
from slack_ties.report.slacks import COST, LITTLE, Slacks, Step, chosen, slacks_of
from slack_ties.rule.tally import CONFIG, GRID, KEPT, NONZERO, RESCUED, TIES
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from slack_ties.report.report import Report

__all__ = ["Reading", "read_figures", "times"]

OFF = 0.02  # if a density or slack differs by more, a sentence says so

CLOSE = 0.01  # a suggested slack is shown with its effect if they differ by more

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
    return f"{number:.1f}" if number < 10 else f"{number:.0f}"  # noqa: PLR2004


def read_figures(report: Report) -> Reading:
    """Return three to seven sentences about a report, and the slack that they suggest."""
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
    why = _suggestion(step) if slacks else ""
    asked = ASKED if slacks else ""
    sentences = [sizes, *losses, _where(report, sft), _ties(report, sft, slacks), why, asked]
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
    return [
        first,
        (
            f"{name} {dropped}: it rescues {figures.losses(RESCUED):,} SFT entries, and costs the "
            f"CT model {percent(other.cost(CONFIG))} of its kept entries."
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


def _ties(report: Report, sft: int, slacks: Slacks | None) -> str:
    """Say so if the density or a slack in effect is not the one in the config."""
    figures, model = Figures(report.total, sft), report.models[sft]
    texts = []
    groups = _same_merges(slacks)
    for name, found in (("density", figures.density), ("slack", figures.slack)):
        wanted = model.setting(name, 1.0 if name == "density" else 0.0)
        if name == "slack" and wanted in [step.slack for group in groups for step in group]:
            continue  # said of the group
        if wanted and found is not None and wanted < 1 and abs(found - wanted) > OFF:
            fewer = "many deltas are 0" + " or trimmed" * (name == "slack")
            why = "many deltas are equal" if found > wanted else fewer
            texts.append(f"The SFT model's {name} {wanted:g} is in effect {found:.2f}: {why}.")
    for group in groups:
        names = join_names([f"{step.slack:g}" for step in group])
        effect = group[0].in_effect or 0.0
        why = (
            "many of its deltas are equal, and equal deltas vote together"
            if effect > group[0].slack
            else "trimming keeps no more of them, or the others are 0"
        )
        texts.append(
            f"Slack {names} give nearly the same merge here: with each of them about "
            f"{percent(effect)} of the SFT model's entries vote first, because {why}."
        )
    return " ".join(texts)


def _same_merges(slacks: Slacks | None) -> list[list[Step]]:
    """Return the groups of slacks that give nearly the same merge."""
    groups = slacks.groups() if slacks else []
    return [group for group in groups if len(group) > 1 and group[0].in_effect]


ASKED = (
    "This rule asks what the SFT model's largest entries need. `tune` asks which values keep most "
    "of the CT and the SFT models together, so it may find another slack."
)


def _suggestion(step: Step | None) -> str:
    """Say which slack is suggested, and why."""
    limit = f"{100 * COST:g} % of its kept entries"
    if step is None:
        return f"No slack is suggested: {min(GRID):g} already costs the CT model more than {limit}."
    if step.slack == 0:
        return (
            "TIES drops at most 1 % of the SFT model's top-20 %: by these figures there is "
            "little for a slack to rescue."
        )
    effect = step.in_effect or 0.0
    off = f" (in effect {effect:.2f})" if abs(effect - step.slack) > CLOSE else ""
    cost = percent(step.cost)
    last = "Try it: these are figures of weights, not of quality."
    if step.lost > LITTLE:
        return (
            f"Suggested slack: {step.slack:g}{off}, the most in the table that costs the CT model "
            f"no more than {limit}: it costs {cost}, and {percent(step.lost)} of the SFT model's "
            f"top-20 % are still lost. {last}"
        )
    return (
        f"Suggested slack: {step.slack:g}{off}. It keeps all but 1 % of the SFT model's top-20 % "
        f"from the election, for {cost} of the CT model's kept entries. {last}"
    )
