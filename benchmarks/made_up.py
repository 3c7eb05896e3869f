"""Models of any size whose weight files take no disk: each byte is made when it is read.

All headers are what safetensors and torch write. The data of each tensor is one block of small
random numbers, again and again: the base's block, the SFT model's, or the CT model's.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from triples import SHAPES, SPREAD, in_files

BLOCK = 1 << 22  # numbers
STEP = 1 << 24  # bytes


class Part(NamedTuple):
    """A part of a file: these bytes, or if there are none, numbers of the block."""

    first: int
    end: int
    content: bytes


@dataclass(frozen=True)
class Model:
    """What to make up."""

    size: str  # of SHAPES
    role: str  # of SPREAD
    shard: int  # bytes of a file
    bins: bool = False


class MadeUpFile:
    """A file that is made while it is read."""

    def __init__(self, parts: list[Part], block: memoryview) -> None:
        """Make it of parts that follow each other."""
        self.parts, self.block = parts, block
        self.starts = [part.first for part in parts]
        self.size = parts[-1].end

    def read(self, first: int, end: int) -> bytes:
        """Return the bytes from `first` to `end`, which is not included."""
        found: list[bytes | memoryview] = []
        at = bisect.bisect_right(self.starts, first) - 1
        while first < end:
            part = self.parts[at]
            stop = min(end, part.end)
            if part.content:
                found.append(part.content[first - part.first : stop - part.first])
                first = stop
            while first < stop:
                begin = (first - part.first) % len(self.block)
                data = self.block[begin : begin + stop - first]
                found.append(data)
                first += len(data)
            at += 1
        return b"".join(found)

    def sha256(self) -> str:
        """Read all of it, and return its SHA-256."""
        found = hashlib.sha256()
        for first in range(0, self.size, STEP):
            found.update(self.read(first, min(first + STEP, self.size)))
        return found.hexdigest()


def make_up(model: Model) -> dict[str, MadeUpFile]:
    """Return the weight files of a model by name."""
    files = in_files(SHAPES[model.size], model.shard, bins=model.bins)
    block = _block(model)
    parts = _parts_of_bin if model.bins else _parts_of_safetensors
    return {file: MadeUpFile(parts(model, names), block) for file, names in files.items()}


def _block(model: Model) -> memoryview:
    random = torch.Generator().manual_seed(0)
    block = torch.randn(BLOCK, generator=random).mul_(SPREAD["base"]).bfloat16()
    if model.role != "base":
        random.manual_seed(1 + list(SPREAD).index(model.role))
        block = (torch.randn(BLOCK, generator=random).mul_(SPREAD[model.role]) + block).bfloat16()
    block = block.half() if model.bins else block
    return memoryview(block.view(torch.uint8).numpy()).cast("B")


def _parts_of_safetensors(model: Model, names: list[str]) -> list[Part]:
    """Return the parts of a file, in the order of safetensors' own writer: by name."""
    sizes = SHAPES[model.size].tensors()
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in sorted(names):
        end = at + 2 * sizes[name].numel()
        header[name] = {"dtype": "BF16", "shape": [*sizes[name]], "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    parts, at = [Part(0, len(head), head)], len(head)
    for name in sorted(names):
        parts.append(Part(at, at + 2 * sizes[name].numel(), b""))
        at = parts[-1].end
    return parts


def _parts_of_bin(model: Model, names: list[str]) -> list[Part]:
    """Return the parts of a file that torch writes with holes for the data of the tensors."""
    sizes = SHAPES[model.size].tensors()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.bin")
        with torch.serialization.skip_data():  # memory that nobody writes to takes none
            weights = {name: torch.empty(sizes[name], dtype=torch.float16) for name in names}
            torch.save(weights, path)
        reader = torch._C.PyTorchFileReader(str(path))  # noqa: SLF001 - only it tells offsets
        with zipfile.ZipFile(path) as archive:
            found = [one for one in archive.infolist() if "/data/" in one.filename]
        parts, at = [], 0
        with path.open("rb") as file:
            for one in found:
                first = reader.get_record_offset(one.filename.partition("/")[2])
                parts.append(Part(at, first, file.read(first - at)))
                at = first + one.file_size
                parts.append(Part(first, at, b""))
                file.seek(at)
            rest = file.read()
    return [*parts, Part(at, at + len(rest), rest)]
