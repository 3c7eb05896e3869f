"""Read the cards of the models of a config, for the card that its merge would get.

Only the cards are read, each from its folder or from the Hub. Nothing waits long: after one model
whose Hub is silent, the others are looked for in the cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from slack_ties.errors import SlackTiesError
from slack_ties.hub.errors import hub_error
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts
from slack_ties.models.cached import local_folder
from slack_ties.models.hub_info import AWAY, ask_hub, is_away, model_errors
from slack_ties.models.names import split_reference
from slack_ties.models.parent_card import ParentCard, read_parent_card
from slack_ties.models.parents import parent_of

if TYPE_CHECKING:
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import Parent

__all__ = ["read_parents"]

PATIENCE = 10.0  # seconds for one card

CARD = "README.md"


def read_parents(
    recipe: Recipe, api: HfApi | None = None, *, patience: float = PATIENCE
) -> tuple[tuple[Parent, ...], dict[str, str]]:
    """Return the models of a config with what their cards state.

    Returns:
        The models; and for each model whose card could not be read, why.

    """
    cards = _Cards(api or HfApi(), patience)
    parents = []
    with timeouts(cards.retries):
        for name in recipe.models:
            parts = [cards.read(path, revision) for path, revision in split_reference(name)]
            parents.append(parent_of(recipe, name, parts))
    return tuple(parents), cards.problems


class _Cards:
    """Cards from folders, the Hub or its cache."""

    def __init__(self, api: HfApi, patience: float) -> None:
        self.api = api
        self.retries = Retries(timeout=patience, tries=1, connect=False)
        self.problems: dict[str, str] = {}
        self._away = ""  # why the Hub is not asked again

    def read(self, path: str, revision: str | None) -> ParentCard:
        """Return the card of a model; its `problem` says why it could not be read."""
        try:
            folder = local_folder(path, revision)
            with model_errors(path, revision, self.api):
                card = read_parent_card(folder) if folder else self._of_hub(path, revision)
        except SlackTiesError as error:
            card = ParentCard(problem=str(error))
        if card.problem:
            self.problems[path] = card.problem
        return card

    def _of_hub(self, path: str, revision: str | None) -> ParentCard:
        if not self._away:
            try:
                info = ask_hub(path, revision, self.retries, self.api)
            except AWAY as error:
                if not is_away(error):
                    raise
                self._away = _why(path, self.api, error)
            else:
                if CARD not in {file.rfilename for file in info.siblings or ()}:
                    return ParentCard()
        try:
            found = self.api.hf_hub_download(
                path, CARD, revision=revision, local_files_only=bool(self._away)
            )
        except LocalEntryNotFoundError:
            return ParentCard(problem=f"{self._away}, and the cache has no such card")
        return read_parent_card(Path(found).parent)


def _why(path: str, api: HfApi, error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    return str(hub_error(path, api, error)).removeprefix(f"{path}: ")
