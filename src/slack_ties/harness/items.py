"""Tell the items of tasks apart, without a model."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from slack_ties.files import sha256_of
from slack_ties.harness.facts import digest_of_items, scored_docs

if TYPE_CHECKING:
    from slack_ties.harness.tasks import LoadedTasks

__all__ = ["contents_of", "corpus_tasks", "definitions_of"]

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # Python's, of an object; another in each process


def contents_of(tasks: LoadedTasks) -> dict[str, list[str]]:
    """Return, for each task, a checksum of the content of each scored item, in their order.

    Two items with the same checksum are the same to lm-eval: all their fields are equal.
    """
    return {
        name: [digest_of_items([doc]) for doc in scored_docs(task, tasks.limit)]
        for name, task in tasks.loaded.items()
    }


def corpus_tasks(tasks: LoadedTasks) -> list[str]:
    """Return the tasks whose score is no mean of the scores of their items, such as BLEU."""
    from lm_eval.api.metrics import mean  # noqa: PLC0415 - lm-eval

    return [
        task.name
        for task in tasks.tasks
        if tasks.loaded[task.name].aggregation().get(task.metric.partition(",")[0]) is not mean
    ]


def definitions_of(tasks: LoadedTasks) -> dict[str, str]:
    """Return, for each task, a checksum of how it asks: all that its file says, and its functions.

    A user may edit the question of a task file without a new version.
    """
    return {
        name: sha256_of(
            ADDRESS.sub("", json.dumps(task.dump_config(), default=str, sort_keys=True))
        )
        for name, task in tasks.loaded.items()
    }
