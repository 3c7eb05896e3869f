"""Read and write results of evaluations in the Hub's format: `.eval_results/*.yaml` of a model.

Format: https://huggingface.co/docs/hub/eval-results. A person provides these results;
`eval_results.py` writes those of `slack-ties evaluate` in the same format.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries

from slack_ties.errors import OutputError
from slack_ties.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "OWN_RESULTS",
    "RESULTS_FOLDER",
    "add_results",
    "read_results",
    "results_of",
    "results_text",
]

RESULTS_FOLDER = ".eval_results"

OWN_RESULTS = "slack-ties-evaluation.yaml"  # what `slack-ties evaluate` found

MOST_BYTES = 1_000_000

EXAMPLE = "a list of {dataset: {id: OWNER/NAME, task_id: TASK}, value: NUMBER}"

# The keys of an entry, and of its parts.
KEYS = {
    "": ("dataset", "value", "verifyToken", "date", "source", "notes"),
    "dataset": ("id", "task_id", "revision"),
    "source": ("url", "name", "user", "org"),
}

DATASET_ID = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)

URL = re.compile(r"https?://[\w.~:/?#@!$&+,;=%-]{1,500}", re.ASCII)


def results_of(folder: Path, *, ours: bool = True) -> list[EvalResultEntry]:
    """Return the results in a model's folder, file by file and in the order of each file.

    Args:
        folder: The model.
        ours: Whether to include those of `slack-ties evaluate`.

    """
    files = sorted((folder / RESULTS_FOLDER).glob("*.yaml"))
    files = [file for file in files if ours or file.name != OWN_RESULTS]
    return [entry for file in files for entry in read_results(file)]


def add_results(file: Path, folder: Path) -> Path:
    """Check a file of results, copy it into a model's folder, and return the copy's path.

    Raises:
        OutputError: The file is not in the Hub's format, or the copy cannot be written.

    """
    entries = read_results(file)
    name = re.sub(r"[^\w-]+", "-", file.stem).strip("-") or "results"
    name = f"{name}-given" if f"{name}.yaml" == OWN_RESULTS else name
    path = folder / RESULTS_FOLDER / f"{name}.yaml"
    text = results_text(entries)
    try:
        path.parent.mkdir(exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def results_text(entries: Sequence[EvalResultEntry]) -> str:
    """Return results in the Hub's format."""
    data = eval_result_entries_to_yaml([*entries])
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def read_results(file: Path) -> list[EvalResultEntry]:
    """Read results in the Hub's format.

    Raises:
        OutputError: The file is not in the Hub's format; the text says what is wrong and where.

    """
    try:
        content = file.read_bytes() if file.stat().st_size <= MOST_BYTES else None
        data = yaml.safe_load(content.decode()) if content is not None else None
    except OSError as error:
        raise _wrong(file, error.strerror or str(error)) from None
    except Exception as error:  # noqa: BLE001 - PyYAML's constructors raise errors of any type
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _wrong(file, f"not valid YAML: {first}") from None
    if content is None:
        raise _wrong(file, f"it has more than {MOST_BYTES:,} bytes")
    if not isinstance(data, list) or not data:
        raise _wrong(file, f"expected {EXAMPLE}")
    for i, item in enumerate(data):
        _check(file, f"[{i}]", item)
    try:
        return parse_eval_result_entries(data)
    except (ValueError, TypeError, KeyError) as error:
        raise _wrong(file, str(error)) from None


def _check(file: Path, key_path: str, item: Any) -> None:
    """Refuse an entry that the Hub would refuse, or that a table cannot show."""
    if not isinstance(item, dict) or not isinstance(item.get("dataset"), dict):
        raise _wrong(file, f"{key_path}: expected {EXAMPLE}")
    for part, known in KEYS.items():
        keys = item.get(part) if part else item
        where = f"{key_path}.{part}" if part else key_path
        if keys is not None and not isinstance(keys, dict):
            raise _wrong(file, f"{where}: expected keys and values")
        for key in keys or ():
            if key not in known:
                raise _wrong(file, f"{where}: unknown key {key!r}, known: {', '.join(known)}")
    if item.get("date") is None:
        item.pop("date", None)
    else:
        item["date"] = str(item["date"])
    dataset, source, value = item["dataset"], item.get("source") or {}, item.get("value")
    others = [item.get("notes"), dataset.get("revision"), item.get("verifyToken"), *source.values()]
    task = dataset.get("task_id")
    number = type(value) in (int, float) and math.isfinite(value or 0)
    for right, what in (
        (
            DATASET_ID.fullmatch(str(dataset.get("id"))),
            "dataset.id: expected a dataset's id on the Hub",
        ),
        (isinstance(task, str) and task.strip(), "dataset.task_id: expected the name of a task"),
        (number, f"value: expected a number, got {value!r}"),
        (not source or URL.fullmatch(str(source.get("url"))), "source.url: expected a URL"),
        (
            all(text is None or isinstance(text, str) for text in others),
            "notes, source and others: expected texts; quote texts that look like numbers or dates",
        ),
    ):
        if not right:
            raise _wrong(file, f"{key_path}.{what}")


def _wrong(file: Path, what: str) -> OutputError:
    hint = "the format is at https://huggingface.co/docs/hub/eval-results"
    return OutputError(f"{str(file)!r}, results of an evaluation: {what}", hint=hint)
