"""The results of a search. We write them after every trial, so a stopped search can continue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError
from slack_ties.files import write_whole
from slack_ties.rule.collect import CT_WEIGHT
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Study", "TrialResult", "key_of", "open_study", "row_of"]

STUDY_VERSION = 1

# What a search is about, where "another" does not fit.
OTHER = {
    "texts": "other texts",
    "tasks": "other tasks, other items, other examples (few-shot), or an edited task file",
    "models": "a model folder whose files have changed since",
    "device": "another kind of device",
    "random_seed": "a search that differs in --random-seed",
    "chat_template": "a search that differs in --chat-template",
    "counts": "a search in which tasks counted otherwise: now each subject counts alike",
    "lm_eval": "another version of lm-eval",
}

AS_IT_IS = "as the config"

ORDER = ("slack", "density", "weight", CT_WEIGHT)  # of the values in a trial's name


@dataclass(frozen=True)
class TrialResult:
    """One trial: the changed values, its score, and its partial scores."""

    values: Mapping[str, float]
    score: float
    parts: Mapping[str, float]
    method: str = ""  # mergekit's name; empty: that of the config
    # Standard errors: of the parts by their names, and of the score by "".
    errors: Mapping[str, float] = field(default_factory=dict)
    # The score of each item by the name of its task, in the items' order.
    items: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    # The share of the SFT models' entries that vote first, without the embedding, if counted.
    in_effect: float | None = None

    @property
    def key(self) -> str:
        """Its name in the study."""
        return key_of(self.values, self.method)


@dataclass
class Study:
    """The trials of one search over one config."""

    path: Path
    about: Mapping[str, object]  # checksums of the config and the texts; the metric
    results: dict[str, TrialResult] = field(default_factory=dict)
    held_out: dict[str, TrialResult] = field(default_factory=dict)  # on items of no other trial
    commits: dict[str, str] = field(default_factory=dict)  # of the models on the Hub

    def add(self, result: TrialResult) -> None:
        """Add a result and write the file before the next trial begins.

        Raises:
            OutputError: The file cannot be written.

        """
        self.results[result.key] = result
        self._write()

    def add_held_out(self, result: TrialResult) -> None:
        """Add a result on the held-out items, and write the file.

        Raises:
            OutputError: The file cannot be written.

        """
        self.held_out[result.key] = result
        self._write()

    def when_stopped(self, *, items: bool) -> str:
        """Return what a search that is stopped has, how it goes on, and what it loses.

        Args:
            items: Whether models answer items, which takes long.

        """
        lost = "; answers of a trial that is not finished are not kept" if items else ""
        if not self.results:
            return f"no trial is finished, so the same command begins again{lost}"
        trials = counted(len(self.results), "finished trial")
        verb = "is" if len(self.results) == 1 else "are"
        return f"the same command goes on; {trials} {verb} in {self.path}{lost}"

    def check_commits(self, commits: Mapping[str, str]) -> None:
        """Refuse to go on with other commits: trials of other weights cannot be compared.

        Args:
            commits: Of the models on the Hub, by their ids.

        Raises:
            OutputError: A model has another commit than in the earlier trials.

        """
        for name, commit in commits.items():
            if (before := self.commits.setdefault(name, commit)) != commit:
                msg = f"{self.path} belongs to commit {before[:12]} of {name}, got {commit[:12]}"
                raise OutputError(msg, hint=_another(self.path))

    def _write(self) -> None:
        data: dict[str, Any] = {
            "tune": STUDY_VERSION,
            "about": dict(self.about),
            "trials": [_as_json(one) for one in self.results.values()],
        }
        if self.commits:
            data["commits"] = dict(sorted(self.commits.items()))
        if self.held_out:
            data["held_out"] = [_as_json(one) for one in self.held_out.values()]
        try:
            write_whole(self.path, json.dumps(data, indent=1) + "\n")
        except OSError as error:
            msg = f"cannot write the study {str(self.path)!r}: {error.strerror or error}"
            raise OutputError(msg) from None


def key_of(values: Mapping[str, float], method: str = "") -> str:
    """Return the name of a trial.

    Args:
        values: The changed values.
        method: Its merge method, if it is not that of the config.

    """
    text = ", ".join(f"{name} {values[name]:g}" for name in ORDER if name in values)
    if method:
        return f"{method}: {text}" if text else method
    return text or AS_IT_IS


def row_of(result: TrialResult, as_it_is: Mapping[str, float], own: str = "") -> str:
    """Return the name of a trial for a table; the config as it is with its values in brackets.

    Args:
        result: A trial.
        as_it_is: The values of the config.
        own: The method of the config, if trials have several.

    """
    if not result.method and not result.values:
        inside = key_of(as_it_is, own) if as_it_is else own
        return f"{AS_IT_IS} ({inside})" if inside else AS_IT_IS
    return key_of(result.values, result.method or own)


def _another(path: Path) -> str:
    """Return how to go on if a study cannot be used."""
    return f"move {path} away, or use another file: --study FILE"


def open_study(path: Path, about: Mapping[str, object]) -> Study:
    """Return the study at `path`, or a new one.

    Raises:
        OutputError: It belongs to another config, metric or text, or it is damaged.

    """
    hint = _another(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["tune"] != STUDY_VERSION:
            msg = f"{path}: expected study version {STUDY_VERSION}, got {data['tune']!r}"
            raise OutputError(msg, hint=hint)
        for name, value in about.items():
            if data["about"].get(name) != value:
                msg = f"{path} belongs to {OTHER.get(name, f'another {name}')}"
                raise OutputError(msg, hint=hint)
        commits = data.get("commits", {}).items()
        study = Study(path, about, commits={str(name): str(one) for name, one in commits})
        for one in data["trials"]:
            result = _from_json(one)
            study.results[result.key] = result
        for one in data.get("held_out", ()):
            result = _from_json(one)
            study.held_out[result.key] = result
    except FileNotFoundError:
        return Study(path, about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: damaged: {error!r}"
        raise OutputError(msg, hint=hint) from None
    return study


def _as_json(result: TrialResult) -> dict[str, Any]:
    """Return a result for the file; values of items that are only 0 and 1 as one text."""
    data: dict[str, Any] = {
        "values": dict(result.values),
        "score": result.score,
        "parts": dict(result.parts),
    }
    if result.method:
        data["method"] = result.method
    if result.errors:
        data["errors"] = dict(result.errors)
    if result.in_effect is not None:
        data["in_effect"] = result.in_effect
    if result.items:
        data["items"] = {name: _packed(values) for name, values in result.items.items()}
    return data


def _from_json(data: Mapping[str, Any]) -> TrialResult:
    def numbers(name: str) -> dict[str, float]:
        return {str(key): float(value) for key, value in data.get(name, {}).items()}

    return TrialResult(
        {str(key): float(value) for key, value in data["values"].items()},
        float(data["score"]),
        {str(key): float(value) for key, value in data["parts"].items()},
        str(data.get("method", "")),
        numbers("errors"),
        {str(name): _unpacked(values) for name, values in data.get("items", {}).items()},
        None if data.get("in_effect") is None else float(data["in_effect"]),
    )


def _packed(values: Sequence[float]) -> str | list[float]:
    if set(values) <= {0.0, 1.0}:
        return "".join("1" if value else "0" for value in values)
    return list(values)


def _unpacked(values: str | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, values))
