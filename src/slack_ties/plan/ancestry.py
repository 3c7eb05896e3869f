"""Check whether the models were trained from the declared base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.models.ancestry import FAR, UNRELATED, compare_weights
from slack_ties.models.look import descends

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.ancestry import Likeness
    from slack_ties.plan.draft import Draft

__all__ = ["compare_ancestry"]


# What the messages say if there is a base, and if the first model takes its place.
WITH_BASE = {
    "who": "the base ",
    "name": "the base",
    "of": "the base's",
    "from": "it",
    "other": "another version of the base",
    "hint": "correct base_model in the config",
}

WITHOUT_BASE = {
    "who": "",
    "name": "",
    "of": "",
    "from": "the same base",
    "other": "the same base",
    "hint": "name models that were made from one base",
}


def compare_ancestry(draft: Draft) -> None:
    """Find models that were not trained from the declared base.

    Without a base, the first model takes its place: all models must have a common ancestor.
    """
    if draft.errors:
        return
    base, api = draft.first, draft.settings.api
    found_of: Mapping[str, Likeness] = {}
    base_look = draft.looks[base][0]
    others = {
        name: (look, headers)
        for name, headers in draft.headers.items()
        for look in draft.looks[name][:1]
        if name != base
        # If the cards say so, we need not download weights for this check.
        and not ((look.missing or base_look.missing) and descends(look, base_look, api))
    }
    try:
        found_of = compare_weights((base_look, draft.headers[base]), others, api)
    except CheckpointError as error:  # a .bin file that we can merge, but not sample
        draft.warnings.append(f"cannot check whether the models have a common ancestor: {error}")
    except SlackTiesError as error:
        draft.errors.append(error)
    words = WITHOUT_BASE
    if draft.recipe.base:
        draft.likeness, words = dict(found_of), WITH_BASE
    for name, found in found_of.items():
        _judge(draft, name, found, words)


def _judge(draft: Draft, name: str, found: Likeness, words: Mapping[str, str]) -> None:
    """Add an error or a warning for a model that is far from the first one, or equal to it."""
    first = repr(draft.first)
    measure = f"(cosine {found.cosine:.2f}: 1 is the same model, 0 an unrelated one)"
    if found.cosine < UNRELATED:
        msg = f"the weights of {name!r} have nothing in common with {words['who']}{first} "
        msg += f"{measure}, expected a model that was trained from {words['from']}"
        hint = f"{words['hint']}, or merge anyway: --allow-unrelated"
        if draft.settings.allow_unrelated:
            draft.warnings.append(msg)
        else:
            draft.errors.append(CheckpointError(msg, hint=hint))
    elif found.cosine < FAR:
        of = words["of"] or f"those of {first}"
        draft.warnings.append(
            f"the weights of {name!r} differ much from {of} {measure}: was it made from "
            f"{words['other']}?"
        )
    elif found.change == 0 and len(draft.looks[name]) == 1:
        draft.warnings.append(
            f"{name}: no difference from {words['name'] or first} in {found.entries:,} entries: is "
            "it the right model?"
        )
