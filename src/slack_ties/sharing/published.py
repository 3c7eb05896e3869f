"""A published model: its files on this disk or on the Hub, and single tensors of its weights."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, HubError
from slack_ties.files import SHA256_DIGITS, checksum
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.ranges import HubFile, Ranges
from slack_ties.hub.retries import READING
from slack_ties.models.cached import cached_file
from slack_ties.models.download import fetch_files
from slack_ties.models.places import places_of
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import torch
    from huggingface_hub import HfApi

    from slack_ties.models.places import FilePlaces

__all__ = ["PublishedModel", "PublishedWeights"]

BLOCK = 1 << 24  # bytes of a file that are read at once and hashed, between tensors


@dataclass(frozen=True)
class PublishedModel:
    """A published model: a folder, or files on the Hub that we download when we need them."""

    name: str
    commit: str
    sums: Mapping[str, str]  # file -> sha256 of large files, git's sha1 of small ones
    folder: Path | None = None
    api: HfApi | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)  # file -> bytes, on the Hub

    def here(self, name: str) -> Path | None:
        """Return the path of a file on this disk; None if it is only on the Hub.

        Raises:
            HubError: The file in the cache is damaged.

        """
        if self.folder:
            return self.folder / name
        cached = cached_file(self.name, name, self.commit)
        return self._checked(cached, name) if cached else None

    def file(self, name: str) -> Path:
        """Return the path of a file on this disk; download it if necessary.

        Raises:
            HubError: It cannot be downloaded, or is damaged.

        """
        if self.folder:
            return self.folder / name
        if self.api is None:
            raise FileNotFoundError(name)
        with hub_errors(f"{name} of {self.name!r}", self.api):
            fetch_files(
                self.name,
                {name: (self.sizes.get(name, 0), self.sums.get(name, ""))},
                commit=self.commit,
                what=f"{name} of {self.name!r}",
                retries=READING,
                api=self.api,
            )
            get = partial(self.api.hf_hub_download, self.name, name, revision=self.commit)
            path = Path(READING.ask(get))
        return self._checked(path, name)

    def _checked(self, path: Path, name: str) -> Path:
        """Return the path of a download; refuse one that is damaged."""
        if self.sums.get(name) and checksum(path, self.sums[name]) != self.sums[name]:
            msg = f"{self.name!r}: {name} is damaged: its checksum differs from the Hub's"
            again = f"hf download {self.name} {name} --force-download"
            raise HubError(msg, hint=f"{again}  # then run verify again")
        return path

    def instead(self) -> str:
        """Return the next step for a model with a weight file that cannot be read."""
        if not self.folder or self.commit:
            return "the file on the Hub is the same: ask who published the model"
        folder = self.name.rstrip("/")
        config, again = shlex.quote(f"{folder}/{CONFIG_FILE}"), shlex.quote(f"{folder}-again")
        return f"make it again: slack-ties run {config} --out {again}"


class PublishedWeights:
    """Reads single tensors of a published model; none of its weight files is downloaded."""

    def __init__(self, published: PublishedModel) -> None:
        """Prepare; nothing is read yet."""
        self.published = published
        self._ranges = Ranges(api=published.api, retries=READING) if published.api else None
        self._places: dict[str, FilePlaces] = {}
        self._paths: dict[str, Path | None] = {}  # on this disk

    def places(self, file: str) -> FilePlaces:
        """Return where the tensors of a weight file lie.

        Raises:
            CheckpointError: The file is damaged.
            HubError: It cannot be read.

        """
        if file not in self._places:
            name = self.published.name
            with self._open(file) as opened:
                size = opened.seek(0, 2)
                try:
                    self._places[file] = places_of(opened, file, size, name)
                except CheckpointError as error:
                    msg = f"{name!r}: {file} cannot be read: {error}"
                    raise CheckpointError(msg, hint=self.published.instead()) from None
        return self._places[file]

    def tensors(self, file: str, wanted: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the name and the value of tensors of a weight file, in the order of the file.

        If all of its tensors are wanted, the file is read whole, and its checksum is compared.

        Raises:
            CheckpointError: The bytes are not those of such a file.
            HubError: It cannot be read, or its bytes have another checksum than the Hub states.

        """
        from slack_ties.remote.tensor import tensor_of  # noqa: PLC0415 - imports torch

        places = self.places(file)
        spans = {name: places.spans[one.span] for name, one in places.tensors.items()}
        whole, at, digest = set(wanted) >= spans.keys(), 0, hashlib.sha256()
        for name in sorted(set(wanted) & spans.keys(), key=spans.__getitem__):
            first, end = spans[name]
            if whole:  # the header, and gaps
                self._hash(digest, file, at, first)
            data = self._read(file, first, end)
            if whole:
                digest.update(data)
            at = end
            yield name, tensor_of(places, name, data)
        if whole:
            self._hash(digest, file, at, places.size)
            self._check(file, digest.hexdigest())

    def _check(self, file: str, found: str) -> None:
        """Compare a checksum with the published one."""
        stated = self.published.sums.get(file, "")
        if len(stated) == SHA256_DIGITS and found != stated:
            msg = f"{self.published.name!r}: {file} is damaged: its checksum differs from the Hub's"
            raise HubError(msg, hint="run the same command again: it reads the file again")

    def _hash(self, digest: Any, file: str, first: int, end: int) -> None:
        for at in range(first, end, BLOCK):
            digest.update(self._read(file, at, min(at + BLOCK, end)))

    def _on_hub(self, file: str) -> HubFile:
        of = self.published
        return HubFile(of.name, of.commit, file, of.sizes.get(file, 0), of.sums.get(file, ""))

    def _open(self, file: str) -> IO[bytes]:
        if file not in self._paths:
            self._paths[file] = self.published.here(file)
        path = self._paths[file]
        if path or not self._ranges:
            return (path or self.published.file(file)).open("rb")
        return self._ranges.open(self._on_hub(file))

    def _read(self, file: str, first: int, end: int) -> memoryview:
        data = bytearray(end - first)
        if self._ranges and not self._paths[file]:
            self._ranges.read_into(self._on_hub(file), first, memoryview(data))
            return memoryview(data)
        with self._open(file) as opened:
            opened.seek(first)
            opened.readinto(data)  # type: ignore[attr-defined]
        return memoryview(data)
