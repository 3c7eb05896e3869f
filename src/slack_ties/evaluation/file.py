"""Write and read evaluation.json.

The file may come from the Hub, or a person may have edited it: reading checks everything that
others of our modules rely on.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import MISSING, asdict, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from slack_ties.errors import OutputError
from slack_ties.evaluation.answers import digest_of_weights
from slack_ties.evaluation.check import check_evaluation
from slack_ties.evaluation.scores import (
    EVALUATION_VERSION,
    Evaluated,
    Evaluation,
    Score,
    Task,
    TaskScore,
)
from slack_ties.evaluation.shown import ShownEvaluation
from slack_ties.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from slack_ties.record import MergeRecord

__all__ = [
    "EVALUATION_FILE",
    "evaluation_as_json",
    "evaluation_from",
    "is_of",
    "read_evaluation",
    "weights_digest",
    "write_evaluation",
]

EVALUATION_FILE = "evaluation.json"

MOST_BYTES = 50_000_000

Made = TypeVar("Made")

WORDS: dict[type, str] = {dict: "keys and values", list: "a list"}

MOST_SAID = 300  # characters of an error, which can quote the file


def write_evaluation(evaluation: Evaluation, path: Path) -> Path:
    """Write an evaluation, with all digits of its numbers, and return the file's path.

    Args:
        evaluation: What to write.
        path: The file, or the folder for an evaluation.json.

    Raises:
        OutputError: The file cannot be written, or `read_evaluation` would refuse it.

    """
    path = path / EVALUATION_FILE if path.is_dir() else path
    try:
        check_evaluation(evaluation)
        text = _text(evaluation_as_json(evaluation))
    except (ValueError, TypeError) as error:
        msg = f"{path}: this evaluation cannot be written: {error}"
        raise OutputError(msg) from None
    try:
        write_whole(path, text)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def evaluation_as_json(evaluation: Evaluation, *, values: bool = True) -> dict[str, Any]:
    """Return the content of evaluation.json.

    Args:
        evaluation: An evaluation.
        values: Whether to list the value of every item too.

    """
    return {
        "evaluation": evaluation.evaluation,
        "date": evaluation.date,
        "settings": dict(sorted(evaluation.settings.items())),
        "versions": dict(sorted(evaluation.versions.items())),
        "tasks": [asdict(task) for task in evaluation.tasks],
        "models": [
            {
                "name": model.name,
                "role": model.role,
                "commit": model.commit,
                "dtype": model.dtype,
                "scores": {
                    task: _score_as_json(score, values=values)
                    for task, score in sorted(model.scores.items())
                },
            }
            for model in evaluation.models
        ],
    }


def _score_as_json(score: TaskScore, *, values: bool) -> dict[str, Any]:
    metrics = {name: asdict(one) for name, one in sorted(score.metrics.items())}
    data: dict[str, Any] = {"metrics": metrics, "truncated": score.truncated}
    return {**data, "values": list(score.values)} if values else data


def _text(data: Mapping[str, Any]) -> str:
    """Return JSON with one line for a task, and one for a model's score on a task: for diff."""
    keys = ("evaluation", "date", "settings", "versions")
    lines = [f"{_dump(key)}: {_dump(data[key])}" for key in keys]
    tasks = ",\n".join(map(_dump, data["tasks"]))
    models = ",\n".join(map(_model_text, data["models"]))
    lines += [f'"tasks": [\n{tasks}\n]', f'"models": [\n{models}\n]']
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _model_text(model: Mapping[str, Any]) -> str:
    scores = ",\n".join(f"{_dump(task)}: {_dump(one)}" for task, one in model["scores"].items())
    rest = _dump({key: one for key, one in model.items() if key != "scores"})
    return f'{rest[:-1]}, "scores": {{\n{scores}\n}}}}'


def _dump(value: object) -> str:
    # Python's repr of a float, which json writes, reads back as the same float.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # A folder's name may be invalid text: JSON writes it as an escape.
    return text.encode(errors="backslashreplace").decode()


