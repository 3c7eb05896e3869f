"""Run a merge config: models in, one model folder out, complete or not at all.

`slack-ties merge` calls this. mergekit merges the weights. All checks that are possible run
before that, and the result gets its name only when it is complete. While weights are merged, only
weights that are not on this disk are read over the network.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.files import expanded, mode_of_new_files
from slack_ties.merge.finish import complete_model
from slack_ties.merge.in_memory import make_collector
from slack_ties.merge.inputs import find_all
from slack_ties.merge.made import checksums
from slack_ties.merge.options import DEFAULTS, how_it_runs, traced_options
from slack_ties.merge.output import check_output, keep_weights, work_place
from slack_ties.merge.paths import drop_paths
from slack_ties.merge.ready import ready_to_merge
from slack_ties.models.header import main_type
from slack_ties.models.headers import read_weight_headers
from slack_ties.models.model_config import model_config
from slack_ties.models.parents import parent_of
from slack_ties.recipe.pin import PACKAGES
from slack_ties.recipe.read import read_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.record import CONFIG_FILE, RECORD_FILE, MergeRecord, write_record
from slack_ties.report.describe import check_reportable, describe, write_pages
from slack_ties.rule.collect import Collector, collecting
from slack_ties.settings import Settings
from slack_ties.tokenizer.files import has_tokenizer
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mergekit.options import MergeOptions
    from typing_extensions import Unpack

    from slack_ties.merge.engine import Merged
    from slack_ties.merge.receiver import Receiver, Sent, Streaming
    from slack_ties.models.cached import Snapshot
    from slack_ties.settings import SettingsByName
    from slack_ties.tensors.layout import Layout

__all__ = ["merge_models"]

LOG = logging.getLogger("slack_ties")


def merge_models(
    config: str | Path | Recipe,
    out: str | Path,
    *,
    ahead: Receiver | None = None,
    stream: Streaming | None = None,
    report: bool = False,
    **settings: Unpack[SettingsByName],
) -> MergeRecord:
    """Merge the models of `config` into the new folder `out`.

    Every error that `plan_merge` finds is raised before the first weight is downloaded.

    Args:
        config: A merge config, or the path of one. Models are local folders or Hub ids.
        out: A folder that does not exist or is empty. Afterwards it holds the whole result, or
            nothing if the merge fails or is stopped.
        ahead: Uploads weight files to the Hub while the merge goes on.
        stream: Uploads weight files and deletes them here. The rest of the result is then in
            the folder of `stream`, and `out` is not made.
        report: Also count what was kept and lost, and write report.json and report.html into
            `out`. Only for the method `slack_ties`.
        settings: All of `Settings`, by name.

    Returns:
        The record of the merge, which is also stored in `out` as slack_ties.json. Beside it,
        mergekit_config.yml is the config with each Hub model pinned to its commit.

    Raises:
        RecipeError: The config cannot be read, or asks for something impossible.
        CheckpointError: A model is missing, damaged, has NaN or infinite weights, or does not
            fit the others.
        OutputError: The result cannot be written.
        HubError: A model cannot be downloaded from the Hub.

    """
    how = Settings(**settings)
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    if report:
        check_reportable(recipe, merged=True, streamed=bool(stream))
    out = expanded(out)
    check_output(out)
    out = out.resolve()  # if `out` is a link, its target takes the result
    inputs = find_all(recipe, out, how, streamed=bool(stream))
    recipe, snapshots = inputs.recipe, inputs.snapshots

    from mergekit.options import MergeOptions  # noqa: PLC0415 - seconds to import: all checks first

    options = how.options or MergeOptions(**DEFAULTS, quiet=how.quiet)
    types = {
        str(recipe.data.get("dtype") or main_type(tensors)) for tensors in inputs.headers.values()
    }
    LOG.info("  %s", how_it_runs(recipe, options, types))
    first = recipe.base or recipe.models[0]
    base = snapshots[first][0].path
    if options.copy_tokenizer and not has_tokenizer(base):
        LOG.warning(
            "  %s has no tokenizer, so the merged model has none: copy one into its folder",
            "the base" if recipe.base else first,
        )
    sent: Mapping[str, Sent] = {}
    collector = make_collector(recipe, snapshots) if report else None
    with work_place(out, stream, recipe, options, snapshots) as work:
        merged, layout, not_compared = _to_disk(
            recipe,
            work,
            options,
            snapshots,
            out=out,
            ahead=ahead,
            stream=stream,
            collector=collector,
            settings=inputs.settings(how),
        )
        if stream:
            sent = stream.send_rest()
        with keep_weights(out, stream):
            found = read_weight_headers(work, "merged model", without_data=sent.keys())
            complete_model(
                work,
                merged,
                found,
                recipe=recipe,
                layout=layout,
                base_config=model_config(base, first),
                snapshots=snapshots,
                options=options,
            )
            drop_paths(work)
            (work / CONFIG_FILE).write_bytes(recipe.text.encode())
            weights = {header.file for header in found.values()}
            for name in weights - sent.keys():
                (work / name).chmod(mode_of_new_files())
            sums = {name: file.sha256 for name, file in sent.items()}
            record = MergeRecord(
                method=recipe.method,
                dtype=main_type(found),
                parameters=sum(header.size for header in found.values()),
                parents=tuple(
                    parent_of(
                        recipe,
                        name,
                        [part.card for part in parts],
                        commits=tuple(part.commit for part in parts),
                        folders=[part.path for part in parts],
                        not_compared=not_compared.get(name, ()),
                    )
                    for name, parts in snapshots.items()
                ),
                versions={name: version(name) for name in PACKAGES},
                options=traced_options(options),
                files=sums or checksums(work, weights),
                beside=checksums(work, {p.name for p in work.iterdir() if p.is_file()} - weights),
            )
            write_record(record, work)
            if collector:
                write_pages(describe(recipe, collector), work)
    return record


def _to_disk(  # noqa: PLR0913 - one call, and its folders
    recipe: Recipe,
    work: Path,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
    *,
    out: Path,
    ahead: Receiver | None,
    stream: Streaming | None,
    collector: Collector | None,
    settings: Settings,
) -> tuple[Merged, Layout, Mapping[str, tuple[str, ...]]]:
    """Let mergekit merge the weights into `work`.

    Returns:
        What it wrote, the tensors' layout, and by model the files on the Hub whose checksums were
        not compared.

    """
    from slack_ties.merge import engine  # noqa: PLC0415 - imports mergekit

    with (
        ready_to_merge(
            recipe, work, options, snapshots, out=out, settings=settings, stream=stream
        ) as ready,
        collecting(collector) if collector else nullcontext(),
    ):
        merged = engine.merge_to_disk(
            ready.config,
            ready.prepared.layout,
            work,
            options,
            modules=ready.modules,
            receiver=stream or ahead,
            begin=ready.prepared.begin,
        )
        not_compared = ready.prepared.finish()
        if stream:  # files of earlier runs too, which may be on this disk by now
            not_compared = _with_earlier(not_compared, stream.not_compared, snapshots)
        if count := sum(len(files) for files in not_compared.values()):
            LOG.warning(
                "  read in pieces, so not compared with the Hub's checksums: %s of the models; "
                "see %s",
                counted(count, "weight file"),
                RECORD_FILE,
            )
        return merged, ready.prepared.layout, not_compared


def _with_earlier(
    found: Mapping[str, tuple[str, ...]],
    earlier: Collection[str],
    snapshots: Mapping[str, list[Snapshot]],
) -> dict[str, tuple[str, ...]]:
    """Add files, given as ID@COMMIT/FILE, to the files that were not compared, by model."""
    files = [one.partition("@")[2].partition("/")[::2] for one in earlier]
    return {
        name: tuple(
            sorted(
                {*found.get(name, ())}
                | {file for commit, file in files if commit and commit == parts[0].commit}
            )
        )
        for name, parts in snapshots.items()
    }
