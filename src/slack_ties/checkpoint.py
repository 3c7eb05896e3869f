"""What a model folder holds, from its headers alone: names, shapes and types, no weights.

Reading them finds a truncated or missing file, and models that do not fit each other,
before the first gigabyte is read.
"""

from __future__ import annotations

import json
import operator
import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from slack_ties.errors import CheckpointError
from slack_ties.weight_index import AGAIN, Weights, find_weights, is_lfs_pointer, lfs_error

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ENTRY_BYTES",
    "PER_TOKEN",
    "Header",
    "check_shapes",
    "first_entries",
    "is_computed",
    "main_type",
    "model_config",
    "placed",
    "read_headers",
    "read_headers_of_file",
    "read_headers_of_shard",
    "read_weight_headers",
    "safetensors_header",
    "stored_dtype",
]

# safetensors' names for the floating-point types, in transformers' words.
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
ENTRY_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
# PyTorch's names for the same in .bin files; other types are nothing that we sample.
STORAGES = {
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    **{f"{name}Storage": name.lower() for name in ("Long", "Int", "Short", "Char", "Byte", "Bool")},
}
# What transformers calls the matrices with a row for each token.
PER_TOKEN = ("embed_tokens.weight", "lm_head.weight", "wte.weight", "word_embeddings.weight")
MOST_PROTOCOL = 3  # of pickle, that torch.load takes with weights_only=True
MOST_HEADER = 100_000_000  # bytes: safetensors' own limit
SAFE = "ask its authors for safetensors files, or save it again with save_pretrained"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
# Buffers that models compute when they are made, and that old versions of transformers saved:
# rotary frequencies, numbers of positions, and causal masks (1 x 1 x positions x positions).
COMPUTED = re.compile(
    r"rotary_emb\.inv_freq$|rotary_pos_emb\.inv_freq$|(^|\.)position_ids$|(^|\.)token_type_ids$"
)
MASK = re.compile(r"(^|\.)(attn|attention|self_attention)\.(bias|masked_bias|causal_mask)$")


@dataclass(frozen=True)
class Header:
    """What is known of a tensor without reading it."""

    shape: tuple[int, ...]
    dtype: str  # float16, ... or another type's name as the file has it
    file: str = field(default="", compare=False)  # the weight file that holds it

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


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


def model_config(folder: Path, name: str = "") -> dict[str, Any]:
    """Return the config.json of the model in `folder`, called `name` in errors.

    Raises:
        CheckpointError: There is none, or it is no model's.

    """
    name = name or str(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = config["architectures"]
    except FileNotFoundError:
        if (folder / "adapter_config.json").is_file():
            msg = f"model {name!r} is an adapter (LoRA), expected a whole model"
            raise CheckpointError(msg, hint=f"name its base before it: BASE+{name}") from None
        msg = f"model {name!r}: no config.json in {str(folder)!r}, expected a transformers model"
        raise CheckpointError(msg) from None
    except (OSError, ValueError, RecursionError) as error:
        if is_lfs_pointer(folder / "config.json"):
            raise lfs_error(name, "config.json") from None
        msg = f"model {name!r}: config.json cannot be read: {error}"
        raise CheckpointError(msg, hint=AGAIN) from None
    except (KeyError, TypeError):
        architectures = None
    if isinstance(architectures, str) and architectures:
        msg = f"model {name!r}: config.json says architectures {architectures!r}, expected a list"
        raise CheckpointError(
            msg, hint=f'write in its config.json: "architectures": ["{architectures}"]'
        )
    if not architectures or not isinstance(architectures, list):
        msg = f"model {name!r}: config.json names no architectures, expected a transformers model"
        raise CheckpointError(msg)
    return dict(config)


def is_computed(tensor: str, header: Header) -> bool:
    """Say whether a tensor is a buffer that the model computes itself: no weight to merge."""
    if MASK.search(tensor):
        return header.size <= 1 or header.shape[:2] == (1, 1)
    return bool(COMPUTED.search(tensor))


def main_type(headers: Mapping[str, Header], stated: str = "") -> str:
    """Return the type of a model's weights: that of most of their entries.

    Some models keep a few tensors in a wider type; that does not make the model one of that type.

    Args:
        headers: Of the weights.
        stated: The type that the config says, which wins between equally many.

    """
    entries: Counter[str] = Counter()
    for header in headers.values():
        if header.dtype in ENTRY_BYTES:
            entries[header.dtype] += header.size
    return max(sorted(entries), key=lambda one: (entries[one], one == stated), default="float32")


def check_shapes(
    models: Mapping[str, Mapping[str, Header]],
    *,
    vocabulary_may_differ: bool = False,
    per_token: Mapping[str, int] | None = None,
) -> None:
    """Refuse models whose tensors of one name differ in shape from the first model's.

    Args:
        models: The headers of each model by its name, the base first; at least one.
        vocabulary_may_differ: mergekit was told to align the rows of matrices that have one
            for each token: then only their other dimensions must agree.
        per_token: Those matrices, and which of their dimensions has the tokens; known by the end
            of their names if not given.

    Raises:
        CheckpointError: Names the tensor, both models and both shapes.

    """
    (first, expected), *others = models.items()
    for name, headers in others:
        for tensor, header in headers.items():
            if tensor not in expected or header.shape == expected[tensor].shape:
                continue
            axis = 0 if per_token is None else per_token.get(tensor, 0)
            shapes = {_without(one.shape, axis) for one in (header, expected[tensor])}
            rows = tensor.endswith(PER_TOKEN) if per_token is None else tensor in per_token
            if not (vocabulary_may_differ and rows and len(shapes) == 1):
                msg = (
                    f"shape mismatch: {tensor} is {_shape(header)} in {name!r}, "
                    f"expected {_shape(expected[tensor])} as in {first!r}"
                )
                hint = "are all models of the same base? If only the vocabulary was extended, "
                hint += "add a mergekit tokenizer section: tokenizer: {source: CT_MODEL}"
                raise CheckpointError(msg, hint=hint)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


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
        raise _damaged(path.name, name, error) from None


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
        raise _damaged(path.name, name, error) from None


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
            places, _ = _safetensors_places(file)
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
                for key, stored in _pickle_places(archive).items()
            }
    except Exception as error:  # noqa: BLE001 - whatever a wrong file makes of the readers
        raise _damaged(file_name, name, error) from None


