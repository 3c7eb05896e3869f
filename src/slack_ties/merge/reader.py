"""Read a model's tensors one by one, under the names and in the layout of the result.

mergekit uses this reader instead of its own loader. The reader opens the files that the index
names, maps .bin files into memory with PyTorch's restricted loader, and converts tensors that a
model stores under another name, or fused, to the base's layout.
"""

from __future__ import annotations

import threading
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from slack_ties.errors import CheckpointError
from slack_ties.tensors.convert import convert
from slack_ties.tensors.order import MOST_JOINED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slack_ties.models.header import Header
    from slack_ties.tensors.layout import Part
    from slack_ties.tensors.origin import Known

__all__ = ["Reader", "WeightFiles", "same_bits"]

SAMPLED = 8192  # entries to compare, to see whether two tensors are the same


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two tensors have the same bits: here NaN equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    first, second = (tensor.flatten().contiguous().view(torch.uint8) for tensor in (one, other))
    return torch.equal(first, second)


class WeightFiles:
    """The weight files of one model, opened when they are needed."""

    def __init__(self, name: str, folder: Path, headers: Mapping[str, Header]) -> None:
        """Store the model's name for errors, its folder, and the header of each tensor."""
        self.name, self.folder, self.headers = name, folder, headers
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()  # several threads read for several GPUs

    def read(self, tensor: str) -> torch.Tensor:
        """Return a tensor.

        Raises:
            CheckpointError: The file is damaged.

        """
        file = self.headers[tensor].file
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
        first, second = (self.read(name).flatten()[:SAMPLED] for name in (one, other))
        return same_bits(first, second)

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

    def get_tensor(
        self,
        key: str,
        device: str = "cpu",
        aliases: Any = None,  # noqa: ARG002 - mergekit's
        raise_on_missing: bool = True,  # noqa: ARG002, FBT001, FBT002 - mergekit's
    ) -> torch.Tensor:
        """Return the model's values for a tensor of the result."""
        part = self.parts[key]
        files = self.files if part.model == self.files.name else self.base
        with self._lock:
            if part.joined:
                return self._converted(part, files).to(device)
            return files.read(next(iter(part.tensors))).to(device)

    def flush(self) -> None:
        """Close all files."""
        with self._lock:
            self._joined.clear()
            self.files.close()
            self.base.close()

    def _converted(self, part: Part, files: WeightFiles) -> torch.Tensor:
        pieces = self._joined.get(part.joined)
        if pieces is None or part.cut not in pieces:
            tensors = {name: files.read(name) for name in part.tensors}
            pieces = convert(self.known, part, tensors)
            self._joined[part.joined] = pieces
            while len(self._joined) > MOST_JOINED:
                self._joined.popitem(last=False)
        tensor: torch.Tensor = pieces[part.cut]
        return tensor.contiguous()
