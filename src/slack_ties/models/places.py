"""Where the tensors of a weight file lie in it: read from its header, without weights.

A safetensors file has a header with byte positions. A .bin file of PyTorch 1.6 or later is a zip
archive, whose directory and pickle say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import IO, TYPE_CHECKING, NamedTuple

from slack_ties.errors import CheckpointError, HubError
from slack_ties.models.bin_archive import LEAD, MOST_TABLE, read_archive, size_of_header
from slack_ties.models.bin_file import WIDTHS
from slack_ties.models.few_reads import FewReads
from slack_ties.models.header import ENTRY_BYTES, FLOATS, Header
from slack_ties.models.safetensors_file import MOST_HEADER, read_table
from slack_ties.models.weight_index import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FilePlaces", "Place", "Span", "places_of"]


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

    def data_begin(self, data: bytes | memoryview) -> int:
        """Return where the entries of a storage begin in the bytes of its span.

        Args:
            data: The span, or at least its first `LEAD` bytes.

        Raises:
            ValueError: The bytes are not those of such a file.

        """
        return size_of_header(data) if self.zipped else 0

    def first_entries(self, tensor: str, count: int, read: Callable[[int, int], bytes]) -> bytes:
        """Return the bytes of the first entries of a tensor; those of all if it has fewer.

        Args:
            tensor: The name of a row-major tensor of a floating-point type.
            count: How many entries.
            read: Returns the bytes of the file from a position to another.

        Raises:
            ValueError: The bytes are not those of such a file.

        """
        place = self.tensors[tensor]
        width, (first, end) = ENTRY_BYTES[place.dtype], self.spans[place.span]
        begin = self.data_begin(read(first, min(end, first + LEAD))) if self.zipped else 0
        first = min(first + begin + place.offset * width, end)
        return read(first, min(first + min(count, place.size) * width, end))


def places_of(
    opened: IO[bytes], file: str, size: int, name: str, *, whole: bool = True
) -> FilePlaces:
    """Return where the tensors of an open weight file lie; only its header is read.

    Args:
        opened: A seekable safetensors or .bin file. It may be on the Hub.
        file: The file's name, which tells the format.
        size: Its bytes.
        name: The model's name in errors.
        whole: False: a safetensors file may end after its header.

    Raises:
        CheckpointError: The file is damaged, contains more than tensors, or its tensors cannot be
            read one by one: a .bin file older than PyTorch 1.6, a compressed or big-endian one.
        HubError: The Hub cannot be reached, or sends other bytes than those asked for.

    """
    safe = file.endswith(".safetensors")
    reads = FewReads(opened, size, MOST_HEADER if safe else MOST_TABLE)
    try:
        return _safetensors(reads, file, whole=whole) if safe else _bin(reads, file)
    except HubError:  # nothing is known of the file
        raise
    except CheckpointError as error:
        msg = f"model {name!r}: {file} cannot be read: {error}"
        raise CheckpointError(msg, hint=error.hint) from None
    except Exception as error:  # noqa: BLE001 - a damaged file can cause errors of any type
        raise damaged(file, name, error) from None


def _safetensors(reads: FewReads, file: str, *, whole: bool) -> FilePlaces:
    table, start = read_table(reads, whole=whole)
    names = sorted(table, key=lambda one: (table[one].first, table[one].end))
    number = {one: i for i, one in enumerate(names)}
    return FilePlaces(
        file,
        reads.size,
        zipped=False,
        spans=tuple(Span(start + table[one].first, start + table[one].end) for one in names),
        tensors={
            one: Place(number[one], FLOATS.get(entry.dtype, entry.dtype), entry.shape)
            for one, entry in table.items()
        },
    )


def _bin(reads: FewReads, file: str) -> FilePlaces:
    found, entries = read_archive(reads, file)
    keys = sorted({one.key for one in found.values()}, key=entries.__getitem__)
    number = {key: i for i, key in enumerate(keys)}
    tensors = {}
    for name, one in found.items():
        place = Place(
            number[one.key],
            one.dtype,
            one.size,
            None if one.is_contiguous() else one.stride,
            one.offset,
        )
        if place.size * WIDTHS[one.dtype] > reads.size:  # a stride of 0 repeats entries
            msg = f"{name} would have {place.size} entries, more than the file"
            raise ValueError(msg)
        tensors[name] = place
    spans = tuple(Span(*entries[key]) for key in keys)
    return FilePlaces(file, reads.size, zipped=True, spans=spans, tensors=tensors)
