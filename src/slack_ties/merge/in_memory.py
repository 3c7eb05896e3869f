"""Merge in memory, tensor by tensor; no model is written to disk."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.files import nearest_folder
from slack_ties.merge.inputs import Found, find_all
from slack_ties.merge.options import DEFAULTS
from slack_ties.merge.ready import ready_to_merge
from slack_ties.models.header import Header
from slack_ties.models.model_config import model_config
from slack_ties.recipe.read import read_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.report.describe import as_slack_ties, check_reportable, describe
from slack_ties.rule.collect import Collector, Trial, collecting
from slack_ties.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from mergekit.options import MergeOptions

    from slack_ties.models.cached import Snapshot
    from slack_ties.report.shown import ShownReport
    from slack_ties.tensors.layout import Layout

__all__ = ["Unwritten", "make_collector", "merge_in_memory", "merge_unwritten"]


@dataclass(frozen=True)
class Unwritten:
    """A merged model of which no file is written: what its files would be made from."""

    recipe: Recipe  # as merged: with commits and full paths
    headers: Mapping[str, Header]  # of the merged tensors
    tokenizer: Any  # of transformers, if the config asks mergekit to build one
    layout: Layout
    snapshots: Mapping[str, list[Snapshot]]
    options: MergeOptions

    def write_beside(self, folder: Path) -> None:
        """Write all files of the merged model but its weights: config, tokenizer, templates.

        Raises:
            CheckpointError: The base's config cannot be read.
            OSError: A file cannot be written.

        """
        from slack_ties.merge.finish import write_beside  # noqa: PLC0415 - heavy

        first = self.recipe.base or self.recipe.models[0]
        write_beside(
            folder,
            self.tokenizer,
            self.headers,
            recipe=self.recipe,
            layout=self.layout,
            base_config=model_config(self.snapshots[first][0].path, first),
            snapshots=self.snapshots,
            options=self.options,
            say=False,
        )


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
    found = found or find_all(recipe, None, settings)
    collector = make_collector(found.recipe, found.snapshots, trials)
    merge_unwritten(recipe, near, take=take, collector=collector, settings=settings, found=found)
    return describe(found.recipe, collector)


def merge_unwritten(  # noqa: PLR0913 - all by name
    config: str | Path | Recipe,
    near: Path,
    *,
    take: Callable[[str, torch.Tensor], None] | None = None,
    collector: Collector | None = None,
    settings: Settings | None = None,
    found: Found | None = None,
) -> Unwritten:
    """Merge a config of any method in memory, one tensor at a time, and write no model.

    Args:
        config: A merge config, or the path of one.
        near: A folder on a disk with free space: models with adapters are merged there.
        take: Called with the name and the value of each merged tensor, in its type in the result.
        collector: Counts for a report; for the methods `slack_ties` and `ties`.
        settings: How to work; the defaults if not given.
        found: What `find_all` returned for this config and these settings, if the caller has
            called it.

    Raises:
        SlackTiesError: As for `merge_models`.

    """
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    settings = settings or Settings()
    found = found or find_all(recipe, None, settings)
    recipe, snapshots = found.recipe, found.snapshots

    from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import: all checks first

    from slack_ties.merge import engine  # noqa: PLC0415

    options = settings.options or MergeOptions(**DEFAULTS, quiet=settings.quiet)
    there = near if near.is_dir() else nearest_folder(near)
    headers: dict[str, Header] = {}
    tokenizers: list[Any] = []
    with (
        ready_to_merge(
            as_slack_ties(recipe) if collector else recipe,
            there / "report",
            options,
            snapshots,
            out=near,
            settings=found.settings(settings),
        ) as ready,
        collecting(collector) if collector else nullcontext(),
    ):
        for name, tensor in engine.merge_tensors(
            ready.config,
            ready.prepared.layout,
            options,
            modules=ready.modules,
            tokenizer=tokenizers.append,
            begin=ready.prepared.begin,
        ):
            headers[name] = Header(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            if take:
                take(name, tensor)
        ready.prepared.finish()
        layout = ready.prepared.layout
    tokenizer = tokenizers[0] if tokenizers else None
    return Unwritten(recipe, headers, tokenizer, layout, snapshots, options)


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
