"""Measure the extra time of `merge --report`, and the time of `slack-ties report`.

    python benchmarks/report.py                  # a triple of 0.4B parameters
    python benchmarks/report.py --size 1B

First it makes a bfloat16 Llama triple and reads it into the page cache. Then it runs the same merge
with and without a report, and the report without a merge, in turns. At the end it merges one tensor
with and without counting.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kernel import DENSITY, SHAPES, SLACK, WEIGHT, make_tensors
from side_by_side import print_environment, print_times, take_turns
from slack_ties.rule.definition import slack_ties_merge
from slack_ties.rule.tally import Tally
from triples import SHAPES as SIZES
from triples import make_triple
from whole_merge import make_config, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

COMMANDS = {
    "slack-ties merge": ("merge", []),
    "slack-ties merge --report": ("merge", ["--report"]),
    "slack-ties report": ("report", []),
}


def make_tasks(tensors: list[torch.Tensor]) -> dict[str, Callable[[], object]]:
    """Return the merge of one tensor, with and without counting."""
    base, *models = tensors

    def merge(tally: Tally | None = None) -> torch.Tensor:
        return slack_ties_merge(
            base, models, weight=WEIGHT, density=[DENSITY] * 2, slack=SLACK, tally=tally
        )

    return {"merge": merge, "merge and count": lambda: merge(Tally.empty([False, True]))}


def main(arguments: list[str] | None = None) -> None:
    """Print a table of commands, and one of a tensor."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="0.4B", help="parameters  [0.4B]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--keep", type=Path, help="make the triple here and keep it")
    options = parser.parse_args(arguments)
    print_environment(quick=options.size == "tiny")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        triple = options.keep or work / "triple"
        if not triple.exists():
            print(f"making a triple of {options.size} in {triple}", file=sys.stderr)
            make_triple(triple, SIZES[options.size])
        config = work / "config.yml"
        config.write_text(make_config("slack_ties", triple).replace("models:", _roles(triple), 1))
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for turn in range(options.rounds + 1):
            for name, (command, flags) in COMMANDS.items():
                print(f"round {turn} of {options.rounds}: {name}", file=sys.stderr)
                out = work / "out"
                words = [sys.executable, "-m", "slack_ties", command, str(config), "--quiet"]
                words += [str(out)] if command == "merge" else ["-o", str(out)]
                cost = measure([*words, *flags], work / "log")
                if turn:  # the first round reads the models into the page cache
                    times[name].append(cost.wall)
                shutil.rmtree(out)
        print(f"Llama triple, {SIZES[options.size].parameters():,} parameters each, bfloat16\n")
        print_times(times)
    rows, columns = SHAPES["MLP"]
    shape = (rows // 64, columns // 64) if options.size == "tiny" else (rows, columns)
    print(f"one tensor, {shape[0]} x {shape[1]} bfloat16\n")
    print_times(take_turns(make_tasks(make_tensors(shape)), options.rounds), unit=1e-3, name="ms")


def _roles(triple: Path) -> str:
    """Return the start of a config, which tells a report the role of each model."""
    roles = f"{{ct: [{triple / 'ct'}], sft: [{triple / 'sft'}]}}"
    return f"slack_ties: {{recipe: 1, roles: {roles}}}\nmodels:"


if __name__ == "__main__":
    main()
