"""The catalogue of languages with public models to merge. `slack-ties languages` shows it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from slack_ties.errors import CatalogueError, nearest

__all__ = [
    "LANGUAGE_TAG",
    "Language",
    "Source",
    "Triple",
    "find_triple",
    "list_languages",
    "unlisted_language",
]

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


# An ISO 639 code, and an ISO 15924 script if the language is written in several.
LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?")


@dataclass(frozen=True)
class Language:
    """A language in one script."""

    tag: str  # BCP 47, for example bo or mn-Mong
    name: str  # in English; may be empty for a language outside the catalogue
    endonym: str  # the name in the language itself; may be empty too
    script: str  # ISO 15924; may be empty too
    iso_639_1: str  # the code that the Hub lists; a three-letter code if there is none
    iso_639_3: str
    aliases: tuple[str, ...] = ()
    source: str = ""  # of a fact that the sources at the top of the file do not cover


@dataclass(frozen=True)
class Source:
    """One public model."""

    id: str  # on the Hub
    license: str = ""  # the Hub's licence id; empty: not known
    source: str = ""  # the page that states the licence
    languages: tuple[str, ...] = ()  # that it adds to a merge; only given for SFT models


@dataclass(frozen=True)
class Triple:
    """A base, its CT model and its SFT model: what one merge needs."""

    key: str  # what the user types, and the name of the config
    language: Language
    family: str  # of the base
    dtype: str  # of the merged model
    base: Source
    ct: Source
    sft: Source
    extended: bool = False  # whether the CT model has tokens that the base does not have
    unverified: str = ""  # what to check on the Hub before you rely on it


def list_languages() -> tuple[Triple, ...]:
    """Return the catalogue's triples, in its order; the first triple of a language is its default.

    Source: `languages.toml` beside this file; it names a source for every fact.
    """
    return _catalogue()


def find_triple(name: str) -> Triple:
    """Return the triple with the key `name`, or the first one of the language `name`.

    `name` can be the tag, an ISO 639 code, or the name in English or in the language itself,
    in upper or lower case.

    Raises:
        CatalogueError: There is none.

    """
    triples = _catalogue()
    wanted = name.strip().casefold()
    for triple in triples:
        if wanted == triple.key.casefold():
            return triple
    for triple in triples:
        if wanted in {word.casefold() for word in _names(triple.language)}:
            return triple
    known = [t.key for t in triples] + [n for t in triples for n in _names(t.language)]
    msg = f"no language {name!r} in the catalogue.{nearest(name, known)}"
    hint = (
        "slack-ties languages  (for a language outside the catalogue, give its ISO 639 code "
        "and --base, --ct and --sft)"
    )
    raise CatalogueError(msg, hint=hint)


def unlisted_language(tag: str) -> Language:
    """Return a language outside the catalogue; only its tag is known.

    Raises:
        CatalogueError: `tag` is not an ISO 639 code, with or without an ISO 15924 script.

    """
    if not LANGUAGE_TAG.fullmatch(tag):
        msg = f"{tag!r} is not a language tag: expected an ISO 639 code such as eu or mn-Mong"
        raise CatalogueError(msg, hint="slack-ties languages")
    code, _, script = tag.partition("-")
    return Language(tag, "", "", script, iso_639_1=code, iso_639_3=code if len(code) == 3 else "")  # noqa: PLR2004


def _names(language: Language) -> list[str]:
    names = [language.tag, language.iso_639_1, language.iso_639_3, language.name]
    return [*names, language.endonym, *language.aliases]


@cache
def _catalogue() -> tuple[Triple, ...]:
    text = files(__package__).joinpath("languages.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    languages = {
        tag: Language(tag, **{**row, "aliases": tuple(row.get("aliases", ()))})
        for tag, row in data["language"].items()
    }
    return tuple(
        Triple(
            key=row["key"],
            language=languages[row["language"]],
            family=family["name"],
            dtype=family["dtype"],
            base=_source(family["base"]),
            ct=_source(row["ct"]),
            sft=_source(family["sft"]),
            extended=row.get("extended", False),
            unverified=row.get("unverified", ""),
        )
        for row in data["triple"]
        for family in [data["family"][row["family"]]]
    )


def _source(row: dict[str, Any]) -> Source:
    return Source(**{**row, "languages": tuple(row.get("languages", ()))})
