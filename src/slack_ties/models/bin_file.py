"""Read the table of tensors in a PyTorch .bin file without running code of the file.

The table is a pickle. Nothing that it names is imported, and its operations are those that
PyTorch's restricted loader knows.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from math import prod
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from slack_ties.errors import CheckpointError
from slack_ties.models.header import ENTRY_BYTES
from slack_ties.private.torch import (
    REBUILD_PARAMETER,
    REBUILD_TENSOR,
    REBUILD_TYPED,
    STORAGES,
    TYPES,
    UNTYPED,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["SAFE", "WIDTHS", "Stored", "pickle_places"]

SAFE = "ask its authors for safetensors files, or save it again with save_pretrained"

MOST_PROTOCOL = 3  # the highest pickle protocol that torch.load reads with weights_only=True

MOST_DIMENSIONS = 64  # of a tensor: torch computes with no more

LONGEST_KEY = 255  # of a storage: PyTorch writes numbers

MOST_KEY = 1 << 32  # of a dict: larger numbers can be chosen such that the dict is slow

MOST_PAIRS = 100_000  # with which a pickle makes dicts: it can name the same list often

WIDTHS = {  # bytes of an entry
    **ENTRY_BYTES,
    **{one: 1 for one in TYPES if one.startswith("float8")},
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("int16", "uint16"), 2),
    **dict.fromkeys(("int32", "uint32"), 4),
    **dict.fromkeys(("int64", "uint64", "complex64"), 8),
    "complex128": 16,
}

# The operations of PyTorch's restricted loader that make numbers, texts, tuples, lists and dicts,
# or call what `find_class` returns.
OPERATIONS = (
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BINPERSID"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINSTRING", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT"),
)


class Stored(NamedTuple):
    """The position of a tensor in a .bin file."""

    key: str  # the storage's file in the archive
    dtype: str
    bytes: int  # of the storage
    offset: int  # in entries
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def is_contiguous(self) -> bool:
        """Say whether entries are in row-major order without gaps, as in a safetensors file."""
        return self.stride == tuple(prod(self.size[i + 1 :]) for i in range(len(self.size)))


def pickle_places(file: IO[bytes], folder: str) -> dict[str, Stored]:
    """Return the position of each tensor of a pickle. Nothing in it is run.

    Args:
        file: The pickle.
        folder: The folder of the storages' files in the archive.

    Raises:
        CheckpointError: The pickle contains more than tensors.
        Exception: It is damaged.

    """
    protocol = file.read(2)[1]
    if protocol > MOST_PROTOCOL:
        msg = f"pickle protocol {protocol}, which PyTorch's restricted loader does not read"
        raise CheckpointError(msg, hint=SAFE)
    file.seek(0)
    data = _Positions(file, folder).load()
    data = data.get("state_dict", data) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        msg = "it is not a table of tensors"
        raise pickle.UnpicklingError(msg)
    return {str(key): value for key, value in data.items() if isinstance(value, Stored)}


class _Storage(NamedTuple):
    """A storage, as the pickle names it."""

    key: str
    dtype: str  # empty: bytes
    size: int  # entries


def _position(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, more: Any = None
) -> Stored:
    return _stored(storage, None, (offset, size, stride), more)


def _position_typed(  # noqa: PLR0913, PLR0917 - as PyTorch's function
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _grad: Any,
    _hooks: Any,
    dtype: Any,
    more: Any = None,
) -> Stored:
    return _stored(storage, dtype, (offset, size, stride), more)


def _stored(storage: Any, dtype: Any, where: tuple[Any, Any, Any], metadata: Any) -> Stored:
    """Return the position of a tensor, after a check that it is inside its storage."""
    if not isinstance(storage, _Storage) or metadata:
        msg = "it contains a tensor of a kind that no weights have"
        raise pickle.UnpicklingError(msg)
    whole = storage.dtype or "uint8"
    dtype = whole if dtype is None else dtype
    if not isinstance(dtype, str) or {dtype, whole} - WIDTHS.keys():
        msg = f"it contains a tensor of an unknown type in {storage.key}"
        raise pickle.UnpicklingError(msg)
    offset, size, stride = where
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        msg = f"it contains a tensor without a shape in {storage.key}"
        raise pickle.UnpicklingError(msg)
    if any(type(one) is not int or one < 0 for one in (offset, *size, *stride, storage.size)):
        msg = f"it contains a tensor in {storage.key} whose position is not of whole numbers"
        raise pickle.UnpicklingError(msg)
    there = storage.size * WIDTHS[whole]
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    outside = 0 not in size and (last + 1) * WIDTHS[dtype] > there
    if outside or len(size) > MOST_DIMENSIONS:
        msg = f"it contains a tensor that is not inside its storage, {storage.key}"
        raise pickle.UnpicklingError(msg)
    return Stored(storage.key, dtype, there, offset, size, stride)


def _parameter(data: Any, _grad: Any, _hooks: Any) -> Any:
    return data


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys with parts: the hash of a few nested tuples can take for ever."""
    if not all(
        isinstance(key, str) or (isinstance(key, int) and abs(key) < MOST_KEY) for key in keys
    ):
        msg = "it contains more than names and tensors"
        raise pickle.UnpicklingError(msg)


