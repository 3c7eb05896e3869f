"""Read a model's tensors one by one, under the names and in the layout of the result.

mergekit uses this reader instead of its own loader. The reader opens the files that the index
names, maps .bin files into memory with PyTorch's restricted loader, and converts tensors that a
model stores under another name, or fused, to the base's layout. Files that are not on this disk
are read from the Hub.
"""

from __future__ import annotations

import threading
import zipfile
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from slack_ties.errors import CheckpointError
from slack_ties.models.entries import COMPARED
from slack_ties.tensors.convert import convert

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from slack_ties.models.header import Header
    from slack_ties.remote.away import Away
    from slack_ties.tensors.layout import Part
    from slack_ties.tensors.origin import Known

__all__ = ["Reader", "WeightFiles", "same_bits"]

MOST_JOINED = 4  # joined tensors to keep in memory while pieces are cut from them


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two tensors have the same bits: here NaN equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    first, second = (tensor.flatten().contiguous().view(torch.uint8) for tensor in (one, other))
    return torch.equal(first, second)


class WeightFiles:
    """The weight files of one model, opened when they are needed."""

    def __init__(
        self,
        name: str,
        folder: Path,
        headers: Mapping[str, Header],
        *,
        away: Away | None = None,
        away_files: Collection[str] = (),
    ) -> None:
        """Store where the weights are.

        Args:
            name: The model's name in errors.
            folder: Its folder.
            headers: The header of each tensor.
            away: Reads the files that are not in the folder.
            away_files: Their names.

        """
        self.name, self.folder, self.headers = name, folder, headers
        self.away, self.away_files = away, frozenset(away_files)
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()  # several threads read for several GPUs

    def read(self, tensor: str) -> torch.Tensor:
        """Return a tensor.

        Raises:
            CheckpointError: The file is damaged.
            HubError: The file is on the Hub, and cannot be read.

        """
        file = self.headers[tensor].file
        if self.away and file in self.away_files:
            return self.away.read(self.name, tensor)
        try:
            with self._lock:
                if file not in self._opened:
                    self._open(file)
                opened = self._opened[file]
                found = opened[tensor] if isinstance(opened, dict) else opened.get_tensor(tensor)
        except (SafetensorError, OSError, KeyError, RuntimeError) as error:
            msg = f"model {self.name!r}: {tensor} in {file} cannot be read: {error}"
            hint = "take a complete file. If it came from the Hub: hf download ID --force-download"
            raise CheckpointError(msg, hint=hint) from None
        return found.detach() if isinstance(found, torch.Tensor) else found

    def begin_alike(self, one: str, other: str) -> bool:
        """Say whether two tensors have the same first entries."""
        return same_bits(self._begin(one), self._begin(other))

    def _begin(self, tensor: str) -> torch.Tensor:
        """Return the first entries of a tensor."""
        if self.away and self.headers[tensor].file in self.away_files:
            return self.away.begin(self.name, tensor, COMPARED)
        return self.read(tensor).flatten()[:COMPARED]

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            self._opened.clear()

    def _open(self, file: str) -> None:
        path = self.folder / file
        if file.endswith(".safetensors"):
            self._opened[file] = safe_open(path, framework="pt", device="cpu")
            return
        if not zipfile.is_zipfile(path):  # older than PyTorch 1.6: is read whole, so keep only one
            self._opened = {n: o for n, o in self._opened.items() if not isinstance(o, dict)}
            data = torch.load(path, map_location="cpu", weights_only=True)
        else:
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        self._opened[file] = dict(data.get("state_dict", data))


@dataclass
class _Index:
    """The part of an index that mergekit uses: the file of each tensor."""

    tensor_paths: dict[str, str]


class Reader:
    """Replaces mergekit's LazyTensorLoader."""

    def __init__(
        self,
        files: WeightFiles,
        parts: Mapping[str, Part],
        *,
        base: WeightFiles,
        known: Known | None,
    ) -> None:
        """Store where each tensor of the result is.

        Args:
            files: The model's files.
            parts: How to read each tensor of the result.
            base: The base's files, for tensors that the model lacks.
            known: The base as transformers loads it, to convert layouts.

        """
        self.files, self.base, self.parts, self.known = files, base, parts, known
        self.index = _Index({name: name for name in parts})
        self._lock = threading.Lock()
        self._joined: OrderedDict[str, Any] = OrderedDict()
        self._expected: Counter[str] = Counter()  # of a joined tensor, how many pieces are wanted

    def reads(self, key: str) -> list[tuple[str, str]]:
        """Return the (model, tensor) that are read from the files for a tensor of the result."""
        part = self.parts[key]
        name = self._files_of(part).name
        return [(name, one) for one in (part.tensors if part.joined else [*part.tensors][:1])]

    def expect(self, key: str) -> list[tuple[str, str]]:
        """Note that a tensor will be asked for once more.

        Returns:
            What is then read for it. Tensors that are joined are read for the first piece only:
            the other pieces wait until they are asked for.

        """
        joined = self.parts[key].joined
        self._expected[joined] += 1
        return self.reads(key) if not joined or self._expected[joined] == 1 else []

    def get_tensor(
        self,
        key: str,
        device: str = "cpu",
        aliases: Any = None,  # noqa: ARG002 - mergekit's
        raise_on_missing: bool = True,  # noqa: ARG002, FBT001, FBT002 - mergekit's
    ) -> torch.Tensor:
        """Return the model's values for a tensor of the result."""
        part = self.parts[key]
        files = self._files_of(part)
        with self._lock:
            if part.joined:
                return self._converted(part, files).to(device)
            return files.read(next(iter(part.tensors))).to(device)

    def flush(self) -> None:
        """Close all files."""
        with self._lock:
            self._joined.clear()
            self._expected.clear()
            self.files.close()
            self.base.close()

    def _files_of(self, part: Part) -> WeightFiles:
        return self.files if part.model == self.files.name else self.base

    def _converted(self, part: Part, files: WeightFiles) -> torch.Tensor:
        pieces = self._joined.get(part.joined)
        if pieces is None or part.cut not in pieces:
            tensors = {name: files.read(name) for name in part.tensors}
            pieces = convert(self.known, part, tensors)
            self._joined[part.joined] = pieces
            while not self.files.away_files and len(self._joined) > MOST_JOINED:
                self._joined.popitem(last=False)
        self._expected[part.joined] -= 1
        if self._expected[part.joined] <= 0 and self.files.away_files:
            self._joined.pop(part.joined, None)
        tensor: torch.Tensor = pieces[part.cut]
        return tensor.contiguous()
