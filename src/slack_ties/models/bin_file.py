"""Read the table of tensors in a PyTorch .bin file without running code of the file."""

from __future__ import annotations

import operator
import pickle
import zipfile
from collections import OrderedDict
from math import prod
from typing import IO, Any, NamedTuple

from slack_ties.models.safetensors_file import MOST_HEADER
from slack_ties.private.torch import REBUILD_PARAMETER, REBUILD_TENSOR, STORAGES

__all__ = ["Stored", "pickle_places"]

MOST_PROTOCOL = 3  # the highest pickle protocol that torch.load reads with weights_only=True


class Stored(NamedTuple):
    """The position of a tensor in a .bin file."""

    key: str  # the storage's file in the archive
    dtype: str
    offset: int  # in entries
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def is_contiguous(self) -> bool:
        """Say whether entries are in row-major order without gaps, as in a safetensors file."""
        return self.stride == tuple(prod(self.size[i + 1 :]) for i in range(len(self.size)))


def pickle_places(archive: zipfile.ZipFile) -> dict[str, Stored]:
    """Return the position of each tensor in a .bin file. Nothing in its pickle is run."""
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    info = archive.getinfo(names[0])
    if info.file_size > MOST_HEADER or info.compress_type != zipfile.ZIP_STORED:
        msg = f"its {names[0]} is not a table of tensors"
        raise pickle.UnpicklingError(msg)
    root = names[0].removesuffix("data.pkl")
    with archive.open(names[0]) as file:
        protocol = file.read(2)[1]
        if protocol > MOST_PROTOCOL:
            msg = f"pickle protocol {protocol}, which PyTorch's restricted loader does not read"
            raise pickle.UnpicklingError(msg)
        file.seek(0)
        data = _Positions(file, f"{root}data/").load()
    data = data.get("state_dict", data)
    return {str(key): value for key, value in data.items() if isinstance(value, Stored)}


class _Positions(pickle._Unpickler):  # noqa: SLF001 - the one in Python: see below
    """Reads only the position of each tensor, and refuses everything else.

    The unpickler in C is not used: a few bytes of a file can make it allocate any memory.
    """

    def __init__(self, file: IO[bytes], folder: str) -> None:
        super().__init__(file)
        self.folder = folder

    def find_class(self, module: str, name: str) -> Any:
        """Return our replacement for a class or function that the pickle names."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            REBUILD_TENSOR: _position,
            REBUILD_PARAMETER: lambda data, *_: data,
            **{("torch", storage): dtype for storage, dtype in STORAGES.items()},
        }
        if (module, name) in known:
            return known[module, name]
        msg = f"it asks for {module}.{name}"
        raise pickle.UnpicklingError(msg)

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """Return the archive's file for a storage, and the storage's type."""
        _, dtype, key, *_ = pid
        return f"{self.folder}{key}", str(dtype)


def _position(
    storage: tuple[str, str], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Stored:
    integer = operator.index
    sizes, strides = tuple(map(integer, size)), tuple(map(integer, stride))
    return Stored(*storage, integer(offset), sizes, strides)
