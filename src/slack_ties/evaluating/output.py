"""Where the scores of `evaluate` go, and what may be replaced there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError
from slack_ties.evaluation.file import EVALUATION_FILE, read_evaluation
from slack_ties.files import check_writable, expanded
from slack_ties.wording import counted, first_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.evaluation.scores import Evaluation, Task
    from slack_ties.running.models_of import Merge

__all__ = ["check_file", "check_loss", "command", "file_for"]

# Options that a command names only if they have another value.
USUAL: Mapping[str, Any] = {
    "alone": False,
    "limit": None,
    "fewshot": None,
    "dtype": "auto",
    "batch_size": "",
    "chat_template": False,
    "output": None,
}


def file_for(merge: Merge, output: str | Path | None) -> Path:
    """Return the file for the scores of a merge: `output`, or one beside or in the merged folder.

    Raises:
        OutputError: It is a folder, or its folder is missing or cannot be written to.

    """
    if output is None:
        file = (
            merge.folder / EVALUATION_FILE
            if merge.folder
            else Path(f"{merge.name}-evaluation.json")
        )
    else:
        file = expanded(output)
    if file.is_dir():
        msg = f"{str(file)!r} is a folder, expected a file for the scores"
        raise OutputError(msg, hint="choose a file with -o")
    check_writable(file)
    return file


def check_file(file: Path, *, overwrite: bool) -> Evaluation | None:
    """Return the evaluation that is in the file now; None if there is none.

    Raises:
        OutputError: The file holds something else, and `overwrite` is not given.

    """
    if not file.exists():
        return None
    try:
        return read_evaluation(file)
    except OutputError as error:
        if overwrite:
            return None
        hint = "choose another file with -o, or add --overwrite to replace it"
        raise OutputError(str(error), hint=hint) from None


def check_loss(  # noqa: PLR0913 - all but two by name
    file: Path,
    old: Evaluation,
    *,
    tasks: Sequence[Task],
    models: Sequence[str],
    weights: str,
    options: Mapping[str, Any],
) -> None:
    """Refuse to replace scores that the new evaluation would not have.

    Scores of other weights may go: the model that they are about is no longer there.

    Args:
        file: The file of both, for the message.
        old: The evaluation that is in the file now.
        tasks: The tasks of the new one.
        models: The names of its models.
        weights: The checksum of the merged weights; empty if it is not known.
        options: What the user asked for, as `command` takes it.

    Raises:
        OutputError: A task, a model or items would be lost; the message says which.

    """
    if old.settings.get("weights", "") != weights:
        return
    items = {task.name: task.items for task in tasks}
    lost = [task.name for task in old.tasks if task.name not in items]
    fewer = [task for task in old.tasks if task.items > items.get(task.name, task.items)]
    gone = [model.name for model in old.models if model.name not in models]
    changed: dict[str, Any] = {}
    if lost:
        what = f"also has scores of {first_of(lost)}, which this run leaves out"
        changed["tasks"] = [*items, *lost]
    if fewer:
        if not lost:
            one = fewer[0]
            what = f"has scores on {counted(one.items, 'item')} of {one.name!r}, and this run on "
            what += f"only {items[one.name]:,}"
        all_items = any(task.items == task.of for task in fewer)
        changed["limit"] = None if all_items else max(task.items for task in fewer)
    if gone:
        if not changed:
            what = f"also has scores of the model {first_of(gone)}, which this run leaves out"
        if options.get("alone"):
            changed["alone"] = False
    if not (lost or fewer or gone):
        return
    msg = f"{str(file)!r} {what}"
    other = "another file with -o, or --overwrite"
    hint = f"{command({**options, **changed})}  # or {other}" if changed else f"choose {other}"
    raise OutputError(msg, hint=hint)


def command(options: Mapping[str, Any]) -> str:
    """Return the command that evaluates a merge.

    Args:
        options: `what`, and other arguments of `evaluate_merge` by their names.

    """
    words = ["slack-ties", "evaluate", str(options["what"])]
    if tasks := options.get("tasks"):
        words += ["--tasks", ",".join(tasks)]
    for folder in options.get("include", ()):
        words += ["--include-path", str(folder)]
    for name, usual in USUAL.items():
        if (value := options.get(name, usual)) != usual:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)
