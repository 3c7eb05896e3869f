"""Measure what `slack-ties batch --on here` costs beside single runs, one after the other.

    python benchmarks/batch.py                       # six merges of a triple of 0.4B parameters
    python benchmarks/batch.py --size 1B --tasks 3

The single runs and the batches take turns. A batch also checks every merge before the first one
begins; and it may run several at once, which single runs one after the other do not.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import print_environment, print_times
from triples import SHAPES, make_triple

OURS = [sys.executable, "-m", "slack_ties"]


def slacks(count: int) -> list[float]:
    """Return the slack of each merge."""
    return [round(0.05 * number, 2) for number in range(1, count + 1)]


def models(triple: Path) -> list[str]:
    """Return the options that name the models."""
    words = [word for role in ("base", "ct", "sft") for word in (f"--{role}", str(triple / role))]
    return [*words, "--license", "mit"]


def run_each(triple: Path, out: Path, count: int) -> None:
    """Run the merges one after the other."""
    for slack in slacks(count):
        words = [
            "run",
            "bo",
            *models(triple),
            "--slack",
            str(slack),
            "--out",
            str(out / str(slack)),
        ]
        subprocess.run([*OURS, *words, "-q"], check=True, stdout=subprocess.DEVNULL)


def run_batch(triple: Path, out: Path, count: int, *more: str) -> None:
    """Run the same merges as a batch."""
    out.mkdir()
    sweep = out.parent / f"{out.name}.yml"
    sweep.write_text(f"runs: [bo]\nvary: {{slack: {slacks(count)}}}\n", encoding="utf-8")
    words = ["batch", str(sweep), "--out", str(out), *models(triple), *more]
    subprocess.run([*OURS, *words, "-q"], check=True, stdout=subprocess.DEVNULL)


def weights(out: Path) -> list[str]:
    """Return the checksums of all weight files, in the order of the merges."""
    files = sorted(out.glob("*/*.safetensors"), key=lambda file: (file.parent.name[-3:], file.name))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def main() -> None:
    """Print a table; the first column is the ratio to the single runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SHAPES, default="0.4B", help="parameters  [0.4B]")
    parser.add_argument("--tasks", type=int, default=6, help="merges  [6]")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    options = parser.parse_args()
    print_environment()
    times: dict[str, list[float]] = {}
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        triple = Path(temporary, "triple")
        make_triple(triple, SHAPES[options.size])
        ways = {
            "single runs": lambda out: run_each(triple, out, options.tasks),
            "batch": lambda out: run_batch(triple, out, options.tasks),
            "batch --at-once 1": lambda out: run_batch(
                triple, out, options.tasks, "--at-once", "1"
            ),
        }
        for _ in range(options.rounds):
            for number, (name, work) in enumerate(ways.items()):
                out = Path(temporary, f"out{number}")
                began = time.perf_counter()
                work(out)
                times.setdefault(name, []).append(time.perf_counter() - began)
                found[name] = weights(out)
                shutil.rmtree(out)
    print_times(times)
    first = found["single runs"]
    same = all(one == first for one in found.values()) and len(set(first)) == options.tasks
    print("the weights are the same" if same else "**the weights differ**")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
