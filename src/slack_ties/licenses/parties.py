"""Whose licences count for a merged model: the models', and their parents'."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from slack_ties.catalogue.languages import list_languages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slack_ties.record import Parent

__all__ = ["Party", "catalogue_by_id", "list_parties"]


@dataclass(frozen=True)
class Party:
    """Somebody whose work is in the merged model: a model or an adapter."""

    name: str
    license: str  # as its card, the config or the catalogue says; empty if none does
    origins: tuple[str, ...]  # what it was made from, as far as it is said
    commit: str = ""  # on the Hub; empty for a folder
    texts: tuple[str, ...] = ()  # its files that hold licences and notices


def list_parties(parents: Iterable[Parent]) -> Iterator[Party]:
    """Yield the models of a merge and their adapters, each with the licence that it is under."""
    parents = list(parents)
    bases = tuple(parent.names[0] for parent in parents if parent.role == "base")
    for parent in parents:
        of_base = parent.role == "base"
        stated = (parent.license, parent.adapter_license)
        texts = (parent.texts, parent.adapter_texts)
        for i, (name, license_) in enumerate(zip(parent.names, stated, strict=False)):
            origins = (*(() if of_base and not i else bases), *parent.made_from)
            commit = parent.commits[i] if i < len(parent.commits) else ""
            yield Party(
                name, license_ or catalogue_by_id().get(name, ""), origins, commit, texts[i]
            )


@cache
def catalogue_by_id() -> dict[str, str]:
    """Return the licences of public models that the catalogue knows, by id."""
    return {
        source.id: source.license
        for triple in list_languages()
        for source in (triple.base, triple.ct, triple.sft)
        if source.license
    }
