"""Compare names of languages as people type them, and propose the one that was meant."""

from __future__ import annotations

import unicodedata
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ask_for", "folded"]

# A name is proposed for one that is so similar to it (difflib) and begins with the same letter.
# With difflib's own 0.6, a language is proposed for 234 of CLDR's 600 others: Croatian for Serbo-
# Croatian, Serbian for Persian. With this rule it is none; tests/test_languages.py asks for all.
SIMILAR = 0.87

# Countries and regions whose name is typed for their language: only where one language is meant.
PLACES = {
    "bangladesh": "Bangla",
    "basque country": "Basque",
    "bosnia": "Bosnian",
    "croatia": "Croatian",
    "denmark": "Danish",
    "estonia": "Estonian",
    "galicia": "Galician",
    "greece": "Greek",
    "hungary": "Hungarian",
    "indonesia": "Indonesian",
    "ireland": "Irish",
    "kazakhstan": "Kazakh",
    "laos": "Lao",
    "lithuania": "Lithuanian",
    "malaysia": "Malay",
    "moldova": "Moldovan",
    "mongolia": "Mongolian",
    "norway": "Norwegian",
    "romania": "Romanian",
    "serbia": "Serbian",
    "slovenia": "Slovenian",
    "sweden": "Swedish",
    "thailand": "Thai",
    "tibet": "Tibetan",
    "ukraine": "Ukrainian",
    "vietnam": "Vietnamese",
}

ONE_LETTER = 7  # letters of a name in which one may be another: laotien for laotian

LONG_ENOUGH = 4  # letters of the beginning of a key


def folded(name: str) -> str:
    """Return a name in lower case, and without accents if only its accents are not ASCII."""
    name = " ".join(name.split()).casefold()
    parts = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in parts if not unicodedata.combining(letter))
    return plain if plain.isascii() else name


def ask_for(name: str, keys: Sequence[str], names: Sequence[str]) -> str:
    """Return " Did you mean 'x'?" with the key or language that was meant, or ""."""
    wanted = folded(name)
    for key in keys:
        if len(wanted) >= LONG_ENOUGH and folded(key).startswith(wanted):
            return f" Did you mean {key!r}?"
    known = {folded(one): one for one in (*names, *keys)}
    if (place := PLACES.get(wanted)) in names:
        return f" Did you mean {place!r}?"
    alike = [one for one in known if one[:1] == wanted[:1]]
    match = get_close_matches(wanted, alike, n=1, cutoff=SIMILAR)
    match = match or [one for one in alike if _one_letter_differs(one, wanted)]
    return f" Did you mean {known[match[0]]!r}?" if match else ""


def _one_letter_differs(one: str, other: str) -> bool:
    if len(one) != len(other) or len(one) < ONE_LETTER:
        return False
    return sum(a != b for a, b in zip(one, other, strict=True)) == 1
