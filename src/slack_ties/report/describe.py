"""See a merge: which entries were kept, which were lost, and what each slack would change.

`slack-ties report` calls `make_report`, and `merge --report` the parts of it. The figures are
counted by the merge itself (`tally.py`), in the one pass that merges.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError, RecipeError, SlackTiesError
from slack_ties.files import write_whole
from slack_ties.recipe.pin import PACKAGES
from slack_ties.recipe.recipe import Recipe, reference
from slack_ties.report.file import write_report
from slack_ties.report.page import PAGE_FILE, make_page
from slack_ties.report.report import Report, ReportedModel

if TYPE_CHECKING:
    from slack_ties.rule.collect import Collector

__all__ = ["as_slack_ties", "check_reportable", "describe", "write_pages"]

METHODS = ("slack_ties", "ties")

PARAMETERS = ("weight", "density", "slack")

SHARED = ("normalize", "lambda")


def check_reportable(recipe: Recipe, *, merged: bool = False, streamed: bool = False) -> None:
    """Refuse a recipe of which no report can be made.

    Args:
        recipe: Any.
        merged: Whether it is to be merged in the same pass: then by `slack_ties` alone.
        streamed: Whether that pass may go on from an earlier one: then not all is merged in it.

    Raises:
        RecipeError: The method has no election like that of `slack_ties`.
        SlackTiesError: It is streamed.

    """
    if streamed:
        msg = "--report and --stream: what an interrupted run has sent would not be counted"
        raise SlackTiesError(msg, hint=f"without --report; then: slack-ties report {recipe.where}")
    if recipe.method == "slack_ties" or (recipe.method == "ties" and not merged):
        return
    msg = f"{recipe.where}: merge_method is {recipe.method!r}: "
    if recipe.method == "ties":
        msg += "mergekit merges it, and counts nothing on the way"
        raise RecipeError(msg, hint=f"without --report, then: slack-ties report {recipe.where}")
    msg += f"a report describes {' and '.join(METHODS)} alone"
    raise RecipeError(msg, hint="change it to: merge_method: slack_ties")


def as_slack_ties(recipe: Recipe) -> Recipe:
    """Return a recipe of `ties` as the same one of `slack_ties`, with slack 0 throughout."""
    if recipe.method == "slack_ties":
        return recipe
    return replace(recipe, data={**recipe.data, "merge_method": "slack_ties"})


def describe(recipe: Recipe, collector: Collector) -> Report:
    """Return the report of a merge whose tensors were collected."""
    shared = recipe.data.get("parameters") or {}
    models = tuple(
        ReportedModel(name, recipe.role(name), varied, _settings(recipe, name))
        for name, varied in zip(collector.models, collector.varied, strict=True)
    )
    return Report(
        config=Path(recipe.where).name,  # a folder of its maker's is nobody else's business
        method=recipe.method,
        models=models,
        tensors=dict(collector.tensors),
        settings={name: shared[name] for name in SHARED if name in shared},
        versions={name: version(name) for name in PACKAGES},
    )


def _settings(recipe: Recipe, model: str) -> dict[str, Any]:
    """Return a model's parameters as the config gives them: numbers, gradients or by filter."""
    found = dict(recipe.data.get("parameters") or {})
    for part in recipe.data.get("models") or ():
        if reference(part["model"]) == model:
            found |= part.get("parameters") or {}
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return {name: plain[name] for name in PARAMETERS if name in plain}


def write_pages(report: Report, folder: Path) -> None:
    """Write report.json and report.html.

    Raises:
        OutputError: The disk is full, or the folder cannot be written to.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_report(report, folder)
        write_whole(folder / PAGE_FILE, make_page(report))
    except OSError as error:
        msg = f"cannot write the report in {str(folder)!r}: {error.strerror or error}"
        raise OutputError(msg) from None
