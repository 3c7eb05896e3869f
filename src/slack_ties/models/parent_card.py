"""Read a parent's statements about itself: the metadata of its model card.

A card is not trusted. Only licence ids, names and Hub ids are read from it, and not too many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.licenses.known import LICENSE_NAME, UNNAMED, hub_licenses
from slack_ties.models.front_matter import front_matter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["MOST_CARD", "ParentCard", "read_parent_card"]

MOST_CARD = 1_000_000  # bytes; the longest cards of well-known models have 50 KB

HUB_URL = "https://huggingface.co/"  # some cards name models by it

MOST_NAMES = 50  # of datasets, or of the models that a model was made from

STATED_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True)
class ParentCard:
    """The statements of a model's card that can be used."""

    license: str = ""  # the Hub's id of a licence, or another licence's name; empty if not stated
    made_from: tuple[str, ...] = ()  # base_model: Hub ids
    datasets: tuple[str, ...] = ()  # Hub ids


def read_parent_card(folder: Path) -> ParentCard:
    """Return the statements of the card in a model's folder; empty if there is no card."""
    card = folder / "README.md"
    try:
        if not card.is_file() or card.stat().st_size > MOST_CARD:
            return ParentCard()
        data = front_matter(card.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return ParentCard()
    return ParentCard(
        license=_license(data),
        made_from=_ids(data.get("base_model")),
        datasets=_ids(data.get("datasets")),
    )


def _license(data: dict[str, Any]) -> str:
    declared = data.get("license")
    if isinstance(declared, list):  # the card does not say which licence holds for what
        declared = "-or-".join(map(str, declared[:9]))
    declared = _as_id(declared) if isinstance(declared, str) else declared
    if declared in UNNAMED and isinstance(data.get("license_name"), str):
        name = "-".join(data["license_name"].lower().split())
        declared = name if LICENSE_NAME.fullmatch(name) else declared
    return declared if isinstance(declared, str) and LICENSE_NAME.fullmatch(declared) else ""


def _as_id(declared: str) -> str:
    """Return the Hub's id of a licence that is spelled otherwise, as Apache 2.0; or the words."""
    words = "-".join(declared.lower().split())
    short = words.removesuffix("-license").removesuffix("-licence")
    return short if short in hub_licenses() else words


def _ids(declared: object) -> tuple[str, ...]:
    several: Iterable[object] = declared if isinstance(declared, list) else [declared]
    names = (one.removeprefix(HUB_URL).strip("/") for one in several if isinstance(one, str))
    ids = (one for one in names if STATED_ID.fullmatch(one))
    return tuple(dict.fromkeys(ids))[:MOST_NAMES]
