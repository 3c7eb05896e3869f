"""Read the headers of a model's weight files: names, shapes and types, but no weights.

The headers show a truncated or missing file, and models that do not fit each other,
before the first gigabyte is read.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import IO, TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from slack_ties.errors import CheckpointError
from slack_ties.models.bin_file import SAFE
from slack_ties.models.header import FLOATS, Header, is_computed
from slack_ties.models.model_config import model_config
from slack_ties.models.places import places_of
from slack_ties.models.weight_index import (
    DOWNLOAD_AGAIN,
    Weights,
    damaged,
    find_weights,
    is_lfs_pointer,
    lfs_error,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from slack_ties.models.cached import AwayFile

__all__ = [
    "placed",
    "read_headers",
    "read_headers_of_file",
    "read_headers_of_shard",
    "read_weight_headers",
]

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")

ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")


def read_headers(
    folder: Path,
    name: str = "",
    *,
    without_data: Collection[str] = (),
    away: Mapping[str, AwayFile] | None = None,
) -> dict[str, Header]:
    """Return the header of every tensor of the model in `folder`.

    Reads safetensors and PyTorch .bin files, whole or sharded. .bin files are read with
    PyTorch's restricted unpickler, which runs no code of the file.

    Args:
        folder: The model's folder.
        name: The model's name in errors.
        without_data: Names of safetensors files that may contain only a header.
        away: The weight files that are not in the folder, but on the Hub.

    Raises:
        CheckpointError: There are no weights, or a file is missing or damaged.

    """
    name = name or str(folder)
    model_config(folder, name)
    return read_weight_headers(folder, name, without_data=without_data, away=away)


def read_weight_headers(
    folder: Path,
    name: str = "",
    *,
    without_data: Collection[str] = (),
    away: Mapping[str, AwayFile] | None = None,
) -> dict[str, Header]:
    """Return the same for a folder with weights that may have no config yet."""
    name, away = name or str(folder), away or {}
    weights = find_weights(folder, name, away)
    if weights is None or weights.files[0] in ADAPTERS:
        msg = f"model {name!r}: no weights in {str(folder)!r}, expected {SAFETENSORS} or {PICKLE}"
        others = sorted(p.name for p in folder.iterdir() if p.suffix in WEIGHT_SUFFIXES)
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            msg += f", or an index; found {others[0]}{more}, and no index names them"
            hint = f"add {SAFETENSORS}.index.json, or save the model again with save_pretrained"
            if not others[0].endswith((".safetensors", ".bin")):
                msg = f"model {name!r}: its weights are in {others[0]}, expected {SAFETENSORS}"
                hint = "use the safetensors model that this file was made from"
            raise CheckpointError(msg, hint=hint)
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
    found: dict[str, dict[str, Header]] = {}
    for file in weights.files:
        shard = folder / file
        if file in away:
            found[file] = away[file].places.headers()
            continue
        if not shard.is_file():
            msg = f"model {name!r}: {file} is missing, named in {weights.index}"
            raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
        if file in without_data:
            with shard.open("rb") as opened:
                found[file] = read_headers_of_file(opened, file, name, whole=False)
        else:
            found[file] = read_headers_of_shard(shard, name)
    return placed(weights, found, name)


def read_headers_of_shard(path: Path, name: str) -> dict[str, Header]:
    """Return the headers of one weight file; `name` is the model's name in errors.

    Raises:
        CheckpointError: The file is damaged.

    """
    if is_lfs_pointer(path):
        raise lfs_error(name, path.name)
    read = _safetensors if path.name.endswith(".safetensors") else _pickle
    return read(path, name)


def placed(
    weights: Weights, found: Mapping[str, Mapping[str, Header]], name: str
) -> dict[str, Header]:
    """Return the header of every tensor, from the file that the index names for it.

    transformers ignores that name: it reads all tensors of all files that the index lists, one
    file after the other, and keeps the last tensor of each name. So an index is accepted only if
    both ways give the same result.

    Args:
        weights: The files, and the index's entries.
        found: The headers in each file that could be read.
        name: The model's name in errors.

    Raises:
        CheckpointError: The index and the files contradict each other, or hold no tensors.

    """
    headers: dict[str, Header] = {}
    for file in weights.files:
        headers |= found.get(file, {})
    if not headers and len(found) == len(weights.files):
        msg = f"model {name!r}: its {weights.files[0]} holds no tensors, expected weights"
        raise CheckpointError(msg, hint=DOWNLOAD_AGAIN)
    if not weights.index:
        return headers
    hint = "find out which is right. If it came from the Hub: hf download ID "
    hint += "--force-download; otherwise save the model again with save_pretrained"
    for tensor, file in weights.file_of.items():
        if file not in found or (tensor in headers and headers[tensor].file == file):
            continue
        if tensor not in found[file]:
            msg = f"model {name!r}: {weights.index} says that {tensor} is in {file}, "
            msg += "which does not contain it"
            raise CheckpointError(msg, hint=hint)
        msg = f"model {name!r}: {tensor} is in two files: {weights.index} says {file}, and "
        msg += f"transformers uses the one in {headers[tensor].file}"
        raise CheckpointError(msg, hint=hint)
    for tensor, header in headers.items():
        if tensor not in weights.file_of and not is_computed(tensor, header):
            msg = f"model {name!r}: {header.file} contains {tensor}, which {weights.index} does "
            msg += "not name"
            raise CheckpointError(msg, hint=hint)
    return headers


def _safetensors(path: Path, name: str) -> dict[str, Header]:
    try:
        with safe_open(path, framework="numpy") as file:  # finds a truncated file
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            return {
                key: Header(
                    tuple(s.get_shape()), FLOATS.get(s.get_dtype(), s.get_dtype()), path.name
                )
                for key, s in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise damaged(path.name, name, error) from None


def _pickle(path: Path, name: str) -> dict[str, Header]:
    if zipfile.is_zipfile(path):
        try:
            with path.open("rb") as file:
                return read_headers_of_file(file, path.name, name)
        except CheckpointError as error:
            if "protocol" in str(error):
                raise
            # PyTorch's own loader knows some more types.
    import torch  # noqa: PLC0415 - only for .bin files of the older format, and slow to import

    def load(**options: Any) -> Any:
        # With "meta" torch reads names, shapes and types, but no storages.
        return torch.load(path, map_location="meta", weights_only=True, **options)

    try:
        # Files older than PyTorch 1.6 are not zip files and cannot be mapped.
        data = load(mmap=True) if zipfile.is_zipfile(path) else load()
        data = data.get("state_dict", data)
        return {
            key: Header(tuple(value.shape), _dtype(value), path.name)
            for key, value in data.items()
            if isinstance(value, torch.Tensor)
        }
    except pickle.UnpicklingError:
        msg = f"model {name!r}: {path.name} contains more than tensors, possibly code: refused"
        raise CheckpointError(msg, hint=SAFE) from None
    except Exception as error:  # noqa: BLE001 - zip and torch raise errors of many types
        raise damaged(path.name, name, error) from None


def _dtype(tensor: Any) -> str:
    """Return the type of a tensor's entries. No method merges a sparse tensor: say so instead."""
    dense = str(tensor.layout) == "torch.strided"
    return str(tensor.dtype).removeprefix("torch.") if dense else "a sparse tensor"


def read_headers_of_file(
    file: IO[bytes], file_name: str, name: str, *, whole: bool = True
) -> dict[str, Header]:
    """Return the headers in one open weight file, without reading more than the headers.

    Args:
        file: A seekable safetensors file, or a .bin file of PyTorch 1.6 or later. It may be on
            the Hub.
        file_name: The file's name, which tells the format.
        name: The model's name in errors.
        whole: False: a safetensors file may end after its header.

    Raises:
        CheckpointError: The file is damaged, has another format, or contains more than tensors.

    """
    size = file.seek(0, io.SEEK_END)
    return places_of(file, file_name, size, name, whole=whole).headers()
