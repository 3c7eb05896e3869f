"""Where the scores of `evaluate` go, and what may be replaced there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.evaluation.file import EVALUATION_FILE, read_evaluation
from slack_ties.files import check_writable, expanded
from slack_ties.wording import first_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.evaluation.scores import Evaluation, Task
    from slack_ties.running.models_of import Merge

__all__ = ["check_file", "check_loss", "file_for"]


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


def check_loss(
    file: Path, old: Evaluation, tasks: Sequence[Task], models: Sequence[str], weights: str
) -> None:
    """Refuse to replace scores that the new evaluation would not have.

    Scores of other weights may go: the model that they are about is no longer there.

    Args:
        file: The file of both, for the message.
        old: The evaluation that is in the file now.
        tasks: The tasks of the new one.
        models: The names of its models.
        weights: The checksum of the merged weights; empty if it is not known.

    Raises:
        OutputError: A task, a model or items would be lost; the message says which.

    """
    if old.settings.get("weights", "") != weights:
        return
    items = {task.name: task.items for task in tasks}
    lost = [task.name for task in old.tasks if task.name not in items]
    fewer = [task for task in old.tasks if task.items > items.get(task.name, task.items)]
    gone = [model.name for model in old.models if model.name not in models]
    if lost:
        what = f"scores on the task {first_of(lost)}"
    elif fewer:
        what = f"scores of {fewer[0].items:,} items of {fewer[0].name!r}"
    elif gone:
        what = f"scores of the model {first_of(gone)}"
    else:
        return
    msg = f"{str(file)!r} has {what}, which this run would not have: a file holds one run"
    hint = "choose another file with -o, add --overwrite, or ask for all of it again: the answers "
    raise OutputError(msg, hint=f"{hint}so far are kept")
