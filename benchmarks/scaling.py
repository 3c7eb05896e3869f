"""Does the time per parameter stay the same, however large the tensors and however many models?

python benchmarks/scaling.py
"""

from __future__ import annotations

import argparse
import statistics
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import torch

from side_by_side import print_environment, print_table, take_turns
from slack_ties.method import slack_ties_merge

ENTRIES = (1_000_000, 4_000_000, 16_000_000, 64_000_000, 200_000_000)
MODELS = (1, 2, 3, 4, 6)
EACH = 16_000_000  # entries of the tensors when the number of models grows
# A turn merges several groups of small tensors, all different, and keeps the results until the
# end, as a merge keeps those of a file: all memory is as fresh as a large tensor's.
TURN = 64_000_000  # entries


def make_tensors(entries: int, models: int) -> list[torch.Tensor]:
    """Return a bfloat16 base and models of it."""
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


def peak(tensors: list[torch.Tensor]) -> float:
    """Return the most memory, in MiB, that a merge takes beyond inputs and output."""
    tracemalloc.start()
    with ThreadPoolExecutor(1) as pool:  # a thread that has nothing yet
        pool.submit(merge, tensors).result()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


def main(arguments: list[str] | None = None) -> None:
    """Print a table by size and one by number of models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="small tensors, one round")
    options = parser.parse_args(arguments)
    shrink, rounds = (1000, 1) if options.quick else (1, options.rounds)
    print_environment()
    by_size = [(f"{n // shrink:,} entries", n // shrink, 2) for n in ENTRIES]
    by_models = [(f"{count} models", EACH // shrink, count) for count in MODELS]
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
            memory = f"{peak(groups[name][0]):.2f}"
            rows.append((name, f"{nanoseconds / first:.2f}", f"{nanoseconds:.2f}", memory))
        print_table(("", "ratio", f"ns per {per}", "MiB beyond inputs and output"), rows)


if __name__ == "__main__":
    main()
