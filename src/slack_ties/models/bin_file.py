"""Read the table of tensors in a PyTorch .bin file without running code of the file.

Since PyTorch 1.6 it is a zip archive of a pickle, which names tensors, and of a file for each
storage, the bytes that one or more tensors are views of. No entry is compressed.
"""

from __future__ import annotations

import operator
import pickle
import zipfile
from collections import OrderedDict
from math import prod
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from slack_ties.errors import CheckpointError
from slack_ties.models.safetensors_file import MOST_HEADER
from slack_ties.private.torch import REBUILD_PARAMETER, REBUILD_TENSOR, STORAGES

if TYPE_CHECKING:
    from slack_ties.models.few_reads import FewReads

__all__ = ["Stored", "pickle_places", "read_archive"]

MOST_PROTOCOL = 3  # the highest pickle protocol that torch.load reads with weights_only=True

TAIL = 128 * 1024  # bytes to read at a file's end, for the directory of most archives

NEAR = 128 * 1024  # bytes between two parts that are read with them

LOCAL_HEADER = 30  # bytes before the name of a zip entry

OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # a file of PyTorch 1.5

DOWNLOAD = "hf download ID {}  # then run the same command again: it reads the downloaded file"


class Stored(NamedTuple):
    """The position of a tensor in a .bin file."""

    key: str  # the storage's file in the archive
    dtype: str
    entries: int  # of the storage
    offset: int  # in entries
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def is_contiguous(self) -> bool:
        """Say whether entries are in row-major order without gaps, as in a safetensors file."""
        return self.stride == tuple(prod(self.size[i + 1 :]) for i in range(len(self.size)))


def read_archive(
    reads: FewReads, file: str
) -> tuple[dict[str, Stored], dict[str, tuple[int, int, int]]]:
    """Return the position of each tensor in a .bin file, and of its archive's entries.

    Args:
        reads: The file.
        file: Its name, for a hint.

    Returns:
        The tensors; and the beginning and the end of each entry, with its zip header, and the
        bytes that are stored in it.

    Raises:
        CheckpointError: Its tensors cannot be read one by one.
        Exception: It is damaged, or contains more than tensors.

    """
    reads.part(reads.size - TAIL, reads.size)
    try:
        archive = zipfile.ZipFile(reads)
    except zipfile.BadZipFile:
        if reads.part(0, len(OLD)) != OLD:
            raise
        msg = "is older than PyTorch 1.6: its tensors cannot be read one by one"
        raise CheckpointError(msg, hint=DOWNLOAD.format(file)) from None
    with archive:
        entries = _entries(archive)
        root = archive.namelist()[0].split("/")[0]
        heads = [
            entries[f"{root}/{one}"]
            for one in ("data.pkl", "byteorder")
            if f"{root}/{one}" in entries
        ]
        first, end = min(one[0] for one in heads), max(one[1] for one in heads)
        if end - first <= sum(one[1] - one[0] for one in heads) + NEAR:
            reads.part(first, end)
        stored = pickle_places(archive)
        for key in {one.key for one in stored.values()}:
            info = archive.getinfo(key)
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                msg = "is compressed: its tensors cannot be read one by one"
                raise CheckpointError(msg, hint=DOWNLOAD.format(file))
        if f"{root}/byteorder" in entries:
            order = archive.read(f"{root}/byteorder")
            if order != b"little":
                msg = "has big-endian numbers: its tensors cannot be read one by one"
                raise CheckpointError(msg, hint=DOWNLOAD.format(file))
    return stored, entries


def _entries(archive: zipfile.ZipFile) -> dict[str, tuple[int, int, int]]:
    infos = sorted(archive.infolist(), key=lambda one: one.header_offset)
    ends = [*(one.header_offset for one in infos[1:]), archive.start_dir]
    found = {}
    for one, end in zip(infos, ends, strict=True):
        name = len(one.filename.encode())
        if (
            one.filename in found
            or one.header_offset + LOCAL_HEADER + name + one.compress_size > end
        ):
            msg = f"its entry {one.filename} overlaps another"
            raise ValueError(msg)
        found[one.filename] = (one.header_offset, end, one.file_size)
    return found


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

    def persistent_load(self, pid: Any) -> _Storage:
        """Return what the pickle says about a storage."""
        _, dtype, key, _, entries, *_ = pid
        return _Storage(f"{self.folder}{key}", str(dtype), operator.index(entries))


class _Storage(NamedTuple):
    """A storage, as the pickle names it."""

    key: str
    dtype: str
    entries: int


def _position(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Stored:
    integer = operator.index
    sizes, strides = tuple(map(integer, size)), tuple(map(integer, stride))
    if not isinstance(storage, _Storage):
        msg = "a tensor has no storage"
        raise pickle.UnpicklingError(msg)
    return Stored(*storage, integer(offset), sizes, strides)
