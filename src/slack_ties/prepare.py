"""Make the models of a merge ready to be read: adapters merged into theirs, a reader for each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.checkpoint import check_shapes, model_config, read_headers
from slack_ties.engine import LocalModel
from slack_ties.errors import CheckpointError
from slack_ties.layout import Layout, Source, know, make_layout
from slack_ties.reader import Reader, WeightFiles

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

    from slack_ties.hub import Snapshot
    from slack_ties.recipe import Recipe

__all__ = ["Prepared", "prepare_models"]

LOG = logging.getLogger("slack_ties")


@dataclass(frozen=True)
class Prepared:
    """Models that can be merged."""

    layout: Layout
    models: dict[str, LocalModel] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)

    def check_tied(self) -> None:
        """Compare tensors that are stored twice and taken for one, in full.

        Raises:
            CheckpointError: Two of them differ.

        """
        for model, one, other in self.layout.equal:
            files = self.readers[model].files
            if not bool((files.read(one) == files.read(other)).all()):
                msg = f"model {model!r}: its config.json ties {one} and {other}, and they differ: "
                msg += "transformers 4 takes the first for both, transformers 5 keeps both"
                hint = 'if both are meant, write in its config.json: "tie_word_embeddings": false'
                raise CheckpointError(msg, hint=hint)

    def close(self) -> None:
        """Let go of all files."""
        for reader in self.readers.values():
            reader.flush()


def prepare_models(
    recipe: Recipe,
    snapshots: Mapping[str, list[Snapshot]],
    options: MergeOptions,
    adapted: Path,
) -> Prepared:
    """Return the models of a recipe, ready to be merged.

    Args:
        recipe: Of the merge.
        snapshots: Where each model is, and its adapter if it has one.
        options: mergekit's own.
        adapted: A folder for models with their adapters merged in.

    Raises:
        CheckpointError: A model is damaged, or does not fit the others.

    """
    folders = {name: _folder(found, options, adapted) for name, found in snapshots.items()}
    first = recipe.base or recipe.models[0]
    order = [first, *(name for name in snapshots if name != first)]
    headers = {name: read_headers(folders[name], name) for name in order}
    configs = {name: model_config(folders[name], name) for name in order}
    files = {name: WeightFiles(name, folders[name], headers[name]) for name in order}
    layout = make_layout(
        [
            Source(
                name,
                configs[name],
                headers[name],
                know(name, configs[name], headers[name]),
                files[name].begin_alike,
            )
            for name in order
        ],
        allow_crimes=options.allow_crimes,
    )
    for error in layout.errors:
        raise error
    check_shapes(
        layout.found,
        vocabulary_may_differ=_aligns_vocabulary(recipe, options),
        per_token=layout.vocabulary,
    )
    readers = {
        name: Reader(files[name], layout.parts[name], base=files[first], known=layout.kinds[first])
        for name in order
    }
    models = {
        name: LocalModel.of([part.path for part in snapshots[name]], number, readers[name])
        for number, name in enumerate(order)
    }
    return Prepared(layout, models, readers)


def _aligns_vocabulary(recipe: Recipe, options: MergeOptions) -> bool:
    """Say whether mergekit was told what to do with vocabularies of different sizes."""
    told = recipe.data.get("tokenizer") or recipe.data.get("tokenizer_source")
    return bool(told or options.unsafe_truncate_embeddings)


def _folder(found: list[Snapshot], options: MergeOptions, adapted: Path) -> Path:
    """Return the folder of a model; of one with an adapter, where both are merged."""
    if len(found) == 1:
        return found[0].path
    from mergekit.common import ModelPath, ModelReference  # noqa: PLC0415 - as mergekit names it

    model, adapter = (ModelPath(path=str(part.path)) for part in found)
    merged = ModelReference(model=model, lora=adapter).merged(
        cache_dir=options.lora_merge_cache or str(adapted),
        trust_remote_code=options.trust_remote_code,
        lora_merge_dtype=options.lora_merge_dtype,
    )
    return Path(merged.model.path)
