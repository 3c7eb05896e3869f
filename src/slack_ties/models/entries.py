"""Read a few entries of a tensor, on this disk or on the Hub."""

from __future__ import annotations

import zipfile
from math import prod
from typing import IO, TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.models.bin_file import Stored, pickle_places
from slack_ties.models.header import ENTRY_BYTES, FLOATS, Header
from slack_ties.models.look import Look, open_weights
from slack_ties.models.safetensors_file import safetensors_places
from slack_ties.models.weight_index import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from huggingface_hub import HfApi

__all__ = ["first_entries", "first_entries_alike", "zeros_of"]


def first_entries(
    file: IO[bytes], file_name: str, tensors: Sequence[str], count: int
) -> dict[str, np.ndarray]:
    """Return the first `count` entries of some tensors in an open weight file, as float64.

    Reads few other bytes. The file and its errors are as for `read_headers_of_file`. A tensor
    that is not contiguous, or has no floating-point type, gives no entries.
    """
    try:
        if file_name.endswith(".safetensors"):
            places, start = safetensors_places(file)
            found = {}
            for name in tensors:
                first, end = places[name]["data_offsets"]
                dtype = FLOATS.get(places[name]["dtype"], "")
                wanted = min(count * ENTRY_BYTES.get(dtype, 0), end - first)
                file.seek(start + max(first, 0))
                raw = file.read(max(wanted, 0))  # a negative number would read the whole file
                found[name] = _numbers(raw, dtype)
            return found
        with zipfile.ZipFile(file) as archive:
            stored = pickle_places(archive)
            return {name: _first_stored(archive, stored[name], count) for name in tensors}
    except Exception as error:  # noqa: BLE001 - as above
        raise damaged(file_name, file_name, error) from None


def _first_stored(archive: zipfile.ZipFile, stored: Stored, count: int) -> np.ndarray:
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


FEW = 256  # entries of an adapter's matrix to read first

COMPARED = 8192  # entries to compare, to see whether two tensors are the same


def first_entries_alike(
    look: Look, headers: Mapping[str, Header], api: HfApi | None
) -> Callable[[str, str], bool]:
    """Return a function: do two tensors of a model begin with the same entries."""

    def alike(one: str, other: str) -> bool:
        found = []
        for tensor in (one, other):
            file = headers[tensor].file
            try:
                with open_weights(look, file, api) as opened:
                    found.append(first_entries(opened, file, [tensor], COMPARED)[tensor])
            except CheckpointError:
                if not file.endswith(".bin"):  # the merge compares old .bin files in full
                    raise
                return True
        return len(found[0]) == len(found[1]) and found[0].tobytes() == found[1].tobytes()

    return alike


def zeros_of(
    look: Look, headers: Mapping[str, Header], api: HfApi | None
) -> Callable[[Sequence[str]], set[str]]:
    """Return a function: which tensors of an adapter contain only zeros."""

    def zeros(tensors: Sequence[str]) -> set[str]:
        found = set()
        for file in sorted({headers[name].file for name in tensors}):
            there = [name for name in tensors if headers[name].file == file]
            try:
                with open_weights(look, file, api) as opened:
                    begin = first_entries(opened, file, there, FEW)
                    maybe = [name for name in there if len(begin[name]) and not begin[name].any()]
                    for name in maybe:  # the first entries are zeros: read the others too
                        whole = first_entries(opened, file, [name], headers[name].size)
                        found |= set() if whole[name].any() else {name}
            except CheckpointError:
                if not file.endswith(".bin"):  # PEFT reads old .bin files, this function does not
                    raise
        return found

    return zeros
