"""Compare each weight file of a repeated merge as soon as it is written, and drop its weights.

So `verify` needs disk for two weight files, not for a model. A file with a published checksum has
the published bytes. Of other files, every tensor is compared with the published one.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.files import checksum
from slack_ties.models.safetensors_file import safetensors_header
from slack_ties.sharing.differences import ComparedWeights, difference_of, published_weights
from slack_ties.sharing.published import PublishedWeights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from slack_ties.sharing.published import PublishedModel

__all__ = ["Rebuilding"]

LOG = logging.getLogger("slack_ties")


@dataclass(frozen=True)
class _Made:
    """A weight file that was written and dropped."""

    sha256: str


class Rebuilding:
    """Compares weight files with the published ones. A `Streaming`."""

    done: tuple[Any, ...] = ()
    takes_all = True

    def __init__(self, published: PublishedModel, work: Path) -> None:
        """Prepare for a merge in the new folder `work`.

        Raises:
            CheckpointError: The published model has no weights to compare.

        """
        self.published, self.work = published, work
        self.weights = published_weights(published)
        self.reader = PublishedWeights(published)
        self.found = ComparedWeights()
        self.not_compared: set[str] = set()
        self._sums: list[str] = []
        self._equal: dict[str, set[str]] = {}  # published file with a checksum of ours -> tensors
        self._by_file: dict[str, set[str]] = {}  # other published file -> compared tensors

    @contextmanager
    def working(self, facts: Mapping[str, Any], *, resumes: bool) -> Iterator[Path]:  # noqa: ARG002
        """Yield the folder to merge into; nothing is resumed."""
        self.work.mkdir()
        yield self.work

    def note_read(self, file: str) -> None:
        """Add a parent's file of which bytes are read; no later run needs to know it."""
        self.not_compared.add(file)

    def note_compared(self, file: str) -> None:
        """Take a file out of these."""
        self.not_compared.discard(file)

    def note_wrong(self) -> None:
        """Do nothing: nothing is resumed."""

    def take(self, path: Path) -> None:
        """Compare a file that is complete, and truncate it to its header.

        Raises:
            SlackTiesError: The published files cannot be read.

        """
        header, tensors = safetensors_header(path)
        ours = checksum(path, "")
        self._sums.append(ours)
        sums, equal = {len(ours): ours}, False
        for name in self.weights:
            stated = self.published.sums[name]
            if len(stated) not in sums:  # git's, of a small file
                sums[len(stated)] = checksum(path, stated)
            if sums[len(stated)] == stated:
                self._equal[name], equal = set(tensors), True
        if not equal:
            self._compare(path, set(tensors))
        os.truncate(path, len(header))

    def settle(self) -> None:
        """Do nothing: each file is compared at once."""

    def send_rest(self) -> dict[str, _Made]:
        """Return the checksum of each file by its final name."""
        paths = sorted(self.work.glob("model*.safetensors"))
        return {path.name: _Made(one) for path, one in zip(paths, self._sums, strict=True)}

    def result(self) -> ComparedWeights:
        """Compare what is left, and return all that was found.

        Raises:
            SlackTiesError: The published files cannot be read.

        """
        found = self.found
        found.equal = sorted(self._equal)
        count = len(found.equal)
        LOG.info("  %d of %d weight files have the same checksum", count, len(self.weights))
        found.seen.update(*self._equal.values())
        for name in self.weights:
            if name not in self._equal:
                self._compare_with_equal(name)
        return found

    def _compare(self, path: Path, ours: set[str]) -> None:
        """Compare the tensors of a file of ours with all published ones of the same names."""
        from safetensors import safe_open  # noqa: PLC0415 - only if a file differs

        with safe_open(path, framework="pt") as opened:
            for name in self.weights:
                if name in self._equal:
                    continue
                for tensor, theirs in self.reader.tensors(name, ours):
                    difference = difference_of(theirs, opened.get_tensor(tensor))
                    self._add(tensor, name, difference)

    def _compare_with_equal(self, name: str) -> None:
        """Compare the tensors of a published file that are not compared yet.

        Ours are dropped by now: those that are left are in files with the checksum of a published
        one. A tensor that we do not have at all is a difference.
        """
        left = set(self.reader.places(name).tensors) - self._by_file.get(name, set())
        for other, tensors in self._equal.items():
            for tensor, theirs in self.reader.tensors(name, left & tensors):
                ((_, ours),) = self.reader.tensors(other, {tensor})
                self._add(tensor, name, difference_of(theirs, ours))
            left -= tensors
        for tensor in sorted(left):
            self._add(tensor, name, {"what": f"is only in {self.published.name!r}"})

    def _add(self, tensor: str, name: str, difference: Mapping[str, Any]) -> None:
        self._by_file.setdefault(name, set()).add(tensor)
        self.found.add(tensor, name, difference)
