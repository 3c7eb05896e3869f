"""Upload each weight file of a merge to the Hub while the next file is merged, and delete it here.

A file is deleted from this disk as soon as the Hub has it. Only its header stays: it tells a later
run which tensors are already merged. After an interruption, files that wait for upload stay too,
and the next run uploads them. `ahead.py` uploads during the merge too, but keeps the files.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from slack_ties.errors import HubError, OutputError, WrongBytesError
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import in_force
from slack_ties.models.safetensors_file import safetensors_header
from slack_ties.plan.waiting import MODEL_FOLDER, stream_folder
from slack_ties.publish.manifest import SentFile
from slack_ties.publish.sender import Sender, SentShard
from slack_ties.publish.stream_state import STATE_FILE, StreamState, WrittenShard
from slack_ties.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.publish.destination import Target

__all__ = ["Stream", "check_finished"]

LOG = logging.getLogger("slack_ties")

LOCK_FILE = "lock"


def check_finished(out: Path) -> None:
    """Refuse to stream a merge that an earlier run has completed; delete that run's folder.

    Raises:
        OutputError: The merge is already published.

    """
    folder = stream_folder(out)
    if (folder / STATE_FILE).is_file() and not (folder / MODEL_FOLDER).exists() and out.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        msg = f"an earlier run has already completed and published {str(out)!r}"
        raise OutputError(msg, hint="choose another --out to do it again")


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
        self.folder = stream_folder(out)
        self.work = self.folder / MODEL_FOLDER
        self.sender = Sender(target, retries=self.retries, api=api)
        # If the process is killed, the system releases its lock.
        self.lock = FileLock(self.folder / LOCK_FILE, timeout=0)
        self.state = StreamState(self.folder)
        self.sent: dict[str, SentFile] = {}  # by their final names, after all are uploaded

    @property
    def done(self) -> Sequence[SentShard | WrittenShard]:
        """The files that are merged, in order; the first ones are uploaded."""
        return self.state.done

    @property
    def takes_all(self) -> bool:
        """Whether the last file is handed over too."""
        return True

    @property
    def not_compared(self) -> set[str]:
        """ID@COMMIT/FILE of parents' files of which bytes were read, and not compared."""
        return self.state.not_compared

    def note_read(self, file: str) -> None:
        """Add such a file."""
        self.state.note_read(file)

    def note_compared(self, file: str) -> None:
        """Take a file out, because all bytes that were read of it are compared now."""
        self.state.note_compared(file)

    def note_wrong(self) -> None:
        """Note that bytes of a parent were wrong: no later run resumes from this one."""
        self.state.note_wrong()

    @contextmanager
    def working(self, facts: Mapping[str, Any], *, resumes: bool) -> Iterator[Path]:
        """Yield the folder to merge into; merged files stay listed even after an error.

        Args:
            facts: All that the merged bytes depend on, as JSON values.
            resumes: Whether an interrupted merge can resume: it can if a tensor gets the same
                bytes after any other tensors.

        Raises:
            OutputError: The folder belongs to another merge, or another run uses it now.

        """
        all_facts = json.loads(json.dumps({**facts, "repo_id": self.target.to.repo_id}))
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire()
        except Timeout:
            msg = f"another run with --stream is using {str(self.folder)!r}"
            raise OutputError(msg, hint="wait for it, or choose another --out") from None
        try:
            self._begin(all_facts, resumes=resumes)
            yield self.work
        except BaseException as error:
            self._end(error)
            raise

    def _begin(self, facts: Mapping[str, Any], *, resumes: bool) -> None:
        """Prepare the folder for the merge, and begin to upload the files that wait there."""
        self.state.read(facts)
        if self.done and not resumes:
            LOG.warning("  this method uses random numbers: everything is merged again")
            self.state.forget()
        self.state.write()
        self._delete_the_rest()
        for shard in self.state.sent:
            shutil.copyfile(self.state.header(shard), self.work / shard.file)
        if self.state.sent:
            LOG.info("  resuming: the Hub already has %s", _amount(self.state.sent))
        if self.state.written:
            LOG.info("  resuming: merged, and now uploaded: %s", _amount(self.state.written))
        for waiting in list(self.state.written):
            self._start(self.work / waiting.file)

    def _end(self, error: BaseException) -> None:
        """Keep what the next run resumes from: nothing, if a parent's bytes were wrong."""
        wrong = isinstance(error, WrongBytesError)
        if wrong:
            self.sender.stopped.set()
        self.sender.end(error)
        with suppress(OSError):  # such as a full disk: the error that we have is the one to report
            if wrong:
                self.state.forget()
            self._delete_the_rest()
        self.lock.release()

    def _delete_the_rest(self) -> None:
        """Delete all but the state, headers and files that wait: a killed run leaves its parts."""
        headers = {self.state.header(shard).name for shard in self.state.sent}
        kept = {STATE_FILE, LOCK_FILE, MODEL_FOLDER, *headers}
        self.work.mkdir(exist_ok=True)
        paths = [path for path in self.folder.iterdir() if path.name not in kept]
        waiting = {shard.file for shard in self.state.written}
        paths += [path for path in self.work.iterdir() if path.name not in waiting]
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def take(self, path: Path) -> None:
        """Wait until the file before this one is uploaded; then start to upload this file.

        From now on the file is kept: if this run is interrupted, the next one uploads it.

        Raises:
            OutputError: The file does not belong to this merge, or was changed.

        """
        if path.parent.resolve() != self.work.resolve():  # it would be truncated
            msg = f"{str(path)!r} does not belong to the merge in {str(self.work)!r}"
            raise OutputError(msg, hint="run the same command again")
        self.state.note_written(path)
        self._start(path)

    def _start(self, path: Path) -> None:
        self.sender.wait()
        self.sender.start(self._send, path)

    def settle(self) -> None:
        """Wait until the last file is uploaded and truncated."""
        self.sender.wait()

    def send_rest(self) -> dict[str, SentFile]:
        """Wait for the last upload; return all files by their final names."""
        self.settle()
        paths = sorted(self.work.glob("model*.safetensors"))
        self.sent = {
            path.name: SentFile(path.name, shard.size, known=shard.sha256)
            for path, shard in zip(paths, self.state.sent, strict=True)
        }
        return self.sent

    def forget(self) -> None:
        """Forget all files: the next run merges everything again."""
        self.state.forget()

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
        """Upload the first of the written files, and truncate it to its header."""
        shard = self.state.written[0]
        if not shard.has_its_length(path):
            msg = f"{path} has changed since it was merged: another program did that"
            raise OutputError(msg, hint="run the same command again")
        file = SentFile(path.name, shard.size, path, known=shard.sha256)
        if not shard.sha256:
            self.state.note_checksum(shard.file, file.sha256)
        self.sender.send(file)
        if self.sender.stopped.is_set():
            return
        header, _ = safetensors_header(path)
        self.state.note_sent(shard.file, header)
        os.truncate(path, len(header))


def _amount(shards: Sequence[SentShard | WrittenShard]) -> str:
    return f"{counted(len(shards), 'file')}, {size(sum(shard.size for shard in shards))}"
