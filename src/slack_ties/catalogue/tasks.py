"""Which tasks of lm-eval are in a language and its script, and which keep an eye on English.

The data are in `tasks.toml`. Our own tasks are in `packs/`: YAML files that lm-eval reads. Nothing
here imports lm-eval.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.languages import (
    Language,
    find_triple,
    list_languages,
    unlisted_language,
)
from slack_ties.catalogue.names import folded
from slack_ties.errors import CatalogueError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "LanguageTasks",
    "TaskFacts",
    "english_tasks",
    "list_tasks",
    "list_tasks_text",
    "packs",
    "task_facts",
    "tasks_for",
]

LANGUAGE, ENGLISH = "language", "english"  # values of `Task.about`

FACTS = {"items": 0, "needs": "", "source": ""}  # of a task, if they are not known

MARKS = "*+#~"  # of what tasks need, in a list of tasks

OWN_TASKS = (
    "slack-ties evaluate OUT --tasks NAMES --include-path FOLDER  # docs/tasks.md has an example"
)


@dataclass(frozen=True)
class TaskFacts:
    """What is known of a task without lm-eval."""

    name: str  # lm-eval's, or of our own pack
    items: int = 0  # 0: not known
    needs: str = ""  # what it asks of the user beside the extra `eval`
    source: str = ""  # of these facts


@dataclass(frozen=True)
class LanguageTasks:
    """The tasks of a language in its script: names for lm-eval."""

    language: Language
    default: tuple[str, ...]  # multiple choice; never empty
    more: tuple[str, ...]
    english: tuple[str, ...]  # what the SFT model brings; none of `default`
    note: str = ""

    @property
    def about(self) -> Mapping[str, str]:
        """What each task is about, by its name: `about` of `load_tasks`."""
        named = dict.fromkeys((*self.default, *self.more), LANGUAGE)
        return {**dict.fromkeys(self.english, ENGLISH), **named}

    def __str__(self) -> str:
        """Return the lines that `slack-ties evaluate --tasks list` prints."""
        return list_tasks_text(self.language)


@dataclass(frozen=True)
class _Family:
    """Tasks with one name for all languages, apart from a code."""

    task: str  # its name; CODE at its end stands for the code
    codes: tuple[str, ...]
    items: int
    counts: Mapping[str, int]  # items by code, if languages have different numbers
    source: str

    def names(self, language: str, script: str, *, usual: bool) -> list[str]:
        """Return the tasks for a language, by its ISO 639-3 code, in a script.

        Args:
            language: The code.
            script: ISO 15924; empty: the usual script of the language.
            usual: Whether its texts are in its usual script: then codes without a script count.

        """
        own = [code.split("_") for code in self.codes if code.split("_")[0] == language]
        if own and not script:
            script = (*own[0], "")[1]
        found = [
            code
            for code in own
            if (code[1].casefold() == script.casefold() if len(code) > 1 else usual)
        ]
        # A code with a region or a dialect only counts if there is none without.
        least = min(map(len, found), default=0)
        return [self.task.replace("CODE", "_".join(one)) for one in found if len(one) == least]


def tasks_for(language: Language | str) -> LanguageTasks:
    """Return the tasks of a language in its script.

    Args:
        language: A language of the catalogue, another one, or a tag or name of either. A tag
            without a script, such as mn, means the language in its usual script, even if the
            catalogue has it in another one.

    Raises:
        CatalogueError: `language` is not a language, or no task is known for it.

    """
    found = language if isinstance(language, Language) else _language(language)
    row = _data()["language"].get(found.tag, {})
    by_family = _by_family(found)
    default = tuple(row.get("default") or by_family[:1])
    if not default:
        msg = f"no task of lm-eval is known for {found.name or 'the language'}, tag {found.tag}"
        raise CatalogueError(msg, hint=OWN_TASKS)
    more = dict.fromkeys([*row.get("more", ()), *by_family])
    return LanguageTasks(
        found,
        default,
        tuple(name for name in more if name not in default),
        tuple(name for name in english_tasks() if name not in default),
        row.get("note", ""),
    )


def list_tasks() -> tuple[LanguageTasks, ...]:
    """Return the tasks of each language of the catalogue, in its order.

    Source: `tasks.toml` beside this file; it names a source for each number.
    """
    languages = dict.fromkeys(triple.language for triple in list_languages())
    return tuple(tasks_for(language) for language in languages)


def english_tasks() -> tuple[str, ...]:
    """Return the tasks that show what of the SFT model's English is kept."""
    return tuple(_data()["english"])


