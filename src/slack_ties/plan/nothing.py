"""Refuse a merge that would add nothing to the base, and one in which no model is a CT model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.config.methods import METHODS
from slack_ties.errors import RecipeError
from slack_ties.plan.swapped import made_from
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.plan.draft import Draft

__all__ = ["refuse_nothing"]

ANYWAY = "or merge anyway: --allow-unrelated"


def refuse_nothing(draft: Draft) -> None:
    """Add an error if every model to merge is the base, or if the CT model is.

    Models are the same if they are the same folder, or the same commit of a repository.
    """
    recipe, base = draft.recipe, draft.recipe.base
    # mergekit runs such a recipe of another method; we refuse those that have roles, as ours do.
    ours = recipe.method == "slack_ties" or (recipe.method in METHODS and recipe.facts.roles)
    if not ours or not base or not set(recipe.models) <= draft.looks.keys():
        return
    same = {name for name in recipe.models if _folders(draft, name) == _folders(draft, base)}
    if "models" in recipe.data and same == set(recipe.models):
        msg = f"{recipe.where}: each model to merge is the base {base}: the result would be the "
        hint = f"name a CT model and an SFT model that were trained from {base}"
        draft.errors.append(RecipeError(f"{msg}base", hint=hint))
        return
    found = _no_ct(draft, same)
    if found and draft.settings.allow_unrelated:
        draft.warnings.append(str(found))
    elif found:
        draft.errors.append(found)


def _no_ct(draft: Draft, same: set[str]) -> RecipeError | None:
    """Return the error for a config whose CT models are the base, or the model it was made from."""
    recipe, base = draft.recipe, draft.recipe.base
    given = [name for name in recipe.facts.roles.get("ct", ()) if name in draft.looks]
    if given and same.issuperset(given):
        msg = f"{recipe.where}: the CT model is the base {base}: it adds nothing"
        hint = f"name the model that {base} was trained from as the base, or another CT model"
        return RecipeError(msg, hint=f"{hint}; {ANYWAY}")
    parents = [ct for ct in given if made_from(draft, base, ct) and not made_from(draft, ct, base)]
    if not given or parents != given:
        return None
    msg = f"{recipe.where}: by its card, the base {base} was made from {join_names(parents)}, the "
    msg += "CT model: base and CT model are swapped"
    return RecipeError(msg, hint=f"swap the two; {ANYWAY}")


def _folders(draft: Draft, name: str) -> list[Path]:
    """Return the folders of a model and of its adapter; a commit of the Hub has its own."""
    return [look.folder.resolve() for look in draft.looks[name]]