def first_entries(
    file: IO[bytes], file_name: str, tensors: Sequence[str], count: int
) -> dict[str, np.ndarray]:
    """Return the first `count` entries of some tensors in an open weight file, as float64.

    Reads little more than them. The file and its errors are as for `read_headers_of_file`;
    a tensor that does not lie in one piece, or is not of floating-point type, gives none.
    """
    try:
        if file_name.endswith(".safetensors"):
            places, start = _safetensors_places(file)
            found = {}
            for name in tensors:
                first, end = places[name]["data_offsets"]
                dtype = FLOATS.get(places[name]["dtype"], "")
                wanted = min(count * ENTRY_BYTES.get(dtype, 0), end - first)
                file.seek(start + max(first, 0))
                raw = file.read(max(wanted, 0))  # a negative number would be all of it
                found[name] = _numbers(raw, dtype)
            return found
        with zipfile.ZipFile(file) as archive:
            stored = _pickle_places(archive)
            return {name: _first_stored(archive, stored[name], count) for name in tensors}
    except Exception as error:  # noqa: BLE001 - as above
        raise _damaged(file_name, file_name, error) from None


def _first_stored(archive: zipfile.ZipFile, stored: _Stored, count: int) -> np.ndarray:
    dtype = stored.dtype if stored.is_contiguous() else ""
    width = ENTRY_BYTES.get(dtype, 0)
    with archive.open(stored.key) as data:
        data.seek(stored.offset * width)
        return _numbers(data.read(min(count, prod(stored.size)) * width), dtype)


def _numbers(raw: bytes, dtype: str) -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - not for --help

    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype("f8")
    letters = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
    return np.frombuffer(raw if dtype in letters else b"", letters.get(dtype, "<f4")).astype("f8")


def _safetensors_places(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and where its data begin.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        msg = f"its header would be {length} bytes long"
        raise ValueError(msg)
    places = json.loads(file.read(length))
    places.pop("__metadata__", None)
    return places, 8 + length


def safetensors_header(path: Path) -> tuple[bytes, dict[str, int]]:
    """Return what stands before the data in a safetensors file, and the bytes of each tensor.

    Raises:
        CheckpointError: The file is damaged.

    """
    try:
        with path.open("rb") as file:
            places, start = _safetensors_places(file)
            file.seek(0)
            offsets = {name: info["data_offsets"] for name, info in places.items()}
            return file.read(start), {name: end - first for name, (first, end) in offsets.items()}
    except Exception as error:  # noqa: BLE001 - as above
        raise _damaged(path.name, path.name, error) from None


class _Stored(NamedTuple):
    """Where a tensor lies in a .bin file."""

    key: str  # of the storage: a file in the archive
    dtype: str
    offset: int  # in entries
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def is_contiguous(self) -> bool:
        """Say whether entries lie as a safetensors file has them: the last dimension first."""
        return self.stride == tuple(prod(self.size[i + 1 :]) for i in range(len(self.size)))


def _pickle_places(archive: zipfile.ZipFile) -> dict[str, _Stored]:
    """Return where each tensor of a .bin file lies. Of its pickle nothing is run."""
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    info = archive.getinfo(names[0])
    if info.file_size > MOST_HEADER or info.compress_type != zipfile.ZIP_STORED:
        msg = f"its {names[0]} is no table of tensors"
        raise pickle.UnpicklingError(msg)
    root = names[0].removesuffix("data.pkl")
    with archive.open(names[0]) as file:
        protocol = file.read(2)[1]
        if protocol > MOST_PROTOCOL:
            msg = f"pickle protocol {protocol}, which PyTorch's restricted loader does not read"
            raise pickle.UnpicklingError(msg)
        file.seek(0)
        data = _Names(file, f"{root}data/").load()
    data = data.get("state_dict", data)
    return {str(key): value for key, value in data.items() if isinstance(value, _Stored)}


class _Names(pickle._Unpickler):  # noqa: SLF001 - the one in Python: see below
    """Makes of each tensor a note of where it lies, and refuses everything else.

    The one in C sets aside memory for as many notes as a few bytes of the file claim.
    """

    def __init__(self, file: IO[bytes], folder: str) -> None:
        super().__init__(file)
        self.folder = folder

    def find_class(self, module: str, name: str) -> Any:
        """Return our stand-in for what the pickle asks for."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _note,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            **{("torch", storage): dtype for storage, dtype in STORAGES.items()},
        }
        if (module, name) in known:
            return known[module, name]
        msg = f"it asks for {module}.{name}"
        raise pickle.UnpicklingError(msg)

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """Return the file and the type of a storage."""
        _, dtype, key, *_ = pid
        return f"{self.folder}{key}", str(dtype)


def _note(
    storage: tuple[str, str], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> _Stored:
    whole = operator.index
    sizes, strides = tuple(map(whole, size)), tuple(map(whole, stride))
    return _Stored(*storage, whole(offset), sizes, strides)


def _damaged(file: str, name: str, error: Exception) -> CheckpointError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    msg = f"model {name!r}: {file} cannot be read: {reason}"
    return CheckpointError(msg, hint=AGAIN)