def task_facts(name: str) -> TaskFacts:
    """Return what is known of a task; nothing is known of most.

    Args:
        name: lm-eval's name of it, or our own.

    """
    known: dict[str, Any] = {}
    for row in [*_data()["fact"], _family_facts(name)]:
        if fnmatchcase(name, row.get("tasks", name)):
            known = {**row, **known}
    return TaskFacts(name, *(known.get(key, empty) for key, empty in FACTS.items()))


def list_tasks_text(language: Language | str) -> str:
    """Return the tasks of a language, one in a line: its default, English, then others.

    Args:
        language: As `tasks_for` takes it.

    Raises:
        CatalogueError: As `tasks_for`.

    """
    tasks = tasks_for(language)
    name = tasks.language.name or tasks.language.tag
    parts = [
        (f"{name}, which `evaluate` runs:", tasks.default),
        ("English, which `evaluate` runs too:", tasks.english),
        (f"{name}, more:", tasks.more),
    ]
    marks = _marks([one for _, names in parts for one in names])
    width = max(len(one) for _, names in parts for one in names)
    lines = []
    for head, names in parts:
        if names:
            lines += [head, *(_line(one, width, marks) for one in names), ""]
    notes = [f"{mark}  {needs}" for needs, mark in marks.items() if needs]
    return "\n".join([*lines, *notes, *filter(None, [tasks.note])]).strip()


def _marks(names: Sequence[str]) -> dict[str, str]:
    """Return a mark for each thing that tasks need; none for nothing."""
    needs = dict.fromkeys(task_facts(one).needs for one in names)
    return {"": "", **dict(zip(filter(None, needs), MARKS, strict=False))}


def _line(name: str, width: int, marks: Mapping[str, str]) -> str:
    facts = task_facts(name)
    items = f"{facts.items:,} items" if facts.items else ""
    return f"  {name.ljust(width)}  {items.rjust(11)}  {marks[facts.needs]}".rstrip()


def _family_facts(name: str) -> dict[str, Any]:
    """Return what is known of a task by its family; nothing if it is of none."""
    for family in _families():
        code = name.removeprefix(family.task.removesuffix("CODE"))
        if code != name and code in family.codes:
            items = family.counts.get(code, family.items)
            return {"items": items, "source": family.source}
    return {}


def packs() -> tuple[Path, ...]:
    """Return the folders of our own tasks, as lm-eval's `include_path` takes them."""
    return tuple(sorted(one for one in Path(str(files(__package__) / "packs")).iterdir()))


def _language(name: str) -> Language:
    """Return the language with this tag, code or name; a tag without a script stays without one."""
    listed = {triple.language.tag: triple.language for triple in list_languages()}
    try:
        told = unlisted_language(name)
    except CatalogueError as error:
        try:
            return find_triple(name).language
        except CatalogueError:
            raise error from None
    for other in listed.values():
        plain = (other.iso_639_3, other.script) == (told.iso_639_3, told.script)
        if told.tag == other.tag or plain:
            return other
    return told


def _by_family(language: Language) -> list[str]:
    """Return the tasks of all families for a language in its script, the best family first."""
    usual = not _says_script(language)
    codes = [language.iso_639_3, _data()["codes"].get(language.iso_639_3, "")]
    return [
        name
        for family in _families()
        for code in filter(None, codes)
        for name in family.names(code, language.script, usual=usual)
    ]


def _says_script(language: Language) -> bool:
    """Say whether a tag has a script, as it does if the script is not the usual one."""
    return any(folded(part) == folded(language.script) for part in language.tag.split("-")[1:])


@cache
def _families() -> tuple[_Family, ...]:
    return tuple(_family(row) for row in _data()["family"])


def _family(row: Mapping[str, Any]) -> _Family:
    pairs = [code.partition(":") for code in row["codes"].split()]
    counts = {code: int(count) for code, _, count in pairs if count}
    codes = tuple(code for code, _, _ in pairs)
    return _Family(row["task"], codes, row.get("items", 0), counts, row.get("source", ""))


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("tasks.toml").read_text(encoding="utf-8"))
