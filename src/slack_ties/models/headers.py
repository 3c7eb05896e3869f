"""What a model folder holds, from its headers alone: names, shapes and types, no weights.

Reading them finds a truncated or missing file, and models that do not fit each other,
before the first gigabyte is read.
"""

from __future__ import annotations

import operator
import pickle
import zipfile
from typing import IO, TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from slack_ties.errors import CheckpointError
from slack_ties.models.bin_file import pickle_places
from slack_ties.models.header import FLOATS, Header, is_computed
from slack_ties.models.model_config import model_config
from slack_ties.models.safetensors_file import safetensors_places
from slack_ties.models.weight_index import (
    AGAIN,
    Weights,
    damaged,
    find_weights,
    is_lfs_pointer,
    lfs_error,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = [
    "placed",
    "read_headers",
    "read_headers_of_file",
    "read_headers_of_shard",
    "read_weight_headers",
]

SAFE = "ask its authors for safetensors files, or save it again with save_pretrained"

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")

ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")


def read_headers(
    folder: Path, name: str = "", *, without_data: Collection[str] = ()
) -> dict[str, Header]:
    """Return the header of every tensor of the model in `folder`, called `name` in errors.

    Reads safetensors and PyTorch .bin files, whole or sharded; the latter through
    PyTorch's restricted unpickler, which runs no code of the file.

    Args:
        folder: Of the model.
        name: What to call it in errors.
        without_data: Names of safetensors files that hold a header and need hold no more.

    Raises:
        CheckpointError: There are no weights, or a file is missing or damaged.

    """
    name = name or str(folder)
    model_config(folder, name)
    return read_weight_headers(folder, name, without_data=without_data)


def read_weight_headers(
    folder: Path, name: str = "", *, without_data: Collection[str] = ()
) -> dict[str, Header]:
    """Return the same of a folder that holds weights, and perhaps no config yet."""
    name = name or str(folder)
    weights = find_weights(folder, name)
    if weights is None or weights.files[0] in ADAPTERS:
        msg = f"model {name!r}: no weights in {str(folder)!r}, expected {SAFETENSORS} or {PICKLE}"
        others = sorted(p.name for p in folder.iterdir() if p.suffix in WEIGHT_SUFFIXES)
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            msg += f", or an index; there are {others[0]}{more}, and no index names them"
            hint = f"get {SAFETENSORS}.index.json too, or save the model again with save_pretrained"
            if not others[0].endswith((".safetensors", ".bin")):
                msg = f"model {name!r}: its weights are in {others[0]}, expected {SAFETENSORS}"
                hint = "use the model in safetensors, from which that file was made"
            raise CheckpointError(msg, hint=hint)
        raise CheckpointError(msg, hint=AGAIN)
    found: dict[str, dict[str, Header]] = {}
    for file in weights.files:
        shard = folder / file
        if not shard.is_file():
            msg = f"model {name!r}: {file} is missing, named in {weights.index}"
            raise CheckpointError(msg, hint=AGAIN)
        if file in without_data:
            with shard.open("rb") as opened:
                found[file] = read_headers_of_file(opened, file, name)
        else:
            found[file] = read_headers_of_shard(shard, name)
    return placed(weights, found, name)


def read_headers_of_shard(path: Path, name: str) -> dict[str, Header]:
    """Return the headers of one weight file of the model called `name` in errors.

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
    """Return the header of every tensor, from the file in which the index says that it is.

    transformers reads all tensors of all files that the index names, one file after the other,
    and keeps the last of each name. So an index is followed where that comes to the same.

    Args:
        weights: The files, and what the index says.
        found: The headers in each file that could be looked into.
        name: What to call the model in errors.

    Raises:
        CheckpointError: The index and the files contradict each other, or hold no tensors.

    """
    headers: dict[str, Header] = {}
    for file in weights.files:
        headers |= found.get(file, {})
    if not headers and len(found) == len(weights.files):
        msg = f"model {name!r}: its {weights.files[0]} holds no tensors, expected weights"
        raise CheckpointError(msg, hint=AGAIN)
    if not weights.index:
        return headers
    hint = "which is right? If it came from the Hub: hf download ID --force-download; otherwise "
    hint += "save the model again with save_pretrained"
    for tensor, file in weights.places.items():
        if file not in found or (tensor in headers and headers[tensor].file == file):
            continue
        if tensor not in found[file]:
            msg = f"model {name!r}: {weights.index} says that {tensor} is in {file}, "
            msg += "which does not hold it"
            raise CheckpointError(msg, hint=hint)
        msg = f"model {name!r}: {tensor} is in two files: {weights.index} says {file}, and "
        msg += f"transformers takes the one in {headers[tensor].file}"
        raise CheckpointError(msg, hint=hint)
    for tensor, header in headers.items():
        if tensor not in weights.places and not is_computed(tensor, header):
            msg = f"model {name!r}: {header.file} holds {tensor}, which {weights.index} does not "
            msg += "name"
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
                raise CheckpointError(str(error), hint=SAFE) from None
            # PyTorch's own loader knows some types more.
    import torch  # noqa: PLC0415 - only for .bin files of the older format, and slow to import

    def load(**options: Any) -> Any:
        # On "meta" the storages are not read, only the names, shapes and types.
        return torch.load(path, map_location="meta", weights_only=True, **options)

    try:
        # Files from before PyTorch 1.6 are no zip files, which cannot be mapped.
        data = load(mmap=True) if zipfile.is_zipfile(path) else load()
        data = data.get("state_dict", data)
        return {
            key: Header(tuple(value.shape), _dtype(value), path.name)
            for key, value in data.items()
            if isinstance(value, torch.Tensor)
        }
    except pickle.UnpicklingError:
        msg = f"model {name!r}: {path.name} holds more than tensors, possibly code: refused"
        raise CheckpointError(msg, hint=SAFE) from None
    except Exception as error:  # noqa: BLE001 - zip and torch each raise their own
        raise damaged(path.name, name, error) from None


def _dtype(tensor: Any) -> str:
    """Return the type of a tensor's entries; of a sparse tensor, which no method merges, none."""
    dense = str(tensor.layout) == "torch.strided"
    return str(tensor.dtype).removeprefix("torch.") if dense else "a sparse tensor"


def read_headers_of_file(file: IO[bytes], file_name: str, name: str) -> dict[str, Header]:
    """Return the headers in one open weight file, reading nothing but them.

    Args:
        file: A safetensors file, or a .bin file of PyTorch 1.6 or later; seekable. It may
            be one on the Hub.
        file_name: Its name, which tells the format.
        name: What to call the model in errors.

    Raises:
        CheckpointError: The file is damaged, of another format, or holds more than tensors.

    """
    try:
        if file_name.endswith(".safetensors"):
            places, _ = safetensors_places(file)
            return {
                key: Header(
                    tuple(map(operator.index, info["shape"])),
                    FLOATS.get(info["dtype"], str(info["dtype"])),
                    file_name,
                )
                for key, info in places.items()
            }
        with zipfile.ZipFile(file) as archive:
            return {
                key: Header(tuple(stored.size), stored.dtype, file_name)
                for key, stored in pickle_places(archive).items()
            }
    except Exception as error:  # noqa: BLE001 - whatever a wrong file makes of the readers
        raise damaged(file_name, name, error) from None
