"""See a merge: which entries were kept, which were lost, and what each slack would change.

`slack-ties report` calls `make_report`, and `merge --report` the parts of it. The figures are
counted by the merge itself (`tally.py`), in the one pass that merges.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError, RecipeError, SlackTiesError
from slack_ties.files import write_whole
from slack_ties.pin import PACKAGES
from slack_ties.recipe import Recipe, read_recipe, reference
from slack_ties.record import CONFIG_FILE
from slack_ties.report_file import Report, ReportedModel, write_report
from slack_ties.report_page import PAGE_FILE, make_page

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions

    from slack_ties.collect import Collector

__all__ = [
    "as_slack_ties",
    "check_reportable",
    "describe",
    "make_report",
    "write_pages",
]

LOG = logging.getLogger("slack_ties")
METHODS = ("slack_ties", "ties")
PARAMETERS = ("weight", "density", "slack")
SHARED = ("normalize", "lambda")


def make_report(  # noqa: PLR0913 - all by name
    what: str | Path,
    folder: str | Path | None = None,
    *,
    options: MergeOptions | None = None,
    quiet: bool = False,
    allow_unrelated: bool = False,
    pictures: bool = False,
    api: HfApi | None = None,
) -> tuple[Report, Path]:
    """Read the models of a merge once, and write report.json and report.html about it.

    Args:
        what: A merge config, or a folder that was merged by one.
        folder: Where to write: the merged folder itself if not given, and for a config a new
            folder named after it, CONFIG-report.
        options: mergekit's own, for example the device.
        quiet: Without `options`: show no progress.
        allow_unrelated: Compare models though their weights have nothing in common.
        pictures: Write images/*.png too, for the model card; needs the extra `plot`.
        api: The Hub client; the default one if not given.

    Returns:
        The report, and the folder it is in.

    Raises:
        RecipeError: The config is of another method, or cannot be read.
        CheckpointError: A model is missing, damaged, not finite or does not fit the others.
        OutputError: The report cannot be written.

    """
    what = Path(what).expanduser()
    config = what
    if what.is_dir():
        config = what / CONFIG_FILE
        if not config.is_file():
            msg = f"{str(what)!r} holds no {CONFIG_FILE}, expected a merged model or a config"
            raise OutputError(msg, hint="slack-ties report CONFIG")
    recipe = read_recipe(config)
    check_reportable(recipe)
    folder = Path(folder).expanduser() if folder else None
    folder = folder or (what if what.is_dir() else Path(f"{what.stem}-report"))
    _check_folder(folder)
    if pictures:
        from slack_ties.plot import check_plot  # noqa: PLC0415 - before anything is read

        check_plot()

    from slack_ties.merge import merge_in_memory  # noqa: PLC0415 - which imports this module

    report = merge_in_memory(
        recipe,
        folder,
        options=options,
        quiet=quiet,
        allow_unrelated=allow_unrelated,
        api=api,
    )
    write_pages(report, folder)
    if pictures:
        from slack_ties.plot import draw_pictures  # noqa: PLC0415 - imports matplotlib

        draw_pictures(report, folder)
    return report, folder


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


def _check_folder(folder: Path) -> None:
    """Refuse a place that cannot be written to, before models are read for it."""
    if folder.exists() and not folder.is_dir():
        msg = f"{str(folder)!r} is a file, expected a folder"
        raise OutputError(msg, hint="choose another with -o")
    there = next(one for one in (folder, *folder.resolve().parents) if one.is_dir())
    if not os.access(there, os.W_OK | os.X_OK):
        msg = f"cannot write to {str(there)!r}"
        raise OutputError(msg, hint="choose another folder with -o")


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
