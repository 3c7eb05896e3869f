"""Read a few entries of a tensor, on this disk or on the Hub."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

from slack_ties.errors import CheckpointError, HubError
from slack_ties.models.header import ENTRY_BYTES, Header
from slack_ties.models.look import Look, open_weights
from slack_ties.models.places import FilePlaces, places_of
from slack_ties.models.weight_index import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from huggingface_hub import HfApi

__all__ = ["COMPARED", "first_entries", "first_entries_alike", "zeros_of"]


def first_entries(
    file: IO[bytes], file_name: str, tensors: Sequence[str], count: int
) -> dict[str, np.ndarray]:
    """Return the first `count` entries of some tensors in an open weight file, as float64.

    Reads few other bytes. The file and its errors are as for `read_headers_of_file`. A tensor
    that is not contiguous, or has no floating-point type, gives no entries.
    """
    places = places_of(file, file_name, file.seek(0, io.SEEK_END), file_name)
    try:
        return {name: _first_entries(file, places, name, count) for name in tensors}
    except HubError:  # nothing is known of the file
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can cause errors of any type
        raise damaged(file_name, file_name, error) from None


def _first_entries(file: IO[bytes], places: FilePlaces, tensor: str, count: int) -> np.ndarray:
    place = places.tensors[tensor]
    dtype = place.dtype if place.stride is None else ""
    width = ENTRY_BYTES.get(dtype, 0)
    if not min(count, place.size) * width:
        return _numbers(b"", "")

    def read(first: int, end: int) -> bytes:
        file.seek(first)
        return file.read(end - first)

    return _numbers(places.first_entries(tensor, count, read), dtype)


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