def read_evaluation(path: Path) -> ShownEvaluation:
    """Read an evaluation, or the evaluation.json of a folder.

    Raises:
        OutputError: The file is missing, is too large, or its content is wrong; the text says what.

    """
    path = path / EVALUATION_FILE if path.is_dir() else path
    again = f"slack-ties evaluate {shlex.quote(str(path.parent))}"
    if path.name != EVALUATION_FILE:
        again = f"slack-ties evaluate OUT -o {shlex.quote(str(path))}"
    try:
        data = _content(path)
        version = data["evaluation"]
        if version != EVALUATION_VERSION:
            msg = f"{path}: expected evaluation version {EVALUATION_VERSION}, got {_short(version)}"
            raise OutputError(msg, hint="pip install --upgrade slack-ties")
        return evaluation_from(data)
    except FileNotFoundError:
        msg = f"there is no {path.name} in {str(path.parent)!r}"
        raise OutputError(msg, hint=again) from None
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise OutputError(msg, hint=f"{again} --overwrite") from None
    except KeyError as error:
        what = f"the key {error} is missing"
    except RecursionError:
        what = "it is nested too deeply"
    except ValueError as error:
        what = _short(error, str)
    except (TypeError, AttributeError):
        what = "a value has the wrong type"
    msg = f"{path} is no evaluation of slack-ties: {what}"
    raise OutputError(msg, hint=f"{again} --overwrite")


def evaluation_from(data: dict[str, Any]) -> ShownEvaluation:
    """Return the evaluation in what `evaluation_as_json` returned; other keys are left out.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is none.

    """
    return ShownEvaluation(**vars(check_evaluation(_evaluation(data))))


def _short(value: object, text: Callable[[object], str] = repr) -> str:
    """Return a value of the file as a part of a line."""
    return text(value)[:MOST_SAID]


def _content(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        msg = f"it has more than {MOST_BYTES:,} bytes"
        raise ValueError(msg)
    try:
        return _of_type(dict, json.loads(content.decode()), "it")
    except json.JSONDecodeError as error:
        msg = f"no JSON from line {error.lineno}, column {error.colno} on"
        raise ValueError(msg) from None
    except UnicodeDecodeError as error:
        msg = f"no UTF-8 text from byte {error.start:,} on"
        raise ValueError(msg) from None


def _evaluation(data: dict[str, Any]) -> Evaluation:
    tasks = _of_type(list, data["tasks"], "tasks")
    models = _of_type(list, data["models"], "models")
    return Evaluation(
        tasks=tuple(_made(Task, task, f"tasks[{i}]") for i, task in enumerate(tasks)),
        models=tuple(_model(model, f"models[{i}]") for i, model in enumerate(models)),
        settings=_of_type(dict, data["settings"], "settings"),
        versions=_of_type(dict, data["versions"], "versions"),
        date=data["date"],
    )


def _model(data: Any, where: str) -> Evaluated:
    model = _made(Evaluated, data, where)
    scores = _of_type(dict, model.scores, f"{where}.scores")
    scores = {task: _score(one, f"{where}.scores[{task!r}]") for task, one in scores.items()}
    return replace(model, scores=scores)


def _score(data: Any, where: str) -> TaskScore:
    score = _made(TaskScore, data, where)
    metrics = _of_type(dict, score.metrics, f"{where}.metrics")
    found = {name: _made(Score, one, f"{where}.metrics[{name!r}]") for name, one in metrics.items()}
    values = _of_type(list, data.get("values", []), f"{where}.values")
    return replace(score, metrics=found, values=tuple(values))


def _made(kind: type[Made], data: Any, where: str) -> Made:
    """Return what an object of the file describes, with its values unchecked."""
    keys: Any = fields(kind)  # type: ignore[arg-type]
    given = _of_type(dict, data, where)
    for key in keys:
        if key.name not in given and key.default is key.default_factory is MISSING:
            msg = f"{where}: the key {key.name!r} is missing"
            raise ValueError(msg)
    if unknown := [name for name in given if name not in {key.name for key in keys}]:
        msg = f"{where}: unknown key {unknown[0]!r}"
        raise ValueError(msg)
    return kind(**given)


def _of_type(kind: type[Made], value: Any, where: str) -> Made:
    if not isinstance(value, kind):
        msg = f"{where}: expected {WORDS[kind]}, got {_short(value)}"
        raise ValueError(msg)  # noqa: TRY004 - wrong content of a file, as others
    return value


def weights_digest(record: MergeRecord) -> str:
    """Return a checksum of a merge's weights, 64 hex digits; "" if its record has none.

    `evaluate` keeps it in the settings of an evaluation, as `weights`.
    """
    return digest_of_weights(record.files)


def is_of(evaluation: Evaluation, record: MergeRecord) -> bool:
    """Say whether an evaluation is one of the weights of this record."""
    digest = weights_digest(record)
    return bool(digest) and evaluation.settings.get("weights") == digest
