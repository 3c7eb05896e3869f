"""Batches for tests, as their tasks leave them: literal markers, no merge is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evaluations import ENGLISH, TIBETAN, an_evaluation, model
from slack_ties.batch.state import State
from slack_ties.batch.task import Task
from slack_ties.evaluation.file import evaluation_as_json
from slack_ties.evaluation.scores import Evaluation
from slack_ties.files import sha256_of
from slack_ties.publish.publish import Published
from slack_ties.publish.result import Result
from slack_ties.record import MergeRecord, Parent

COMMIT = "0123456789abcdef0123456789abcdef01234567"

STEPS = (("run", "bo"), ("evaluate", "bo"))

RECORD = MergeRecord(
    method="slack_ties",
    dtype="bfloat16",
    parameters=6_738_415_616,
    parents=(
        Parent("meta-llama/Llama-2-7b-hf@" + COMMIT, "base", (COMMIT,), "llama2"),
        Parent("org/ct@" + COMMIT, "ct", (COMMIT,), "llama2"),
        Parent("org/sft@" + COMMIT, "sft", (COMMIT,), "llama2"),
    ),
    versions={"slack-ties": "0.1.0"},
)


def ran(repo_id: str = "", record: MergeRecord = RECORD, **changes: Any) -> dict[str, Any]:
    """Return what `slack-ties run --json` prints, with changes of what it says of the Hub."""
    folder = Path("/home/somebody/merges/bo")
    url = f"https://huggingface.co/{repo_id}"
    there = Published(repo_id, url, COMMIT, ("README.md",)) if repo_id else None
    result = asdict(Result(folder, record, folder / "README.md", there))
    result["published"] = {**result["published"], **changes} if there else None
    read: dict[str, Any] = json.loads(json.dumps(result, default=str))
    return read


def evaluated(evaluation: Evaluation) -> dict[str, Any]:
    """Return what `slack-ties evaluate --json` prints."""
    return {"file": "/home/somebody/evaluation.json", **evaluation_as_json(evaluation)}


def scored(*merged: int) -> Evaluation:
    """Return an evaluation whose merged model has so many of 100 items right, by task."""
    whole = an_evaluation()
    return replace(whole, models=(model("merged", *merged), *whole.models[1:]))


def in_language(language: str, evaluation: Evaluation) -> Evaluation:
    """Return the evaluation with another task in place of the Tibetan one."""
    name = f"belebele_{language}"
    tasks = (replace(TIBETAN, name=name, docs=sha256_of(language)), ENGLISH)
    models = tuple(
        replace(
            one,
            scores={name if key == TIBETAN.name else key: s for key, s in one.scores.items()},
        )
        for one in evaluation.models
    )
    return replace(evaluation, tasks=tasks, models=models)


class Made:
    """A batch in a folder."""

    def __init__(self, out: Path) -> None:
        """Begin without tasks."""
        self.out = out
        self.tasks: list[Task] = []
        self.states: list[State] = []

    def add(
        self,
        name: str,
        language: str = "",
        state: str = "done",
        results: Sequence[Mapping[str, Any]] = (),
        *,
        settings: Mapping[str, Any] | None = None,
        publish: str = "",
        since: str = "2026-11-28T11:04:30+00:00",
        why: str = "",
        then: str = "",
    ) -> Task:
        """Add a task with its markers: the steps that are complete, and how it ended."""
        task = Task(name, language, settings or {}, STEPS, publish)
        folder = task.folder(self.out)
        folder.mkdir(parents=True)
        for number, result in enumerate(results, 1):
            marker = {"step": STEPS[number - 1], "printed": result}
            (folder / f"step-{number}.json").write_text(json.dumps(marker), "utf-8")
        times = {"attempt": 1, "since": "2026-11-28T11:00:00+00:00", "ended": since}
        if state == "done":
            text = json.dumps({**times, "results": [*results]})
            (folder / "done.json").write_text(text, "utf-8")
        if state == "failed":
            text = json.dumps({**times, "why": why, "next": then})
            (folder / "failed.json").write_text(text, "utf-8")
        self.tasks.append(task)
        self.states.append(State(name, state, "host, process 12", since, why, then))
        return task
