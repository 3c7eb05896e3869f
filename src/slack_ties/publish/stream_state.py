"""What an interrupted run with --stream has done, in a file beside the weights that it left.

The file lists the weight files that the Hub has, those that are merged and wait for upload, and the
files of the parents of which bytes were read and not compared. A later run believes what is still
true of it.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, OutputError
from slack_ties.files import sha256, sync, write_whole
from slack_ties.models.safetensors_file import safetensors_header
from slack_ties.plan.waiting import MODEL_FOLDER
from slack_ties.publish.sender import SHA256, SHARD_NAME, SentShard

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["STATE_FILE", "StreamState", "WrittenShard"]

LOG = logging.getLogger("slack_ties")

STATE_FILE, STATE_VERSION = "stream.json", 2


@dataclass(frozen=True)
class WrittenShard:
    """A weight file on this disk that is complete, and that the Hub does not have yet."""

    file: str  # mergekit's name for it during the merge
    size: int  # bytes
    changed: int  # when it was last written to, in nanoseconds as the system counts them
    tensors: dict[str, int] = field(default_factory=dict)  # name -> bytes
    sha256: str = ""  # once it is known

    def __post_init__(self) -> None:
        """Refuse values that slack-ties did not write."""
        named = SHARD_NAME.fullmatch(self.file) and self.size > 0
        if not (named and (not self.sha256 or SHA256.fullmatch(self.sha256))):
            msg = f"not a weight file: {self.file!r}"
            raise ValueError(msg)

    @classmethod
    def of(cls, path: Path) -> WrittenShard:
        """Return a file that was just written, after the system has put it on the disk.

        Raises:
            OutputError: Its length is not the one that its header says.

        """
        sync(path)
        status = path.stat()
        header, tensors = safetensors_header(path)
        if status.st_size != len(header) + sum(tensors.values()):
            msg = f"{path} has another length than its header says: another program changed it"
            raise OutputError(msg, hint="run the same command again")
        return cls(path.name, status.st_size, status.st_mtime_ns, tensors)

    def has_its_length(self, path: Path) -> bool:
        """Say whether a file has the length and the header of this one."""
        try:
            return path.stat().st_size == self.size and safetensors_header(path)[1] == self.tensors
        except (OSError, CheckpointError):
            return False

    def is_intact(self, path: Path) -> bool:
        """Say whether a file has the bytes that were written, or was at least never changed."""
        if not self.has_its_length(path):
            return False
        if self.sha256:
            return sha256(path) == self.sha256
        return path.stat().st_mtime_ns == self.changed


class StreamState:
    """The state of one streamed merge; several threads may change it at once."""

    def __init__(self, folder: Path) -> None:
        """Begin with nothing done; `read` finds what an earlier run has left in `folder`."""
        self.folder = folder
        self.facts: Mapping[str, Any] = {}
        self.sent: list[SentShard] = []
        self.written: list[WrittenShard] = []  # they come after the sent ones
        # ID@COMMIT/FILE of parents' files of which bytes were read from the Hub, and not compared
        self.not_compared: set[str] = set()
        self.wrong = False  # bytes of a parent were, from which a part of this was merged
        self._lock = threading.RLock()

    @property
    def done(self) -> list[SentShard | WrittenShard]:
        """All files that need not be merged again, in order."""
        with self._lock:
            return [*self.sent, *self.written]

    def header(self, shard: SentShard) -> Path:
        """Return the file that keeps the header of a weight file."""
        return self.folder / f"{shard.file}.header"

    def read(self, facts: Mapping[str, Any]) -> None:
        """Read what an earlier run of the same merge has left; leave out what is damaged.

        Args:
            facts: All that the merged bytes depend on, as JSON values.

        Raises:
            OutputError: The state belongs to another merge, or is damaged.

        """
        self.facts = facts
        path = self.folder / STATE_FILE
        if not path.exists():
            return
        hint = f"delete {str(self.folder)!r} to start again, or choose another --out"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            known = state["facts"] if state["version"] == STATE_VERSION else {}
            sent = [SentShard(**shard) for shard in state["done"]]
            written = [WrittenShard(**shard) for shard in state.get("written", ())]
            not_compared = {str(file) for file in state.get("not_compared", ())}
        except (OSError, ValueError, LookupError, TypeError) as error:
            msg = f"{path} of an earlier run cannot be read: {error}"
            raise OutputError(msg, hint=hint) from None
        if known != facts:
            changed = [key for key in facts if known.get(key) != facts[key]]
            msg = (
                f"{str(self.folder)!r} belongs to an earlier run with --stream to the same --out, "
            )
            msg += f"with another {' and '.join(changed) or 'state'}"
            raise OutputError(msg, hint=hint)
        if state.get("wrong"):  # the run was killed before it could forget all
            LOG.warning("  an earlier run has received wrong bytes: everything is merged again")
            return
        in_order = _numbered(sent, 1)
        self.sent = list(takewhile(self._has_header, in_order))  # a power cut may leave none
        if len(self.sent) == len(sent):
            self.written = list(takewhile(self._is_here, _numbered(written, len(sent) + 1)))
        if self.done:
            self.not_compared = not_compared

    def note_written(self, path: Path) -> None:
        """Add a file that the merge has written; errors as of `WrittenShard.of`."""
        shard = WrittenShard.of(path)
        with self._lock:
            self.written.append(shard)
            self.write()

    def note_checksum(self, file: str, checksum: str) -> None:
        """Keep the checksum of a written file."""
        with self._lock:
            self.written = [
                replace(one, sha256=checksum) if one.file == file else one for one in self.written
            ]
            self.write()

    def note_sent(self, file: str, header: bytes) -> None:
        """Move a file from the written ones, of which it is the first, to those the Hub has."""
        with self._lock:
            one = self.written[0]
            if one.file != file:
                msg = f"{file} was sent before {one.file}"
                raise RuntimeError(msg)
            shard = SentShard(one.file, one.sha256, one.size, one.tensors)
            self.header(shard).write_bytes(header)
            self.sent.append(shard)
            del self.written[0]
            self.write()

    def note_read(self, file: str) -> None:
        """Add a parent's file, ID@COMMIT/FILE, of which bytes are read from now on."""
        with self._lock:
            self.not_compared.add(file)
            self.write()

    def note_compared(self, file: str) -> None:
        """Take out such a file: the checksum of all bytes that were read of it is the Hub's."""
        with self._lock:
            self.not_compared.discard(file)
            self.write()

    def note_wrong(self) -> None:
        """Note that bytes of a parent were wrong: no later run resumes from this one."""
        with self._lock:
            self.wrong = True
            self.write()

    def forget(self) -> None:
        """Forget all files: the next run merges everything again."""
        with self._lock:
            self.sent, self.written, self.not_compared, self.wrong = [], [], set(), False
            self.write()

    def write(self) -> None:
        """Write the state to the disk, whole."""
        with self._lock:
            state = {
                "version": STATE_VERSION,
                "facts": self.facts,
                "done": [asdict(shard) for shard in self.sent],
                "written": [asdict(shard) for shard in self.written],
                "not_compared": sorted(self.not_compared),
                "wrong": self.wrong,
            }
            write_whole(self.folder / STATE_FILE, json.dumps(state, indent=2))

    def _has_header(self, shard: SentShard) -> bool:
        try:
            return safetensors_header(self.header(shard))[1] == shard.tensors
        except CheckpointError:
            return False

    def _is_here(self, shard: WrittenShard) -> bool:
        intact = shard.is_intact(self.folder / MODEL_FOLDER / shard.file)
        if not intact:
            LOG.warning("  %s was changed or lost: it is merged again", shard.file)
        return intact


def _numbered(shards: list[Any], first: int) -> list[Any]:
    """Return the shards up to the first one without the name that mergekit gives to its number."""
    pairs = takewhile(
        lambda pair: pair[1].file == f"model-{pair[0]}.safetensors", enumerate(shards, first)
    )
    return [shard for _, shard in pairs]
