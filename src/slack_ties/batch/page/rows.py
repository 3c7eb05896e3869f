"""One plain row for each task of a batch: what is known of it, from the files that it left."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from slack_ties.batch.marks import LOG_FILE, Marks
from slack_ties.batch.page.public_text import public_text
from slack_ties.batch.task import MARKS
from slack_ties.catalogue.languages import find_triple
from slack_ties.errors import CatalogueError
from slack_ties.evaluation.differences import differences_of
from slack_ties.evaluation.file import EVALUATION_FILE, evaluation_from
from slack_ties.licenses.resolve import resolve_license
from slack_ties.models.front_matter import front_matter
from slack_ties.recipe.public import as_known, as_published
from slack_ties.record import record_from
from slack_ties.report.page import PAGE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slack_ties.batch.state import State
    from slack_ties.batch.task import Task
    from slack_ties.evaluation.differences import Difference
    from slack_ties.evaluation.scores import Evaluation
    from slack_ties.record import MergeRecord, Parent

__all__ = ["LanguageNames", "Model", "Row", "language_names", "rows_of", "shown_setting"]

LOG = logging.getLogger("slack_ties")

HUB = "https://huggingface.co"  # links to models that were merged always lead to this Hub

CARD_FILE = "README.md"

REPO_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)

COMMIT = re.compile(r"[0-9a-f]{40}")

# Of a Hub, without a user name or a password before the host.
URL = re.compile(r"https?://[\w.:\[\]-]{1,255}(?:/[\w./-]{0,255})?", re.ASCII)

# What a broken marker may make of reading it.
BROKEN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class LanguageNames(NamedTuple):
    """How a language is called."""

    name: str = ""  # in English
    endonym: str = ""  # in the language itself
    tag: str = ""  # BCP 47


class Model(NamedTuple):
    """One part of what was merged: a model, or its adapter."""

    role: str  # base, CT, SFT; "" if not known
    name: str  # a Hub id, or the last name of a folder
    url: str = ""  # "" for a folder
    commit: str = ""


@dataclass(frozen=True)
class Row:
    """What is known of one task. No text holds a token or a folder of this disk."""

    name: str
    language: str = ""  # as the catalogue has it; "" for a config
    settings: Mapping[str, Any] = field(default_factory=dict)  # what varies
    state: str = "new"
    since: str = ""  # ISO time; see `State`
    seconds: float | None = None  # of the last attempt, if it has ended
    why: str = ""
    next: str = ""
    repository: str = ""  # the one that it is to have, if it is not published
    url: str = ""  # of the published model; "" if it is not published
    commit: str = ""  # of the published model
    license: str = ""
    method: str = ""
    dtype: str = ""
    parameters: int = 0
    models: tuple[Model, ...] = ()
    evaluation: Evaluation | None = None
    files: Mapping[str, str] = field(default_factory=dict)  # what it is: its path from the batch

    @property
    def commit_url(self) -> str:
        """The address of the published commit; "" if it is not known."""
        endpoint, found, _ = self.url.partition(f"/{self.repository}")
        return f"{endpoint}/{self.repository}/tree/{self.commit}" if found and self.commit else ""

    @cached_property
    def differences(self) -> Mapping[tuple[str, int], Difference]:
        """Those of `differences_of` for its evaluation; computed once."""
        return differences_of(self.evaluation) if self.evaluation else {}

    @property
    def run(self) -> str:
        """The name without the settings: of the language or config that they were varied of."""
        first = next(iter(self.settings), "")
        before, found, _ = self.name.rpartition(f"-{first}-") if first else ("", "", "")
        return before if found else self.name


def rows_of(out: Path, tasks: Sequence[Task], states: Sequence[State]) -> list[Row]:
    """Return a row for each task, in their order.

    Args:
        out: The folder of the batch.
        tasks: Its tasks.
        states: Their states; a task without one is new.

    """
    known = {state.name: state for state in states}
    return [_row(out, task, known.get(task.name)) for task in tasks]


def language_names(key: str) -> LanguageNames:
    """Return how a language of the catalogue is called; the key itself if it has none."""
    try:
        found = find_triple(key).language if key else None
    except CatalogueError:
        found = None
    return LanguageNames(found.name, found.endonym, found.tag) if found else LanguageNames(key)


def shown_setting(value: Any) -> str:
    """Return the value of a setting for people: as it is typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown_setting, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown_setting(one)}" for key, one in value.items())
    return str(value)


