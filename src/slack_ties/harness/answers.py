"""Keep the answers of a model, so that a run that was stopped goes on where it was.

The file is lm-eval's own cache: SQLite. Its place names the model and everything that an answer
depends on, so that an old answer is never taken for another model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import shlex
import sqlite3
from contextlib import closing
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from slack_ties.errors import OutputError
from slack_ties.models.text_files import ALWAYS, BESIDE

if TYPE_CHECKING:
    from slack_ties.harness.how import How
    from slack_ties.private.lm_eval import CountingCache, CountingModel

__all__ = ["AnswersFile", "answers_file", "content_of"]

LOG = logging.getLogger("slack_ties")

# Files of a model's folder that its answers depend on: weights, config, tokenizer, template. Other
# files may come and go: reports, examples, and results of people.
READ = (
    *("*.safetensors", "*.bin", "*.index.json", "config.json", "adapter_config.json"),
    *("*.model", "*.tiktoken", "*.vocab", "*.jinja", *ALWAYS, *BESIDE),
)

LIBRARIES = ("lm_eval", "torch", "transformers", "tokenizers")

# What reading and writing it raises: of SQLite, and of an answer that is damaged.
OF_THE_FILE = (sqlite3.Error, pickle.UnpicklingError, EOFError)

POLL = 1.0  # seconds between two looks whether another process is done


def content_of(folder: Path) -> str:
    """Return a text that is another one after a file that a model's answers depend on has changed.

    It has the name, size and time of each file, but not the path of the folder: a snapshot in the
    Hub cache keeps its answers if the cache moves.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in READ) and path.is_file():
            status = path.stat()  # of the file that a link leads to
            found.append((path.name, status.st_size, status.st_mtime_ns))
    return json.dumps(found)


def answers_file(model: str | Path, how: How) -> Path:
    """Return the place of a model's answers, in a folder that exists.

    Args:
        model: A folder; or what identifies the model otherwise, such as ID@COMMIT.
        how: How the model is run.

    """
    from huggingface_hub import cached_assets_path, constants  # noqa: PLC0415 - the Hub client

    content = content_of(model) if isinstance(model, Path) else model
    kind = how.device.partition(":")[0]
    parts = [content, how.dtype, kind, how.batch, how.chat_template]
    parts += [version(name) for name in LIBRARIES]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    assets = constants.HF_ASSETS_CACHE
    folder = cached_assets_path("slack-ties", "evaluate", "answers", assets_dir=assets)
    return folder / f"{key[:32]}.sqlite"


class AnswersFile:
    """A file with answers, for one process at a time; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        """Take the place; nothing is opened yet."""
        self.path = path
        self.lock = FileLock(f"{path}.lock") if path else None
        self.cache: CountingCache | None = None

    def __enter__(self) -> AnswersFile:  # noqa: PYI034 - Self is Python 3.11's
        """Wait until no other process uses the file; remove it if it is damaged.

        Raises:
            OutputError: The file cannot be written.

        """
        if self.path and self.lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._wait()
                self._check()
            except OSError as error:
                self.lock.release()
                msg = f"cannot write {str(self.path)!r}: {error.strerror or error}"
                raise OutputError(msg, hint="set HF_ASSETS_CACHE to another folder") from None
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is not written yet, and let other processes use the file."""
        try:
            if self.cache:
                self.cache.close()
        except sqlite3.Error as error:
            raise self.reason(error) or error from error
        finally:
            if self.lock:
                self.lock.release()

    def around(self, model: CountingModel) -> Any:
        """Return lm-eval's model that takes answers from the file, and keeps them there."""
        if not self.path:
            return model
        from slack_ties.private.lm_eval import CountingCache  # noqa: PLC0415 - imports lm-eval

        self.cache = CountingCache(model, self.path)
        return self.cache

    def reason(self, error: Exception) -> OutputError | None:
        """Return what to do if an error is one of the file; None if it is about something else."""
        if self.path is None or not isinstance(error, OF_THE_FILE):
            return None
        msg = f"cannot use the kept answers in {str(self.path)!r}: {error}"
        step = f"rm {shlex.quote(str(self.path))}"
        return OutputError(msg, hint=f"{step}  # if the disk is not full; then run it again")

    def _wait(self) -> None:
        assert self.lock  # noqa: S101 - for mypy
        said = False
        while True:
            try:
                self.lock.acquire(timeout=POLL)
            except Timeout:
                if not said:
                    LOG.info("  another process scores the same model: waiting for its answers")
                said = True
            else:
                return

    def _check(self) -> None:
        """Remove a damaged file."""
        assert self.path  # noqa: S101 - for mypy
        if not self.path.exists():
            return
        try:
            with closing(sqlite3.connect(self.path)) as opened:
                (said,) = opened.execute("PRAGMA quick_check").fetchone()
        except sqlite3.DatabaseError as error:
            said = str(error)
        if said != "ok":
            LOG.warning(
                "  %s is damaged (%s): it is deleted, and all items are scored again",
                shlex.quote(str(self.path)),
                said,
            )
            for name in (self.path, Path(f"{self.path}-journal")):
                name.unlink(missing_ok=True)
