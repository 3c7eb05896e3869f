"""Prepare the models of a merge: merge each adapter into its model, make a reader per model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.merge.adapters import AdaptedFiles, adapted_files, by_mergekit, needs_whole
from slack_ties.merge.engine import LocalModel
from slack_ties.merge.reader import Reader, WeightFiles, same_bits
from slack_ties.models.header import check_shapes
from slack_ties.models.headers import read_headers
from slack_ties.models.model_config import model_config
from slack_ties.remote.away import Away, key_of
from slack_ties.settings import Settings
from slack_ties.tensors.known import know
from slack_ties.tensors.layout import Layout, Source, without_adapter
from slack_ties.tensors.make_layout import make_layout
from slack_ties.tensors.ties import CRIMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mergekit.options import MergeOptions

    from slack_ties.merge.receiver import Streaming
    from slack_ties.models.cached import AwayFile, Snapshot
    from slack_ties.recipe.recipe import Recipe

__all__ = ["Prepared", "prepare_models"]


@dataclass(frozen=True)
class Prepared:
    """Models that are ready to be merged."""

    layout: Layout
    models: dict[str, LocalModel] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)
    files: dict[str, WeightFiles] = field(default_factory=dict)
    away: Away | None = None  # reads the files that are not on this disk

    def begin(
        self, wanted: Sequence[tuple[Reader, str]], earlier: Sequence[tuple[Reader, str]] = ()
    ) -> None:
        """Begin to read ahead, and compare the tensors that are stored twice and treated as one.

        Args:
            wanted: The readers and the tensors that they will be asked for, in that order.
            earlier: The same for the whole merge, if an earlier run has merged a part of it.

        Raises:
            CheckpointError: Two tensors differ.
            HubError: A file on the Hub cannot be read.

        """
        reads = [(model, name) for model, *both in self.layout.equal for name in both]
        reads += [pair for reader, tensor in wanted for pair in reader.expect(tensor)]
        finished = {pair for reader, tensor in earlier for pair in reader.reads(tensor)}
        if self.away:
            self.away.expect(reads, finished=finished)
        self._check_tied()

    def finish(self) -> dict[str, tuple[str, ...]]:
        """Compare the checksums that are left; return by model the files that were not compared."""
        return self.away.finish() if self.away else {}

    def _check_tied(self) -> None:
        """Compare in full the tensors that are stored twice and treated as one."""
        for model, one, other in self.layout.equal:
            files = self.files[model]
            if not same_bits(files.read(one), files.read(other)):
                if model in self.layout.retied:
                    msg = f"model {model!r} has its own head: {other} begins as {one}, and differs "
                    msg += "later; other models tie their heads to their embeddings"
                    hint = f"to merge them anyway, into a model with its own head: {CRIMES}"
                    raise CheckpointError(msg, hint=hint)
                msg = f"model {model!r}: its config.json ties {one} and {other}, but they differ: "
                msg += "transformers 4 uses the first for both, transformers 5 keeps both"
                hint = 'to keep both, write in its config.json: "tie_word_embeddings": false'
                raise CheckpointError(msg, hint=hint)

    def close(self) -> None:
        """Close all files."""
        if self.away:
            self.away.close()
        for reader in self.readers.values():
            reader.flush()


def prepare_models(  # noqa: PLR0913, PLR0917 - one call, and its folders
    recipe: Recipe,
    snapshots: Mapping[str, list[Snapshot]],
    options: MergeOptions,
    adapted: Path,
    settings: Settings | None = None,
    stream: Streaming | None = None,
) -> Prepared:
    """Return the models of a recipe, ready to be merged.

    Args:
        recipe: The merge config.
        snapshots: The folder of each model, and of its adapter if it has one.
        options: mergekit's options.
        adapted: A folder for the models that mergekit merges adapters into.
        settings: The Hub client, and the memory for what is read from the Hub.
        stream: Keeps which checksums of files on the Hub were compared.

    Raises:
        CheckpointError: A model is damaged, or does not fit the others.

    """
    first = recipe.base or recipe.models[0]
    order = [first, *(name for name in snapshots if name != first)]
    found = {}
    if len(snapshots[first]) > 1:  # the base without adapter decides which tensors the result has
        found[without_adapter(first)] = snapshots[first][:1]
    found |= {name: snapshots[name] for name in order}
    away = _away(
        {name: parts[0].away for name, parts in found.items()},
        options,
        settings or Settings(),
        stream,
    )
    files: dict[str, WeightFiles] = {}
    try:
        files |= {name: _files(name, found[name], options, adapted, away) for name in found}
        headers = {name: one.headers for name, one in files.items()}
        configs = {name: _config(one) for name, one in files.items()}
        layout = make_layout(
            [
                Source(
                    name,
                    configs[name],
                    headers[name],
                    know(name, configs[name], headers[name]),
                    files[name].begin_alike,
                    adapted=len(found[name]) > 1,
                )
                for name in files
            ],
            allow_crimes=options.allow_crimes,
        )
        _check(layout, recipe, options)
    except BaseException:
        if away:
            away.close()
        raise
    finally:  # an open file cannot be deleted on Windows
        for opened in files.values():
            opened.close()
    base = next(iter(files))
    readers = {
        name: Reader(files[name], layout.parts[name], base=files[base], known=layout.kinds[base])
        for name in order
    }
    models = {
        name: LocalModel.of([part.path for part in snapshots[name]], number, readers[name])
        for number, name in enumerate(order)
    }
    return Prepared(layout, models, readers, files, away)


def _check(layout: Layout, recipe: Recipe, options: MergeOptions) -> None:
    """Refuse models that do not fit each other."""
    for error in layout.errors:
        raise error
    check_shapes(
        layout.found,
        vocabulary_may_differ=_aligns_vocabulary(recipe, options),
        per_token=layout.vocabulary,
    )


def _away(
    files: Mapping[str, Mapping[str, AwayFile]],
    options: MergeOptions,
    settings: Settings,
    stream: Streaming | None,
) -> Away | None:
    """Return what reads the weight files that are not on this disk; None if all are."""
    if not any(files.values()):
        return None
    before = stream.not_compared if stream else set()
    return Away(
        files,
        api=settings.api,
        window=settings.window,
        quiet=options.quiet,
        known={key_of(one.on_hub) for of in files.values() for one in of.values()} - before,
        compared=stream.note_compared if stream else None,
        begin=stream.note_read if stream else None,
        wrong=stream.note_wrong if stream else None,
    )


def _files(
    name: str, parts: list[Snapshot], options: MergeOptions, adapted: Path, away: Away | None
) -> WeightFiles:
    """Return the weight files of a model, with its adapter if it has one."""
    folder, there = parts[0].path, parts[0].away
    if len(parts) == 1 or not needs_whole(parts, options, name):
        headers = read_headers(folder, name, away=there)
        files = WeightFiles(name, folder, headers, away=away, away_files=there)
        try:
            return files if len(parts) == 1 else adapted_files(files, parts, options)
        except CheckpointError:  # by another version of PEFT
            files.close()
            if there:
                raise
    folder = by_mergekit(parts, options, adapted)
    return WeightFiles(name, folder, read_headers(folder, name))


def _config(files: WeightFiles) -> dict[str, Any]:
    """Return the config.json of a model with its adapter."""
    if isinstance(files, AdaptedFiles):
        return files.config
    return model_config(files.folder, files.name)


def _aligns_vocabulary(recipe: Recipe, options: MergeOptions) -> bool:
    """Say whether mergekit was told what to do with vocabularies of different sizes."""
    section = recipe.data.get("tokenizer") or recipe.data.get("tokenizer_source")
    return bool(section or options.unsafe_truncate_embeddings)
