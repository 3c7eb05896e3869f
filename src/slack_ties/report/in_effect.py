"""Say which shares density and slack have in effect, where these are not those in the config.

Many deltas of 16-bit weights are equal, and many are 0. Equal deltas are kept together and vote
together, so a share in effect can be larger than the config's, and slack can be a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.report.figures import Figures, share
from slack_ties.report.rows import percent
from slack_ties.rule.tally import PROTECTED
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from slack_ties.report.report import Report
    from slack_ties.report.slacks import Slacks, Step

__all__ = ["protected_share", "say_groups", "say_in_effect", "say_jumps", "with_effect"]

OFF = 0.02  # if a density or slack differs by more, a sentence says so

EQUAL = "many deltas are equal"


def protected_share(report: Report) -> float | None:
    """Return the share of the varied models' entries that vote first in a merge."""
    varied = [Figures(report.inner, t) for t, model in enumerate(report.models) if model.varied]
    first = sum(figures.count(PROTECTED) for figures in varied)
    return share(first, sum(figures.entries for figures in varied))


def with_effect(step: Step) -> str:
    """Return a slack and its share in effect."""
    return f"{step.slack:g} (in effect {step.in_effect or 0.0:.2f})"


def say_in_effect(report: Report) -> str:
    """Say which densities and slacks of the config have another share in effect, and why."""
    found: dict[str, list[str]] = {}
    for t in range(len(report.models)):
        for name, default in (("density", 1.0), ("slack", 0.0)):
            wanted = report.models[t].setting(name, default)
            shares = [getattr(Figures(one, t), name) for one in (report.total, report.inner)]
            if not wanted or wanted >= 1 or None in shares:
                continue
            of_all, inner = shares
            apart = abs(inner - of_all) > OFF
            chosen = inner if apart else of_all
            if max(abs(chosen - wanted), abs(of_all - wanted)) > OFF:
                zero = "many deltas are 0" + " or trimmed" * (name == "slack")
                why = EQUAL if chosen > wanted else zero
                both = f" ({inner:.2f} without {report.outer})" if apart else ""
                text = f"{_owner(report, t)} {name} {wanted:g} is {of_all:.2f}{both}"
                found.setdefault(why, []).append(text)
    return " ".join(f"In effect {join_names(texts)}: {why}." for why, texts in found.items())


def _owner(report: Report, t: int) -> str:
    model = report.models[t]
    several = len(report.of_role(model.role)) > 1 or not model.role
    return f"{model.label}'s" if several else f"the {model.role.upper()} model's"


def say_groups(slacks: Slacks | None) -> str:
    """Name the slacks that give nearly the same merge."""
    groups = slacks.groups() if slacks else []
    texts = []
    for group in groups:
        effect = group[0].in_effect
        if len(group) < 2 or not effect:  # noqa: PLR2004 - two that are the same
            continue
        why = (
            "many of its deltas are equal, and equal deltas vote together"
            if effect > group[0].slack
            else "trimming keeps no more of them, or the others are 0"
        )
        texts.append(
            f"Slack {join_names([f'{step.slack:g}' for step in group])} give nearly the same merge "
            f"here: with each of them about {percent(effect)} of the SFT model's entries vote "
            f"first, because {why}."
        )
    return " ".join(texts)


def say_jumps(slacks: Slacks | None) -> str:
    """Name the neighbours in the grid between which the share in effect jumps."""
    texts = [
        f"{one.in_effect or 0.0:.2f} at {one.slack:g} and {other.in_effect or 0.0:.2f} at "
        f"{other.slack:g}"
        for one, other in (slacks.jumps() if slacks else ())
    ]
    if not texts:
        return ""
    return (
        f"Slack changes in steps here: the share in effect is {'; '.join(texts)}, because {EQUAL}."
    )
