"""The data of a batch as CSV: a row for each task of the batch and each task that it was scored on.

A text that a spreadsheet would compute begins with an apostrophe here, so that it stays a text.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from slack_ties.batch.page.rows import shown_setting
from slack_ties.evaluation.differences import main_score
from slack_ties.evaluation.table import role_names
from slack_ties.wording import readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slack_ties.batch.page.rows import Row

__all__ = ["FIRST_COLUMNS", "csv_text"]

FIRST_COLUMNS = ("name", "language")

FACTS = (
    *("state", "since", "seconds", "why", "next", "repository", "url", "commit", "licence"),
    *("method", "dtype", "parameters", "models"),
)

OF_TASK = ("task", "about", "metric", "version", "shots", "items", "items_of", "chance")

SAID = {1: "better", 0: "not decided", -1: "worse"}

# What begins a formula in a spreadsheet, also as letters of full width.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_text(rows: Sequence[Row]) -> str:
    """Return the file. Scores are as lm-eval gives them, shares from 0 to 1.

    Of each model that was scored there are its score and its standard error; of each but the merged
    one, what the merged model scores more, with the 95 % interval, and whether that is decided.
    """
    lines = [line for row in rows for line in _lines(row)]
    every = dict.fromkeys(key for line in lines for key in line)
    settings = [key for key in every if key.startswith("setting ")]
    fixed = (*FIRST_COLUMNS, *settings, *FACTS, *OF_TASK)
    columns = [*fixed, *(key for key in every if key not in fixed)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(line.get(key)) for key in columns] for line in lines)
    return file.getvalue()


def _cell(value: Any) -> str:
    """Return a value as a cell: a number with all its digits, and no formula."""
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    text = readable(str(value)).strip()
    return f"'{text}" if text.startswith(FORMULA) else text


def _lines(row: Row) -> Iterator[dict[str, Any]]:
    """Yield the lines of a task of the batch: at least one."""
    facts = {
        **dict(zip(FIRST_COLUMNS, (row.name, row.language), strict=True)),
        **{
            f"setting {key}": value
            if isinstance(value, (int, float)) and not isinstance(value, bool)
            else shown_setting(value)
            for key, value in row.settings.items()
        },
        **{key: getattr(row, key) for key in FACTS if hasattr(row, key)},
        "licence": row.license,
        "parameters": row.parameters or None,
        "models": " ".join(
            f"{one.role or 'model'}:{one.name}{f'@{one.commit}' * bool(one.commit)}"
            for one in row.models
        ),
    }
    scores = [*_scores(row)]
    yield from ({**facts, **one} for one in scores or [{}])


def _scores(row: Row) -> Iterator[Mapping[str, Any]]:
    if row.evaluation is None:
        return
    models = row.evaluation.models
    for task in row.evaluation.tasks:
        line: dict[str, Any] = {
            "task": task.name,
            "about": task.about,
            "metric": task.metric,
            "version": task.version,
            "shots": task.fewshot,
            "items": task.items,
            "items_of": task.of,
            "chance": task.chance,
        }
        for i, (name, model) in enumerate(zip(role_names(models), models, strict=True)):
            key, score = name.lower().replace(" ", "_"), main_score(model, task)
            line[key] = score.value if score else None
            line[f"{key}_stderr"] = score.stderr if score else None
            if i == 0:
                continue
            found = row.differences.get((task.name, i))
            line[f"more_than_{key}"] = found.paired.mean if found else None
            line[f"more_than_{key}_low"] = found.paired.low if found else None
            line[f"more_than_{key}_high"] = found.paired.high if found else None
            line[f"than_{key}"] = SAID[found.sign] if found else None
        yield line
