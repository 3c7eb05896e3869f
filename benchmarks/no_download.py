"""Does `run --stream --no-download` need the disk, line and memory that it may, beside `run`?

    python benchmarks/no_download.py                        # all three parts: 16 minutes
    python benchmarks/no_download.py same --size 30M        # one part, and small models
    python benchmarks/no_download.py line --rate 30000000
    python benchmarks/no_download.py 7b

`same` makes a triple of 1B parameters and publishes it twice. The weights must have the same bytes;
disk, bytes sent and memory have bounds. `line` does it over a slow line, of so many bytes a second
in and as many out; the time has a bound. `7b` is Llama 2 7B's shape: the Hub makes up the bytes of
its files, and the command is stopped by Ctrl-C once two files of the result are published.

The Hub is the tests', in a process of its own. The exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub_process import TOKEN, USER, HubProcess
from side_by_side import print_environment, print_table
from triples import SHAPES, SPREAD, save_as_bin, save_as_safetensors, save_texts, words
from watch import Watched, watch

PROGRAM = 900_000_000  # bytes: Python, its packages and the process that uploads
DISK = 50_000_000  # bytes: configs, tokenizers, cards, headers
SENT = 1.01  # of the weight bytes of the parents
SLOWER, START = 1.1, 30  # of what the line needs; seconds
STOPS = 2  # seconds after Ctrl-C
ROOM = 4_000_000_000  # bytes of disk for the first two files of 7B
MIT = "MIT License\n\nCopyright (c) 2026 nobody\n"
REPO = f"{USER}/merged"
MODELS = {role: f"{USER}/{role}" for role in SPREAD}


@dataclass
class Seen:
    """A run of the command."""

    command: str
    took: Watched
    hub: dict[str, Any]
    published: dict[str, list[Any]] = field(default_factory=dict)  # SHA-256 and size of each file

    @property
    def disk(self) -> int:
        """Bytes at most."""
        return max(self.took.disk, self.hub["disk"])

    @property
    def weights(self) -> int:
        """Bytes of weight files that the Hub sent."""
        return int(sum(self.hub["weights"].values()))

    @property
    def uploaded(self) -> int:
        """Bytes of weight files that the Hub was sent."""
        return int(self.hub["uploaded"])


@dataclass
class Table:
    """Rows, and the names of those whose bound is missed."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(
        self, what: str, ours: str, *, theirs: str = "", bound: str = "", ok: bool = True
    ) -> None:
        """Add what was measured, without and with download, and the bound."""
        self.rows.append((what, theirs, ours, bound, ("yes" if ok else "**no**") if bound else ""))
        self.missed += [] if ok else [what]

    def within(  # noqa: PLR0913, PLR0917 - what a row has
        self,
        what: str,
        ours: float,
        bound: float,
        unit: float = 1,
        theirs: float = 0,
        digits: int = 2,
    ) -> None:
        """Add a figure that must not be above its bound."""
        shown = [f"{one / unit:.{digits}f}" if one else "" for one in (ours, bound, theirs)]
        self.add(what, shown[0], bound=shown[1], theirs=shown[2], ok=ours <= bound)

    def show(self) -> None:
        """Print it."""
        print_table(("", "run", "run --no-download", "at most", "kept"), self.rows)


