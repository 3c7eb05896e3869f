"""Send each weight file of a merge to the Hub while the next one is merged.

Streamed, a file goes from this disk as soon as the Hub has it: only its header stays, by which
an interrupted run knows what need not be merged again. Otherwise files stay, and sending them
only begins earlier.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from slack_ties.errors import CheckpointError, HubError, OutputError
from slack_ties.files import write_whole
from slack_ties.hub.retries import Retries
from slack_ties.models.safetensors_file import safetensors_header
from slack_ties.publish.manifest import SentFile
from slack_ties.publish.sender import Sender, SentShard
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.publish.destination import Target

__all__ = ["Stream", "check_finished"]

LOG = logging.getLogger("slack_ties")

STATE_FILE, STATE_VERSION, LOCK_FILE = "stream.json", 1, "lock"

MODEL_FOLDER = "model"  # in which the merge works: made anew by each run


def check_finished(out: Path) -> None:
    """Refuse to stream what an earlier run has completed, and remove what that run left.

    Raises:
        OutputError: It is published already.

    """
    folder = _folder_for(out)
    if (folder / STATE_FILE).is_file() and not (folder / MODEL_FOLDER).exists() and out.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        msg = f"{str(out)!r} is complete and published: an earlier run did it"
        raise OutputError(msg, hint="choose another --out to do it again")


def _folder_for(out: Path) -> Path:
    return out.absolute().parent / f".{out.name}.stream"


class Stream:
    """Weight files on their way to the Hub, of which none stays here. A `Receiver`.

    Beside the output folder lies one of its own, with what is known of the files that were
    sent; the merge works in it, and it becomes the output folder when all is committed.
    """

    def __init__(
        self, out: Path, target: Target, *, retries: Retries | None = None, api: HfApi
    ) -> None:
        """Prepare for the merge that goes to `out`, and to `target` on the Hub."""
        if target.to.pull_request:
            msg = f"publishing to {target.to.repo_id!r}: what is streamed is no pull request"
            raise HubError(msg, hint="merge first, then: slack-ties publish OUT REPO_ID --pr")
        self.out, self.target, self.api = out, target, api
        self.retries = retries or Retries()
        self.folder = _folder_for(out)
        self.work = self.folder / MODEL_FOLDER
        self.sender = Sender(target, retries=self.retries, api=api)
        # The lock of a process that is killed is gone with it.
        self.lock = FileLock(self.folder / LOCK_FILE, timeout=0)
        self.facts: dict[str, Any] = {}
        self.done: list[SentShard] = []
        self.sent: dict[str, SentFile] = {}  # by their final names, when all are

    @contextmanager
    def working(self, facts: Mapping[str, Any], *, resumes: bool) -> Iterator[Path]:
        """Yield the folder to merge into; whatever happens, what was sent is remembered.

        Args:
            facts: What the merged bytes depend on; JSON.
            resumes: Whether the same tensor is merged to the same bytes if others are not
                merged before it.

        Raises:
            OutputError: The folder is of another merge, or another run is at work in it.

        """
        self.facts = json.loads(json.dumps({**facts, "repo_id": self.target.to.repo_id}))
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire()
        except Timeout:
            msg = f"another run with --stream is at work in {str(self.folder)!r}"
            raise OutputError(msg, hint="wait for it, or choose another --out") from None
        try:
            self._begin(resumes=resumes)
            yield self.work
        except BaseException as error:
            self.sender.end(error)
            shutil.rmtree(self.work, ignore_errors=True)
            self.lock.release()
            raise

    def _begin(self, *, resumes: bool) -> None:
        """Make the folder as it is before a merge: what is left to do, and nothing else."""
        self._read_state()
        if self.done and not resumes:
            LOG.warning("  this method draws random numbers: all is merged again from the start")
            self.done = []
        self._write_state()
        kept = {STATE_FILE, LOCK_FILE, *(self._header(shard).name for shard in self.done)}
        for path in self.folder.iterdir():  # of a run that was killed: adapters, half a model
            if path.name in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        self.work.mkdir()
        for shard in self.done:
            shutil.copyfile(self._header(shard), self.work / shard.file)
        if self.done:
            there = size(sum(shard.size for shard in self.done))
            LOG.info("  going on: the Hub has %d files already, %s", len(self.done), there)

    def take(self, path: Path) -> None:
        """Send a file; wait before that until the one before it is gone from here.

        Raises:
            OutputError: It is not of this merge: it would be emptied when it is sent.

        """
        if path.parent.resolve() != self.work.resolve():
            msg = f"{str(path)!r} is not of the merge in {str(self.work)!r}"
            raise OutputError(msg, hint="run the same command again")
        self.sender.wait()
        self.sender.start(self._send, path)

    def settle(self) -> None:
        """Wait until the last file is gone."""
        self.sender.wait()

    def send_rest(self) -> dict[str, SentFile]:
        """Send what the merge wrote last; return all weight files by their final names."""
        paths = sorted(self.work.glob("model*.safetensors"))
        for number, path in enumerate(paths[len(self.done) :], len(self.done) + 1):
            self.take(path.rename(self.work / f"model-{number}.safetensors"))
            self.settle()
            (self.work / f"model-{number}.safetensors").rename(path)
        self.sent = {
            path.name: SentFile(path.name, shard.size, known=shard.sha256)
            for path, shard in zip(paths, self.done, strict=True)
        }
        return self.sent

    def forget(self) -> None:
        """Take it that the Hub has nothing any more: the next run merges all of it again."""
        self.done = []
        self._write_state()

    def finish(self) -> None:
        """Put the folder, without weights, in the place of the output.

        Raises:
            OutputError: Something came into its place.

        """
        for shard in self.work.glob("model*.safetensors"):
            shard.unlink()  # a header alone
        try:
            if self.out.is_dir():
                self.out.rmdir()  # empty, as was checked; refuses otherwise
            self.work.rename(self.out)
        except OSError as error:
            msg = f"all is published, but cannot take the place of {str(self.out)!r}: {error}"
            raise OutputError(msg, hint=f"it is kept as {str(self.work)!r}: rename it") from None
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let another run work in the folder."""
        self.lock.release()

    def _send(self, path: Path) -> None:
        """Send one file, remember it, and leave its header alone."""
        file = SentFile(path.name, path.stat().st_size, path)
        header, tensors = safetensors_header(path)
        if file.size != len(header) + sum(tensors.values()):
            msg = f"{path} is not as long as its header says: something else has changed it"
            raise OutputError(msg, hint="run the same command again")
        self.sender.send(file)
        if self.sender.given_up:
            return
        shard = SentShard(path.name, file.sha256, file.size, tensors)
        self._header(shard).write_bytes(header)
        self.done.append(shard)
        self._write_state()
        os.truncate(path, len(header))

    def _header(self, shard: SentShard) -> Path:
        return self.folder / f"{shard.file}.header"

    def _write_state(self) -> None:
        state = {
            "version": STATE_VERSION,
            "facts": self.facts,
            "done": [asdict(shard) for shard in self.done],
        }
        write_whole(self.folder / STATE_FILE, json.dumps(state, indent=2))

    def _read_state(self) -> None:
        """Find what an earlier run sent.

        Raises:
            OutputError: It was another merge's.

        """
        path = self.folder / STATE_FILE
        if not path.exists():
            return
        hint = f"delete {str(self.folder)!r} to begin anew, or choose another --out"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            known = state["facts"] if state["version"] == STATE_VERSION else {}
            done = [SentShard(**shard) for shard in state["done"]]
        except (OSError, ValueError, LookupError, TypeError) as error:
            msg = f"{path}, of an earlier run, cannot be read: {error}"
            raise OutputError(msg, hint=hint) from None
        if known != self.facts:
            changed = [key for key in self.facts if known.get(key) != self.facts[key]]
            msg = (
                f"{str(self.folder)!r} is of an earlier run with --stream to the same place, with "
            )
            msg += f"another {' and '.join(changed) or 'state'}"
            raise OutputError(msg, hint=hint)
        self.done = list(takewhile(self._has_header, done))  # a power cut may leave them empty

    def _has_header(self, shard: SentShard) -> bool:
        try:
            return safetensors_header(self._header(shard))[1] == shard.tensors
        except CheckpointError:
            return False
