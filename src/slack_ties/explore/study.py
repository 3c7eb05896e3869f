"""What a search has found so far, on disk after every trial, so that it can be taken up again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Result", "Study", "key_of", "open_study"]

STUDY_VERSION = 1

AS_IT_IS = "as the config"


@dataclass(frozen=True)
class Result:
    """One trial: what was changed, its score, and what the score is made of."""

    values: Mapping[str, float]
    score: float
    parts: Mapping[str, float]


@dataclass
class Study:
    """The trials of one search over one config."""

    path: Path
    about: Mapping[str, object]  # the config, the metric and the texts: their checksums
    results: dict[str, Result] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Keep a result, on disk before the next trial begins.

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
    """Return what a trial is called."""
    words = (
        f"{name} {values[name]:g}" for name in ("slack", "density", "weight") if name in values
    )
    return ", ".join(words) or AS_IT_IS


def open_study(path: Path, about: Mapping[str, object]) -> Study:
    """Return the study at `path`, or a new one.

    Raises:
        OutputError: It is of another config, metric or text, or it is damaged.

    """
    hint = f"move {path} away, or name another file: --study FILE"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["tune"] != STUDY_VERSION:
            msg = f"{path}: expected study version {STUDY_VERSION}, got {data['tune']!r}"
            raise OutputError(msg, hint=hint)
        for name, value in about.items():
            if data["about"].get(name) != value:
                msg = f"{path} is a study of another {name}"
                raise OutputError(msg, hint=hint)
        study = Study(path, about)
        for one in data["trials"]:
            values = {str(k): float(v) for k, v in one["values"].items()}
            parts = {str(k): float(v) for k, v in one["parts"].items()}
            study.results[key_of(values)] = Result(values, float(one["score"]), parts)
    except FileNotFoundError:
        return Study(path, about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: damaged: {error!r}"
        raise OutputError(msg, hint=hint) from None
    return study
