"""Measure the time and the memory of a whole merge, from the command to the files.

    python benchmarks/whole_merge.py                  # a triple of 0.4B parameters
    python benchmarks/whole_merge.py --size 1B
    python benchmarks/whole_merge.py --size 7B --keep FOLDER --options=--cuda

First it makes a bfloat16 Llama triple and reads it into the page cache. Then it runs
`mergekit-yaml` with each method, and `slack-ties merge`. Peak memory is the largest resident set:
it includes cached parts of the models' files, which the system can free.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from side_by_side import print_environment, print_table
from triples import SHAPES, make_triple

MERGEKIT = "from mergekit.scripts.run_yaml import main; main()"
METHODS = ("slack_ties", "linear", "task_arithmetic", "ties")
TOOLS = {
    "slack-ties merge": "slack_ties",
    **{f"mergekit-yaml, {method}": method for method in METHODS},
}


@dataclass(frozen=True)
class Cost:
    """The time and memory of one process."""

    wall: float  # seconds
    cpu: float  # seconds of user and system time, all threads
    memory: int  # bytes, the largest resident set


def make_config(method: str, triple: Path) -> str:
    """Return the triple's merge config for one method, at density 0.5."""
    extra = {
        "slack_ties": [{"density": 0.5, "slack": 0.0}, {"density": 0.5, "slack": 0.2}],
        "ties": [{"density": 0.5}, {"density": 0.5}],
    }.get(method, [{}, {}])
    models = [
        {"model": str(triple / role), "parameters": {"weight": weight, **more}}
        for role, weight, more in zip(("ct", "sft"), (1.0, 0.5), extra, strict=True)
    ]
    config: dict[str, object] = {"merge_method": method, "dtype": "bfloat16", "models": models}
    if method == "linear":
        models.insert(0, {"model": str(triple / "base"), "parameters": {"weight": 1.0}})
    else:
        config["base_model"] = str(triple / "base")
    return yaml.safe_dump(config, sort_keys=False)


def measure(command: list[str], log: Path) -> Cost:
    """Run a command and return its cost."""
    start = time.perf_counter()
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{log.read_text()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def main(arguments: list[str] | None = None) -> None:
    """Print a table of tools and methods; the first column is the ratio to `slack-ties merge`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SHAPES, default="0.4B", help="parameters  [0.4B]")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS, help="[all]")
    parser.add_argument("--options", default="", help="options for every merge, as one word")
    parser.add_argument("--keep", type=Path, help="make the triple here and keep it")
    options = parser.parse_args(arguments)
    print_environment()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        triple = options.keep or work / "triple"
        if not triple.exists():
            print(f"making a triple of {options.size} in {triple}", file=sys.stderr)
            make_triple(triple, SHAPES[options.size])
        tools = {tool: method for tool, method in TOOLS.items() if method in options.only}
        costs: dict[str, list[Cost]] = {tool: [] for tool in tools}
        for turn in range(options.rounds):
            for tool, method in tools.items():
                print(f"round {turn + 1} of {options.rounds}: {tool}", file=sys.stderr)
                _read(triple)
                config, out = work / f"{method}.yml", work / "out"
                config.write_text(make_config(method, triple))
                words = (
                    ["-m", "slack_ties", "merge"] if tool.startswith("slack") else ["-c", MERGEKIT]
                )
                command = [sys.executable, *words, str(config), str(out)]
                costs[tool].append(measure([*command, *shlex.split(options.options)], work / "log"))
                shutil.rmtree(out)
    shape = f"{SHAPES[options.size].parameters():,} parameters each"
    print(f"Llama triple, {shape}, bfloat16, density 0.5 {options.options}\n")
    _print(costs)


def _read(triple: Path) -> None:
    """Read the models into the page cache, if they fit."""
    buffer = bytearray(1 << 24)
    for path in triple.rglob("*.safetensors"):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _print(costs: dict[str, list[Cost]]) -> None:
    rows = []
    first: Cost | None = None
    for tool, all_of_it in costs.items():
        median = Cost(
            statistics.median(cost.wall for cost in all_of_it),
            statistics.median(cost.cpu for cost in all_of_it),
            max(cost.memory for cost in all_of_it),
        )
        first = first or median
        rows.append(
            (
                tool,
                f"{median.wall / first.wall:.2f}",
                f"{median.memory / first.memory:.2f}",
                f"{median.wall:.1f}",
                f"{median.cpu:.1f}",
                f"{median.memory / 2**30:.2f}",
            )
        )
    head = ("", "wall ratio", "memory ratio", "wall s", "CPU s", "peak GiB")
    print_table(head, rows)


if __name__ == "__main__":
    main()
