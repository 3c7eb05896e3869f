"""Help pages of LibreOffice: the same paragraphs in English and in another language."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["SPLITS", "Page", "Paragraph", "read_pages", "split_of", "text_of"]

BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6"})
EMPTY = frozenset("area base br col embed hr img input link meta source track wbr".split())
CODE = ("code", "smathcode", "codeintable", "image", "imageintable", "youtube_consent")
# Of 30 pages one kind is for the validation split, two are for tests, the rest is for training.
SPLITS = ("validation", "test", "train")
HELD_OUT = {0: "validation", 1: "validation", 2: "test", 3: "test", 4: "test", 5: "test"}
PARTS = 30


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, and the names of menus that it marks."""

    text: str
    menus: tuple[str, ...] = ()
    heading: bool = False


@dataclass(frozen=True)
class Page:
    """A page in two languages: paragraphs with the same number say the same."""

    path: str  # such as text/swriter/guide/protection.html
    english: tuple[Paragraph, ...]
    other: tuple[Paragraph, ...]

    @property
    def program(self) -> str:
        """Return the folder of the page, which names a program: swriter, scalc, ..."""
        return self.path.split("/")[1]

    def of(self, language: str) -> tuple[Paragraph, ...]:
        """Return the paragraphs in English ("en") or in the other language."""
        return self.english if language == "en" else self.other


class _Reader(HTMLParser):
    """Collects paragraphs that have an id, without what is hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Paragraph]] = []
        self.seen: Counter[str] = Counter()
        self.open: list[tuple[str, bool, bool]] = []  # tag, hidden, menu
        self.block: tuple[str, str] | None = None  # tag, id
        self.text: list[str] = []
        self.menus: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in EMPTY:
            self.text += [" "] if tag == "br" else []
            return
        has = dict(attrs)
        name, kind = has.get("id") or "", has.get("class") or ""
        if tag in BLOCKS and name.startswith(("par_", "hd_")) and kind.strip() not in CODE:
            self.block, self.text, self.menus = (tag, name), [], []
        menu = kind == "menuitem"
        if menu:
            self.menus.append("")
        # Of a choice by operating system a script of the page shows one: here it is the default.
        hidden = "hidden" in has and not name.startswith("default")
        self.open.append((tag, hidden, menu))

    def handle_endtag(self, tag: str) -> None:
        while self.open:
            closed, _, _ = self.open.pop()
            if closed == tag:
                break
        if self.block and tag == self.block[0]:
            name = self.block[1]
            self.seen[name] += 1  # some ids stand several times on a page
            text = _one_line("".join(self.text))
            menus = tuple(map(_one_line, self.menus))
            heading = tag.startswith("h")
            self.found.append((f"{name} {self.seen[name]}", Paragraph(text, menus, heading)))
            self.block = None

    def handle_data(self, data: str) -> None:
        if self.block and not any(hidden for _, hidden, _ in self.open):
            self.text.append(data)
            if any(menu for _, _, menu in self.open):
                self.menus[-1] += data


def read_pages(help_folder: Path, language: str, cache: Path) -> list[Page]:
    """Return the pages that are in English and in `language`, sorted by path.

    Args:
        help_folder: The folder with en-US/ and `language`/.
        language: A folder of it, such as eu.
        cache: A file that keeps them: parsing takes a minute.

    """
    if cache.exists():
        return [_page(line) for line in cache.read_text("utf-8").splitlines()]
    pages = []
    for other in sorted((help_folder / language / "text").rglob("*.html")):
        path = other.relative_to(help_folder / language).as_posix()
        english = help_folder / "en-US" / path
        if english.exists():
            one, two = _paragraphs(english), _paragraphs(other)
            both = [key for key in one if key in two and one[key].text and two[key].text]
            page = Page(path, tuple(one[k] for k in both), tuple(two[k] for k in both))
            if both:
                pages.append(page)
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_name(f"{cache.name}.part")
    part.write_text("".join(json.dumps(asdict(page)) + "\n" for page in pages), "utf-8")
    part.replace(cache)
    return pages


def _page(line: str) -> Page:
    held = json.loads(line)
    texts = (
        tuple(Paragraph(p["text"], tuple(p["menus"]), p["heading"]) for p in held[name])
        for name in ("english", "other")
    )
    return Page(held["path"], *texts)


def _paragraphs(path: Path) -> dict[str, Paragraph]:
    reader = _Reader()
    reader.feed(path.read_text("utf-8"))
    return dict(reader.found)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def split_of(path: str) -> str:
    """Return the split of a page: the same for all its languages, and on every machine."""
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big")
    return HELD_OUT.get(number % PARTS, "train")


def text_of(pages: Sequence[Page], language: str) -> list[str]:
    """Return each page as one text; without paragraphs that nobody has translated."""
    texts = []
    for page in pages:
        pairs = zip(page.of(language), page.english, strict=True)
        kept = [own.text for own, other in pairs if language == "en" or own.text != other.text]
        if kept:
            texts.append("\n".join(kept))
    return texts
