"""The output folder: it appears whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import re
import shlex
import shutil
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
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

WORKER = re.compile(r"\.(\d+)-[0-9a-f]{8}\.partial$")  # which process works in a folder

UNFINISHED_FILE = "UNFINISHED.txt"

UNFINISHED = """\
The weights in this folder are merged and whole. Something else of the model is missing:

    {}

To complete it, copy config.json and the tokenizer's files from the base model into this folder,
or mend what is named above and merge again into another folder.
"""

# No space, file-size limit, quota. safetensors gives the number in its message alone.
NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def keep_weights(out: Path, stream: Streaming | None) -> Iterator[None]:
    """Let what goes wrong after the weights are merged not cost the weights."""
    try:
        yield
    except Exception as error:
        if stream:  # the Hub has the weights, and the next run goes on from there
            raise
        raise _UnfinishedError(out, error) from error


class _UnfinishedError(OutputError):
    """The weights are merged, and something else of the model is not there."""

    def __init__(self, out: Path, error: Exception) -> None:
        """Say what is missing, and how to go on."""
        self.reason = " ".join((str(error) or type(error).__name__).split())
        msg = f"the weights are merged and kept in {str(out)!r}, but not all of the model is "
        msg += f"there: {self.reason}"
        super().__init__(msg, hint=f"see {str(out / UNFINISHED_FILE)!r}")


def check_output(out: Path) -> None:
    """Refuse a folder that the result cannot take the place of.

    Raises:
        OutputError: It is not empty, not a folder, a mount point, or not writable.

    """
    hint = "choose another folder, or empty this one yourself"
    if out.is_dir():
        if (out / RECORD_FILE).is_file():
            msg = f"output folder {str(out)!r} holds a finished merge"
            name = shlex.quote(str(out))
            hint = f"publish it: slack-ties card {name}; slack-ties publish {name} REPO_ID; "
            raise OutputError(msg, hint=hint + "or choose another folder")
        if any(out.iterdir()):
            msg = f"output folder {str(out)!r} is not empty"
            raise OutputError(msg, hint=hint)
        if out.resolve() == Path.cwd():  # it would be replaced under the shell's feet
            msg = f"output folder {str(out)!r} is the folder you are in, expected one inside it"
            raise OutputError(msg, hint="use ./merged")
        if os.path.ismount(out.resolve()):
            msg = f"output folder {str(out)!r} is a mount point, expected a folder inside it"
            raise OutputError(msg, hint=f"use {str(out / 'merged')!r}")
    elif out.exists():
        msg = f"output {str(out)!r} is a file, expected a folder"
        raise OutputError(msg, hint=hint)
    there = nearest_folder(out)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        msg = f"cannot write to {str(there)!r}, where output folder {str(out)!r} would go"
        raise OutputError(msg, hint="choose another folder")


@contextmanager
def work_place(
    out: Path,
    stream: Streaming | None,
    recipe: Recipe,
    options: MergeOptions,
    snapshots: Mapping[str, list[Snapshot]],
) -> Iterator[Path]:
    """Yield where to merge: beside the output, or where a stream goes on."""
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
    """Yield a folder beside `out` that becomes `out` at the end, or goes away."""
    import psutil  # noqa: PLC0415 - not for --help

    for folder in sorted(out.absolute().parent.glob(f".{out.name}.*.partial")):
        worker = WORKER.search(folder.name)
        if worker and psutil.pid_exists(int(worker[1])):
            msg = f"another merge to {str(out)!r} is at work (process {worker[1]})"
            hint = f"wait for it, or choose another folder; if none is at work, delete {folder}"
            raise OutputError(msg, hint=hint)
        LOG.warning("left over from a merge that was killed, delete it yourself: %s", folder)
    name = f".{out.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial"
    work = out.absolute().parent / name
    try:
        work.mkdir(parents=True)
        yield work
    except _UnfinishedError as error:
        with suppress(OSError):
            (work / UNFINISHED_FILE).write_text(UNFINISHED.format(error.reason), encoding="utf-8")
        _put_in_place(work, out)
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    _put_in_place(work, out)


def _put_in_place(work: Path, out: Path) -> None:
    try:
        if out.is_dir():
            out.rmdir()  # empty: `check_output` saw to that, and rmdir refuses otherwise
        work.rename(out)
    except OSError as error:  # something came into its place: the result is kept
        msg = f"the merge is complete, but cannot take the place of {str(out)!r}: {error}"
        raise OutputError(msg, hint=f"it is kept as {str(work)!r}: rename it") from None


def is_of_writing(error: Exception, work: Path) -> bool:
    """Say whether an error came up where the result is written, not where models are read."""
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
