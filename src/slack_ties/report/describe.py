"""Describe a merge: which entries were kept, which were lost, and what each slack would change.

`slack-ties report` calls `make_report`, and `merge --report` calls these parts of it. The merge
itself counts the figures (`tally.py`), while it merges.
"""

from __future__ import annotations

import json
import shlex
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
from slack_ties.report.report import ReportedModel
from slack_ties.report.shown import ShownReport

if TYPE_CHECKING:
    from slack_ties.report.report import Report
    from slack_ties.rule.collect import Collector

__all__ = [
    "as_slack_ties",
    "check_reportable",
    "describe",
    "describe_settings",
    "has_figures",
    "write_pages",
]

METHODS = ("slack_ties", "ties")

PER_MODEL = ("weight", "density", "slack")

SHARED = ("normalize", "lambda")


def check_reportable(recipe: Recipe, *, merged: bool = False, streamed: bool = False) -> None:
    """Refuse a recipe if no report can be made of it.

    Args:
        recipe: Any recipe.
        merged: Whether the recipe is merged at the same time: only for the method `slack_ties`.
        streamed: Whether the merge is streamed: it may resume, and then does not merge everything.

    Raises:
        RecipeError: The method has no election like that of `slack_ties`.
        SlackTiesError: The merge is streamed.

    """
    # For `run LANG` there is no config on this disk before the merge, and one in OUT after it.
    afterwards = shlex.quote(recipe.where) if Path(recipe.where).is_file() else "OUT"
    if streamed:
        msg = "--report and --stream cannot be used together: the report would not count weights "
        msg += "that an interrupted run has already sent"
        hint = f"leave --report out; afterwards: slack-ties report {afterwards}"
        raise SlackTiesError(msg, hint=hint)
    if recipe.method == "slack_ties" or (recipe.method == "ties" and not merged):
        return
    msg = f"{recipe.where}: merge_method is {recipe.method!r}: "
    if recipe.method == "ties":
        msg += "mergekit merges it, and does not count for a report"
        hint = f"leave --report out; afterwards: slack-ties report {afterwards}"
        raise RecipeError(msg, hint=hint)
    msg += f"reports exist only for {' and '.join(METHODS)}, which elect signs"
    if merged:
        raise RecipeError(msg, hint="leave --report out")
    hint = f"slack-ties plan {afterwards}  # says how far each model is from the base; a report of "
    raise RecipeError(msg, hint=f"{hint}the same models needs merge_method: slack_ties")


def has_figures(recipe: Recipe) -> bool:
    """Say whether a report can be made of a recipe: its method elects as `slack_ties` does."""
    return recipe.method in METHODS


def describe_settings(recipe: Recipe) -> ShownReport:
    """Return a report that has the settings of a config, and no figures."""
    models = [name for name in recipe.models if name != recipe.base]
    return ShownReport(
        config=Path(recipe.where).name,
        method=recipe.method,
        models=tuple(
            ReportedModel(name, recipe.role(name), settings=_own_settings(recipe, name))
            for name in models
        ),
        tensors={},
        settings=dict(recipe.data.get("parameters") or {}),
    )


def as_slack_ties(recipe: Recipe) -> Recipe:
    """Return a `ties` recipe as a `slack_ties` recipe with slack 0 for every model."""
    if recipe.method == "slack_ties":
        return recipe
    return replace(recipe, data={**recipe.data, "merge_method": "slack_ties"})


def describe(recipe: Recipe, collector: Collector) -> ShownReport:
    """Return the report of a merge whose tensors were collected."""
    shared = recipe.data.get("parameters") or {}
    models = tuple(
        ReportedModel(name, recipe.role(name), varied, _settings(recipe, name))
        for name, varied in zip(collector.models, collector.varied, strict=True)
    )
    return ShownReport(
        config=Path(recipe.where).name,  # not the user's folders, which are private
        method=recipe.method,
        models=models,
        tensors=dict(collector.tensors),
        settings={name: shared[name] for name in SHARED if name in shared},
        versions={name: version(name) for name in PACKAGES},
    )


def _settings(recipe: Recipe, model: str) -> dict[str, Any]:
    """Return a model's parameters as in the config: numbers, gradients or filters."""
    found = dict(recipe.data.get("parameters") or {}) | _own_settings(recipe, model)
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return {name: plain[name] for name in PER_MODEL if name in plain}


def _own_settings(recipe: Recipe, model: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in recipe.data.get("models") or ():
        if reference(part["model"]) == model:
            found |= part.get("parameters") or {}
    return found


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
