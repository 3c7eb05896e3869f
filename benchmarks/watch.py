"""Watch a command: the disk that it uses, its memory, and how long it takes."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INTERVAL = 0.02  # seconds between two looks at the memory
SELDOM = 0.1  # seconds between two looks at the disk


@dataclass
class Watched:
    """What a command took."""

    code: int
    output: str
    wall: float = 0  # seconds
    cpu: float = 0  # seconds of user and system time, all threads and children
    disk: int = 0  # bytes at most
    memory: int = 0  # bytes: the largest resident set of the command
    children: int = 0  # bytes: the largest sum of the resident sets of its children
    own: int = 0  # bytes: the largest part of `memory` that is no part of a file
    stopped: float = 0  # seconds from Ctrl-C to its end; 0: it ended by itself


def disk_of(folder: Path, pid: int = 0) -> int:
    """Return the bytes that the files in a folder take, and the deleted ones that are still open.

    A hole in a file takes nothing, and a file with two names counts once.

    Args:
        folder: The folder.
        pid: The process whose open files are looked at, with its children; 0 for none.

    """
    found: dict[tuple[int, int], int] = {}
    folders = [os.fspath(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                with contextlib.suppress(OSError):
                    _add(found, entry.stat(follow_symlinks=False))
    for process in _with_children(pid) if pid else ():
        with contextlib.suppress(OSError), os.scandir(f"/proc/{process.pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    file = Path(entry.path).stat()
                    if stat.S_ISREG(file.st_mode) and not file.st_nlink:
                        _add(found, file)
    return sum(found.values())


def _add(found: dict[tuple[int, int], int], file: os.stat_result) -> None:
    blocks = getattr(file, "st_blocks", None)  # Windows does not say
    found[file.st_dev, file.st_ino] = file.st_size if blocks is None else 512 * blocks


def _with_children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def watch(
    command: list[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    stop: Callable[[], bool] | None = None,
    started: Callable[[int], None] | None = None,
) -> Watched:
    """Run a command in a folder, which is all that it may write to, and watch it.

    Args:
        command: The command.
        folder: Where it runs.
        environment: Its variables.
        stop: Asked again and again; the command gets Ctrl-C once it says so.
        started: Called with the number of the process.

    """
    log = folder.with_name(f"{folder.name}.log")
    seen = Watched(0, "")
    begin = time.perf_counter()
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    if started:
        started(process.pid)
    ended = threading.Event()
    thread = threading.Thread(target=_watch_disk, args=(seen, folder, process.pid, ended))
    thread.start()
    stopped_at = 0.0
    try:
        while process.poll() is None:
            _look(process.pid, seen)
            if stop and stop():
                process.send_signal(signal.SIGINT)
                stop, stopped_at = None, time.perf_counter()
            time.sleep(INTERVAL)
    finally:
        process.kill()
        now = time.perf_counter()
        ended.set()
        thread.join()
    seen.wall = now - begin
    seen.stopped = now - stopped_at if stopped_at else 0.0
    seen.code, seen.output = process.wait(), log.read_text()
    log.unlink()
    return seen


def _watch_disk(seen: Watched, folder: Path, pid: int, ended: threading.Event) -> None:
    while not ended.wait(SELDOM):
        seen.disk = max(seen.disk, disk_of(folder, pid))


def _look(pid: int, seen: Watched) -> None:
    """Look at the memory of a process and its children."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                seen.memory = max(seen.memory, int(line.split()[1]) * 1024)
            elif line.startswith("RssAnon"):
                seen.own = max(seen.own, int(line.split()[1]) * 1024)
    children, cpu = 0, 0.0
    command: list[str] = []
    for process in _with_children(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu += times.user + times.system
            if process.pid == pid:
                command = process.cmdline()
                cpu += times.children_user + times.children_system
            elif process.cmdline() != command:  # else it is only now started: the same memory
                children += process.memory_info().rss
    seen.children = max(seen.children, children)
    seen.cpu = max(seen.cpu, cpu)
