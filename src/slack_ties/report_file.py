"""A report as it lies on disk, report.json: written whole, read back, checked.

docs/report.md has its schema. What is counted is stored per tensor; layers, kinds and the total are
sums of tensors, and stored for readers of the file alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from slack_ties.anatomy import KINDS, layer_of, module_kind
from slack_ties.errors import OutputError
from slack_ties.figures import as_numbers, tally_of
from slack_ties.files import write_whole
from slack_ties.tally import GRID, TOPS, Tally

__all__ = [
    "REPORT_FILE",
    "REPORT_VERSION",
    "Report",
    "ReportedModel",
    "read_report",
    "write_report",
]

REPORT_FILE = "report.json"
REPORT_VERSION = 1  # raised when the meaning of a field changes
K = TypeVar("K")


@dataclass(frozen=True)
class ReportedModel:
    """One model of a report: those that are merged into the base."""

    model: str  # as the config names it
    role: str = ""  # ct, sft or not known
    varied: bool = False  # whether the grid is of its slack
    settings: Mapping[str, Any] = field(default_factory=dict)  # weight, density, slack: as YAML

    @property
    def label(self) -> str:
        """What a picture calls it."""
        name = self.model.partition("@")[0].rstrip("/").rpartition("/")[2] or self.model
        return f"{self.role.upper()} ({name})" if self.role else name

    def setting(self, name: str, default: float) -> float | None:
        """Return a setting that is one number; None where it differs between tensors."""
        value = self.settings.get(name, default)
        return float(value) if isinstance(value, (int, float)) else None


@dataclass(frozen=True)
class Report:
    """The figures of a merge."""

    config: str  # what to call it
    method: str  # of the config: slack_ties or ties
    models: tuple[ReportedModel, ...]
    tensors: Mapping[str, Tally]
    settings: Mapping[str, Any] = field(default_factory=dict)  # normalize and lambda
    versions: Mapping[str, str] = field(default_factory=dict)
    report: int = REPORT_VERSION

    @cached_property
    def total(self) -> Tally:
        """The tally of all tensors."""
        return self._sum(lambda _: True)[True]

    @cached_property
    def layers(self) -> dict[int, Tally]:
        """The tallies of the layers, in order."""
        sums = self._sum(layer_of)
        return {key: sums[key] for key in sorted(k for k in sums if k is not None)}

    @cached_property
    def kinds(self) -> dict[str, Tally]:
        """The tallies of the kinds of modules that there are, in the order of `KINDS`."""
        sums = self._sum(module_kind)
        return {kind: sums[kind] for kind in KINDS if kind in sums}

    @cached_property
    def cells(self) -> dict[tuple[int | None, str], Tally]:
        """The tallies of layers and kinds; None for what is in no layer."""
        return self._sum(lambda name: (layer_of(name), module_kind(name)))

    def _sum(self, key: Callable[[str], K]) -> dict[K, Tally]:
        sums: dict[K, Tally] = {}
        for name, tally in self.tensors.items():
            one = key(name)
            sums[one] = sums[one] + tally if one in sums else tally
        return sums or {key(""): Tally.empty([model.varied for model in self.models])}

    def of_role(self, role: str) -> list[int]:
        """Return the places of the models of a role."""
        return [place for place, model in enumerate(self.models) if model.role == role]

    def as_json(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return what the file holds."""
        from slack_ties.reading import read_figures  # noqa: PLC0415 - which reads a Report

        reading = read_figures(self)
        data: dict[str, Any] = {
            "report": self.report,
            "config": self.config,
            "method": self.method,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "tops": list(TOPS),
            "grid": list(GRID),
            "models": [
                {
                    "model": one.model,
                    "role": one.role,
                    "varied": one.varied,
                    "settings": dict(one.settings),
                }
                for one in self.models
            ],
            "reading": list(reading.sentences),
            "suggested_slack": reading.slack,
            "total": as_numbers(self.total),
            "kinds": {kind: as_numbers(tally) for kind, tally in self.kinds.items()},
            "layers": {str(layer): as_numbers(tally) for layer, tally in self.layers.items()},
        }
        if tensors:
            data["tensors"] = {name: as_numbers(tally) for name, tally in self.tensors.items()}
        return data


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json into a folder and return its path."""
    data = report.as_json()
    lines = []
    for key, value in data.items():  # a line for each tensor: for people, and for diff
        if key in {"kinds", "layers", "tensors"}:
            inner = ",\n".join(f"{_dump(name)}: {_dump(one)}" for name, one in value.items())
            lines.append(f"{_dump(key)}: {{\n{inner}\n}}")
        else:
            lines.append(f"{_dump(key)}: {_dump(value)}")
    path = folder / REPORT_FILE
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")
    return path


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_report(path: Path) -> Report:
    """Read a report: a file, or the report.json of a folder.

    Raises:
        OutputError: There is none, or it is not one of ours.

    """
    path = path / REPORT_FILE if path.is_dir() else path
    again = f"slack-ties report {path.parent}"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["report"] != REPORT_VERSION:
            msg = f"{path}: expected report version {REPORT_VERSION}, got {data['report']!r}"
            raise OutputError(msg, hint=f"pip install --upgrade slack-ties, or again: {again}")
        if (data["tops"], data["grid"]) != (list(TOPS), list(GRID)):
            msg = f"{path}: its tops and its grid are not those of this version"
            raise OutputError(msg, hint=again)
        models = tuple(
            ReportedModel(
                str(one["model"]), str(one["role"]), bool(one["varied"]), dict(one["settings"])
            )
            for one in data["models"]
        )
        varied = tuple(model.varied for model in models)
        return Report(
            config=str(data["config"]),
            method=str(data["method"]),
            models=models,
            tensors={str(k): tally_of(v, varied) for k, v in data["tensors"].items()},
            settings=dict(data["settings"]),
            versions={str(k): str(v) for k, v in data["versions"].items()},
        )
    except FileNotFoundError:
        msg = f"there is no {REPORT_FILE} in {str(path.parent)!r}"
        raise OutputError(msg, hint=again) from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        msg = f"{path}: damaged: {error!r}"
        raise OutputError(msg, hint=f"{again}  (makes it again)") from None
    except RecursionError:
        msg = f"{path}: damaged"
        raise OutputError(msg, hint=again) from None
