"""What the jobs of test_experiments.py do: a module, because other processes import it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def make(*paths: Path) -> None:
    """Make files."""
    for path in paths:
        path.touch()


def wait_and_make(path: Path, *others: Path) -> None:
    """Make a file when others are there."""
    while not all(other.exists() for other in others):
        time.sleep(0.01)
    path.touch()


def fail(reason: str) -> None:
    """Raise an error."""
    raise RuntimeError(reason)


def leave() -> None:
    """Leave as a command does."""
    sys.exit("no use")


def call() -> None:
    """Run a command that fails."""
    subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)


def fill() -> None:
    """Meet a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "big.safetensors")


def end() -> None:
    """End the process at once."""
    os._exit(7)


def be_killed() -> None:
    """Be ended as the system does when memory is full."""
    os.kill(os.getpid(), signal.SIGKILL)
