"""Warn about what is odd in a merge, and is no error."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from slack_ties.config.methods import RANDOM
from slack_ties.errors import RecipeError
from slack_ties.plan.parameters import merge_settings, odd_settings
from slack_ties.plan.swapped import seem_swapped
from slack_ties.recipe.pin import used_versions
from slack_ties.recipe.recipe import reference
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.plan.draft import Draft
    from slack_ties.recipe.recipe import Recipe

__all__ = ["ROLES", "roles_of", "say_what_is_alike", "say_what_is_odd"]

ROLES = {"base": "base", "ct": "CT model", "sft": "SFT model", "": "model"}  # for people


def roles_of(recipe: Recipe, name: str) -> tuple[str, ...]:
    """Return every role that a config gives to a model: base, ct, sft; empty if it is not said."""
    named = [role for role, names in recipe.facts.roles.items() if name in names]
    if name != recipe.base:
        return tuple(named) or (recipe.role(name),)
    others = [role for role in named if role != "base"]
    listed = [reference(part["model"]) for part in recipe.data.get("models") or ()]
    if not others and recipe.method == "slack_ties" and name in listed:
        others = [""]
    return ("base", *others)


def _given_twice(recipe: Recipe) -> list[str]:
    """Return a warning for each model that is given more than once."""
    found = []
    for name in recipe.models:
        roles = [ROLES.get(role, role) for role in roles_of(recipe, name)]
        if roles[0] == "base" and len(roles) > 1:
            who = f"the {join_names(roles[1:])}" if "model" not in roles else "a model to merge"
            found.append(f"{name} is the base and also {who}: it adds nothing to the base")
        elif len(roles) > 1:
            both = join_names([f"the {role}" for role in roles])
            found.append(f"{name} is given as {both}: it is merged once")
    given = recipe.facts.roles
    if given.get("sft") and given.get("ct") == ():  # as `config` writes it for one name twice
        found.append(
            f"no model has the role ct: {given['sft'][0]} is merged once, as the SFT model. If you "
            "gave it as the CT model too, give another CT model"
        )
    return found


def say_what_is_alike(draft: Draft) -> None:
    """Warn about two models whose entries are equally far from the base's."""
    one_part = [name for name in draft.likeness if len(draft.looks[name]) == 1]
    for one, other in combinations(one_part, 2):
        found = draft.likeness[one]
        if found.change and found == draft.likeness[other]:
            draft.warnings.append(
                f"{one} and {other} differ from the base in exactly the same way, in "
                f"{found.entries:,} entries: are they the same model?"
            )


def say_what_is_odd(draft: Draft) -> None:
    """Warn about branches that moved, other package versions, and inputs without effect."""
    for looks in draft.looks.values():
        for look in looks:
            if look.head:
                draft.warnings.append(
                    f"{look.path} is pinned at {look.commit[:7]}, but its main branch is now at "
                    f"{look.head[:7]}: check on the Hub what changed"
                )
    recipe, facts = draft.recipe, draft.recipe.facts
    draft.warnings += _given_twice(recipe)
    draft.warnings += seem_swapped(draft)
    weights = [
        {**(recipe.data.get("parameters") or {}), **(part.get("parameters") or {})}.get("weight")
        for part in recipe.data.get("models") or ()
    ]
    if recipe.base and weights and not any(weights) and None not in weights:
        draft.warnings.append("all weights are 0: the result is the base")
    divides = recipe.method == "linear" and merge_settings(recipe).get("normalize", True)
    if divides and _have_sum_0(weights):
        msg = f"{recipe.where}: the weights have the sum 0, and linear divides by it"
        draft.errors.append(RecipeError(msg, hint="change a weight, or write: normalize: false"))
    draft.warnings += odd_settings(recipe)
    options = draft.settings.options
    if recipe.method in RANDOM and (options is None or options.random_seed is None):
        draft.warnings.append(
            f"{recipe.method} draws random numbers: only a merge with a seed can be repeated and "
            "verified; to give one: --random-seed 0"
        )
    here = used_versions()
    other = {
        f"{name} {there} (here {here[name]})"
        for name, there in facts.versions.items()
        if name in here and here[name] != there
    }
    if other:
        draft.warnings.append(
            f"this config was made with {', '.join(sorted(other))}: the bytes may differ"
        )


def _have_sum_0(weights: Sequence[object]) -> bool:
    numbers = [one for one in weights if isinstance(one, (int, float))]
    return bool(numbers) and len(numbers) == len(weights) and sum(numbers) == 0
