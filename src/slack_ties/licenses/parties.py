"""The models whose licences apply to a merged model: its parents, and their parents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from slack_ties.catalogue.languages import list_languages
from slack_ties.licenses.known import NOT_READ

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slack_ties.record import Parent

__all__ = ["Party", "catalogue_by_id", "list_parties"]


@dataclass(frozen=True)
class Party:
    """A model or an adapter that is part of the merged model."""

    name: str
    license: str  # from its card, the config or the catalogue; empty if none states it
    origins: tuple[str, ...]  # the models that it was made from, if they are stated
    commit: str = ""  # on the Hub; empty for a folder
    texts: tuple[str, ...] = ()  # its files with licences and notices


def list_parties(parents: Iterable[Parent]) -> Iterator[Party]:
    """Yield each model and adapter of a merge, with its licence."""
    parents = list(parents)
    bases = tuple(parent.names[0] for parent in parents if parent.role == "base")
    for parent in parents:
        of_base = parent.role == "base"
        stated = (parent.license, parent.adapter_license)
        texts = (parent.texts, parent.adapter_texts)
        for i, (name, license_) in enumerate(zip(parent.names, stated, strict=False)):
            origins = (*(() if of_base and not i else bases), *parent.made_from)
            commit = parent.commits[i] if i < len(parent.commits) else ""
            if license_ in {"", NOT_READ}:
                license_ = catalogue_by_id().get(name, license_)  # noqa: PLW2901 - the same
            yield Party(name, license_, origins, commit, texts[i])


@cache
def catalogue_by_id() -> dict[str, str]:
    """Return the licences in the catalogue, by the id of the model."""
    return {
        source.id: source.license
        for triple in list_languages()
        for source in (triple.base, triple.ct, triple.sft)
        if source.license
    }
