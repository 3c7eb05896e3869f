"""Warn if two models seem to have each other's role: base and SFT model, or CT and SFT model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.tokenizer.templates import read_template

if TYPE_CHECKING:
    from slack_ties.plan.draft import Draft

__all__ = ["made_from", "seem_swapped"]

# In the names of models and datasets for instruction tuning.
INSTRUCT = re.compile(r"(^|[-_.])(instruct|chat|sft)([-_.]|$)", re.IGNORECASE)
INSTRUCTIONS = re.compile(r"instruct|chat|alpaca|dolly|flan|oasst|sft", re.IGNORECASE)


def seem_swapped(draft: Draft) -> list[str]:
    """Return a warning for each pair of models with signs that their roles are swapped."""
    recipe = draft.recipe
    base, tuned = recipe.base, recipe.models_of("sft")
    warnings = []
    bases = {base} if base else set()  # the mean of models has no base
    for sft in (one for one in tuned if {one, *bases} <= draft.looks.keys() and one != base):
        if base and (signs := [*_tuned(draft, base, sft), *_from_sft(draft, base, sft)]):
            warnings.append(f"are the base and the SFT model swapped? {'; '.join(signs)}")
        for ct in recipe.models_of("ct"):
            if ct not in draft.looks or ct == sft:
                continue
            signs = [*_tuned(draft, ct, sft), *_other_language(draft, ct, sft)]
            if signs and not warnings:  # else the base is the reason
                warnings.append(f"are the CT and the SFT model swapped? {'; '.join(signs)}")
    return warnings


def _tuned(draft: Draft, other: str, sft: str) -> list[str]:
    """Return the signs that another model was instruction-tuned, and the SFT model was not."""
    signs = []
    if _template(draft, other) and not _template(draft, sft):
        signs.append(f"{other} has a chat template, and {sft} has none")
    if INSTRUCT.search(Path(other).name) and not INSTRUCT.search(Path(sft).name):
        signs.append(f"only the name of {other} is that of an instruction-tuned model")
    theirs = [one for one in _datasets(draft, other) if INSTRUCTIONS.search(one)]
    if theirs and not any(INSTRUCTIONS.search(one) for one in _datasets(draft, sft)):
        signs.append(f"the card of {other} names {theirs[0]}, data for instruction tuning")
    return signs


def _from_sft(draft: Draft, base: str, sft: str) -> list[str]:
    """Return the models whose cards say that they were made from the SFT model."""
    others = [base, *draft.recipe.models_of("ct")]
    return [
        f"by its card, {one} was made from {sft}"
        for one in others
        if one in draft.looks
        and one != sft
        and made_from(draft, one, sft)
        and not (one != base and made_from(draft, one, base))
    ]


def _other_language(draft: Draft, ct: str, sft: str) -> list[str]:
    """Return whether the SFT model is the one that states the language of the merge."""
    codes = {
        code
        for one in draft.recipe.facts.languages
        for key in ("tag", "iso_639_1", "iso_639_3")
        if (code := one.get(key))
    }
    of_ct, of_sft = (set(draft.looks[one][0].card.languages) for one in (ct, sft))
    if of_ct and codes & of_sft and not codes & of_ct:
        language = ", ".join(sorted(codes & of_sft))
        return [f"the card of {sft} names the language {language}, and that of {ct} does not"]
    return []


def made_from(draft: Draft, one: str, parent: str) -> bool:
    """Say whether a model's card names another model as its base."""
    look = draft.looks[parent][0]
    names = {look.path.lower(), look.repo_id.lower()}
    return any(name.lower() in names for name in draft.looks[one][0].card.made_from)


def _template(draft: Draft, name: str) -> bool:
    return any(read_template(look.folder) for look in draft.looks[name])


def _datasets(draft: Draft, name: str) -> list[str]:
    return [one for look in draft.looks[name] for one in look.card.datasets]
