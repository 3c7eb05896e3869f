"""Merge in memory, tensor by tensor; no model is written to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.files import nearest_folder
from slack_ties.merge.inputs import Found, find_all
from slack_ties.merge.options import DEFAULTS
from slack_ties.merge.ready import ready_to_merge
from slack_ties.recipe.read import read_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.report.describe import as_slack_ties, check_reportable, describe
from slack_ties.rule.collect import Collector, Trial, collecting
from slack_ties.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from slack_ties.models.cached import Snapshot
    from slack_ties.report.shown import ShownReport

__all__ = ["make_collector", "merge_in_memory"]


def merge_in_memory(  # noqa: PLR0913 - all by name
    config: str | Path | Recipe,
    near: Path,
    *,
    take: Callable[[str, torch.Tensor], None] | None = None,
    trials: Sequence[Trial] = (),
    settings: Settings | None = None,
    found: Found | None = None,
) -> ShownReport:
    """Merge in memory, one tensor at a time, write no model, and return the report.

    Args:
        config: A merge config of `slack_ties` or `ties`, or the path of one.
        near: A folder on a disk with free space: models with adapters are merged there.
        take: Called with the name and the value of each merged tensor.
        trials: Further merges to make of the same tensors.
        settings: How to work; the defaults if not given.
        found: What `find_all` returned for this config and these settings, if the caller has
            called it: it plans, asks the Hub and reads headers.

    Raises:
        SlackTiesError: As for `merge_models`; or the config has another method.

    """
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    check_reportable(recipe)
    settings = settings or Settings()
    recipe, snapshots, _ = found or find_all(recipe, None, settings)

    from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import: all checks first

    from slack_ties.merge import engine  # noqa: PLC0415

    options = settings.options or MergeOptions(**DEFAULTS, quiet=settings.quiet)
    there = near if near.is_dir() else nearest_folder(near)
    collector = make_collector(recipe, snapshots, trials)
    with (
        ready_to_merge(
            as_slack_ties(recipe), there / "report", options, snapshots, out=near
        ) as ready,
        collecting(collector),
    ):
        for name, tensor in engine.merge_tensors(
            ready.config, ready.prepared.layout, options, modules=ready.modules
        ):
            if take:
                take(name, tensor)
    return describe(recipe, collector)


def make_collector(
    recipe: Recipe, snapshots: Mapping[str, list[Snapshot]], trials: Sequence[Trial] = ()
) -> Collector:
    """Return the counter of a report, which knows models by the folders that mergekit reads."""
    folders = {
        tuple(str(part.path) for part in found): name
        for name, found in snapshots.items()
        if name != recipe.base
    }
    return Collector(folders, recipe.models_of("sft"), trials)
