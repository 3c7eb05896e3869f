"""Run a program of llama.cpp: show how much of its file is written, end it after Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections import deque
from typing import TYPE_CHECKING

from slack_ties.progress import Progress
from slack_ties.threads import CHECK_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FailedError", "run_program"]

LOG = logging.getLogger("slack_ties")

KEPT = 2000  # lines of a program's output

END_TIME = 5.0  # seconds for a program that was killed

SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")


class FailedError(Exception):
    """A program ended with an error, or wrote no file."""

    def __init__(self, how: str, lines: Sequence[str]) -> None:
        """Keep how it ended, and what it said."""
        super().__init__(how)
        self.lines = tuple(lines)

    @property
    def text(self) -> str:
        """All that it said."""
        return "\n".join(self.lines)


def run_program(
    words: Sequence[str], target: Path, *, verb: str, total: int, quiet: bool
) -> list[str]:
    """Run a program that writes one file; return the lines that it said.

    It gets no token, and may not ask the Hub. It is ended if this function is left by an error.

    Args:
        words: Its command line.
        target: The file that it writes.
        verb: What was done with the bytes, for people, such as converted.
        total: About how many bytes the file will have.
        quiet: Show no progress.

    Raises:
        FailedError: It does not run, ends with an error, or the file is not there.

    """
    lines: deque[str] = deque(maxlen=KEPT)
    try:
        process = subprocess.Popen(
            words,
            cwd=target.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            # Ctrl-C in the terminal comes to us alone, and we end it.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        how = f"does not run: {error.strerror or error}"
        raise FailedError(how, ()) from None
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        with Progress(verb, total, quiet=quiet) as progress:
            while True:
                try:
                    code = process.wait(CHECK_INTERVAL)
                except subprocess.TimeoutExpired:
                    progress.at(min(_size(target), total))
                else:
                    break
    finally:
        _end(process)
        reader.join(END_TIME)
        if process.stdout:
            process.stdout.close()
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise FailedError(how, lines)
    if not _size(target):
        how = "wrote no file"
        raise FailedError(how, lines)
    return list(lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, and what it has started."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            # It may end in this moment: macOS then says that we may not.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_TIME)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in SECRETS}
    return {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}


def _read(process: subprocess.Popen[bytes], lines: deque[str]) -> None:
    for raw in process.stdout or ():
        # A bar of progress writes many states into one line.
        text = raw.decode(errors="replace").rstrip().rpartition("\r")[2]
        if text.strip():
            lines.append(text[:2000])
            LOG.debug("  %s", text[:2000])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
