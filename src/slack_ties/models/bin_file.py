"""Read the table of tensors in a PyTorch .bin file. No code of the file is run."""

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

MOST_PROTOCOL = 3  # of pickle, that torch.load takes with weights_only=True


class Stored(NamedTuple):
    """Where a tensor lies in a .bin file."""

    key: str  # of the storage: a file in the archive
    dtype: str
    offset: int  # in entries
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def is_contiguous(self) -> bool:
        """Say whether entries lie as a safetensors file has them: the last dimension first."""
        return self.stride == tuple(prod(self.size[i + 1 :]) for i in range(len(self.size)))


def pickle_places(archive: zipfile.ZipFile) -> dict[str, Stored]:
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
    return {str(key): value for key, value in data.items() if isinstance(value, Stored)}


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
            REBUILD_TENSOR: _note,
            REBUILD_PARAMETER: lambda data, *_: data,
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
) -> Stored:
    whole = operator.index
    sizes, strides = tuple(map(whole, size)), tuple(map(whole, stride))
    return Stored(*storage, whole(offset), sizes, strides)
