"""Make the output folder: it appears complete or not at all."""

from __future__ import annotations

import errno
import glob
import logging
import os
import re
import shlex
import shutil
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError, is_bug
from slack_ties.files import nearest_folder
from slack_ties.merge.options import stream_folder
from slack_ties.record import RECORD_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mergekit.options import MergeOptions

    from slack_ties.merge.receiver import Streaming
    from slack_ties.models.cached import Snapshot
    from slack_ties.recipe.recipe import Recipe

from slack_ties.private.safetensors import system_errors

__all__ = ["check_output", "is_of_writing", "keep_weights", "unwritable", "work_place"]

LOG = logging.getLogger("slack_ties")

WORKER = re.compile(r"\.(\d+)-[0-9a-f]{8}\.partial$")  # the process that works in a folder

UNFINISHED_FILE = "UNFINISHED.txt"

UNFINISHED = """\
The weights in this folder are merged and whole. Something else of the model is missing:

    {}

To complete it, copy config.json and the tokenizer's files from the base model into this folder,
or mend what is named above and merge again into another folder.
"""

# No space, file-size limit, quota. safetensors gives the error number only in its message.
NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def keep_weights(out: Path, stream: Streaming | None) -> Iterator[None]:
    """Keep the merged weights if a later step fails."""
    try:
        yield
    except Exception as error:
        if stream:  # the Hub has the weights, and the next run resumes from them
            raise
        raise _unfinished(out, error) from error


class _UnfinishedError(OutputError):
    """The weights are merged, but another part of the model is missing."""

    reason = ""


def _unfinished(out: Path, error: Exception) -> _UnfinishedError:
    """Say what is missing, and what to do next."""
    reason = " ".join((str(error) or type(error).__name__).split())
    msg = (
        f"the weights are merged and kept in {str(out)!r}, but the model is not complete: {reason}"
    )
    found = _UnfinishedError(msg, hint=f"see {str(out / UNFINISHED_FILE)!r}")
    found.reason = reason
    return found


def check_output(out: Path, repo_id: str = "") -> None:
    """Refuse an output folder that the result cannot replace.

    Args:
        out: The folder.
        repo_id: Where the result will be published, if `run` has found that `out` holds another.

    Raises:
        OutputError: `out` is a folder with files, a file, a mount point, or cannot be written.

    """
    hint = "choose another folder, or empty this one yourself"
    if out.is_dir():
        if (out / RECORD_FILE).is_file():
            msg = f"output folder {str(out)!r} holds a finished merge"
            msg += " of other models, commits or settings" if repo_id else ""
            name = shlex.quote(str(out))
            weights = [*out.glob("*.safetensors"), *out.glob("*.bin")]
            if not weights:  # `run --stream` keeps none here
                raise OutputError(msg, hint="choose another folder")
            hint = f"slack-ties publish {name} {shlex.quote(repo_id or 'OWNER/NAME')}"
            if not (out / "README.md").is_file():  # publishing needs a card
                hint = f"slack-ties card {name}"
            raise OutputError(msg, hint=f"{hint}  # or choose another folder")
        if any(out.iterdir()):
            msg = f"output folder {str(out)!r} is not empty"
            raise OutputError(msg, hint=hint)
        if out.resolve() == Path.cwd():  # the shell would stay in a deleted folder
            msg = f"output folder {str(out)!r} is the current folder, expected a folder inside it"
            raise OutputError(msg, hint="use ./merged")
        if os.path.ismount(out.resolve()):
            msg = f"output folder {str(out)!r} is a mount point, expected a folder inside it"
            raise OutputError(msg, hint=f"use {str(out / 'merged')!r}")
    elif out.exists():
        msg = f"output {str(out)!r} is a file, expected a folder"
        raise OutputError(msg, hint=hint)
    parent = nearest_folder(out)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        msg = f"cannot write to {str(parent)!r}, the parent of output folder {str(out)!r}"
        raise OutputError(msg, hint="choose another folder")


@contextmanager
def work_place(
    out: Path,
    stream: Streaming | None,
    recipe: Recipe,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
) -> Iterator[Path]:
    """Yield the folder to merge into: beside the output, or the folder of a stream."""
    try:
        with (
            stream_folder(stream, recipe, options, snapshots)
            if stream
            else _work_folder(out) as work
        ):
            yield work
    except OSError as error:
        raise unwritable(out, error) from None


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out`; rename it to `out` at the end, or delete it on an error."""
    name = f".{out.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial"
    work = out.absolute().parent / name
    work.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(work.parent):
        check_output(out)  # another merge may have ended since the first check
        _check_not_running(out)
        work.mkdir()
    try:
        yield work
    except _UnfinishedError as error:
        with suppress(OSError):
            (work / UNFINISHED_FILE).write_text(UNFINISHED.format(error.reason), encoding="utf-8")
        _put_in_place(work, out)
        if isinstance(error.__cause__, Exception) and is_bug(error.__cause__):
            LOG.warning("  the weights are merged and kept in %s, the rest is missing", out)
            raise error.__cause__ from None
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    _put_in_place(work, out)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one merge at a time look for others in `folder` and add its own, if the system can."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks cannot lock
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)  # releases the lock, as the end of the process would


def _check_not_running(out: Path) -> None:
    """Refuse a merge into `out` while another merge into it is running."""
    import psutil  # noqa: PLC0415 - not for --help

    for folder in sorted(out.absolute().parent.glob(f".{glob.escape(out.name)}.*.partial")):
        worker = WORKER.search(folder.name)
        if worker and psutil.pid_exists(int(worker[1])):
            msg = f"another merge into {str(out)!r} is running (process {worker[1]})"
            hint = f"wait for it, or choose another folder; if no merge is running, delete {folder}"
            raise OutputError(msg, hint=hint)
        LOG.warning("a merge that was killed left this folder, delete it yourself: %s", folder)


def _put_in_place(work: Path, out: Path) -> None:
    try:
        if out.is_dir():
            out.rmdir()  # `check_output` found it empty; rmdir refuses a folder with files
        work.rename(out)
    except OSError as error:  # files appeared in `out` during the merge: keep the result
        msg = f"the merge is complete, but its folder cannot be renamed to {str(out)!r}: {error}"
        raise OutputError(msg, hint=f"the result is in {str(work)!r}: rename it") from None


def is_of_writing(error: Exception, work: Path) -> bool:
    """Say whether an error came from writing the result, not from reading models."""
    file = getattr(error, "filename", None)
    return _is_full(error) or (file is not None and str(file).startswith(str(work)))


def _is_full(error: Exception) -> bool:
    return bool(NO_ROOM & {*system_errors(error), getattr(error, "errno", None)})


def unwritable(out: Path, error: Exception) -> OutputError:
    """Return the error for a result that cannot be written."""
    full = _is_full(error)
    what = "the disk is full or a file-size limit is reached" if full else "cannot write"
    msg = f"{what} at {str(out)!r}: {error}"
    hint = "free some space or raise the limit, then run the same command again" if full else ""
    return OutputError(msg, hint=hint)
