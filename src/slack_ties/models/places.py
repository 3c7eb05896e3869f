"""Where the tensors of a weight file lie in it: read from its header, without weights.

A safetensors file has a header with byte positions. A .bin file of PyTorch 1.6 or later is a zip
archive, whose directory and pickle say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import IO, TYPE_CHECKING, NamedTuple

from slack_ties.errors import CheckpointError
from slack_ties.models.bin_file import read_archive
from slack_ties.models.few_reads import FewReads
from slack_ties.models.header import ENTRY_BYTES, FLOATS, Header
from slack_ties.models.safetensors_file import read_table
from slack_ties.models.weight_index import damaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.bin_file import Stored

__all__ = ["FilePlaces", "Place", "Span", "places_of"]

ALIGNED = 16  # bytes: Python's own memory and torch.save's storages begin at multiples of them

MOST_DIMENSIONS = 64  # of a tensor: torch computes with no more

WIDTHS = {
    **ENTRY_BYTES,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}  # bytes of an entry


class Span(NamedTuple):
    """Bytes of a weight file that are read and kept together: one tensor, or one storage."""

    first: int
    end: int  # not included

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.end - self.first


@dataclass(frozen=True)
class Place:
    """Where one tensor lies."""

    span: int  # the number of its span; tensors with one storage share a span
    dtype: str  # as in `Header`: float16, ...; for other types the name in the file
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None = None  # in entries; None: row-major, without gaps
    offset: int = 0  # entries between the beginning of the storage and of the tensor

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


@dataclass(frozen=True)
class FilePlaces:
    """The tensors of one weight file."""

    file: str  # its name
    size: int  # bytes
    zipped: bool  # .bin: a span begins with the local header of its zip entry
    spans: tuple[Span, ...]  # sorted; they do not overlap, and may be empty
    tensors: Mapping[str, Place] = field(default_factory=dict)

    def headers(self) -> dict[str, Header]:
        """Return the header of each tensor, as `read_headers_of_file` does."""
        return {
            name: Header(place.shape, place.dtype, self.file)
            for name, place in self.tensors.items()
        }

    def buffer(self, span: int) -> memoryview:
        """Return memory for the bytes of a span, such that its tensors need no copy.

        The storages of a .bin file are aligned in the file, but their spans are not.
        """
        lead = self.spans[span].first % ALIGNED if self.zipped else 0
        return memoryview(bytearray(lead + self.spans[span].size))[lead:]


def places_of(opened: IO[bytes], file: str, size: int, name: str) -> FilePlaces:
    """Return where the tensors of an open weight file lie; only its header is read.

    Args:
        opened: A seekable safetensors or .bin file. It may be on the Hub.
        file: The file's name, which tells the format.
        size: Its bytes.
        name: The model's name in errors.

    Raises:
        CheckpointError: The file is damaged, contains more than tensors, or its tensors cannot be
            read one by one: a .bin file older than PyTorch 1.6, a compressed or big-endian one.

    """
    reads = FewReads(opened, size)
    try:
        found = _safetensors if file.endswith(".safetensors") else _bin
        return found(reads, file, size)
    except CheckpointError as error:
        msg = f"model {name!r}: {file} {error}"
        raise CheckpointError(msg, hint=error.hint) from None
    except Exception as error:  # noqa: BLE001 - a damaged file can cause errors of any type
        raise damaged(file, name, error) from None


def _safetensors(reads: FewReads, file: str, size: int) -> FilePlaces:
    table, start = read_table(reads)
    names = sorted(table, key=lambda one: (table[one].first, table[one].end))
    spans = tuple(Span(start + table[one].first, start + table[one].end) for one in names)
    number = {one: i for i, one in enumerate(names)}
    tensors = {
        one: Place(number[one], FLOATS.get(entry.dtype, entry.dtype), entry.shape)
        for one, entry in table.items()
    }
    return FilePlaces(file, size, False, spans, tensors)


def _bin(reads: FewReads, file: str, size: int) -> FilePlaces:
    stored, entries = read_archive(reads, file)
    keys = sorted({one.key for one in stored.values()}, key=lambda key: entries[key])
    number = {key: i for i, key in enumerate(keys)}
    for name, one in stored.items():
        _check(name, one, entries[one.key][2], size)
    tensors = {
        name: Place(
            number[one.key],
            one.dtype,
            one.size,
            None if one.is_contiguous() else one.stride,
            one.offset,
        )
        for name, one in stored.items()
    }
    return FilePlaces(file, size, True, tuple(Span(*entries[key][:2]) for key in keys), tensors)


def _check(name: str, stored: Stored, there: int, size: int) -> None:
    """Refuse a tensor that is not inside its storage, or larger than the file."""
    width = WIDTHS[stored.dtype]
    numbers = (stored.entries, stored.offset, *stored.size, *stored.stride)
    wrong = min(numbers) < 0 or len(stored.size) != len(stored.stride)
    wrong = wrong or len(stored.size) > MOST_DIMENSIONS or stored.entries * width > there
    entries = prod(stored.size)
    if not wrong and entries:
        steps = ((n - 1) * step for n, step in zip(stored.size, stored.stride, strict=True))
        wrong = stored.offset + sum(steps) >= stored.entries or entries * width > size
    if wrong:
        msg = f"{name} is not inside its storage"
        raise ValueError(msg)
