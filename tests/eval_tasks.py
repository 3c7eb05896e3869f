"""Small tasks for lm-eval with data on this disk, in Tibetan and English, and what can go wrong.

lm-eval, `datasets` and the files are real; only the number of items is small.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from triple import names

__all__ = ["EMPTY", "ENGLISH", "ON_HUB", "TIBETAN", "make_tasks", "questions", "write_task"]

TIBETAN, ENGLISH = "names_bo", "names_en"  # four choices each, acc and acc_norm
EMPTY, ON_HUB = "names_empty", "names_on_hub"  # no items; data of a dataset on the Hub
CHOICES = 4


def make_tasks(folder: Path, *, items: int = 12) -> Path:
    """Write a folder for --include-path with these tasks, and a group `names` of the first two.

    `names_bo` asks in Tibetan for the name of a country, `names_en` in English. Each has `items`
    items with four choices, and four more items for examples (few-shot).
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_task(folder, TIBETAN, questions(items))
    write_task(folder, ENGLISH, questions(items, english=True))
    write_task(folder, EMPTY, questions(items), process_docs="!function none.none")
    (folder / "none.py").write_text(
        "def none(docs):\n    return docs.filter(lambda _: False)\n", encoding="utf-8"
    )
    write_task(folder, ON_HUB, None, dataset_path="somebody/names", dataset_name="bo")
    group = {"group": "names", "task": [TIBETAN, ENGLISH], "metadata": {"version": 1.0}}
    (folder / "names.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")
    return folder


def write_task(folder: Path, name: str, items: list[dict[str, Any]] | None, **changes: Any) -> Path:
    """Write a multiple-choice task: its YAML file, which is returned, and its data beside it.

    Args:
        folder: The folder of the task.
        name: The name of the task.
        items: With `question`, `choices` and `answer`; the last four are for examples. None: the
            data is elsewhere, as `changes` says.
        changes: Keys of the YAML file to add or to replace. A text that begins with !function
            becomes YAML's tag of that name.

    """
    data: dict[str, Any] = {}
    if items is not None:
        files = {"test": f"{name}.jsonl", "train": f"{name}_train.jsonl"}
        for file, part in zip(files.values(), (items[:-4], items[-4:]), strict=True):
            lines = [json.dumps(item, ensure_ascii=False) for item in part]
            (folder / file).write_text("\n".join([*lines, ""]), encoding="utf-8")
        where = {split: str(folder / file) for split, file in files.items()}
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": where}}
    settings = {
        "task": name,
        **data,
        "output_type": "multiple_choice",
        "training_split": "train",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in ("acc", "acc_norm")
        ],
        "metadata": {"version": 1.0},
        **changes,
    }
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    for value in changes.values():
        if isinstance(value, str) and value.startswith("!function "):
            text = text.replace(f"'{value}'", value)
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def questions(count: int, *, english: bool = False) -> list[dict[str, Any]]:
    """Return `count` items, and four more, that ask for the name of a country or language.

    The choices are in Tibetan, or in English.
    """
    pairs = [(one, other) for one, other in names("bo") if one != other]
    found = []
    for number in range(count + 4):
        asked = pairs[number % len(pairs)]
        answer = number % CHOICES
        near = [pairs[(number + 7 * (i - answer)) % len(pairs)] for i in range(CHOICES)]
        choices = [one if english else other for one, other in near]
        text = f"{asked[1]} is called" if english else f"{asked[0]} ཞེས་པ་ནི་"
        found.append({"question": text, "choices": choices, "answer": answer})
    return found
