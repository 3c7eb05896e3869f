"""Read a parent's statements about itself: the metadata of its model card.

A card is not trusted. Only its words for a licence and Hub ids are read from it, and not too many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.tags import LANGUAGE_TAG
from slack_ties.licenses.known import JOINED, NOT_READ
from slack_ties.licenses.words import MOST_WORDS, in_words, license_of, license_of_link
from slack_ties.models.front_matter import front_matter, is_cut, texts_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST_CARD", "ParentCard", "read_parent_card", "stated_license"]

MOST_CARD = 1_000_000  # bytes that are read of a card; its metadata are at the beginning

MOST_NAMES = 50  # of datasets, or of the models that a model was made from

PART = r"\w[\w.-]{0,95}"

# An id, or the address of a page of the model or the data set: what comes after the id is left out.
STATED_ID = re.compile(
    r"(?:(?:https?://|hf://)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)/(?:datasets/)?"
    r"(?!(?:spaces|papers|collections|blog|docs|buckets)/)"
    rf"(?P<there>{PART}(?:/(?!(?:tree|blob|resolve|raw)/){PART})?)(?:[/?#@].*)?"
    rf"|/?(?P<id>{PART}(?:/{PART})?)/*(?:[?#@].*)?)",
    re.ASCII | re.IGNORECASE,
)


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
            text = file.read(MOST_CARD).decode("utf-8-sig", errors="replace")
            if file.read(1) and is_cut(text):
                return ParentCard(problem=f"its metadata have more than {MOST_CARD:,} bytes")
        data = front_matter(text)
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
    words = list(dict.fromkeys(filter(None, map(in_words, several)))) or [""]
    if {"other", ""} & {*words}:
        # The Hub's `other` says nothing; the name and the link beside it do.
        link = in_words(data.get("license_link"))
        known = license_of(name) if name else license_of_link(link)
        named = known or ", ".join([name or "other", link] if link else filter(None, [name]))
        words = [(named or one) if one in {"other", ""} else one for one in words]
    ids = list(dict.fromkeys(map(license_of, words)))
    joined = JOINED.join(ids) if all(ids) else ""
    # A name that is cut would leave licences out.
    return joined if 0 < len(joined) <= MOST_WORDS else in_words(", ".join(words))


def _ids(declared: object) -> tuple[str, ...]:
    several = declared if isinstance(declared, list) else [declared]
    texts, _ = texts_of([one for one in several if isinstance(one, (str, dict))])
    ids = (
        one["there"] or one["id"] for text in texts if (one := STATED_ID.fullmatch(text.strip()))
    )
    return tuple(dict.fromkeys(ids))[:MOST_NAMES]
