"""Upload each weight file of a merge to the Hub while the next file is merged, and delete it here.

A file is deleted from this disk as soon as the Hub has it. Only its header stays: it tells a later
run which tensors are already merged. `ahead.py` uploads during the merge too, but keeps the files.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from slack_ties.errors import CheckpointError, HubError, OutputError
from slack_ties.files import write_whole
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import in_force
from slack_ties.models.safetensors_file import safetensors_header
from slack_ties.publish.manifest import SentFile
from slack_ties.publish.sender import Sender, SentShard
from slack_ties.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.publish.destination import Target

__all__ = ["Stream", "check_finished"]

LOG = logging.getLogger("slack_ties")

STATE_FILE, STATE_VERSION, LOCK_FILE = "stream.json", 1, "lock"

MODEL_FOLDER = "model"  # the merge writes into it; each run makes it again


def check_finished(out: Path) -> None:
    """Refuse to stream a merge that an earlier run has completed; delete that run's folder.

    Raises:
        OutputError: The merge is already published.

    """
    folder = _folder_for(out)
    if (folder / STATE_FILE).is_file() and not (folder / MODEL_FOLDER).exists() and out.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        msg = f"an earlier run has already completed and published {str(out)!r}"
        raise OutputError(msg, hint="choose another --out to do it again")


def _folder_for(out: Path) -> Path:
    return out.absolute().parent / f".{out.name}.stream"


class Stream:
    """Uploads weight files and deletes them here. A `Receiver`.

    It has its own folder beside the output folder, with a list of the uploaded files. The merge
    writes into that folder, and after the commit it becomes the output folder.
    """

    def __init__(
        self, out: Path, target: Target, *, retries: Retries | None = None, api: HfApi
    ) -> None:
        """Prepare for a merge into `out` that is published to `target`."""
        if target.to.pull_request:
            msg = f"publishing to {target.to.repo_id!r}: --stream and --pr cannot be used together"
            again = shlex.join(["slack-ties", "publish", str(out), target.to.repo_id, "--pr"])
            raise HubError(msg, hint=f"merge without --stream, then: {again}")
        self.out, self.target, self.api = out, target, api
        self.retries = retries or in_force(Retries())
        self.folder = _folder_for(out)
        self.work = self.folder / MODEL_FOLDER
        self.sender = Sender(target, retries=self.retries, api=api)
        # If the process is killed, the system releases its lock.
        self.lock = FileLock(self.folder / LOCK_FILE, timeout=0)
        self.facts: dict[str, Any] = {}
        self.done: list[SentShard] = []
        self.sent: dict[str, SentFile] = {}  # by their final names, after all are uploaded

    @contextmanager
    def working(self, facts: Mapping[str, Any], *, resumes: bool) -> Iterator[Path]:
        """Yield the folder to merge into; the list of uploaded files stays even after an error.

        Args:
            facts: All that the merged bytes depend on, as JSON values.
            resumes: Whether an interrupted merge can resume: it can if a tensor gets the same
                bytes after any other tensors.

        Raises:
            OutputError: The folder belongs to another merge, or another run uses it now.

        """
        self.facts = json.loads(json.dumps({**facts, "repo_id": self.target.to.repo_id}))
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire()
        except Timeout:
            msg = f"another run with --stream is using {str(self.folder)!r}"
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
        """Prepare the folder for the merge: keep the state and headers, delete everything else."""
        self._read_state()
        if self.done and not resumes:
            LOG.warning("  this method uses random numbers: everything is merged again")
            self.done = []
        self._write_state()
        kept = {STATE_FILE, LOCK_FILE, *(self._header(shard).name for shard in self.done)}
        for path in self.folder.iterdir():  # a killed run leaves adapters and parts of a model
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
            total = size(sum(shard.size for shard in self.done))
            count = counted(len(self.done), "file")
            LOG.info("  resuming: the Hub already has %s, %s", count, total)

    def take(self, path: Path) -> None:
        """Wait until the file before this one is uploaded; then start to upload this file.

        Raises:
            OutputError: The file does not belong to this merge. It would be truncated.

        """
        if path.parent.resolve() != self.work.resolve():
            msg = f"{str(path)!r} does not belong to the merge in {str(self.work)!r}"
            raise OutputError(msg, hint="run the same command again")
        self.sender.wait()
        self.sender.start(self._send, path)

    def settle(self) -> None:
        """Wait until the last file is uploaded and truncated."""
        self.sender.wait()

    def send_rest(self) -> dict[str, SentFile]:
        """Upload the files that are not uploaded yet; return all files by their final names."""
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
        """Forget all uploads: the next run merges everything again."""
        self.done = []
        self._write_state()

    def finish(self) -> None:
        """Rename the folder, without weights, to the output folder.

        Raises:
            OutputError: The output folder exists by now and is not empty.

        """
        for shard in self.work.glob("model*.safetensors"):
            shard.unlink()  # only a header
        try:
            if self.out.is_dir():
                self.out.rmdir()  # was found empty; rmdir refuses a folder with files
            self.work.rename(self.out)
        except OSError as error:
            msg = f"the model is published, but its folder cannot be renamed to {str(self.out)!r}"
            msg += f": {error}"
            raise OutputError(msg, hint=f"the result is in {str(self.work)!r}: rename it") from None
        if os.name == "nt":  # an open file cannot be deleted there
            self.close()
        # Another run that took the folder before it is deleted would lose its files.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Release the lock: another run may use the folder."""
        self.lock.release()

    def _send(self, path: Path) -> None:
        """Upload one file, add it to the list, and truncate it to its header."""
        file = SentFile(path.name, path.stat().st_size, path)
        header, tensors = safetensors_header(path)
        if file.size != len(header) + sum(tensors.values()):
            msg = f"{path} has another length than its header says: another program changed it"
            raise OutputError(msg, hint="run the same command again")
        self.sender.send(file)
        if self.sender.stopped.is_set():
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
        """Read the list of files that an earlier run has uploaded.

        Raises:
            OutputError: The list belongs to another merge, or is damaged.

        """
        path = self.folder / STATE_FILE
        if not path.exists():
            return
        hint = f"delete {str(self.folder)!r} to start again, or choose another --out"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            known = state["facts"] if state["version"] == STATE_VERSION else {}
            done = [SentShard(**shard) for shard in state["done"]]
        except (OSError, ValueError, LookupError, TypeError) as error:
            msg = f"{path} of an earlier run cannot be read: {error}"
            raise OutputError(msg, hint=hint) from None
        if known != self.facts:
            changed = [key for key in self.facts if known.get(key) != self.facts[key]]
            msg = (
                f"{str(self.folder)!r} belongs to an earlier run with --stream to the same --out, "
            )
            msg += f"with another {' and '.join(changed) or 'state'}"
            raise OutputError(msg, hint=hint)
        self.done = list(takewhile(self._has_header, done))  # a power cut may leave empty headers

    def _has_header(self, shard: SentShard) -> bool:
        try:
            return safetensors_header(self._header(shard))[1] == shard.tensors
        except CheckpointError:
            return False
