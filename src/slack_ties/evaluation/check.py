"""Check an evaluation that somebody else may have written: types, lengths, finite numbers."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

from slack_ties.evaluation.statistics import mean_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.evaluation.scores import Evaluated, Evaluation, Score, Task, TaskScore

__all__ = ["ROLES", "check_evaluation"]

ROLES = ("merged", "base", "ct", "sft")

ABOUT = ("language", "english", "")

MOST_TASKS, MOST_MODELS, MOST_METRICS, MOST_KEYS = 500, 20, 50, 100

MOST_NAME, MOST_PATH = 200, 4096  # characters

MOST_DEPTH = 4  # of the values of settings

LARGEST = 1e100  # no score is: larger numbers overflow in sums

MOST_WHOLE = 10_000_000  # items, examples: no benchmark has more, and we count up to it

COMMIT = re.compile(r"([0-9a-f]{40})?")

HASH = re.compile(r"([0-9a-f]{64})?")

DATASET = re.compile(r"(\w[\w.-]{0,95}(/\w[\w.-]{0,95})?)?", re.ASCII)

# Metrics of lm-eval whose score is the mean of the items' values: lm_eval/api/metrics.py.
MEANS = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"}


def check_evaluation(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation if it is right.

    Raises:
        ValueError: A value is wrong; the text says which, what was expected, and what it is.
        TypeError: A value has the wrong type.

    """
    _limited(evaluation.tasks, "tasks", MOST_TASKS)
    _limited(evaluation.models, "models", MOST_MODELS)
    for number, task in enumerate(evaluation.tasks):
        _check_task(task, f"tasks[{number}]")
    tasks = {task.name: task for task in evaluation.tasks}
    if len(tasks) != len(evaluation.tasks):
        _wrong("tasks", "each task once", [task.name for task in evaluation.tasks])
    for number, model in enumerate(evaluation.models):
        _check_model(model, f"models[{number}]", tasks)
    roles = [model.role for model in evaluation.models]
    if roles.count("merged") != 1 or roles[0] != "merged":
        _wrong("models", "one merged model, which is the first", roles)
    _line(evaluation.date, "date")
    _limited(evaluation.versions, "versions", MOST_KEYS)
    for name, version in evaluation.versions.items():
        _line(name, "versions")
        _line(version, f"versions.{name}")
    _limited(evaluation.settings, "settings", MOST_KEYS)
    for name, value in evaluation.settings.items():
        _line(name, "settings")
        _check_setting(value, f"settings.{name}", MOST_DEPTH)
    limit = evaluation.settings.get("limit")
    if limit is not None:
        _whole(limit, "settings.limit", least=1)
    return evaluation


def _check_task(task: Task, where: str) -> None:
    _line(task.name, f"{where}.name", least=1)
    where = f"task {task.name!r}"
    for key in ("version", "metric", "dataset", "subset", "docs"):
        _line(getattr(task, key), f"{where}: {key}", least=int(key == "metric"))
    _whole(task.fewshot, f"{where}: fewshot", least=0)
    _whole(task.items, f"{where}: items", least=1)
    _whole(task.of, f"{where}: of", least=task.items)
    _flag(task.more_is_better, f"{where}: more_is_better")
    if task.chance is not None:
        _number(task.chance, f"{where}: chance")
    if task.about not in ABOUT:
        _wrong(f"{where}: about", f"one of {', '.join(map(repr, ABOUT))}", task.about)
    if not DATASET.fullmatch(task.dataset):
        _wrong(f"{where}: dataset", "the id of a dataset on the Hub", task.dataset)
    _check_commit(task.commit, where)
    if not HASH.fullmatch(task.docs):
        _wrong(f"{where}: docs", "64 hex digits", task.docs)


