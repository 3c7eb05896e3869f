"""Check whether the models were trained from the declared base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.models.ancestry import FAR, UNRELATED, compare_weights
from slack_ties.models.look import descends

if TYPE_CHECKING:
    from slack_ties.plan.draft import Draft

__all__ = ["compare_ancestry"]


def compare_ancestry(draft: Draft) -> None:
    """Find models that were not trained from the declared base."""
    if draft.errors:
        return
    base, api = draft.recipe.base, draft.settings.api
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
        draft.likeness = compare_weights((base_look, draft.headers[base]), others, api)
    except CheckpointError as error:  # a .bin file that we can merge, but not sample
        draft.warnings.append(f"cannot check whether the models have a common ancestor: {error}")
    except SlackTiesError as error:
        draft.errors.append(error)
    for name, found in draft.likeness.items():
        measure = f"(cosine {found.cosine:.2f}: 1 is the same model, 0 an unrelated one)"
        if found.cosine < UNRELATED:
            msg = f"the weights of {name!r} have nothing in common with the base {base!r} "
            msg += f"{measure}, expected a model that was trained from it"
            hint = "correct base_model in the config, or merge anyway: --allow-unrelated"
            if draft.settings.allow_unrelated:
                draft.warnings.append(msg)
            else:
                draft.errors.append(CheckpointError(msg, hint=hint))
        elif found.cosine < FAR:
            draft.warnings.append(
                f"the weights of {name!r} differ much from the base's {measure}: was it made from "
                "another version of the base?"
            )
        elif found.change == 0 and len(draft.looks[name]) == 1:
            draft.warnings.append(
                f"{name}: no difference from the base in {found.entries:,} entries: is it the "
                "right model?"
            )
