"""What a model folder holds, from its headers alone: names, shapes and types, no weights.

Reading them finds a truncated or missing file, and models that do not fit each other,
before the first gigabyte is read.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from slack_ties.errors import CheckpointError

__all__ = ["Header", "check_shapes", "read_headers", "stored_dtype"]

AGAIN = "is it complete? If it came from the Hub: hf download ID --force-download"
# safetensors' names for the floating-point types, in transformers' words.
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# What transformers calls the matrices with a row for each token.
PER_TOKEN = ("embed_tokens.weight", "lm_head.weight", "wte.weight", "word_embeddings.weight")
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"


@dataclass(frozen=True)
class Header:
    """What is known of a tensor without reading it."""

    shape: tuple[int, ...]
    dtype: str  # float16, ... or another type's name as the file has it

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


def read_headers(folder: Path, name: str = "") -> dict[str, Header]:
    """Return the header of every tensor of the model in `folder`, called `name` in errors.

    Reads safetensors and PyTorch .bin files, whole or sharded; the latter through
    PyTorch's restricted unpickler, which runs no code of the file.

    Raises:
        CheckpointError: There are no weights, or a file is missing or damaged.

    """
    name = name or str(folder)
    _check_config(folder, name)
    for weights in (SAFETENSORS, PICKLE):
        read = _safetensors if weights == SAFETENSORS else _pickle
        index = folder / f"{weights}.index.json"
        if index.is_file():
            shards = sorted({folder / shard for shard in _weight_map(index, name).values()})
        elif (folder / weights).is_file():
            shards = [folder / weights]
        else:
            continue
        headers: dict[str, Header] = {}
        for shard in shards:
            if not shard.is_file():
                msg = f"model {name!r}: {shard.name} is missing, named in {index.name}"
                raise CheckpointError(msg, hint=AGAIN)
            headers |= read(shard, name)
        return headers
    msg = f"model {name!r}: no weights in {str(folder)!r}, expected {SAFETENSORS} or {PICKLE}"
    raise CheckpointError(msg, hint=AGAIN)


def _check_config(folder: Path, name: str) -> None:
    """Refuse a folder whose config.json is no model's."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = config["architectures"]
    except FileNotFoundError:
        msg = f"model {name!r}: no config.json in {str(folder)!r}, expected a transformers model"
        raise CheckpointError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"model {name!r}: config.json cannot be read: {error}"
        raise CheckpointError(msg, hint=AGAIN) from None
    except (KeyError, TypeError):
        architectures = None
    if not architectures or not isinstance(architectures, list):
        msg = f"model {name!r}: config.json names no architectures, expected a transformers model"
        raise CheckpointError(msg)


def check_shapes(
    models: Mapping[str, Mapping[str, Header]], *, vocabulary_may_differ: bool = False
) -> None:
    """Refuse models whose tensors of one name differ in shape from the first model's.

    Args:
        models: The headers of each model by its name, the base first; at least one.
        vocabulary_may_differ: mergekit was told to align the rows of matrices that have one
            for each token: then only their other dimensions must agree.

    Raises:
        CheckpointError: Names the tensor, both models and both shapes.

    """
    (first, expected), *others = models.items()
    for name, headers in others:
        for tensor, header in headers.items():
            if tensor not in expected or header.shape == expected[tensor].shape:
                continue
            shapes = {header.shape[1:], expected[tensor].shape[1:]}
            if not (vocabulary_may_differ and tensor.endswith(PER_TOKEN) and len(shapes) == 1):
                msg = (
                    f"shape mismatch: {tensor} is {_shape(header)} in {name!r}, "
                    f"expected {_shape(expected[tensor])} as in {first!r}"
                )
                hint = "are all models of the same base? If only the vocabulary was extended, "
                hint += "add a mergekit tokenizer section: tokenizer: {source: CT_MODEL}"
                raise CheckpointError(msg, hint=hint)


def stored_dtype(folder: Path) -> str:
    """Return the type that a model's config.json says its weights have, or nothing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    dtype = (config.get("dtype") or config.get("torch_dtype")) if isinstance(config, dict) else ""
    return str(dtype) if dtype in FLOATS.values() else ""


def _shape(header: Header) -> str:
    return "x".join(map(str, header.shape)) or "a scalar"


def _weight_map(index: Path, name: str) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {str(tensor): str(file) for tensor, file in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"model {name!r}: {index.name} is damaged: {error!r}"
        raise CheckpointError(msg, hint=AGAIN) from None
    for file in files.values():
        if Path(file).name != file:  # the index may come from anywhere: no way out of the folder
            msg = f"model {name!r}: {index.name} names {file!r}, expected a file beside it"
            raise CheckpointError(msg)
    return files


def _safetensors(path: Path, name: str) -> dict[str, Header]:
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            return {
                key: Header(tuple(s.get_shape()), FLOATS.get(s.get_dtype(), s.get_dtype()))
                for key, s in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise _damaged(path, name, error) from None


def _pickle(path: Path, name: str) -> dict[str, Header]:
    import torch  # noqa: PLC0415 - only for .bin files, and slow to import

    def load(**options: Any) -> Any:
        # On "meta" the storages are not read, only the names, shapes and types.
        return torch.load(path, map_location="meta", weights_only=True, **options)

    try:
        # Files from before PyTorch 1.6 are no zip files, which cannot be mapped.
        data = load(mmap=True) if zipfile.is_zipfile(path) else load()
        data = data.get("state_dict", data)
        return {
            key: Header(tuple(value.shape), str(value.dtype).removeprefix("torch."))
            for key, value in data.items()
            if isinstance(value, torch.Tensor)
        }
    except pickle.UnpicklingError:
        msg = f"model {name!r}: {path.name} holds more than tensors, possibly code: refused"
        raise CheckpointError(msg, hint="ask its authors for safetensors files") from None
    except Exception as error:  # noqa: BLE001 - zip and torch each raise their own
        raise _damaged(path, name, error) from None


def _damaged(path: Path, name: str, error: Exception) -> CheckpointError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    msg = f"model {name!r}: {path.name} cannot be read: {reason}"
    return CheckpointError(msg, hint=AGAIN)
