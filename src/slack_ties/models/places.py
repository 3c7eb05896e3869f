"""Where the tensors of a weight file lie in it: read from its header, without weights.

A safetensors file has a header with byte positions. A .bin file of PyTorch 1.6 or later is a zip
archive, whose directory and pickle say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.header import Header

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


@dataclass(frozen=True)
class FilePlaces:
    """The tensors of one weight file."""

    file: str  # its name
    size: int  # bytes
    zipped: bool  # .bin: a span begins with the local header of its zip entry
    spans: tuple[Span, ...]  # sorted; they do not overlap
    tensors: Mapping[str, Place] = field(default_factory=dict)

    def headers(self) -> dict[str, Header]:
        """Return the header of each tensor, as `read_headers_of_file` does."""
        raise NotImplementedError


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
    raise NotImplementedError
