"""Find the licence that people mean by other words than the Hub's id: Apache 2.0, CC BY-NC 4.0.

`license_of` answers only if there is no doubt. `nearest_license` guesses, for a hint; it never
guesses a licence that allows more than the words do.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache

from slack_ties.licenses.known import JOINED, UNNAMED, find_license, hub_licenses, list_licenses

__all__ = ["MOST_WORDS", "in_words", "license_of", "license_of_link", "nearest_license"]

MOST_WORDS = 120  # characters of a card's own words that we keep

# Words of the names of licences, as the ids have them.
SHORT = {
    "creative commons": "cc",
    "attribution": "by",
    "non commercial": "nc",
    "noncommercial": "nc",
    "share alike": "sa",
    "sharealike": "sa",
    "no derivatives": "nd",
    "noderivatives": "nd",
    "gnu affero general public": "agpl",
    "gnu lesser general public": "lgpl",
    "gnu general public": "gpl",
    "mozilla public": "mpl",
}

# Words that add nothing to the name of a licence.
EMPTY = re.compile(
    r"\b(the|licen[cs]e|licen[cs]ed|under|version|international|unported|public|community|meta|"
    r"gnu|agreement|terms of use|clause|only|or later)\b"
)

VERSION = re.compile(r"\d+(\.\d+)*")

# Words of somebody who gives no licence.
NO_LICENSE = re.compile(r"unlicen[cs]ed")

# Families: any of several licences, with different terms.
FAMILIES = {"cc", "gpl", "lgpl", "llama", "openrail"}

SHORTEST = 4  # letters of a word in which an error is only an error


def license_of(words: str) -> str:
    """Return the id of the licence that words certainly mean, or its license_name; "" if unsure.

    Several licences in one text give a name such as mit-and-llama2.
    """
    name = "-".join(words.lower().split())
    if name in hub_licenses() or all(find_license(one) for one in name.split(JOINED)):
        return name
    return _by_letters().get(_letters(words), "")


def nearest_license(words: str) -> str:
    """Return the licence that words may mean; "" if none is near, or the nearest allows more."""
    if NO_LICENSE.search(words.lower()) or _letters(words) in FAMILIES:
        return ""
    found = _by_letters()
    # Without a version, people mean the newest one.
    same = [key for key in found if VERSION.sub("", key) == _letters(words)]
    near = same[-1:] or get_close_matches(_letters(words), found, n=9, cutoff=0.7)
    return next((found[key] for key in near if _is_part_of(words, found[key])), "")


def _is_part_of(words: str, license_id: str) -> bool:
    """Say whether the name of a licence has all these words: another word may be a limit."""
    one = find_license(license_id)
    names = {*_parts(license_id), *(_parts(one.name) if one else ())}
    return all(
        part in names
        or (part.isalpha() and len(part) >= SHORTEST and get_close_matches(part, names, cutoff=0.8))
        for part in _parts(words)
    )


def license_of_link(link: str) -> str:
    """Return the id of the licence whose text we know at an address; "" if it is not known."""
    place = _address(link)
    return next((one.id for one in list_licenses() if place and _address(one.link) == place), "")


def in_words(declared: object) -> str:
    """Return what a card states as its licence as one line of text; "" if it states nothing."""
    if declared is None or declared is False or declared in ("", [], {}):
        return ""
    line = "".join(c if c.isprintable() else " " for c in str(declared)[: MOST_WORDS * 9])
    return " ".join(line.split())[:MOST_WORDS].strip()


def _address(link: str) -> str:
    """Return a web address without what may differ in the same one; "" for other links."""
    match = re.fullmatch(r"https?://(?:www\.)?(.+?)/*", link.strip().lower())
    return match[1] if match else ""


def _letters(words: str) -> str:
    """Return the letters and digits of a licence's name that tell it from others."""
    return "".join(_parts(words))


def _parts(words: str) -> tuple[str, ...]:
    """Return the words and versions of a licence's name that tell it from others."""
    text = re.sub(r"[-_,()/]+", " ", words.lower())
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"v(er|\b)?\.? ?(?=\d)", " ", text)  # v2
    for long, short in SHORT.items():
        text = text.replace(long, short)
    text = re.sub(r"(?<=[a-z])(?=\d)", " ", text)
    text = EMPTY.sub(" ", text)
    text = re.sub(r"(?<![\d.])(\d)(?![\d.])", r"\1.0", text)  # 2 is 2.0
    # Letters of other scripts stay: they may be limits.
    parts = (re.sub(r"[^\w.+]", "", one) for one in text.split())
    return tuple(dict.fromkeys(filter(None, parts)))


@cache
def _by_letters() -> dict[str, str]:
    """Return the ids and names of all licences; of two that look the same, neither."""
    names: dict[str, set[str]] = {}
    for one in hub_licenses():
        if one not in UNNAMED:
            names.setdefault(_letters(one), set()).add(one)
    for license_ in list_licenses():
        names.setdefault(_letters(license_.id), set()).add(license_.id)
        names.setdefault(_letters(license_.name), set()).add(license_.id)
    return {key: ids.pop() for key, ids in names.items() if key and len(ids) == 1}
