"""What a model folder holds, from its headers alone: names, shapes and types, no weights.

Reading them finds a truncated or missing file, and models that do not fit each other,
before the first gigabyte is read.
"""

from __future__ import annotations

import json
import operator
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from slack_ties.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ENTRY_BYTES",
    "PER_TOKEN",
    "Header",
    "check_shapes",
    "first_entries",
    "model_config",
    "read_headers",
    "read_headers_of_file",
    "safetensors_header",
    "stored_dtype",
]

AGAIN = "is it complete? If it came from the Hub: hf download ID --force-download"
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
LONGEST_NAME = 255  # of a file
MOST_HEADER = 100_000_000  # bytes: safetensors' own limit
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"


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
            if shard.name in without_data:
                with shard.open("rb") as file:
                    headers |= read_headers_of_file(file, shard.name, name)
            else:
                headers |= read(shard, name)
        if not headers:
            msg = f"model {name!r}: its {weights} holds no tensors, expected weights"
            raise CheckpointError(msg, hint=AGAIN)
        return headers
    msg = f"model {name!r}: no weights in {str(folder)!r}, expected {SAFETENSORS} or {PICKLE}"
    raise CheckpointError(msg, hint=AGAIN)


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
        msg = f"model {name!r}: config.json cannot be read: {error}"
        raise CheckpointError(msg, hint=AGAIN) from None
    except (KeyError, TypeError):
        architectures = None
    if not architectures or not isinstance(architectures, list):
        msg = f"model {name!r}: config.json names no architectures, expected a transformers model"
        raise CheckpointError(msg)
    return dict(config)


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
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        msg = f"model {name!r}: {index.name} is damaged: {error!r}"
        raise CheckpointError(msg, hint=AGAIN) from None
    for file in files.values():
        # The index may come from anywhere: no way out of the folder, and no name too long.
        if Path(file).name != file or len(file) > LONGEST_NAME:
            msg = f"model {name!r}: {index.name} names {file[:100]!r}, expected a file beside it"
            raise CheckpointError(msg)
    return files


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
        except CheckpointError:
            pass  # PyTorch's own loader knows some types more
    import torch  # noqa: PLC0415 - only for .bin files of the older format, and slow to import

    def load(**options: Any) -> Any:
        # On "meta" the storages are not read, only the names, shapes and types.
        return torch.load(path, map_location="meta", weights_only=True, **options)

    try:
        # Files from before PyTorch 1.6 are no zip files, which cannot be mapped.
        data = load(mmap=True) if zipfile.is_zipfile(path) else load()
        data = data.get("state_dict", data)
        return {
            key: Header(tuple(value.shape), str(value.dtype).removeprefix("torch."), path.name)
            for key, value in data.items()
            if isinstance(value, torch.Tensor)
        }
    except pickle.UnpicklingError:
        msg = f"model {name!r}: {path.name} holds more than tensors, possibly code: refused"
        raise CheckpointError(msg, hint="ask its authors for safetensors files") from None
    except Exception as error:  # noqa: BLE001 - zip and torch each raise their own
        raise _damaged(path.name, name, error) from None


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
