"""The catalogue of languages with public models to merge. `slack-ties languages` shows it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.names import ask_for, folded
from slack_ties.catalogue.tags import code_of_name, read_tag
from slack_ties.errors import CatalogueError

__all__ = [
    "Language",
    "Source",
    "Triple",
    "find_triple",
    "language_of_model",
    "list_languages",
    "match_triples",
    "unlisted_language",
]

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Language:
    """A language in one script."""

    tag: str  # BCP 47, for example bo or mn-Mong
    name: str  # in English; empty for a private code
    endonym: str  # the name in the language itself; may be empty too
    script: str  # ISO 15924; may be empty too
    iso_639_1: str  # empty if there is none: then the Hub lists the three-letter code
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
    size: int = 0  # bytes of its weight files; 0: not known
    gated: bool | None = None  # whether access must be asked for; None: not known
    files: str = ""  # the source of `size` and `gated`


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
    parameters: int = 0  # of the base; 0: not known
    extended: bool = False  # whether the CT model has tokens that the base does not have
    merged_parameters: int = 0  # of the merged model, if the CT model has other tokens
    unverified: str = ""  # what to check on the Hub before you rely on it

    @property
    def models(self) -> tuple[Source, Source, Source]:
        """Base, CT and SFT model."""
        return self.base, self.ct, self.sft


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
    wanted = folded(name)
    for triple in triples:
        if wanted == folded(triple.key):
            return triple
    for triple in triples:
        if wanted in map(folded, _names(triple.language)):
            return triple
    raise _no_language(name)


def match_triples(words: Iterable[str]) -> tuple[Triple, ...]:
    """Return the triples that any of `words` names, in the catalogue's order; all without words.

    A word names the triple with this key, and all triples of a language, or of the languages of
    a script: by the names that `find_triple` takes, or an ISO 15924 code such as Tibt.

    Raises:
        CatalogueError: A word names none.

    """
    triples = _catalogue()
    found: set[str] = set()
    for word in words:
        wanted = folded(word)
        named = {
            triple.key
            for triple in triples
            for language in [triple.language]
            if wanted in map(folded, (triple.key, language.script, *_names(language)))
        }
        if not named:
            raise _no_language(word)
        found |= named
    return tuple(triple for triple in triples if triple.key in found or not found)


def _no_language(name: str) -> CatalogueError:
    """Return the error about a name that the catalogue does not have."""
    triples = _catalogue()
    names = [n for t in triples for n in (t.language.name, t.language.endonym, *t.language.aliases)]
    near = ask_for(name, [t.key for t in triples], names)
    msg = f"no language {name!r} in the catalogue.{near}"
    hint = (
        "slack-ties languages  # for a language outside the catalogue, give its ISO 639 code "
        "and --base, --ct and --sft"
    )
    if not near and (tag := _tag_of(name)):
        hint = f"slack-ties config {tag} --base BASE --ct CT --sft SFT  # three models of your own"
    return CatalogueError(msg, hint=hint)


def _tag_of(name: str) -> str:
    """Return the tag of a language outside the catalogue, from a name or tag; "" if none fits."""
    try:
        return read_tag(code_of_name(name) or name).tag
    except CatalogueError:
        return ""


def unlisted_language(tag: str) -> Language:
    """Return a language outside the catalogue, with its name if its code has one.

    Raises:
        CatalogueError: `tag` is not a language tag, or there is no such language.

    """
    found = read_tag(tag)
    return Language(
        found.tag,
        found.name,
        found.endonym,
        found.script,
        iso_639_1=found.iso_639_1,
        iso_639_3=found.iso_639_3,
    )


def language_of_model(name: str, ct: str) -> Language:
    """Return the language of a CT model, as a person names it.

    Only for the catalogue's own models does a name without a script, such as mn, mean a language
    in a script, such as mn-Mong.

    Raises:
        CatalogueError: `name` is neither a language of the catalogue nor a language tag.

    """
    try:
        listed = find_triple(name).language
    except CatalogueError:
        return unlisted_language(name)
    if any(triple.ct.id == ct for triple in _catalogue() if triple.language == listed):
        return listed
    try:
        plain = unlisted_language(name)
    except CatalogueError:  # a name, or a key
        code = code_of_name(name)
        plain = unlisted_language(code) if code else listed
    return listed if plain.tag == listed.tag else plain


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
            parameters=family["parameters"],
            base=_source(family["base"]),
            ct=_source(row["ct"]),
            sft=_source(family["sft"]),
            extended=row.get("extended", False),
            merged_parameters=row.get("merged_parameters", 0),
            unverified=row.get("unverified", ""),
        )
        for row in data["triple"]
        for family in [data["family"][row["family"]]]
    )


def _source(row: dict[str, Any]) -> Source:
    return Source(**{**row, "languages": tuple(row.get("languages", ()))})
