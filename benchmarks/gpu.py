"""Measure the share of a GPU's memory bandwidth that the merge of one tensor reaches.

    python benchmarks/gpu.py

The bytes of three tensors read and one written count once each. They are compared with a copy on
the device, which reads and writes as fast as its memory allows. The result is compared with the
CPU's. For whole merges on the GPU: python benchmarks/whole_merge.py --size 7B --options=--cuda
"""

from __future__ import annotations

import argparse
import statistics
from typing import TYPE_CHECKING

import torch

from kernel import SHAPES, make_tasks, make_tensors
from side_by_side import print_environment, print_table, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable


def on_device(task: Callable[[], object]) -> Callable[[], None]:
    """Return a task that also waits until the device has finished."""

    def run() -> None:
        task()
        torch.cuda.synchronize()

    return run


def main(arguments: list[str] | None = None) -> None:
    """Print a table per shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="small tensors, one round")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no CUDA device here: not measured")
        return
    print_environment(quick=options.quick)
    for name, (rows, columns) in SHAPES.items():
        shape = (rows // 64, columns // 64) if options.quick else (rows, columns)
        on_cpu = make_tensors(shape)
        tensors = [tensor.cuda() for tensor in on_cpu]
        tasks = make_tasks(tensors)
        same = torch.equal(make_tasks(on_cpu)["slack_ties"](), tasks["slack_ties"]().cpu())
        size = tensors[0].nbytes
        moved = {task: 2 * size if task == "copy" else 4 * size for task in ["copy", *tasks]}
        times = take_turns(
            {name: on_device(task) for name, task in {"copy": tensors[0].clone, **tasks}.items()},
            1 if options.quick else options.rounds,
        )
        medians = {task: statistics.median(seconds) for task, seconds in times.items()}
        rate = {task: moved[task] / median for task, median in medians.items()}
        cells = [
            (task, f"{rate[task] / rate['copy']:.3f}", f"{rate[task] / 1e9:.0f}", f"{m * 1e3:.2f}")
            for task, m in medians.items()
        ]
        print(f"{name}, {shape[0]} x {shape[1]} bfloat16; the same bytes as the CPU's: {same}\n")
        print_table(("", "of copy", "GB/s", "median ms"), cells)


if __name__ == "__main__":
    main()
