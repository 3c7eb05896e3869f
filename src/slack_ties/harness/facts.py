"""What lm-eval's task object says of itself: its metric, what guessing scores, its items."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.evaluation.scores import Task
from slack_ties.files import sha256_of
from slack_ties.private.huggingface_hub import is_repo_id
from slack_ties.private.lm_eval import first_filter, is_file_format

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["digest_of_items", "facts_of", "metric_key", "scored_docs"]

# Metrics of multiple choice that count right answers: guessing is right in one of N cases.
ACCURACIES = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info"}

# Settings of its data that say which part of a dataset a task reads. `folder` is that of our pack.
PARTS = ("data_dir", "data_files", "folder")

MOST_PART = 200  # characters

# Where a commit of the Hub is: in the name of a downloaded file, hf://datasets/ID@COMMIT/FILE, and
# in the folder of what `datasets` made of it, .../COMMIT/NAME-test.arrow.
COMMIT = re.compile(r"hf://datasets/[^@]+@([0-9a-f]{40})/.+|.*[/\\]([0-9a-f]{40})[/\\][^/\\]+")


def facts_of(task: Any, *, limit: int | None, about: str) -> tuple[Task, tuple[int, ...]]:
    """Return what we write down of a task, and the number of requests of each scored item.

    Args:
        task: lm-eval's object.
        limit: Only the first items are scored; all if None.
        about: For `Task.about`.

    """
    docs = scored_docs(task, limit)
    metric = _main_metric(task)
    choices = _choices(task, docs)
    better = task.higher_is_better().get(metric)
    dataset = _hub_dataset(task)
    facts = Task(
        name=task.task_name,
        version=str(task.VERSION),
        fewshot=int(task.get_config("num_fewshot") or 0),
        items=len(docs),
        of=len(task.eval_docs),
        metric=metric_key(metric, first_filter(task)),
        more_is_better=better is not False,
        chance=_chance(task, docs, choices) if metric in ACCURACIES else None,
        about=about,
        dataset=dataset,
        subset=_part(task) if dataset else "",
        docs=digest_of_items(docs),
        commit=_commit(task) if dataset else "",
    )
    times = 2 if "acc_mutual_info" in task.aggregation() else 1
    repeats = int(task.get_config("repeats") or 1)
    return facts, tuple((times * count or 1) * repeats for count in choices)


def metric_key(metric: str, filter_name: str) -> str:
    """Return our name for a metric: with its filter unless that is lm-eval's default, none."""
    return metric if filter_name == "none" else f"{metric},{filter_name}"


def scored_docs(task: Any, limit: int | None) -> list[Any]:
    """Return the items that are scored, in lm-eval's order."""
    return [doc for _, doc in task.doc_iterator(limit=limit)]


def digest_of_items(docs: Sequence[Any]) -> str:
    """Return the SHA-256 of lm-eval's hashes of items, one a line."""
    from lm_eval.utils import handle_non_serializable, hash_string  # noqa: PLC0415 - lm-eval

    hashes = [
        hash_string(json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False))
        for doc in docs
    ]
    return sha256_of("\n".join(hashes))


def _main_metric(task: Any) -> str:
    """Return the first metric that is the mean of its items' values; else the first."""
    from lm_eval.api.metrics import mean  # noqa: PLC0415 - lm-eval

    found = dict(task.aggregation())
    means = [name for name, function in found.items() if function is mean]
    return str(next(iter([*means, *found])))


def _choices(task: Any, docs: Sequence[Any]) -> list[int]:
    """Return the number of choices of each item; 0 if it has none."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return [0] * len(docs)
    return [len(task.doc_to_choice(doc)) for doc in docs]


def _chance(task: Any, docs: Sequence[Any], choices: Sequence[int]) -> float | None:
    """Return what guessing scores; None if the task does not count right answers by itself."""
    own = getattr(task.config, "process_results", None) is not None
    if own or not docs or not all(choices):
        return None
    right = [1] * len(docs)
    if getattr(task, "multiple_target", 0):
        right = [len(set(task.doc_to_target(doc))) for doc in docs]
    return sum(one / count for one, count in zip(right, choices, strict=True)) / len(docs)


def _hub_dataset(task: Any) -> str:
    """Return the id of the task's dataset on the Hub; "" if the data is elsewhere."""
    path = str(task.DATASET_PATH or "")
    given = [path, *_data_settings(task).values()]
    local = is_file_format(path) or any(
        isinstance(one, str) and Path(one).is_dir() for one in given
    )
    return path if path and not local and is_repo_id(path) else ""


def _data_settings(task: Any) -> dict[str, Any]:
    return dict(task.get_config("dataset_kwargs") or {})


def _part(task: Any) -> str:
    """Return which part of its dataset a task reads: a configuration, a folder or files."""
    given = _data_settings(task)
    parts = [task.DATASET_NAME, *(given.get(key) for key in PARTS)]
    part = next(filter(None, parts), "")
    many = list(part.values()) if isinstance(part, dict) else part
    return (", ".join(map(str, many)) if isinstance(many, list) else str(many))[:MOST_PART]


def _commit(task: Any) -> str:
    """Return the commit of the dataset on the Hub that the items are of; "" if it is not known."""
    splits = task.dataset.values() if isinstance(task.dataset, dict) else ()
    names: list[str] = []
    for split in splits:
        info = getattr(split, "info", None)
        names += getattr(info, "download_checksums", None) or ()
        names += [one["filename"] for one in getattr(split, "cache_files", None) or ()]
    found = {match[1] or match[2] for match in map(COMMIT.fullmatch, names) if match}
    return found.pop() if len(found) == 1 else ""
