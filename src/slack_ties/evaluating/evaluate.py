"""Score a merged model beside the models that it was made from. `slack-ties evaluate` calls this.

Everything cheap is checked before a model is read. Then one model after the other is in memory.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from slack_ties.card.eval_results import keep_results
from slack_ties.errors import SlackTiesError
from slack_ties.evaluating.output import check_file, check_loss, file_for
from slack_ties.evaluating.score_members import Runner
from slack_ties.evaluating.settings import settings_of, versions_used
from slack_ties.evaluation.file import EVALUATION_FILE, weights_digest, write_evaluation
from slack_ties.evaluation.shown import ShownEvaluation
from slack_ties.files import expanded
from slack_ties.harness.extra import check_lm_eval
from slack_ties.harness.how import How
from slack_ties.harness.model import check_how
from slack_ties.notebook import Shown
from slack_ties.record import CONFIG_FILE, read_record
from slack_ties.running.models_of import merge_of
from slack_ties.running.run_models import usable_device
from slack_ties.running.tasks import chosen_tasks, list_tasks_of, load_usual, offering_tasks
from slack_ties.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Unpack

    from slack_ties.running.listed import ListedTasks
    from slack_ties.settings import SettingsByName

__all__ = ["MadeEvaluation", "evaluate_merge", "list_tasks_for"]

LOG = logging.getLogger("slack_ties")


class _Pair(NamedTuple):
    evaluation: ShownEvaluation
    file: Path


class MadeEvaluation(Shown, _Pair):
    """An evaluation and its file; `evaluation, file = ...` takes it apart."""

    __slots__ = ()

    def summary(self) -> str:
        """Return what was evaluated, and where the scores are."""
        return f"{self.evaluation.summary()}, in {self.file}"

    @property
    def in_folder(self) -> bool:
        """Whether the scores are in the merged folder, where its card shows them."""
        return self.file.name == EVALUATION_FILE and (self.file.parent / CONFIG_FILE).is_file()

    def as_text(self) -> str:
        """Return the table."""
        return self.evaluation.as_text()

    def as_html(self) -> str:
        """Return the table as HTML."""
        return self.evaluation.as_html()


def evaluate_merge(  # noqa: PLR0913 - all by name
    what: str | Path,
    *,
    tasks: Sequence[str] = (),
    include: Sequence[str | Path] = (),
    alone: bool = False,
    limit: int | None = None,
    fewshot: int | None = None,
    device: str = "",
    dtype: str = "auto",
    batch_size: str = "",
    chat_template: bool = False,
    output: str | Path | None = None,
    overwrite: bool = False,
    **settings: Unpack[SettingsByName],
) -> MadeEvaluation:
    """Score a merged model and its base, CT and SFT models on tasks, and write the scores.

    Args:
        what: A merged folder, a merge config, or the Hub id of a published merge.
        tasks: Names of lm-eval's tasks, groups or tags, of our own, or of `include`. If not given:
            those of the merge's language, and a short English set.
        include: Folders with task files of your own, which may run code of these folders.
        alone: Score the merged model only.
        limit: Score only the first items of each task.
        fewshot: Examples before each item; as each task says if not given.
        device: A device as torch names it, or auto. If not given: that of `options`; without
            `options`, a GPU if there is one.
        dtype: The number type in which the models run; auto: that of each model.
        batch_size: A number, or auto. If not given: auto on a GPU, 1 on a CPU.
        chat_template: Put each item into the chat template of the model.
        output: The file for the scores. If not given: evaluation.json in the merged folder, or
            NAME-evaluation.json here for a config or a published merge.
        overwrite: Replace a file that is none of ours, or has scores that this run will not have.
        settings: `options`, `quiet`, `allow_unrelated` and `api`, as in `Settings`.

    Returns:
        The evaluation and its file, as a pair.

    Raises:
        SlackTiesError: lm-eval is not installed; a task is not known or has no items; or its data,
            or a model, is not here and cannot be downloaded.
        CheckpointError: A model is damaged, or does not fit in memory.
        OutputError: The file cannot be written, or holds what would be lost.

    """
    shared = Settings(**settings).with_download("evaluate")
    check_lm_eval()
    _refuse_code(shared)
    merge = merge_of(what, alone=alone, api=shared.api)
    file = file_for(merge, output)
    old = check_file(file, overwrite=overwrite)
    names, about = chosen_tasks(merge.recipe, tasks, what)
    device = usable_device(device, shared)
    how = How(device, dtype, batch_size, chat_template)
    check_how(how)

    from slack_ties.harness.tasks import load_tasks  # noqa: PLC0415 - reads all tasks of lm-eval

    folders = [expanded(folder) for folder in include]
    load = load_tasks if tasks else load_usual
    with offering_tasks(merge.recipe, what):
        loaded = load(names, about=about, include=folders, limit=limit, fewshot=fewshot)
    runner = Runner(str(what), merge, loaded, how, shared)
    weights = weights_digest(read_record(merge.folder)) if merge.folder else ""
    if old and not overwrite:
        options = {
            "what": what,
            "tasks": tasks,
            "include": include,
            "alone": alone,
            "limit": limit,
            "fewshot": fewshot,
            "dtype": dtype,
            "batch_size": batch_size,
            "chat_template": chat_template,
            "output": output,
        }
        check_loss(
            file,
            old,
            tasks=loaded.tasks,
            models=runner.names,
            weights=weights,
            options=options,
        )
    runner.announce()
    with _resumable():
        models = runner.run()
    noted = settings_of(how, limit=limit, fewshot=fewshot, include=folders, tasks=loaded.tasks)
    if weights:
        noted["weights"] = weights
    if runner.plain:
        noted["without_chat_template"] = runner.plain
    found = ShownEvaluation(
        loaded.tasks,
        tuple(models),
        settings=noted,
        versions=versions_used(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_evaluation(found, file)
    made = MadeEvaluation(found, file)
    if made.in_folder:
        keep_results(file.parent, found, explain=True)
    return made


def list_tasks_for(
    what: str | Path,
    *,
    include: Sequence[str | Path] = (),
    **settings: Unpack[SettingsByName],
) -> ListedTasks:
    """Return the tasks that are known for the languages of a merge, and those of the user.

    Args:
        what: A merged folder, a merge config, or the Hub id of a published merge.
        include: Folders with task files of your own.
        settings: As for `evaluate_merge`.

    Raises:
        SlackTiesError: The config does not say the language, or no task is known for it.

    """
    merge = merge_of(what, alone=True, api=Settings(**settings).api)
    return list_tasks_of(merge.recipe, what, [expanded(folder) for folder in include])


def _refuse_code(settings: Settings) -> None:
    """Refuse to run code of models: transformers would run it with all of the user's rights."""
    if settings.options and settings.options.trust_remote_code:
        msg = "evaluate never runs code that comes with a model"
        raise SlackTiesError(msg, hint="leave --trust-remote-code out")


@contextmanager
def _resumable() -> Iterator[None]:
    """Say, if the work is stopped, how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        LOG.warning("  stopped: the answers so far are kept")
        raise
