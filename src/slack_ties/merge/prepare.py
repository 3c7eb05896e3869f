"""Prepare the models of a merge: merge each adapter into its model, make a reader per model."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.merge.engine import LocalModel
from slack_ties.merge.reader import Reader, WeightFiles, same_bits
from slack_ties.models.header import check_shapes
from slack_ties.models.headers import read_headers
from slack_ties.models.model_config import model_config
from slack_ties.remote.away import Away
from slack_ties.settings import DEFAULT_WINDOW, Settings
from slack_ties.tensors.known import know
from slack_ties.tensors.layout import Layout, Source, without_adapter
from slack_ties.tensors.make_layout import make_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
            self.away.expect(reads, finished=finished - set(reads))
        self._check_tied()

    def finish(self) -> dict[str, tuple[str, ...]]:
        """Compare the checksums that are left; return by model the files that were not compared."""
        return self.away.finish() if self.away else {}

    def _check_tied(self) -> None:
        """Compare in full the tensors that are stored twice and treated as one."""
        for model, one, other in self.layout.equal:
            files = self.files[model]
            if not same_bits(files.read(one), files.read(other)):
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
        adapted: A folder for the models that adapters are merged into.
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
    folders = {name: _folder(parts, options, adapted) for name, parts in found.items()}
    configs = {name: model_config(folder, name) for name, folder in folders.items()}
    away_files = {name: parts[0].away if len(parts) == 1 else {} for name, parts in found.items()}
    away = _away(away_files, options, settings or Settings(), stream)
    files = {
        name: WeightFiles(
            name,
            folder,
            read_headers(folder, name, away=away_files[name]),
            away=away,
            away_files=away_files[name],
        )
        for name, folder in folders.items()
    }
    headers = {name: one.headers for name, one in files.items()}
    try:
        layout = make_layout(
            [
                Source(
                    name,
                    configs[name],
                    headers[name],
                    know(name, configs[name], headers[name]),
                    files[name].begin_alike,
                )
                for name in folders
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
    base = next(iter(folders))
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
    return Away(
        files,
        api=settings.api,
        window=settings.window or DEFAULT_WINDOW,
        quiet=options.quiet,
        known=stream.compared if stream else (),
        compared=stream.note_compared if stream else None,
    )


def _aligns_vocabulary(recipe: Recipe, options: MergeOptions) -> bool:
    """Say whether mergekit was told what to do with vocabularies of different sizes."""
    section = recipe.data.get("tokenizer") or recipe.data.get("tokenizer_source")
    return bool(section or options.unsafe_truncate_embeddings)


def _folder(found: list[Snapshot], options: MergeOptions, adapted: Path) -> Path:
    """Return the folder of a model, after merging its adapter into it if it has one."""
    if len(found) == 1:
        return found[0].path
    from slack_ties.private.mergekit import ModelPath, ModelReference  # noqa: PLC0415 - as mergekit names it

    folder = _clean(found[0].path, adapted)
    model, adapter = (ModelPath(path=str(path)) for path in (folder, found[1].path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's: `plan` has already warned, with the next step
        merged = ModelReference(model=model, lora=adapter).merged(
            cache_dir=options.lora_merge_cache or str(adapted),
            trust_remote_code=options.trust_remote_code,
            lora_merge_dtype=options.lora_merge_dtype,
        )
    return Path(merged.model.path)


def _clean(folder: Path, beside: Path) -> Path:
    """Return a folder with the same model, and a config without quantization settings.

    Training in 4 bits leaves settings in a config that make transformers quantize the weights.
    """
    config = model_config(folder)
    if "quantization_config" not in config:
        return folder
    config = {key: value for key, value in config.items() if key != "quantization_config"}
    clean = Path(tempfile.mkdtemp(dir=beside, prefix=f"{folder.name[:40]}-"))
    for path in folder.iterdir():
        if path.is_file() and path.name != "config.json":
            try:
                (clean / path.name).symlink_to(path.resolve())
            except OSError:  # Windows allows links only to users with that permission
                shutil.copyfile(path, clean / path.name)
    (clean / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return clean
