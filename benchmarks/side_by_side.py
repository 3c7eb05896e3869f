"""Functions of all benchmarks: time tasks in turns, and print the machine and the versions.

Compare times only within one run. The tasks take turns: if the machine becomes slower, all tasks
become slower. A table gives the median of each task, and its ratio to the first task.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from slack_ties.rule.kernel import load_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PACKAGES = ("slack-ties", "mergekit", "torch", "transformers", "safetensors")


def take_turns(
    tasks: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Return the seconds that each task took in each of `rounds` rounds."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds + warm_up):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if turn >= warm_up:
                times[name].append(time.perf_counter() - start)
    return times


def print_environment(*, quick: bool = False) -> None:
    """Print date, machine and versions, which every figure needs."""
    if quick:
        print("quick: tensors too small for their times to mean anything\n")
    print(f"date      {datetime.now(timezone.utc):%Y-%m-%d}")
    print(f"machine   {_processor()}, {os.cpu_count()} cores, {_memory()}, {platform.system()}")
    if torch.cuda.is_available():
        print(f"device    {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    print(f"threads   {torch.get_num_threads()}")
    print(f"kernel    {'compiled' if load_kernel() else 'none: torch merges'}")
    versions = (f"{name} {version(name)}" for name in PACKAGES)
    print(f"versions  Python {platform.python_version()}, {', '.join(versions)}\n")


def print_times(times: Mapping[str, list[float]], *, unit: float = 1.0, name: str = "s") -> None:
    """Print each task's ratio to the first median, its median, and its fastest time."""
    medians = {task: statistics.median(seconds) for task, seconds in times.items()}
    first = next(iter(medians.values()))
    rows = [
        (task, f"{median / first:.2f}", f"{median / unit:.3f}", f"{min(times[task]) / unit:.3f}")
        for task, median in medians.items()
    ]
    print_table(("", "ratio", f"median {name}", f"fastest {name}"), rows)


def print_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a Markdown table, the first column to the left and the others to the right."""
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        [
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print()


def _processor() -> str:
    """Return the processor's name if the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return "memory unknown"
    return f"{size / 2**30:.0f} GiB"
