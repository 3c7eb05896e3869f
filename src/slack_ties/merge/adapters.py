"""Apply adapters: tensor by tensor, or as mergekit does, which writes a model of the same size."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.adapter.unproven import unproven
from slack_ties.errors import CheckpointError
from slack_ties.merge.reader import WeightFiles
from slack_ties.models.entries import COMPARED
from slack_ties.models.headers import read_headers, read_headers_of_shard
from slack_ties.models.model_config import model_config
from slack_ties.tensors.plain_models import plain_model

if TYPE_CHECKING:
    import torch
    from mergekit.options import MergeOptions

    from slack_ties.models.cached import Snapshot

__all__ = ["AdaptedFiles", "adapted_files", "by_mergekit", "needs_whole"]

FILES = ("adapter_model.safetensors", "adapter_model.bin")  # PEFT prefers the first


class AdaptedFiles(WeightFiles):
    """The weight files of one model, with its adapter merged into each tensor that is read."""

    def __init__(
        self, model: WeightFiles, adapter: WeightFiles, parts: list[Snapshot], dtype: str | None
    ) -> None:
        """Prepare the adapter.

        Args:
            model: The model's files.
            adapter: The adapter's file.
            parts: The model and its adapter.
            dtype: The name of the type to merge in; the model's if not given.

        Raises:
            CheckpointError: PEFT and the adapter's file differ.

        """
        from slack_ties.adapter.adapted import Adapted  # noqa: PLC0415 - imports PEFT
        from slack_ties.private.mergekit import dtype_from_name  # noqa: PLC0415
        from slack_ties.tensors.loading import quiet_transformers  # noqa: PLC0415

        self._model, self._adapter = model, adapter
        with quiet_transformers():  # `plan` has already warned, with the next step
            self._adapted = Adapted(
                model.name,
                model,
                adapter,
                config=model_config(parts[0].path, model.name),
                adapter_folder=parts[1].path,
                merge_dtype=dtype_from_name(dtype),
            )
        self.config = self._adapted.config
        headers = self._adapted.headers
        super().__init__(
            model.name, model.folder, headers, away=model.away, away_files=model.away_files
        )

    def read(self, tensor: str) -> torch.Tensor:
        """Return a tensor of the merged model; errors as of `WeightFiles.read`."""
        return self._adapted.read(tensor)

    def close(self) -> None:
        """Close all files."""
        self._model.close()
        self._adapter.close()

    def _begin(self, tensor: str) -> torch.Tensor:
        return self.read(tensor).flatten()[:COMPARED]


def needs_whole(parts: list[Snapshot], options: MergeOptions | None, name: str) -> str:
    """Return why an adapter needs its whole model on this disk; "" if it does not.

    Args:
        parts: The model, whose weights may be on the Hub, and its adapter.
        options: mergekit's options.
        name: The model's name in errors.

    Raises:
        CheckpointError: A file is damaged.

    """
    model, adapter = parts
    config = model_config(model.path, name)
    headers = read_headers(model.path, name, away=model.away)
    found = _file_of(adapter, name)
    if found is None:
        return f"it has no {' or '.join(FILES)}"
    kind = plain_model(config, headers)
    told = (adapter.path / "adapter_config.json").read_text(encoding="utf-8")
    return unproven(
        config=json.loads(told),
        headers=found.headers,
        model_config=config,
        model=headers,
        plain=kind is not None,
        tied=kind is not None and kind.ties,
        options=options,
    )


def adapted_files(model: WeightFiles, parts: list[Snapshot], options: MergeOptions) -> AdaptedFiles:
    """Return a model's files with its adapter, for which `needs_whole` finds no reason."""
    adapter = _file_of(parts[1], model.name)
    if adapter is None:
        msg = f"model {model.name!r}: no {FILES[0]} in {str(parts[1].path)!r}"
        raise CheckpointError(msg, hint="take a complete adapter")
    return AdaptedFiles(model, adapter, parts, options.lora_merge_dtype)


def by_mergekit(parts: list[Snapshot], options: MergeOptions, adapted: Path) -> Path:
    """Return the folder of the model that mergekit merges from a model and its adapter."""
    from slack_ties.private.mergekit import ModelPath, ModelReference  # noqa: PLC0415 - as mergekit names it

    folder = _clean(parts[0].path, adapted)
    model, adapter = (ModelPath(path=str(path)) for path in (folder, parts[1].path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's: `plan` has already warned, with the next step
        merged = ModelReference(model=model, lora=adapter).merged(
            cache_dir=options.lora_merge_cache or str(adapted),
            trust_remote_code=options.trust_remote_code,
            lora_merge_dtype=options.lora_merge_dtype,
        )
    return Path(merged.model.path)


def _file_of(adapter: Snapshot, name: str) -> WeightFiles | None:
    """Return the weight file of an adapter that PEFT reads; None if there is none."""
    where = f"{name} (its adapter)"
    for path in (adapter.path / file for file in FILES):
        if path.is_file():
            return WeightFiles(where, adapter.path, read_headers_of_shard(path, where))
    return None


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
