"""Write and read report.json."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError
from slack_ties.files import write_whole
from slack_ties.record import CONFIG_FILE
from slack_ties.report.figures import as_numbers, tally_of
from slack_ties.report.report import REPORT_VERSION, ReportedModel
from slack_ties.report.sentences import read_figures
from slack_ties.report.shown import ShownReport
from slack_ties.report.slacks import slacks_of
from slack_ties.rule.tally import GRID, TOPS

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.report.report import Report
    from slack_ties.report.slacks import Slacks

__all__ = ["REPORT_FILE", "read_report", "report_as_json", "write_report"]

REPORT_FILE = "report.json"


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json into a folder and return its path."""
    data = report_as_json(report)
    lines = []
    for key, value in data.items():  # one line for each tensor, for people and for diff
        if key in {"kinds", "layers", "tensors"}:
            inner = ",\n".join(f"{_dump(name)}: {_dump(one)}" for name, one in value.items())
            lines.append(f"{_dump(key)}: {{\n{inner}\n}}")
        else:
            lines.append(f"{_dump(key)}: {_dump(value)}")
    path = folder / REPORT_FILE
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")
    return path


def report_as_json(report: Report, *, tensors: bool = True) -> dict[str, Any]:
    """Return the content of report.json.

    Args:
        report: The report of a merge.
        tensors: Whether to list every tensor too.

    """
    reading = read_figures(report)
    data: dict[str, Any] = {
        "report": report.report,
        "config": report.config,
        "method": report.method,
        "settings": dict(report.settings),
        "versions": dict(report.versions),
        "tops": list(TOPS),
        "grid": list(GRID),
        "models": [
            {
                "model": one.model,
                "role": one.role,
                "varied": one.varied,
                "settings": dict(one.settings),
            }
            for one in report.models
        ],
        "reading": list(reading.sentences),
        "suggested_slack": reading.slack,
        "suggested_in_effect": reading.in_effect,
        "slacks": _steps(slacks_of(report, report.total)),
        "slacks_without_embedding": _steps(slacks_of(report)),
        "total": as_numbers(report.total),
        "without_embedding": as_numbers(report.inner),
        "kinds": {kind: as_numbers(tally) for kind, tally in report.kinds.items()},
        "layers": {str(layer): as_numbers(tally) for layer, tally in report.layers.items()},
    }
    if tensors:
        data["tensors"] = {name: as_numbers(tally) for name, tally in report.tensors.items()}
    return data


def _steps(slacks: Slacks | None) -> list[dict[str, Any]]:
    return [step.as_json() for step in slacks.steps] if slacks else []


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_report(path: Path) -> ShownReport:
    """Read a report file, or the report.json of a folder.

    Raises:
        OutputError: The file is missing, or slack-ties did not write it.

    """
    path = path / REPORT_FILE if path.is_dir() else path
    folder = shlex.quote(str(path.parent))
    merged = (path.parent / CONFIG_FILE).is_file()
    again = f"slack-ties report {folder if merged else f'CONFIG -o {folder}'}"
    replace = f"{again} --overwrite"  # without it, we replace no file that we cannot read
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["report"] != REPORT_VERSION:
            msg = f"{path}: expected report version {REPORT_VERSION}, got {data['report']!r}"
            hint = f"pip install --upgrade slack-ties  # or make it again: {replace}"
            raise OutputError(msg, hint=hint)
        if (data["tops"], data["grid"]) != (list(TOPS), list(GRID)):
            msg = f"{path}: its tops and its grid differ from those of this version"
            raise OutputError(msg, hint=f"make it again: {replace}")
        models = tuple(
            ReportedModel(
                str(one["model"]), str(one["role"]), bool(one["varied"]), dict(one["settings"])
            )
            for one in data["models"]
        )
        varied = tuple(model.varied for model in models)
        return ShownReport(
            config=str(data["config"]),
            method=str(data["method"]),
            models=models,
            tensors={str(k): tally_of(v, varied) for k, v in data["tensors"].items()},
            settings=dict(data["settings"]),
            versions={str(k): str(v) for k, v in data["versions"].items()},
        )
    except FileNotFoundError:
        msg = f"there is no {path.name} in {str(path.parent)!r}"
        raise OutputError(msg, hint=again) from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        msg = f"{path}: damaged: {error!r}"
        raise OutputError(msg, hint=f"make it again: {replace}") from None
    except RecursionError:
        msg = f"{path}: damaged"
        raise OutputError(msg, hint=f"make it again: {replace}") from None
