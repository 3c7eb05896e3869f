"""Read a parent's statements about itself: the metadata of its model card.

A card is not trusted. Only its words for a licence and Hub ids are read from it, and not too many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.tags import LANGUAGE_TAG
from slack_ties.licenses.known import JOINED, NOT_READ
from slack_ties.licenses.words import in_words, license_of, license_of_link
from slack_ties.models.front_matter import front_matter, texts_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST_CARD", "ParentCard", "read_parent_card", "stated_license"]

MOST_CARD = 1_000_000  # bytes that are read of a card; its metadata are at the beginning

HUB_URL = "https://huggingface.co/"  # some cards name models by it

MOST_LICENSES = 9  # of one card

MOST_NAMES = 50  # of datasets, or of the models that a model was made from

STATED_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True)
class ParentCard:
    """The statements of a model's card that can be used."""

    # The Hub's id of a licence, or another licence's name, or else the card's own words for it;
    # empty if not stated.
    license: str = ""
    made_from: tuple[str, ...] = ()  # base_model: Hub ids
    datasets: tuple[str, ...] = ()  # Hub ids
    languages: tuple[str, ...] = ()  # codes or tags
    problem: str = ""  # why it cannot be read


def read_parent_card(folder: Path) -> ParentCard:
    """Return the statements of the card in a model's folder; empty if there is no card."""
    card = folder / "README.md"
    try:
        if not card.is_file():
            return ParentCard()
        with card.open("rb") as file:
            data = front_matter(file.read(MOST_CARD).decode("utf-8-sig", errors="replace"))
    except OSError as error:
        return ParentCard(problem=str(error.strerror))
    except ValueError as error:
        return ParentCard(problem=f"the lines between the two ---: {error}")
    return ParentCard(
        license=_license(data),
        made_from=_ids(data.get("base_model")),
        datasets=_ids(data.get("datasets")),
        languages=tuple(one for one in _ids(data.get("language")) if LANGUAGE_TAG.fullmatch(one)),
    )


def stated_license(card: ParentCard, elsewhere: str = "") -> str:
    """Return a model's licence from its card, or else from the config."""
    other = in_words(elsewhere)
    return card.license or license_of(other) or other or (NOT_READ if card.problem else "")


def _license(data: dict[str, Any]) -> str:
    declared = data.get("license")
    name = in_words(data.get("license_name"))
    several = declared if isinstance(declared, list) else [declared]
    words = list(dict.fromkeys(filter(None, map(in_words, several[:MOST_LICENSES]))))
    if words == ["other"] or not words:
        link = in_words(data.get("license_link"))
        known = license_of(name) if name else license_of_link(link)
        # The Hub's `other` says nothing; the name and the link beside it do.
        return known or ", ".join(filter(None, [name, link])) or "".join(words)
    ids = [license_of(one) for one in words]
    return in_words(JOINED.join(ids) if all(ids) else ", ".join(words))


def _ids(declared: object) -> tuple[str, ...]:
    several = declared if isinstance(declared, list) else [declared]
    texts, _ = texts_of([one for one in several if isinstance(one, (str, dict))])
    names = (one.removeprefix(HUB_URL).strip("/") for one in texts)
    ids = (one for one in names if STATED_ID.fullmatch(one))
    return tuple(dict.fromkeys(ids))[:MOST_NAMES]