def _check_model(model: Evaluated, where: str, tasks: Mapping[str, Task]) -> None:
    if model.role not in ROLES:
        _wrong(f"{where}.role", f"one of {', '.join(ROLES)}", model.role)
    where = f"the {model.role} model"
    _text(model.name, f"{where}: name", MOST_PATH, least=1)
    _line(model.dtype, f"{where}: dtype")
    _check_commit(model.commit, where)
    for name, score in model.scores.items():
        if name not in tasks:
            _wrong(where, "scores of the tasks of the evaluation", name)
        _check_score(score, f"task {name!r}, {where}", tasks[name])


def _check_commit(commit: Any, where: str) -> None:
    _line(commit, f"{where}: commit")
    if not COMMIT.fullmatch(commit):
        _wrong(f"{where}: commit", "40 hex digits, or none", commit)


def _check_score(score: TaskScore, where: str, task: Task) -> None:
    _limited(score.metrics, f"{where}: metrics", MOST_METRICS)
    for name, metric in score.metrics.items():
        _line(name, f"{where}: the name of a metric", least=1)
        _check_metric(metric, f"{where}: {name}")
    if task.metric not in score.metrics:
        _wrong(f"{where}: metrics", f"the metric {task.metric!r}", list(score.metrics))
    _whole(score.truncated, f"{where}: truncated", least=0)
    if not score.values:
        return
    if len(score.values) != task.items:
        _wrong(f"{where}: values", f"{task.items:,} of them", f"{len(score.values):,}")
    for value in score.values:
        _number(value, f"{where}: values")
    stated, mean = score.metrics[task.metric].value, mean_of(score.values)
    is_mean = task.metric.partition(",")[0] in MEANS
    if is_mean and not math.isclose(stated, mean, rel_tol=1e-9, abs_tol=1e-9):
        _wrong(f"{where}: {task.metric}", f"the mean of its values, {mean!r}", stated)


def _check_metric(metric: Score, where: str) -> None:
    _number(metric.value, where)
    if metric.stderr is None:
        return
    _number(metric.stderr, f"{where}, stderr")
    if metric.stderr < 0:
        _wrong(f"{where}, stderr", "a number from 0 on", metric.stderr)


def _check_setting(value: Any, where: str, depth: int) -> None:
    if isinstance(value, (list, tuple, dict)) and depth:
        _limited(value, where, MOST_KEYS, least=0)
        for one in value:
            _check_setting(one, where, depth - 1)
        for one in value.values() if isinstance(value, dict) else ():
            _check_setting(one, where, depth - 1)
    elif isinstance(value, str):
        _text(value, where, MOST_PATH)
    elif value is not None and type(value) is not bool:
        _number(value, where)


def _limited(many: Any, where: str, most: int, *, least: int | None = None) -> None:
    if least is None:
        least = int(where in {"tasks", "models"})
    if not least <= len(many) <= most:
        _wrong(where, f"{least} to {most} of them", len(many))


def _text(value: Any, where: str, most: int, *, least: int = 0) -> None:
    if not isinstance(value, str):
        _wrong(where, "a text", value)
    if not least <= len(value) <= most:
        _wrong(where, f"a text of {least} to {most:,} characters", f"{len(value):,} characters")


def _line(value: Any, where: str, *, least: int = 0) -> None:
    """Refuse what cannot stand in a line of a table."""
    _text(value, where, MOST_NAME, least=least)
    if not value.isprintable():
        _wrong(where, "a text on one line", value)


def _whole(value: Any, where: str, *, least: int) -> None:
    if type(value) is not int or not least <= value <= MOST_WHOLE:
        _wrong(where, f"a whole number from {least:,} to {MOST_WHOLE:,}", value)


def _flag(value: Any, where: str) -> None:
    if type(value) is not bool:
        _wrong(where, "true or false", value)


def _number(value: Any, where: str) -> None:
    if type(value) not in {int, float} or not abs(value) <= LARGEST:  # also for nan
        _wrong(where, "a number", value)


def _wrong(where: str, expected: str, got: Any) -> NoReturn:
    text = repr(got)
    text = text if len(text) <= 100 else f"{text[:97]}..."  # noqa: PLR2004 - of one line
    msg = f"{where}: expected {expected}, got {text}"
    raise ValueError(msg)
