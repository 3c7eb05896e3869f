"""Compare the memory that `slack-ties plan` predicts with the memory that a merge takes.

    python benchmarks/memory.py                  # a triple of 0.4B parameters
    python benchmarks/memory.py --size 1B

We read the anonymous resident set every 10 ms while `slack-ties merge` runs, and take the largest
value. Cached parts of the models' files do not count, because the system can free them. This works
only on Linux: other systems do not report the two separately.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

from side_by_side import print_environment, print_table
from triples import SHAPES, make_triple
from whole_merge import make_config

OPTIONS: tuple[tuple[str, ...], ...] = ((), ("--out-shard-size", "200M"), ("--async-write",))


def main() -> None:
    """Predict and measure, for each format and option."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SHAPES, default="0.4B")
    arguments = parser.parse_args()
    if not Path("/proc/self/status").is_file():
        print("not measured: this needs /proc, which Linux has")
        return
    print_environment(quick=arguments.size == "tiny")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_triple(work, SHAPES[arguments.size])
        config = work / "merge.yml"
        config.write_text(make_config("slack_ties", work))
        several = OPTIONS[:1] if arguments.size == "tiny" else OPTIONS
        rows += [_row("safetensors", config, options) for options in several]
        _to_bin(work / "ct")
        rows += [_row("CT as .bin", config, options) for options in several[:2]]
    print(f"Llama triple, {SHAPES[arguments.size].parameters():,} parameters each, bfloat16\n")
    print_table(("", "announced GB", "measured GB", "ratio"), rows)


def _row(name: str, config: Path, options: tuple[str, ...]) -> tuple[str, ...]:
    tool = [sys.executable, "-m", "slack_ties"]
    plan = subprocess.run(
        [*tool, "plan", config, "--json", *options], capture_output=True, check=True
    )
    announced = json.loads(plan.stdout)["memory"]
    out = config.with_name("out")
    measured = _peak([*tool, "merge", str(config), str(out), "--quiet", *options])
    shutil.rmtree(out)
    figures = (f"{announced / 1e9:.2f}", f"{measured / 1e9:.2f}", f"{announced / measured:.2f}")
    return (" ".join((name, *options)), *figures)


def _peak(command: list[str]) -> int:
    """Run a command and return its largest anonymous resident set in bytes."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    peak = max(peak, int(line.split()[1]) * 1024)
            time.sleep(0.01)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return peak


def _to_bin(folder: Path) -> None:
    """Save a model's weights as a .bin file instead."""
    import torch  # noqa: PLC0415

    weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
        path.unlink()
    for index in folder.glob("*.index.json"):
        index.unlink()
    torch.save(weights, folder / "pytorch_model.bin")


if __name__ == "__main__":
    main()
