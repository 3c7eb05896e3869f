"""Read where storages and tensors lie in a PyTorch .bin file, a zip archive since PyTorch 1.6."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, NamedTuple

from slack_ties.errors import CheckpointError
from slack_ties.models.bin_file import Stored, pickle_places

if TYPE_CHECKING:
    from slack_ties.models.few_reads import FewReads

__all__ = ["LEAD", "MOST_TABLE", "Archive", "read_archive", "size_of_header"]

MOST_TABLE = 10_000_000  # bytes of a directory, and of a pickle: 60,000 tensors

TAIL = 32 * 1024  # bytes to read at a file's end, for the directory of most archives

NEAR = 32 * 1024  # bytes between two entries that are read with them

LEAD = 30  # bytes of an entry's header, before its name

BEGINS = b"PK\x03\x04"  # a local header

OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # how PyTorch 1.5 begins a file

OLDER = "it is older than PyTorch 1.6"
BIG_ENDIAN = "its numbers are big-endian"
COMPRESSED = "it is compressed or encrypted"

ENCRYPTED = 1  # a flag of an entry


class Archive(NamedTuple):
    """The directory of a .bin file, and its tensors."""

    tensors: dict[str, Stored]
    entries: dict[str, tuple[int, int]]  # where each entry begins, with its header, and ends


def read_archive(reads: FewReads, file: str) -> Archive:
    """Return where storages and tensors lie in a .bin file.

    Args:
        reads: The file.
        file: Its name, for a hint.

    Raises:
        CheckpointError: Its tensors cannot be read one by one.
        Exception: It is damaged, or contains more than tensors.

    """
    reads.part(max(reads.size - TAIL, 0), reads.size)
    try:
        archive = zipfile.ZipFile(reads)
    except zipfile.BadZipFile:
        if reads.part(0, len(OLD)) != OLD:
            raise
        raise _only_whole(file, OLDER) from None
    with archive:
        entries = _entries(archive)
        root = archive.namelist()[0].split("/")[0] if entries else ""
        if f"{root}/data.pkl" not in entries:
            msg = "it has no table of tensors"
            raise ValueError(msg)
        _read_together(reads, [entries[name] for name in _small(root) if name in entries])
        if f"{root}/constants.pkl" in entries:
            msg = "it contains a program of TorchScript"
            raise ValueError(msg)
        info = archive.getinfo(f"{root}/data.pkl")
        _check_stored(info, file)
        table = _content(reads, info)
        tensors = pickle_places(io.BytesIO(table), f"{root}/data/")
        for stored in tensors.values():
            _check_storage(archive, stored, file)
        order = f"{root}/byteorder"
        if order in entries and _content(reads, archive.getinfo(order)) != b"little":
            raise _only_whole(file, BIG_ENDIAN)
    return Archive(tensors, entries)


def size_of_header(data: bytes | memoryview) -> int:
    """Return the bytes of an entry's local header, after which its content begins.

    Args:
        data: The entry, or at least its first `LEAD` bytes.

    Raises:
        ValueError: The bytes are something else.

    """
    method = bytes(data[8:10])
    if len(data) < LEAD or data[:4] != BEGINS or method != b"\0\0":
        msg = "an entry of it does not begin with the header of a zip entry that is not compressed"
        raise ValueError(msg)
    name, extra = (int.from_bytes(data[at : at + 2], "little") for at in (26, 28))
    return LEAD + name + extra


def _small(root: str) -> tuple[str, str]:
    return f"{root}/data.pkl", f"{root}/byteorder"


def _entries(archive: zipfile.ZipFile) -> dict[str, tuple[int, int]]:
    infos = sorted(archive.infolist(), key=lambda one: one.header_offset)
    ends = [*(one.header_offset for one in infos), archive.start_dir][1:]
    found: dict[str, tuple[int, int]] = {}
    for one, end in zip(infos, ends, strict=True):
        least = LEAD + len(one.filename) + one.compress_size
        if one.header_offset < 0 or one.header_offset + least > end or one.filename in found:
            msg = f"{one.filename} is not at a place of its own in the archive"
            raise ValueError(msg)
        found[one.filename] = one.header_offset, end
    return found


def _read_together(reads: FewReads, entries: list[tuple[int, int]]) -> None:
    """Read some entries at once if little lies between them."""
    first, end = min(one[0] for one in entries), max(one[1] for one in entries)
    if end - first <= NEAR + sum(one[1] - one[0] for one in entries):
        reads.part(first, end)


def _content(reads: FewReads, info: zipfile.ZipInfo) -> bytes:
    """Return what is in an entry. PyTorch can write archives without CRCs, so none is compared."""
    begin = info.header_offset
    begin += size_of_header(reads.part(begin, begin + LEAD))
    return reads.part(begin, begin + info.file_size)


def _check_storage(archive: zipfile.ZipFile, stored: Stored, file: str) -> None:
    try:
        info = archive.getinfo(stored.key)
    except KeyError:
        msg = f"{stored.key} is not in it, but its table of tensors names it"
        raise ValueError(msg) from None
    _check_stored(info, file)
    if stored.bytes > info.file_size or info.file_size != info.compress_size:
        msg = f"{stored.key} has {info.file_size} bytes, expected {stored.bytes}"
        raise ValueError(msg)


def _check_stored(info: zipfile.ZipInfo, file: str) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ENCRYPTED:
        raise _only_whole(file, COMPRESSED)


def _only_whole(file: str, why: str) -> CheckpointError:
    msg = f"{why}, so its tensors cannot be read one by one"
    hint = f"hf download ID {file}  # then run the same command again, which reads that copy"
    return CheckpointError(msg, hint=hint)
