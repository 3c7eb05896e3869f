"""Measure whether the time per parameter depends on the size of tensors or the number of models.

python benchmarks/scaling.py
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import torch

from side_by_side import print_environment, print_table, take_turns
from slack_ties.rule.definition import slack_ties_merge

ENTRIES = (1_000_000, 4_000_000, 16_000_000, 64_000_000, 200_000_000)
MODELS = (1, 2, 3, 4, 6)
EACH = 16_000_000  # entries of each tensor in the table by number of models
TURN = 64_000_000  # entries at least per turn: a turn merges several groups of small tensors
# glibc reuses memory for small results, but takes new memory for large results. The system clears
# new memory, which takes a fifth of the time. In a whole merge all memory is new, and here too.
M_MMAP_THRESHOLD = -3


def make_tensors(entries: int, models: int) -> list[torch.Tensor]:
    """Return a bfloat16 base and some models."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(entries, generator=random).mul_(0.02).bfloat16()
    return [
        base,
        *(
            torch.randn(entries, generator=random).mul_(0.002 + 0.001 * i).add_(base).bfloat16()
            for i in range(models)
        ),
    ]


def merge(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Merge at density 0.5, with slack for all but the first model: two thresholds each."""
    count = len(tensors) - 1
    return slack_ties_merge(
        tensors[0],
        tensors[1:],
        weight=[1.0] * count,
        density=[0.5] * count,
        slack=[0.0] + [0.2] * (count - 1),
    )


def peak(entries: int, count: int) -> float | None:
    """Return the peak memory of a first merge, in MiB, without inputs and output."""
    tensors = make_tensors(entries, count)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak; Linux only
        before = _resident("VmRSS")
    except OSError:
        return None
    merged = merge(tensors)
    return (_resident("VmHWM") - before - merged.nbytes) / 2**20


def _resident(which: str) -> int:
    """Return the process's memory now (VmRSS) or at its peak (VmHWM), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def peak_in_a_new_process(entries: int, count: int) -> str:
    """Return `peak` in a process that has no freed memory to reuse."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # read by glibc at the start of a process
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        most = process.submit(peak, entries, count).result()
    del os.environ["MALLOC_MMAP_THRESHOLD_"]
    return "-" if most is None else f"{most:.1f}"


def main(arguments: list[str] | None = None) -> None:
    """Print a table by size and one by number of models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="small tensors, one round")
    options = parser.parse_args(arguments)
    shrink, rounds = (1000, 1) if options.quick else (1, options.rounds)
    print_environment(quick=options.quick)
    with suppress(AttributeError, OSError, TypeError):  # glibc only
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    by_size = [(f"{n // shrink:,} entries", n // shrink, 2) for n in ENTRIES]
    by_models = [(f"models: {count}", EACH // shrink, count) for count in MODELS]
    for cases, per in ((by_size, "entry"), (by_models, "entry and model")):
        groups = {
            name: [make_tensors(entries, count)] * max(1, TURN // shrink // entries)
            for name, entries, count in cases
        }
        groups = {name: [[t.clone() for t in g] for g in group] for name, group in groups.items()}
        tasks = {
            name: lambda group=group: [merge(tensors) for tensors in group]
            for name, group in groups.items()
        }
        times = take_turns(tasks, rounds)
        rows, first = [], 0.0
        for name, entries, count in cases:
            parts = entries * len(groups[name]) * (1 if per == "entry" else count)
            nanoseconds = statistics.median(times[name]) / parts * 1e9
            first = first or nanoseconds
            memory = peak_in_a_new_process(entries, count)
            rows.append((name, f"{nanoseconds / first:.2f}", f"{nanoseconds:.2f}", memory))
        print_table(("", "ratio", f"ns per {per}", "MiB beyond inputs and output"), rows)


if __name__ == "__main__":
    main()