class Bench:
    """A Hub with a triple, and commands that run with it."""

    def __init__(self, work: Path, shape: str, shards: tuple[int, int], *, made_up: bool) -> None:
        """Start the Hub and put a triple on it.

        Args:
            work: An empty folder.
            shape: One of SHAPES.
            shards: Bytes of a weight file of the base and the SFT model, and of the CT model.
            made_up: Let the Hub make up the bytes of the weight files.

        """
        self.work, self.shape = work, SHAPES[shape]
        self.hub = HubProcess(work / "hub")
        self.sizes: dict[str, int] = {}
        for role, repo_id in MODELS.items():
            print(f"making {role}, {shape} parameters", file=sys.stderr)
            folder = work / role
            bins = role == "ct"
            shard = shards[bins]
            if made_up:
                save_texts(folder, self.shape, shard, bins=bins)
            else:
                (save_as_bin if bins else save_as_safetensors)(
                    folder, self.shape, role, shard=shard
                )
            words().save_pretrained(folder)
            (folder / "README.md").write_text("---\nlicense: mit\n---\n")
            if role == "base":
                (folder / "LICENSE").write_text(MIT)
            model = {"size": shape, "role": role, "shard": shard, "bins": bins}
            files = self.hub.do("put", repo_id, str(folder), model if made_up else None)
            self.sizes |= {f"{repo_id}/{name}": size for name, size in files.items()}
            shutil.rmtree(folder)

    @property
    def parents(self) -> int:
        """The bytes of all weight files of the parents."""
        return sum(self.sizes.values())

    @property
    def largest_tensors(self) -> int:
        """The bytes of the largest tensor of each model, in float32: so mixed types are merged."""
        return 3 * 4 * max(size.numel() for size in self.shape.tensors().values())

    def words(self, command: str, *options: str) -> list[str]:
        """Return a command on the three models."""
        return [command, "bo", *(w for r in MODELS for w in (f"--{r}", MODELS[r])), *options]

    def ask(self, words: list[str]) -> str:
        """Run a command that is not measured, and return its output."""
        folder = self.work / "asked"
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "slack_ties", *words]
        environment = self._environment(folder)
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=environment, check=False
        )
        if done.returncode:
            sys.exit(f"{shlex.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def plan(self, shard: int) -> dict[str, Any]:
        """Return what `plan --no-download` says."""
        self.hub.do("begin", str(self.work), 0, 0)
        self.ask(self.words("config", "--out", "."))
        options = ["--no-download", "--out-shard-size", str(shard), "--json"]
        return dict(json.loads(self.ask(["plan", "bo.yml", *options])))

    def run(self, options: list[str], *, rate: int = 0, files: int = 0) -> Seen:
        """Run the command with an empty cache, in a folder of its own that is deleted afterwards.

        Args:
            options: More words.
            rate: Bytes a second in, and as many out; 0: as many as come.
            files: End it by Ctrl-C once so many files of the result are on the Hub; 0: never.

        """
        words = self.words("run", "--out", "out", "--publish", REPO, *options)
        print(f"slack-ties {shlex.join(words)}", file=sys.stderr)
        folder = self.work / "run"
        folder.mkdir()
        self.hub.do("begin", str(folder), rate, rate)
        before = len(self.hub.do("figures")["large"])

        def enough() -> bool:
            return len(self.hub.do("figures")["large"]) - before >= files

        took = watch(
            [sys.executable, "-m", "slack_ties", *words],
            folder,
            self._environment(folder),
            stop=enough if files else None,
            started=lambda pid: self.hub.do("look_at", pid),
        )
        seen = Seen(shlex.join(words), took, self.hub.do("figures"))
        if took.code and not took.stopped:
            sys.exit(f"slack-ties {shlex.join(words)} ended with {took.code}:\n{took.output}")
        if not took.stopped:
            seen.published = self.hub.do("published", REPO)
        self.hub.do("forget", [*MODELS.values()])
        shutil.rmtree(folder)
        return seen

    def _environment(self, folder: Path) -> dict[str, str]:
        for name in ("home", "temporary"):
            (folder / name).mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "temporary"))
        caches = {"HF_HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home")}
        hub = {"HF_ENDPOINT": self.hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        return {**kept, **temporary, **caches, **hub}


def same(work: Path, shape: str, shards: tuple[int, int], shard: int, sent: float) -> Table:
    """Publish the same merge twice, and compare."""
    bench = Bench(work, shape, shards, made_up=False)
    try:
        plan = bench.plan(shard)
        options = ["--stream", "--out-shard-size", str(shard)]
        theirs = bench.run(options)
        ours = bench.run([*options, "--no-download"])
    finally:
        bench.hub.close()
    _describe("same", bench, theirs, ours)
    table = Table()
    files = f"{len(ours.published)} files"
    equal = ours.published == theirs.published
    table.add("the Hub's SHA-256 of the weights", files, bound="the same", ok=equal)
    pair = 2 * max(length for _, length in theirs.published.values())
    table.within("disk, GB", ours.disk, pair + DISK, 1e9, theirs.disk)
    table.within(
        "weights sent by the Hub / of the parents",
        ours.weights / bench.parents,
        sent,
        theirs=theirs.weights / bench.parents,
        digits=4,
    )
    _memory(table, bench, plan, pair, ours, theirs)
    _times(table, ours, theirs)
    return table


def line(work: Path, shape: str, shards: tuple[int, int], shard: int, rate: int) -> Table:
    """Publish the same merge twice over a slow line."""
    bench = Bench(work, shape, shards, made_up=False)
    try:
        options = ["--out-shard-size", str(shard)]
        ours = bench.run([*options, "--stream", "--no-download"], rate=rate)
        theirs = bench.run(options, rate=rate)
    finally:
        bench.hub.close()
    _describe("line", bench, theirs, ours)
    print(f"The line lets {rate / 1e6:.0f} MB through in a second each way.\n")
    table = Table()
    _bytes(table, ours, theirs)
    needed = max(bench.parents, sum(length for _, length in ours.published.values())) / rate
    table.within("wall s", ours.took.wall, SLOWER * needed + START, theirs=theirs.took.wall)
    ratios = [f"{one.took.wall / needed:.2f}" for one in (ours, theirs)]
    table.add("wall s / what the line needs", ratios[0], theirs=ratios[1])
    equal = ours.published == theirs.published
    table.add("the Hub's SHA-256 of the weights", "", bound="the same", ok=equal)
    return table


def first_of_7b(work: Path, shape: str, shards: tuple[int, int], shard: int) -> Table:
    """Plan a merge, publish its first two files, and stop it by Ctrl-C."""
    bench = Bench(work, shape, shards, made_up=True)
    try:
        plan = bench.plan(shard)
        ours = bench.run(["--stream", "--no-download", "--out-shard-size", str(shard)], files=2)
    finally:
        bench.hub.close()
    _describe("7b", bench, ours)
    table = Table()
    table.add("GB of weight files of the parents", f"{bench.parents / 1e9:.2f}")
    table.within("disk, GB", ours.disk, min(ROOM, 2 * shard + DISK), 1e9)
    _memory(table, bench, plan, 2 * shard, ours)
    _bytes(table, ours)
    _times(table, ours)
    table.within("s from Ctrl-C to the end", ours.took.stopped, STOPS)
    return table


def _memory(  # noqa: PLR0913, PLR0917 - what a row needs
    table: Table,
    bench: Bench,
    plan: dict[str, Any],
    pair: int,
    ours: Seen,
    theirs: Seen | None = None,
) -> None:
    """Add the memory: the window, two files, the largest tensors, and the program."""
    if not Path("/proc/self/status").is_file():
        table.add("memory, which only Linux tells", "not measured")
        return
    took = ours.took
    window = plan["window"] or 10**9
    bound = window + pair + bench.largest_tensors + PROGRAM
    before = theirs.took.memory + theirs.took.children if theirs else 0
    table.within("memory with children, GB", took.memory + took.children, bound, 1e9, before)
    table.add("- of it, the children's, GB", f"{took.children / 1e9:.2f}")
    table.within("memory of no file, GB; what `plan` says", took.own, plan["memory"], 1e9)
    table.add("- the window, as `plan` says, GB", f"{window / 1e9:.2f}")


def _bytes(table: Table, ours: Seen, theirs: Seen | None = None) -> None:
    for what, key in (("read from", "weights"), ("sent to", "uploaded")):
        shown = [f"{getattr(one, key) / 1e9:.2f}" if one else "" for one in (ours, theirs)]
        table.add(f"weights {what} the Hub, GB", shown[0], theirs=shown[1])


def _times(table: Table, ours: Seen, theirs: Seen | None = None) -> None:
    for what in ("wall", "cpu"):
        seconds = [f"{getattr(one.took, what):.1f}" if one else "" for one in (ours, theirs)]
        table.add(f"{what} s", seconds[0], theirs=seconds[1])


def _describe(part: str, bench: Bench, *runs: Seen) -> None:
    print(f"### {part}: a Llama triple, {bench.shape.parameters():,} parameters each\n")
    for run in runs:
        print(f"    slack-ties {run.command}")
    print()


PARTS = ("same", "line", "7b")


def main(arguments: list[str] | None = None) -> int:
    """Print a table for each part; return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=("all", *PARTS), default="all", help="[all]")
    parser.add_argument("--size", choices=SHAPES, help="parameters  [1B; 7B for 7b]")
    parser.add_argument("--shard", type=int, help="bytes of a file of the result")
    parser.add_argument("--rate", type=int, default=30_000_000, help="bytes a second  [30000000]")
    parser.add_argument("--sent", type=float, default=SENT, help="of the parents' bytes  [1.01]")
    parser.add_argument("--work", type=Path, help="make all files in this folder")
    options = parser.parse_args(arguments)
    print_environment()
    missed = []
    for part in PARTS if "all" in options.parts else options.parts:
        shape = options.size or ("7B" if part == "7b" else "1B")
        weights = 2 * SHAPES[shape].parameters()
        shard = options.shard or min(10**9, weights // 7)
        # As of Llama 2 7B and others: two to four files of the base, and two of the CT model.
        shards = (int(weights * (0.74 if part == "7b" else 0.3)), int(weights * 0.74))
        with tempfile.TemporaryDirectory(dir=options.work, prefix="no-download-") as folder:
            work = Path(folder)
            if part == "same":
                table = same(work, shape, shards, shard, options.sent)
            elif part == "line":
                table = line(work, shape, shards, shard, options.rate)
            else:
                table = first_of_7b(work, shape, shards, shard)
        table.show()
        missed += [f"{part}: {what}" for what in table.missed]
    if missed:
        print(f"missed: {'; '.join(missed)}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
