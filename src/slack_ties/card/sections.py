"""Write the sections of a model card that depend on the parents: abilities, limits, licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.card.license_files import license_file
from slack_ties.card.markdown import plain_sentence, plain_text
from slack_ties.card.method_text import conflicts_text
from slack_ties.card.parents import HUB, link_to
from slack_ties.licenses.known import License, find_license
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.card.measured import Measured
    from slack_ties.licenses.resolve import Resolution
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import Parent

__all__ = ["license_section", "limits_section", "what_each_brings"]


def what_each_brings(recipe: Recipe, parents: Sequence[Parent], language: str) -> str:
    """Return a sentence about what each model learnt; "" if the config does not give the roles."""
    roles = {role: [link_to(p) for p in parents if p.role == role] for role in ("ct", "sft")}
    if not (roles["ct"] and roles["sft"]):
        return ""
    english = " in English" if "en" in recipe.facts.sft_languages else ""
    was = "were" if len(roles["ct"]) > 1 else "was"
    of = f" on {language}" if language else " on it"
    tuned = "were" if len(roles["sft"]) > 1 else "was"
    return (
        f"{join_names(roles['ct'])} {was} continually pre-trained{of}. "
        f"{join_names(roles['sft'])} {tuned} instruction-tuned{english}. "
        "The merge is meant to combine what they learned."
    )


def limits_section(
    recipe: Recipe,
    parents: Sequence[Parent],
    *,
    evaluated: bool,
    measured: Measured | None = None,
) -> list[str]:
    """Return the limits that follow from the method and the parents.

    Args:
        recipe: The merge config.
        parents: The merged models.
        evaluated: Whether the card has results of an evaluation.
        measured: What it shows of evaluation.json.

    """
    limits = [
        conflicts_text(recipe),
        "The SFT model's protection against harmful answers can become weaker in the same way.",
    ]
    if measured and not measured.says_something:
        limits.append(
            "Nobody has measured this: the evaluation above cannot tell any of the models from "
            "guessing."
        )
    elif measured:
        limits.append("The evaluation above shows a part of this: that of its tasks, and no other.")
    elif not evaluated:
        limits.append("Nobody has measured this: no evaluation of this model is known.")
    source = str((recipe.data.get("tokenizer") or {}).get("source") or "")
    if source in recipe.models_of("ct"):
        limits.append(
            "The instruction tuning did not use the tokens that only the CT model has: their "
            "embeddings are those of the CT model."
        )
    datasets = list(dict.fromkeys(name for parent in parents for name in parent.datasets))
    if datasets:
        links = [f"[`{name}`]({HUB}/datasets/{name})" for name in datasets[:20]]
        more = f" and {len(datasets) - 20} more" if len(datasets) > 20 else ""  # noqa: PLR2004
        limits.append(
            "The model can repeat errors, bias and private facts from the data of its parents. "
            f"Their cards name: {', '.join(links)}{more}."
        )
    return limits


def license_section(resolution: Resolution) -> dict[str, Any]:
    """Return the section on the licence: its name, the reason, warnings, and all duties."""
    lines = [plain_text(f"{warning}.", 1000) for warning in resolution.warnings]
    if resolution.license:
        key = plain_text(resolution.license.key)
        reason = plain_text(" ".join(resolution.steps), 2000)
        reason = f"**{key}**{reason.removeprefix(key) if reason.startswith(key) else f': {reason}'}"
        if resolution.license.link and not find_license(resolution.license.key):
            lines.append(f"Its text: {plain_text(resolution.license.link, 400)}")
    else:
        reason = "**Not known.** The person who publishes the model must state it."
        lines = [plain_text(problem, 1000) for problem in resolution.problems] + lines
    if any(one.noncommercial for one in resolution.duties):
        reason += " **This model may not be used commercially.**"
    duties = [
        {
            "name": one.name,
            "link": one.link,
            "lines": [
                *_asked(one, resolution),
                *map(plain_sentence, one.terms),
                *([f"Its [use policy]({one.policy}) is part of it."] if one.policy else []),
            ],
        }
        for one in resolution.duties
    ]
    return {"reason": reason, "lines": lines, "duties": [one for one in duties if one["lines"]]}


def _asked(one: License, resolution: Resolution) -> list[str]:
    """Return a sentence about what a licence requires if the model is passed on."""
    asked = []
    if one.copy:
        asked.append(f"a copy of this licence (`{license_file(one, resolution)}`)")
    asked += ["the sentence in `Notice`"] if one.notice else []
    asked += [f'the words "{one.display}"'] if one.display else []
    return (
        [f"If you share this model, include {join_names(asked)} ({one.source})."] if asked else []
    )
