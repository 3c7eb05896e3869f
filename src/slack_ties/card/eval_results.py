"""Write what `slack-ties evaluate` found in the Hub's format: a file in `.eval_results/`.

The Hub shows such results on the model's page if the dataset is registered there as a benchmark:
https://huggingface.co/docs/hub/eval-results. Its task_id is that of the benchmark's eval.yaml. A
benchmark that names none has the configurations of its dataset, so that is what we write.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from huggingface_hub import EvalResultEntry

from slack_ties.card.evaluation import (
    DATASET_ID,
    OWN_RESULTS,
    RESULTS_FOLDER,
    read_results,
    results_text,
)
from slack_ties.errors import OutputError
from slack_ties.evaluation.differences import main_score
from slack_ties.evaluation.table import is_share
from slack_ties.files import write_whole
from slack_ties.wording import counted, first_of

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.evaluation.scores import Evaluation, Task

__all__ = ["entries_of", "has_stale_results", "keep_results"]

LOG = logging.getLogger("slack_ties")

DEFAULT = "default"  # the Hub's word for a dataset with one configuration

MARK = "lm-eval"  # the notes of each of our entries begin with it


def keep_results(
    folder: Path, evaluation: Evaluation | None, *, explain: bool = False
) -> Path | None:
    """Write the results of the merged model beside it, and return the file; None if there are none.

    An earlier file of ours that no longer applies is removed. A file of somebody else stays.

    Args:
        folder: The merged model.
        evaluation: Its evaluation; None if there is none of these weights.
        explain: Say which tasks are left out because not all of their items were scored.

    Raises:
        OutputError: The file cannot be written.

    """
    path = folder / RESULTS_FOLDER / OWN_RESULTS
    entries = entries_of(evaluation) if evaluation else []
    if evaluation and explain:
        _explain(evaluation)
    try:
        if path.exists() and not _is_ours(path):
            LOG.warning("  %s stays as it is: slack-ties did not write it", path)
            return None
        if entries:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, results_text(entries))
            return path
        if path.exists():
            path.unlink()
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return None


def _explain(evaluation: Evaluation) -> None:
    partial = [task for task in evaluation.tasks if task.items < task.of]
    if partial:
        items = counted(partial[0].items, "item")
        items = f"{items} of {first_of([task.name for task in partial])}"
        LOG.info("  not sent to the Hub's page of results: only the first %s were scored", items)


def has_stale_results(folder: Path, evaluation: Evaluation | None) -> bool:
    """Say whether a model's folder has a file of ours with other results than its evaluation's.

    Args:
        folder: The merged model.
        evaluation: Its evaluation; None if there is none of these weights.

    """
    path = folder / RESULTS_FOLDER / OWN_RESULTS
    if not (path.is_file() and _is_ours(path)):
        return False
    entries = entries_of(evaluation) if evaluation else []
    return not entries or path.read_text(encoding="utf-8") != results_text(entries)


def entries_of(evaluation: Evaluation) -> list[EvalResultEntry]:
    """Return the merged model's scores on whole benchmarks whose data are on the Hub.

    A score of some items only is not that of the benchmark, and is left out: also if several tasks
    have different items of the same data. So is a second score of the same items, such as that of
    another prompt: the Hub takes one for each.
    """
    merged = evaluation.models[0]
    entries: list[EvalResultEntry] = []
    items: dict[tuple[str, str], set[str]] = {}
    for task in evaluation.tasks:
        items.setdefault((task.dataset, task.subset), set()).add(task.docs)
    for task in evaluation.tasks:
        if len(items[task.dataset, task.subset]) > 1:
            continue
        score = main_score(merged, task)
        if score is None or task.items < task.of or not DATASET_ID.fullmatch(task.dataset):
            continue
        if (task.dataset, task.subset or DEFAULT) in {(e.dataset_id, e.task_id) for e in entries}:
            continue
        value = round(100 * score.value, 4) if is_share(evaluation, task) else score.value
        entries.append(
            EvalResultEntry(
                dataset_id=task.dataset,
                task_id=task.subset or DEFAULT,
                value=value,
                dataset_revision=task.commit or None,
                date=evaluation.date or None,
                notes=_notes(evaluation, task),
            )
        )
    return entries


def _notes(evaluation: Evaluation, task: Task) -> str:
    version = evaluation.versions.get("lm_eval", "")
    score = evaluation.models[0].scores[task.name]
    stderr = score.metrics[task.metric].stderr
    scale = 100 if is_share(evaluation, task) else 1
    words = [
        f"{MARK} {version}".rstrip(),
        f"task {task.name} version {task.version}" if task.version else f"task {task.name}",
        task.metric + (" in percent" if scale > 1 else ""),
        f"{task.fewshot}-shot",
        counted(task.items, "item"),
    ]
    words += [f"standard error {scale * stderr:.2g}"] if stderr is not None else []
    words += ["chat template"] if evaluation.settings.get("chat_template") is True else []
    words += [f"{score.truncated:,} items cut"] if score.truncated else []
    return ", ".join(words)


def _is_ours(path: Path) -> bool:
    try:
        entries = read_results(path)
    except OutputError:
        return False
    return all((entry.notes or "").startswith(f"{MARK} ") for entry in entries)
