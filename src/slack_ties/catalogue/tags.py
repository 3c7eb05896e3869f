"""Language tags (BCP 47), such as qu, pt-BR or zh-Hant-TW: what they mean, and what is not one.

The codes and names are in `tags.tsv`, which `tools/language_names.py` makes; it names its sources.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from slack_ties.errors import CatalogueError, nearest

__all__ = ["LANGUAGE_TAG", "Tag", "code_of_name", "read_tag"]

# As BCP 47 writes tags: language, script, region and variants, without extensions.
LANGUAGE_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(-(?P<script>[A-Z][a-z]{3}))?(-(?P<region>[A-Z]{2}|\d{3}))?"
    r"(?P<variants>(-([a-z\d]{5,8}|\d[a-z\d]{3}))*)"
)

PRIVATE = re.compile(r"q[a-t][a-z]")  # codes of ISO 639 that everybody may use for a language

SCRIPT, REGION = 4, 2  # letters of a code

SPECIAL = {"mis", "mul", "und", "zxx"}  # codes of ISO 639 that name no language

KINDS = {"l": "language", "s": "script", "r": "region"}


@dataclass(frozen=True)
class Tag:
    """A language tag and its parts."""

    tag: str  # as BCP 47 writes it
    code: str  # of ISO 639-1 if the language has one, else of 639-3
    script: str  # ISO 15924; may be empty
    name: str  # in English; empty for a private code
    endonym: str  # the name in the language itself; may be empty
    iso_639_1: str  # empty if there is none
    iso_639_3: str


def read_tag(text: str) -> Tag:
    """Return what a language tag means, in upper or lower case.

    Raises:
        CatalogueError: It is no tag, or a code in it does not exist; the text names the nearest.

    """
    match = LANGUAGE_TAG.fullmatch(_in_case(text))
    if not match:
        better = _in_case(text.replace("_", "-"))
        mean = f" Did you mean {better!r}?" if LANGUAGE_TAG.fullmatch(better) else _named(text)
        msg = f"{text!r} is not a language tag: expected a code such as eu, mn-Mong or pt-BR.{mean}"
        tag = better if LANGUAGE_TAG.fullmatch(better) else code_of_name(text)
        raise CatalogueError(msg, hint=f"type {tag}" if tag else "slack-ties languages")
    language, script, region = match["language"], match["script"] or "", match["region"] or ""
    same = _same().get(language, language)
    for kind, code in (("l", same), ("s", script), ("r", region)):
        if code and code not in _table()[kind] and not (kind == "l" and PRIVATE.fullmatch(code)):
            raise _no_code(kind, code=code, text=text)
    if same in SPECIAL:
        msg = f"{same!r} ({_table()['l'][same][0]}) names no language: expected the code of one"
        raise CatalogueError(msg, hint="slack-ties languages")
    name, endonym, iso_639_3 = _table()["l"].get(same, ("", "", ""))
    more = [_table()[kind][code][0] for kind, code in (("s", script), ("r", region)) if code]
    if name and more:
        name = f"{name} ({', '.join(more)})"
    return Tag(
        "-".join(filter(None, [same, script, region])) + match["variants"],
        same,
        script,
        name,
        "" if more else endonym,  # it is in the script that is usual without them
        same if len(same) == 2 else "",  # noqa: PLR2004 - ISO 639-1
        iso_639_3 if len(same) == 2 else same,  # noqa: PLR2004
    )


def _in_case(text: str) -> str:
    """Return a tag in the case that BCP 47 recommends."""
    first, *others = text.split("-")
    cased = [one.title() if len(one) == SCRIPT and one.isalpha() else one.lower() for one in others]
    cased = [one.upper() if len(one) == REGION else one for one in cased]
    return "-".join([first.lower(), *cased])


def _no_code(kind: str, *, code: str, text: str) -> CatalogueError:
    table = _table()[kind]
    near = nearest(code, [one for one in table if one not in SPECIAL])
    near = near and f"{near[:-1]} ({table[near.split(chr(39))[1]][0]})?"
    what = f"{code!r} in {text!r}" if code != text else repr(code)
    msg = f"{what} is no {KINDS[kind]} code.{near}"
    return CatalogueError(msg, hint="slack-ties languages")


def _named(text: str) -> str:
    """Return a sentence with the code of the language that has this name; "" if none has it."""
    code = code_of_name(text)
    return f" The code of {_table()['l'][code][0]} is {code!r}." if code else ""


def code_of_name(text: str) -> str:
    """Return the code of the language with this name, in English or its own; "" if none has it."""
    wanted = text.strip().casefold()
    for code, (name, endonym, _) in _table()["l"].items():
        if code not in SPECIAL and wanted and wanted in {name.casefold(), endonym.casefold()}:
            return code
    return ""


@cache
def _table() -> dict[str, dict[str, tuple[str, str, str]]]:
    """Return the name, endonym and ISO 639-3 code of every code, by kind."""
    return {
        kind: {code: (name, own, same.partition(" ")[0]) for code, name, own, same in rows}
        for kind, rows in _rows().items()
    }


@cache
def _same() -> dict[str, str]:
    """Return the code that we use instead of each other code of a language: bo for bod."""
    return {other: code for code, _, _, same in _rows()["l"] for other in same.split()}


@cache
def _rows() -> dict[str, list[tuple[str, str, str, str]]]:
    text = files(__package__).joinpath("tags.tsv").read_text(encoding="utf-8")
    rows: dict[str, list[tuple[str, str, str, str]]] = {kind: [] for kind in KINDS}
    for line in text.splitlines():
        if not line.startswith("#"):
            kind, code, name, endonym, same = [*line.split("\t"), "", ""][:5]
            rows[kind].append((code, name, endonym, same))
    return rows
