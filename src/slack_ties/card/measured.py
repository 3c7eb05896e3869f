"""Choose what a model card shows of evaluation.json: sentences, a table, how to repeat it.

The file may be of other weights, or edited by hand: then the card shows nothing of it.
"""

from __future__ import annotations

import logging
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.card.markdown import plain_sentence, plain_text
from slack_ties.card.parents import HUB
from slack_ties.errors import OutputError
from slack_ties.evaluation.file import EVALUATION_FILE, is_of, read_evaluation
from slack_ties.evaluation.sentences import doubt_of, notes_of, says_something, sentences_of
from slack_ties.evaluation.table import legend_of, role_names, rows_of
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.evaluation.scores import Evaluation
    from slack_ties.evaluation.table import Row
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import MergeRecord

__all__ = ["Measured", "evaluation_of", "is_shown", "measured_by"]

LOG = logging.getLogger("slack_ties")

WORD = re.compile(r"[\w.+-]{1,100}", re.ASCII)

PLAIN = re.compile(r"[\w.,:/+-]{1,200}", re.ASCII)


@dataclass(frozen=True)
class Measured:
    """What a card shows of an evaluation, as Markdown."""

    sentences: tuple[str, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]  # what the marks mean, and what weakens the results
    how: str  # with which program, on which day
    install: str  # the two commands that repeat it
    command: str
    doubt: str  # what speaks against the model in its language
    says_something: bool  # a model is decidedly better than guessing


def evaluation_of(folder: Path, record: MergeRecord) -> Evaluation | None:
    """Return the evaluation in a merged model's folder; None with a warning if it is of no use.

    Args:
        folder: The merged model.
        record: Its record.

    """
    if not (folder / EVALUATION_FILE).is_file():
        return None
    again = f"slack-ties evaluate {shlex.quote(str(folder))}"
    try:
        evaluation = read_evaluation(folder)
    except OutputError as error:
        LOG.warning("  the card shows no evaluation: %s. Next: %s", error, error.hint)
        return None
    if not is_of(evaluation, record):
        LOG.warning(
            "  %s is no evaluation of the weights of this merge: the card does not show it. "
            "Next: %s",
            folder / EVALUATION_FILE,
            again,
        )
        return None
    return evaluation


def measured_by(evaluation: Evaluation, recipe: Recipe) -> Measured:
    """Return what a card shows of an evaluation.

    Args:
        evaluation: An evaluation of the merged model.
        recipe: The recipe of the merge, for the name of the language.

    """
    rows = rows_of(evaluation)
    names = [
        name if name.isupper() or " " in name else name.capitalize()
        for name in role_names(evaluation.models)
    ]
    notes = [*legend_of(evaluation, rows), *notes_of(evaluation)]
    if evaluation.settings.get("include"):
        notes.append(_own_tasks(evaluation))
    return Measured(
        sentences=tuple(map(plain_sentence, sentences_of(evaluation, _language(recipe)))),
        head=("Task", "Metric", *names, "Chance", "Items", "Shots"),
        rows=tuple(_cells(evaluation, row) for row in rows),
        notes=tuple(plain_sentence(f"{note[0].upper()}{note[1:]}") for note in notes),
        how=_how(evaluation),
        install=_install(evaluation),
        command=_command(evaluation),
        doubt=plain_text(doubt_of(evaluation, _language(recipe))),
        says_something=says_something(evaluation),
    )


def is_shown(evaluation: Evaluation, folder: Path, card: str) -> bool:
    """Say whether a card shows this evaluation.

    Args:
        evaluation: An evaluation.
        folder: The merged model.
        card: The text of its card.

    """
    measured = measured_by(evaluation, read_recipe(folder / CONFIG_FILE))
    return all(text in card for text in measured.sentences) and all(
        " | ".join(row) in card for row in measured.rows
    )


def _language(recipe: Recipe) -> str:
    """Return the name of the target language; "" if the config does not name one."""
    first = recipe.facts.language
    return str(first.get("name") or first.get("tag") or "")


def _cells(evaluation: Evaluation, row: Row) -> tuple[str, ...]:
    """Return the cells of a row of the table; a task has a link to its data."""
    task = next((one for one in evaluation.tasks if one.name == row.name), None)
    name, items = plain_text(row.name), row.items
    if task:
        if task.dataset:
            at = f"/tree/{task.commit}" if task.commit else ""
            name = f"[{name}]({HUB}/datasets/{task.dataset}{at})"
        if task.version:
            name += f", version {plain_text(task.version)}"
        if task.of != task.items:
            items += f" of {task.of:,}"
    cells = (cell.text for cell in row.cells)
    texts = (row.metric, *cells, row.chance, items, row.fewshot)
    return (name, *map(plain_text, texts))


def _how(evaluation: Evaluation) -> str:
    """Return which program made it, when, and on what."""
    program = plain_text(evaluation.versions.get("lm_eval", ""))
    words = [f"lm-eval {program}".rstrip()]
    words += [f"on {plain_text(evaluation.date[:10])}"] if evaluation.date else []
    device = evaluation.settings.get("device")
    words += [f"with device {plain_text(device)}"] if isinstance(device, str) and device else []
    dtypes = sorted({plain_text(model.dtype) for model in evaluation.models if model.dtype})
    words += [f"and dtype {', '.join(dtypes)}"] if dtypes else []
    return " ".join(words)


def _install(evaluation: Evaluation) -> str:
    """Return the command that installs the versions that it was made with."""
    pins = [
        f"{name}=={version.partition('+')[0]}"
        for name, version in evaluation.versions.items()
        if WORD.fullmatch(name) and WORD.fullmatch(version) and name not in {"python", "slack-ties"}
    ]
    return " ".join(['pip install "slack-ties[eval]"', *pins])


def _command(evaluation: Evaluation) -> str:
    """Return the command that repeats it."""
    settings = evaluation.settings
    words = ["slack-ties", "evaluate", "OUT"]
    words += ["--tasks", ",".join(task.name for task in evaluation.tasks)]
    for key in ("limit", "fewshot", "dtype"):
        value = settings.get(key)
        if type(value) is int or (isinstance(value, str) and PLAIN.fullmatch(value)):
            words += [f"--{key}", str(value)] if value != "auto" else []
    words += ["--chat-template"] if settings.get("chat_template") is True else []
    words += ["--alone"] if len(evaluation.models) == 1 else []
    words += ["--include-path", "TASK_FILES"] if settings.get("include") else []
    return shlex.join(words)


def _own_tasks(evaluation: Evaluation) -> str:
    """Return which tasks are from files of the person who made it: readers do not have them."""
    include = evaluation.settings.get("include")
    folders = include if isinstance(include, list) else []
    noted = [one.get("tasks") for one in folders if isinstance(one, dict)]
    own = [name for names in noted if isinstance(names, list) for name in names]
    names = [task.name for task in evaluation.tasks if task.name in own]
    are = "tasks can be"
    if names:
        are = f"the tasks {join_names(names)} are" if names[1:] else f"the task {names[0]} is"
    return (
        f"{are} from task files of the person who made this model: to repeat the evaluation, you "
        "need these files, in a folder whose name you type for TASK_FILES"
    )
