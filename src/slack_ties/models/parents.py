"""Make a merged model's record from the cards of its parts: the one place that says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.models.license_texts import license_files
from slack_ties.models.parent_card import stated_license
from slack_ties.record import Parent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slack_ties.models.parent_card import ParentCard
    from slack_ties.recipe.recipe import Recipe

__all__ = ["parent_of"]


def parent_of(  # noqa: PLR0913 - all but two by name
    recipe: Recipe,
    name: str,
    cards: Sequence[ParentCard],
    *,
    commits: tuple[str, ...] = (),
    folders: Sequence[Path | None] = (),
    not_compared: tuple[str, ...] = (),
) -> Parent:
    """Return what is known of a model of a config.

    Args:
        recipe: The config.
        name: The model, as the config names it.
        cards: The card of the model, and that of its adapter if it has one.
        commits: Their commits on the Hub; see `Parent`.
        folders: Their folders, if all their files are there: their licences are listed.
        not_compared: The weight files whose checksums could not be compared; see `Parent`.

    """
    texts = [license_files(folder) if folder else () for folder in folders]
    return Parent(
        name,
        role=recipe.role(name),
        commits=commits,
        license=stated_license(cards[0], recipe.facts.licenses.get(name, "")),
        adapter_license=stated_license(cards[1]) if len(cards) > 1 else "",
        made_from=tuple(dict.fromkeys(one for card in cards for one in card.made_from)),
        datasets=tuple(dict.fromkeys(one for card in cards for one in card.datasets)),
        texts=texts[0] if texts else (),
        adapter_texts=texts[1] if len(texts) > 1 else (),
        not_compared=not_compared,
    )
