"""The results of a search. We write them after every trial, so a stopped search can continue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Study", "TrialResult", "key_of", "open_study", "row_of"]

STUDY_VERSION = 1

OTHER = {"texts": "other texts"}  # what a search is about, where "another" does not fit

AS_IT_IS = "as the config"


@dataclass(frozen=True)
class TrialResult:
    """One trial: the changed values, its score, and its partial scores."""

    values: Mapping[str, float]
    score: float
    parts: Mapping[str, float]


@dataclass
class Study:
    """The trials of one search over one config."""

    path: Path
    about: Mapping[str, object]  # checksums of the config and the texts; the metric
    results: dict[str, TrialResult] = field(default_factory=dict)

    def add(self, result: TrialResult) -> None:
        """Add a result and write the file before the next trial begins.

        Raises:
            OutputError: The file cannot be written.

        """
        self.results[key_of(result.values)] = result
        data = {
            "tune": STUDY_VERSION,
            "about": dict(self.about),
            "trials": [
                {"values": dict(one.values), "score": one.score, "parts": dict(one.parts)}
                for one in self.results.values()
            ],
        }
        try:
            write_whole(self.path, json.dumps(data, indent=1) + "\n")
        except OSError as error:
            msg = f"cannot write the study {str(self.path)!r}: {error.strerror or error}"
            raise OutputError(msg) from None


def key_of(values: Mapping[str, float]) -> str:
    """Return the name of a trial."""
    parts = (
        f"{name} {values[name]:g}" for name in ("slack", "density", "weight") if name in values
    )
    return ", ".join(parts) or AS_IT_IS


def row_of(values: Mapping[str, float], as_it_is: Mapping[str, float]) -> str:
    """Return the name of a trial for a table; the config as it is with its values in brackets."""
    name = key_of(values)
    return name if values or not as_it_is else f"{name} ({key_of(as_it_is)})"


def open_study(path: Path, about: Mapping[str, object]) -> Study:
    """Return the study at `path`, or a new one.

    Raises:
        OutputError: It belongs to another config, metric or text, or it is damaged.

    """
    hint = f"move {path} away, or use another file: --study FILE"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["tune"] != STUDY_VERSION:
            msg = f"{path}: expected study version {STUDY_VERSION}, got {data['tune']!r}"
            raise OutputError(msg, hint=hint)
        for name, value in about.items():
            if data["about"].get(name) != value:
                msg = f"{path} belongs to {OTHER.get(name, f'another {name}')}"
                raise OutputError(msg, hint=hint)
        study = Study(path, about)
        for one in data["trials"]:
            values = {str(k): float(v) for k, v in one["values"].items()}
            parts = {str(k): float(v) for k, v in one["parts"].items()}
            study.results[key_of(values)] = TrialResult(values, float(one["score"]), parts)
    except FileNotFoundError:
        return Study(path, about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: damaged: {error!r}"
        raise OutputError(msg, hint=hint) from None
    return study
