"""Publish the evaluation of a merged model: without folders of this disk, and never a stale one."""

from __future__ import annotations

import logging
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.card.eval_results import has_stale_results
from slack_ties.card.evaluation import OWN_RESULTS, RESULTS_FOLDER
from slack_ties.card.examples import EXAMPLES_FILE
from slack_ties.card.measured import is_shown
from slack_ties.card.write import CARD_FILE
from slack_ties.errors import OutputError
from slack_ties.evaluation.file import EVALUATION_FILE, is_of, read_evaluation
from slack_ties.models.names import split_reference
from slack_ties.recipe.public import published_names
from slack_ties.record import PINNED_ID

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.evaluation.scores import Evaluated, Evaluation
    from slack_ties.record import MergeRecord, Parent

__all__ = [
    "OF_WEIGHTS",
    "current_evaluation",
    "not_sent",
    "public_evaluation",
    "warn_of_evaluation",
]

LOG = logging.getLogger("slack_ties")

# The files that an evaluation makes beside a model: by their names on the Hub.
EVALUATED = (EVALUATION_FILE, f"{RESULTS_FOLDER}/{OWN_RESULTS}")

OF_WEIGHTS = (*EVALUATED, EXAMPLES_FILE)  # what is false of other weights

PARTS = re.compile(r"[/\\]")


def current_evaluation(folder: Path, record: MergeRecord) -> Evaluation | None:
    """Return the evaluation of a merged model; None if there is none of these weights."""
    try:
        evaluation = read_evaluation(folder)
    except OutputError:
        return None
    return evaluation if is_of(evaluation, record) else None


def not_sent(folder: Path, record: MergeRecord) -> frozenset[str]:
    """Return the files of an evaluation that are not published: of other weights or scores."""
    if not any((folder / name).is_file() for name in EVALUATED):
        return frozenset()
    evaluation = current_evaluation(folder, record)
    left = set() if evaluation else {EVALUATION_FILE}
    if has_stale_results(folder, evaluation):
        left.add(f"{RESULTS_FOLDER}/{OWN_RESULTS}")
    return frozenset(left)


def warn_of_evaluation(folder: Path, record: MergeRecord) -> None:
    """Warn if an evaluation is not published, or if the card does not show it."""
    if not (folder / EVALUATION_FILE).is_file():
        return
    name = shlex.quote(str(folder))
    try:
        evaluation = read_evaluation(folder)
    except OutputError as error:
        LOG.warning("  it is not published: %s. Next: %s", error, error.hint)
        return
    if not is_of(evaluation, record):
        LOG.warning(
            "  %s is not published: it is not of these weights. Next: slack-ties evaluate %s",
            folder / EVALUATION_FILE,
            name,
        )
        return
    card = (folder / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    if not is_shown(evaluation, folder, card):
        LOG.warning(
            "  the card does not show %s. Next: slack-ties card %s", folder / EVALUATION_FILE, name
        )


def public_evaluation(folder: Path, record: MergeRecord) -> Evaluation | None:
    """Return the evaluation to publish in place of the one in `folder`; None to leave it.

    Models on the Hub keep their names. A folder gets the name that it has in the published config.
    """
    evaluation = current_evaluation(folder, record)
    if evaluation is None:
        return None
    names = published_names(record.parents)
    models = []
    for number, model in enumerate(evaluation.models):
        before = [one.role for one in evaluation.models[:number]].count(model.role)
        of_role = [one for one in record.parents if one.role == model.role]
        parent = of_role[before] if before < len(of_role) else None
        models.append(replace(model, name=_public_name(model, parent, record, names, folder)))
    public = replace(evaluation, models=tuple(models))
    return None if public.models == evaluation.models else public


def _public_name(
    model: Evaluated,
    parent: Parent | None,
    record: MergeRecord,
    names: dict[str, str],
    folder: Path,
) -> str:
    if model.role == "merged":
        is_id = PINNED_ID.fullmatch(model.name) or not PARTS.search(model.name)
        return model.name if is_id else f"./{folder.resolve().name}"
    known = {name for one in record.parents for name in one.hub_ids}
    if all(path in known for path, _ in split_reference(model.name)):
        return model.name
    return names[parent.model] if parent else f"./{PARTS.split(model.name.rstrip('/'))[-1]}"
