"""What a card says of the merge method: what it does, what becomes of conflicts, what to cite."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

from slack_ties.card.markdown import plain_text
from slack_ties.config.methods import METHODS, RANDOM
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import MergeRecord

__all__ = ["citations", "conflicts_text", "method_text", "repeats_text"]

MERGEKIT = "goddard-etal-2024-arcees"

ENTRY = re.compile(r"@\w+\{([\w-]+),\n.*?\n\}\n", re.DOTALL)


def method_text(recipe: Recipe) -> str:
    """Return sentences about a stock method: what it does, its other names, and their sources."""
    method = METHODS.get(recipe.method)
    text = f"The merge method is mergekit's `{plain_text(recipe.method)}`"
    if not method:
        return f"{text}."
    text += f" ([{method.title}]({method.source})): {method.formula}."
    if method.aliases and _is_plain(recipe):
        names = [f"[{alias.title}]({alias.source})" for alias in method.aliases]
        text += f" With the values below that is {method.plain}. "
        text += f"This recipe is known as {join_names(names)}."
    return text


def _is_plain(recipe: Recipe) -> bool:
    """Say whether a config is the formula of its method's other names, without changes.

    It merges one CT and one SFT model as wholes, with the values that `config` writes.
    """
    method, data = METHODS.get(recipe.method), recipe.data
    if not method or [len(recipe.models_of(role)) for role in ("ct", "sft")] != [1, 1]:
        return False
    shared = data.get("parameters") or {}
    given = [{**shared, **(part.get("parameters") or {})} for part in data.get("models") or ()]
    return len(given) == 2 and all(  # noqa: PLR2004 - the CT and the SFT model
        one.get(name, value) == value
        for one in given
        for name, value in (*method.per_model.items(), *method.shared.items())
    )


def conflicts_text(recipe: Recipe) -> str:
    """Return what becomes of a parameter that the models change in opposite directions."""
    method = METHODS.get(recipe.method)
    if method:
        return method.conflicts
    return (
        "Where the models change a parameter differently, the merged model follows none of them "
        "in full. So it can lose abilities of each model, in every language."
    )


def repeats_text(recipe: Recipe, record: MergeRecord | None) -> str:
    """Return why the same commands may give other bytes; "" if they give the same."""
    drawn = record and recipe.method in RANDOM and "random_seed" not in record.options
    return "The method draws random numbers, and no `--random-seed` was given." if drawn else ""


def citations(recipe: Recipe) -> str:
    """Return the BibTeX entries of the papers behind a merge: its method, and mergekit."""
    text = files(__package__).joinpath("citations.bib").read_text(encoding="utf-8")
    method = METHODS.get(recipe.method)
    wanted = (*(method.cites if method else ()), MERGEKIT)
    entries = {found[1]: found[0] for found in ENTRY.finditer(text)}
    return "".join(entries[key] for key in wanted).rstrip()
