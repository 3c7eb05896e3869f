"""Search the Hub for published recipes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, ModelInfo

from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import READING, Retries
from slack_ties.notebook import ShownList
from slack_ties.private.hub_requests import get, raise_for_status
from slack_ties.sharing.adapt import language_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Listed", "Recipes", "search_recipes"]

RECIPE_TAG = "slack-ties"


@dataclass(frozen=True)
class Listed:
    """One published recipe."""

    repo_id: str
    languages: tuple[str, ...]
    bases: tuple[str, ...]  # base_model in its card
    license: str  # several, if its card states several
    license_name: str  # of a licence that the Hub has no id for
    modified: str  # year-month-day
    downloads: int
    likes: int


class Recipes(ShownList[Listed]):
    """The published recipes that match, the newest first."""

    __slots__ = ()

    HEAD = ("MODEL", "LANGUAGES", "LICENCE", "CHANGED", "DOWNLOADS", "MADE FROM")

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each recipe."""
        return [
            (
                one.repo_id,
                " ".join(one.languages),
                one.license_name or one.license,
                one.modified,
                str(one.downloads),
                " ".join(one.bases) or "(folders of its author)",
            )
            for one in self
        ]

    def summary(self) -> str:
        """Return how many there are."""
        return f"{len(self)} published recipe{'s' * (len(self) != 1)}"


def search_recipes(  # noqa: PLR0913 - all by name
    *,
    language: str | None = None,
    base: str | None = None,
    author: str | None = None,
    limit: int = 100,
    retries: Retries = READING,
    api: HfApi | None = None,
) -> Recipes:
    """Return published models that have a slack-ties recipe, the newest first.

    Args:
        language: A language of the catalogue, or a language tag.
        base: The Hub id of a parent.
        author: A user or an organization.
        limit: The largest number of models to return.
        retries: How long to wait for the Hub.
        api: The Hub client. If not given: the default one.

    Raises:
        CatalogueError: `language` is not a language.
        HubError: The Hub cannot be reached.

    """
    api = api or HfApi()
    wanted = [RECIPE_TAG]
    if language:
        found = language_of(language)
        # The Hub lists ISO 639 codes; our cards have a tag for a script.
        wanted.append(found.tag if "-" in found.tag else found.iso_639_1 or found.iso_639_3)
    if base:
        wanted.append(f"base_model:{base.partition('@')[0]}")
    with hub_errors("searching for recipes", api):
        models = _list_models(wanted, author, limit, retries, api)
    return Recipes(
        Listed(
            repo_id=model.id,
            languages=tuple(_texts(card.get("language"))),
            bases=tuple(_texts(card.get("base_model"))),
            license=", ".join(_texts(card.get("license"))),
            license_name=", ".join(_texts(card.get("license_name"))),
            modified=f"{model.last_modified:%Y-%m-%d}" if model.last_modified else "",
            downloads=model.downloads or 0,
            likes=model.likes or 0,
        )
        for model in models
        for card in [vars(model.card_data) if model.card_data else {}]
    )


def _list_models(
    tags: list[str], author: str | None, limit: int, retries: Retries, api: HfApi
) -> list[ModelInfo]:
    """Return the models that have all tags, the last modified first.

    As `api.list_models` does it, but that asks for the next page only when it is read.
    """

    def page(url: str, params: dict[str, Any] | None) -> Any:
        response = get(api, url, params)
        raise_for_status(response)
        return response

    wanted: dict[str, Any] = {"filter": tags, "sort": "lastModified", "limit": limit}
    wanted |= {"full": True, "cardData": True}
    found: list[ModelInfo] = []
    url: str | None = f"{api.endpoint}/api/models"
    asked: dict[str, Any] | None = {**wanted, "author": author} if author else wanted
    while url and len(found) < limit:
        answer = retries.ask(partial(page, url, asked))
        found += [ModelInfo(**one) for one in answer.json()]  # type: ignore[no-untyped-call]
        url, asked = answer.links.get("next", {}).get("url"), None  # the link has all parameters
    return found[:limit]


def _texts(value: object) -> Iterable[str]:
    """Yield the texts of untrusted metadata, shortened and without control characters."""
    several = value if isinstance(value, list) else [value]
    for one in several:
        if isinstance(one, str):
            yield "".join(c for c in one if c.isprintable())[:100]