DICT = ("collections", "OrderedDict")

KNOWN: dict[tuple[str, str], Any] = {
    REBUILD_TENSOR: _position,
    REBUILD_TYPED: _position_typed,
    REBUILD_PARAMETER: _parameter,
    UNTYPED: "",
    **{("torch", storage): dtype for storage, dtype in STORAGES.items()},
    **{("torch", dtype): dtype for dtype in TYPES},
}


class _Operations(dict[int, "Callable[[Any], None]"]):
    """What to call for each operation of a pickle."""

    def __missing__(self, key: int) -> Callable[[Any], None]:
        msg = f"its pickle has an operation {key}, which PyTorch's restricted loader does not know"
        raise pickle.UnpicklingError(msg)


PLAIN: dict[int, Callable[[Any], None]] = pickle._Unpickler.dispatch  # noqa: SLF001 - see below


class _Positions(pickle._Unpickler):  # noqa: SLF001 - as above
    """Reads only the position of each tensor, and refuses everything else.

    The unpickler in C is not used: a few bytes of a file can make it allocate any memory.
    """

    stack: list[Any]

    def __init__(self, file: IO[bytes], folder: str) -> None:
        super().__init__(file)
        self.folder = folder
        self.storages: dict[str, _Storage] = {}
        self.pairs = 0  # of all dicts that were made of pairs

    def find_class(self, module: str, name: str) -> Any:
        """Return our replacement for a class or function that the pickle names."""
        if (module, name) == DICT:
            return self.dict_of
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        msg = f"it asks for {module}.{name}: it contains more than tensors, possibly code"
        raise CheckpointError(msg, hint=SAFE)

    def persistent_load(self, pid: Any) -> _Storage:
        """Return what the pickle says about a storage."""
        _, dtype, key, _, size = pid
        if not isinstance(key, str) or not isinstance(dtype, str) or len(key) > LONGEST_KEY:
            msg = "it contains a storage without a name"
            raise pickle.UnpicklingError(msg)
        storage = _Storage(f"{self.folder}{key}", dtype, size)
        if self.storages.setdefault(key, storage) != storage:
            msg = f"it contains two storages with one name, {storage.key}"
            raise pickle.UnpicklingError(msg)
        return storage

    def dict_of(self, pairs: Iterable[Any] = ()) -> OrderedDict[Any, Any]:
        """Return a dict of pairs."""
        found: OrderedDict[Any, Any] = OrderedDict()
        for key, value in pairs:
            self.pairs += 1
            if self.pairs > MOST_PAIRS:
                msg = f"it makes dicts of more than {MOST_PAIRS} pairs"
                raise pickle.UnpicklingError(msg)
            _check_keys([key])
            found[key] = value
        return found

    def set_item(self) -> None:
        """Add an item to a dict."""
        _check_keys(self.stack[-2:-1])
        PLAIN[pickle.SETITEM[0]](self)

    def set_items(self) -> None:
        """Add items to a dict."""
        _check_keys(self.stack[::2])
        PLAIN[pickle.SETITEMS[0]](self)

    def build(self) -> None:
        """Leave out the attributes of a dict or a tensor: no weights are in them."""
        self.stack.pop()

    dispatch = _Operations(
        {getattr(pickle, one)[0]: PLAIN[getattr(pickle, one)[0]] for one in OPERATIONS}
        | {pickle.SETITEM[0]: set_item, pickle.SETITEMS[0]: set_items, pickle.BUILD[0]: build}
    )
