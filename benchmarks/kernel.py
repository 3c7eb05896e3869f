"""Compare the time of merging one tensor with mergekit's own methods and with memory.

    python benchmarks/kernel.py

Base, CT and SFT model have two shapes of Llama-2-7B in bfloat16. `read 3, write 1` is one torch
operation that reads three tensors and writes one: no merge can be faster.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import torch
from mergekit.merge_methods import merge_tensors

from side_by_side import print_environment, print_times, take_turns
from slack_ties.rule.blockwise import merge_blocks
from slack_ties.rule.definition import slack_ties_merge

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = {"MLP": (4096, 11008), "embedding": (32000, 4096)}
WEIGHT, DENSITY, SLACK = [1.0, 0.5], 0.5, [0.0, 0.2]


def make_tensors(shape: tuple[int, int]) -> list[torch.Tensor]:
    """Return a base and two models with normal deltas; one delta is three times the other."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(shape, generator=random).mul_(0.02).bfloat16()
    spreads = (0.003, 0.001)
    return [base, *((torch.randn(shape, generator=random) * s + base).bfloat16() for s in spreads)]


def make_tasks(tensors: list[torch.Tensor]) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the tasks to time on these tensors; ours first."""
    base, *models = tensors

    def stock(method: str, *, base_index: int | None = 0, **parameters: object) -> torch.Tensor:
        return merge_tensors(tensors, method, base_index=base_index, parameters=parameters)

    def by_torch() -> torch.Tensor:
        shares = [DENSITY] * len(models)
        return slack_ties_merge(
            base, models, weight=WEIGHT, density=shares, slack=SLACK, engine=merge_blocks
        )

    return {
        "slack_ties": lambda: stock("slack_ties", weight=WEIGHT, density=DENSITY, slack=SLACK),
        "read 3, write 1": lambda: torch.addcmul(*tensors),
        "linear": lambda: stock("linear", base_index=None, weight=[1.0, *WEIGHT]),
        "task_arithmetic": lambda: stock("task_arithmetic", weight=WEIGHT),
        "slack_ties by torch": by_torch,
        "ties": lambda: stock("ties", weight=WEIGHT, density=DENSITY),
    }


def main(arguments: list[str] | None = None) -> None:
    """Print a table per shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small tensors, one round")
    options = parser.parse_args(arguments)
    print_environment(quick=options.quick)
    for name, (rows, columns) in SHAPES.items():
        shape = (rows // 64, columns // 64) if options.quick else (rows, columns)
        print(f"{name}, {shape[0]} x {shape[1]} bfloat16, density {DENSITY}\n")
        times = take_turns(make_tasks(make_tensors(shape)), 1 if options.quick else options.rounds)
        print_times(times, unit=1e-3, name="ms")


if __name__ == "__main__":
    main()
