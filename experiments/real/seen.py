"""Which items are about a text that also stands on a page of the training split.

Pages are held out, but a manual repeats paragraphs: a test page may have one of a training page.
seen.csv has a line for each language and split; the table counts the other items alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.markup import table
from common.rows import as_bits, read_rows, right_of
from real.curves import at_same_bits, ct_dial
from real.ingredients import HELP
from real.methods import DEFAULTS
from real.pages import Page, read_pages, split_of
from real.scores import TITLES, Scores, Vectors, added, measured
from real.shown import name_of, noted, shown, shown_signed
from real.sizes import Size
from real.skills import GAP, Item
from real.tasks import chosen_items

__all__ = ["Seen", "rows_of_seen", "seen_of", "unseen"]

OURS, DIALLED = "slack_ties", "task_arithmetic"
COMPARED = ("sft", "ct", "ct_then_sft", *(merge.name for merge in DEFAULTS))


@dataclass(frozen=True)
class Seen:
    """The items of a split in a language, and which of their texts are in the training split."""

    language: str
    split: str
    items: int
    seen: str  # as `right` of scores.csv


def rows_of_seen(size: Size, work: Path) -> Iterator[Seen]:
    """Yield the rows of the languages whose pages have been read."""
    for language in size.languages:
        cache = work / language / "pages.jsonl"
        if cache.exists():
            pages = read_pages(work / HELP, language, cache)
            for split, items in (("validation", size.validation), ("test", size.test)):
                found = seen_of(pages, language, chosen_items(pages, language, split, items))
                yield Seen(language, split, len(found), as_bits(found))


def seen_of(pages: Sequence[Page], language: str, items: Sequence[Item]) -> list[bool]:
    """Return of each item whether its paragraph is also one of a training page."""
    of_path = {page.path: page for page in pages}
    trained = {
        paragraph.text
        for page in pages
        if split_of(page.path) == "train"
        for paragraph in page.of(language)
    }
    return [_paragraph_of(item, of_path[item.page], language) in trained for item in items]


def _paragraph_of(item: Item, page: Page, language: str) -> str:
    """Return the paragraph that an item was made of."""
    text = item.prompt.split("\nText: ", 1)[1].removesuffix("\nAnswer:")
    if item.skill == "program":  # the page's first heading stands before it
        first = next(paragraph.text for paragraph in page.of(language) if paragraph.heading)
        return text.removeprefix(f"{first}. ")
    return text.replace(GAP, item.answer, 1) if item.skill == "cloze" else text


def unseen(results: Path) -> str:
    """Items about texts that are on no training page (seen.csv, scores.csv)."""
    scores, lines, seeds = Scores(results), [], []
    masks = _masks(results)
    for language in scores.languages:
        if not masks or not masks.keys() >= {one for one in scores.languages if one != "all"}:
            continue
        ours = _chosen(scores, language, masks, OURS)
        for name in COMPARED:
            theirs = _chosen(scores, language, masks, name)
            right = measured(theirs)
            if not right:
                continue
            beside = measured(added((1, ours), (-1, theirs))) if name != OURS else None
            every = measured(scores.right(language, scores.part(name)))
            many = str(len(next(iter(theirs.values()))))
            lines.append(
                [
                    *(name_of(language), TITLES[name], many, shown(every), shown(right)),
                    *(shown_signed(beside), str(right.seeds)),
                ]
            )
            seeds.append(right.seeds)
        above = measured(_above(scores, language, masks))
        if above:
            title = f"{TITLES[DIALLED]} at the same bits per byte"
            last = [shown_signed(above), str(above.seeds)]
            lines.append([name_of(language), title, lines[-1][2], "", "", *last])
    head = ["language", "model", "items", "right of all items", "right of these"]
    return noted(table([*head, "slack_ties minus it", "seeds"], lines), seeds)


Masks = dict[str, NDArray[np.bool_]]


def _masks(results: Path) -> Masks:
    """Return which items of the test split are about texts of no training page, by language."""
    path = results / "seen.csv"
    rows = read_rows(path, Seen) if path.exists() else []
    return {r.language: right_of(r.seen, r.items) == 0 for r in rows if r.split == "test"}


def _chosen(scores: Scores, language: str, masks: Masks, name: str) -> Vectors:
    return _masked(scores, language, masks, lambda one: scores.right(one, scores.part(name)))


def _above(scores: Scores, language: str, masks: Masks) -> Vectors:
    """Return what slack_ties has right more than task arithmetic at the same bits per byte."""
    ours, dial = scores.part(OURS), ct_dial(scores)
    return _masked(
        scores, language, masks, lambda one: at_same_bits(scores, one, ours, dial).difference
    )


def _masked(scores: Scores, language: str, masks: Masks, of: Callable[[str], Vectors]) -> Vectors:
    def these(one: str) -> Vectors:
        return {seed: items[masks[one]] for seed, items in of(one).items()}

    return scores.over(language, these)
