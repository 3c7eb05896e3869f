"""Five skills with answers that are right or wrong: the instruction is English, the text is not.

An item is made of one paragraph, in both languages at once, so that scores can be compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from real.pages import Page, Paragraph

__all__ = ["SKILLS", "Item", "items_of", "mixed"]

SKILLS = ("words", "longest", "menu", "program", "cloze")
PROGRAMS = {"swriter": "Writer", "scalc": "Calc", "simpress": "Impress", "sbasic": "Basic"}
NAMED = re.compile("|".join([*PROGRAMS.values(), "LibreOffice", "Draw", "Base", "Math"]))
WORD = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")
SPLIT_MENU = re.compile(r"\s+[-\u2013\u2014]\s+|\s*[>\u25b8]\s*")
PUNCTUATION = ".,:;!?()[]\"'\u201c\u201d\u00ab\u00bb\u2026"
LONGEST = 300  # characters of a text
GAP = "___"
CHOICES = 4  # of a cloze item
LONG = 5  # letters of a word that is left out


@dataclass(frozen=True)
class Item:
    """A question about a text, and the one right answer."""

    skill: str
    page: str
    prompt: str
    answer: str


Maker = Callable[[Random, Page, int, str], tuple[str, str, str] | None]


def items_of(pages: Sequence[Page], language: str, skill: str, per_page: int) -> list[Item]:
    """Return the items of a skill in "en" or in the other language.

    Only paragraphs count that make an item in both languages: so lists of the same pages have the
    same length for both, and the item at a place is about the same paragraph. At most `per_page`
    come from each page. Nothing depends on the order of pages or on anything but their text.
    """
    found = []
    for page in pages:
        order = list(range(len(page.english)))
        Random(f"{skill} {page.path}").shuffle(order)
        made = filter(None, (_both(page, place, language, skill) for place in order))
        found += islice(made, per_page)
    return found


def mixed(pages: Sequence[Page], many: int, seed: str, per_page: int) -> list[Item]:
    """Return `many` English items in random order: as many of each skill as there are."""
    dice, lists = Random(seed), []
    for skill in SKILLS:
        items = items_of(pages, "en", skill, per_page)
        dice.shuffle(items)
        lists.append(iter(items))
    chosen: list[Item] = []
    while lists and len(chosen) < many:
        lists = [rest for rest in lists if _take(rest, chosen)]
    chosen = chosen[:many]
    dice.shuffle(chosen)
    return chosen


def _take(rest: Iterator[Item], chosen: list[Item]) -> bool:
    item = next(rest, None)
    if item:
        chosen.append(item)
    return item is not None


def _both(page: Page, place: int, language: str, skill: str) -> Item | None:
    if page.english[place].text == page.other[place].text:
        return None  # not translated
    made = {}
    for of in ("en", "other"):
        dice = Random(f"{skill} {of} {place} {page.path}")
        made[of] = MAKERS[skill](dice, page, place, of)
    wanted = made["en" if language == "en" else "other"]
    if not all(made.values()) or not wanted:
        return None
    instruction, text, answer = wanted
    prompt = f"{instruction}\nText: {text}\nAnswer:"
    return Item(skill, page.path, prompt, answer)


def _plain(paragraph: Paragraph, low: int, high: int) -> list[str] | None:
    """Return the words of a paragraph that has `low` to `high` of them and nothing odd."""
    words = [word.strip(PUNCTUATION) for word in paragraph.text.split()]
    good = low <= len(words) <= high and all(WORD.fullmatch(word) for word in words)
    return words if good else None


def _words(_: Random, page: Page, place: int, language: str) -> tuple[str, str, str] | None:
    paragraph = page.of(language)[place]
    words = _plain(paragraph, 4, 16)
    if not words:
        return None
    answer = json.dumps({"first": words[0], "last": words[-1]}, ensure_ascii=False)
    return "Write the first and the last word of the text as JSON.", paragraph.text, answer


def _longest(_: Random, page: Page, place: int, language: str) -> tuple[str, str, str] | None:
    paragraph = page.of(language)[place]
    words = sorted(set(_plain(paragraph, 3, 10) or []), key=len)
    if len(words) < 3 or len(words[-2]) == len(words[-1]):  # noqa: PLR2004
        return None
    return "Write the longest word of the text.", paragraph.text, words[-1]


def _menu(_: Random, page: Page, place: int, language: str) -> tuple[str, str, str] | None:
    paragraph = page.of(language)[place]
    if len(paragraph.menus) != 1 or len(paragraph.text) > LONGEST:
        return None
    names = [name.strip(". \u2026") for name in SPLIT_MENU.split(paragraph.menus[0])]
    if len(names) < 2 or not all(names):  # noqa: PLR2004
        return None
    # Not a list: lm-eval would read a target in brackets as several right answers.
    instruction = "Which menu command does the text name? Write > between its parts."
    return instruction, paragraph.text, " > ".join(names)


def _program(_: Random, page: Page, place: int, language: str) -> tuple[str, str, str] | None:
    own, paragraph = page.of(language), page.of(language)[place]
    if page.program not in PROGRAMS or paragraph.heading or len(paragraph.text) > LONGEST:
        return None
    headings = [other.text for other in own if other.heading][:1]
    text = ". ".join([*headings, paragraph.text])
    if not headings or NAMED.search(text) or len(paragraph.text) < 40:  # noqa: PLR2004
        return None
    names = ", ".join(PROGRAMS.values())
    return f"Which program is the text about: {names}?", text, PROGRAMS[page.program]


def _cloze(dice: Random, page: Page, place: int, language: str) -> tuple[str, str, str] | None:
    paragraph = page.of(language)[place]
    inside = WORD.findall(paragraph.text)
    if not 6 <= len(inside) <= 30 or len(paragraph.text) > LONGEST:  # noqa: PLR2004
        return None
    once = [word for word in inside[1:] if len(word) >= LONG and inside.count(word) == 1]
    once = [word for word in once if word[0].islower()]
    others = {word for other in page.of(language) for word in WORD.findall(other.text)}
    others = {word for word in others - set(inside) if len(word) >= LONG and word[0].islower()}
    if not once or len(others) < CHOICES - 1:
        return None
    missing = dice.choice(once)
    choices = [missing, *dice.sample(sorted(others), CHOICES - 1)]
    dice.shuffle(choices)
    text = re.sub(rf"\b{re.escape(missing)}\b", GAP, paragraph.text, count=1)
    return f"Which word is missing: {', '.join(choices)}?", text, missing


MAKERS: dict[str, Maker] = {
    "words": _words,
    "longest": _longest,
    "menu": _menu,
    "program": _program,
    "cloze": _cloze,
}