def _row(out: Path, task: Task, state: State | None) -> Row:
    marks = Marks(out, task)
    ended = marks.done if state and state.state == "done" else marks.failed
    results = _results(marks, task)
    record = next((found for one in results if (found := _record(one, task.name))), None)
    published = _published(results)
    return Row(
        name=task.name,
        language=_public_value(task.language, out),
        settings={
            public_text(key, out): value
            if isinstance(value, (bool, int, float))
            else _public_value(shown_setting(value), out)
            for key, value in task.settings.items()
        },
        state=state.state if state else "new",
        since=public_text(state.since, out) if state else "",
        seconds=_seconds(ended) if state and state.state in {"done", "failed"} else None,
        why=public_text(state.why, out) if state else "",
        next=public_text(state.next, out) if state else "",
        repository=published.get("repo_id") or public_text(task.publish, out),
        url=published.get("url", ""),
        commit=published.get("commit", ""),
        license=public_text(_license(out / task.name, record), out),
        method=record.method if record else "",
        dtype=record.dtype if record else "",
        parameters=record.parameters if record else 0,
        models=tuple(part for one in record.parents for part in _models(one)) if record else (),
        evaluation=_evaluation(results, task.name),
        files=dict(_files(out, task.name)),
    )


def _public_value(text: str, out: Path) -> str:
    """Return a text that may be published; as a whole it may be a path, also one with spaces."""
    return public_text(f"'{text}'", out).removeprefix("'").removesuffix("'")


def _results(marks: Marks, task: Task) -> list[dict[str, Any]]:
    """Return what the steps that are complete printed, the last first."""
    found = marks.done.get("results")
    if not isinstance(found, list):
        found = [marks.step(number) for number in range(1, len(task.steps) + 1)]
    return [one for one in reversed(found) if isinstance(one, dict) and one]


def _record(result: Mapping[str, Any], name: str) -> MergeRecord | None:
    """Return the record of a merge as it is published."""
    data = result.get("record")
    if not isinstance(data, dict):
        return None
    try:
        return as_published(record_from(data))
    except BROKEN as error:
        LOG.warning("  %s: its record is left out: %r", name, error)
        return None


def _published(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the repository, its address and the commit, if they are valid; {} if there is none."""
    for result in results:
        data = result.get("published")
        if not isinstance(data, dict):
            continue
        given = [str(data.get(key) or "") for key in ("repo_id", "url", "commit")]
        forms = zip(given, (REPO_ID, URL, COMMIT), strict=True)
        if all(pattern.fullmatch(text) for text, pattern in forms):
            return dict(zip(("repo_id", "url", "commit"), given, strict=True))
    return {}


def _license(folder: Path, record: MergeRecord | None) -> str:
    """Return the licence that the card states, or that follows from the parents."""
    try:
        data = front_matter((folder / CARD_FILE).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        data = {}
    stated = data.get("license_name") if data.get("license") == "other" else data.get("license")
    if isinstance(stated, str) and stated:
        return stated
    found = resolve_license(as_known(record).parents).license if record else None
    return found.key if found else ""


def _models(parent: Parent) -> Iterator[Model]:
    """Yield a model and its adapter."""
    role = parent.role.upper() if parent.role in {"ct", "sft"} else parent.role
    for i, name in enumerate(parent.names):
        commit = parent.commits[i] if i < len(parent.commits) else ""
        on_hub = bool(commit and REPO_ID.fullmatch(name) and COMMIT.fullmatch(commit))
        url = f"{HUB}/{name}/tree/{commit}" if on_hub else ""
        yield Model(role, name, url, commit if on_hub else "")


def _evaluation(results: Sequence[dict[str, Any]], name: str) -> Evaluation | None:
    """Return the evaluation that a step printed."""
    for result in results:
        if "evaluation" in result and "models" in result:
            try:
                return evaluation_from(result)
            except BROKEN as error:
                LOG.warning("  %s: its scores are left out: %r", name, error)
    return None


def _files(out: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield what a reader can open, beside the page."""
    files = {"card": CARD_FILE, "report": PAGE_FILE, "scores": EVALUATION_FILE}
    paths = {what: f"{name}/{file}" for what, file in files.items()}
    for what, path in {**paths, "log": f"{MARKS}/{name}/{LOG_FILE}"}.items():
        if (out / path).is_file():
            yield what, path


def _seconds(ended: Mapping[str, Any]) -> float | None:
    """Return how long an attempt took that has ended."""
    try:
        since, until = (_time(ended[key]) for key in ("since", "ended"))
        return max(0.0, (until - since).total_seconds())
    except BROKEN:
        return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(re.sub("Z$", "+00:00", text))
