"""Check that the method is right on this NVIDIA GPU, and measure how fast it is.

    sh benchmarks/gpu_check.sh OUT             # on a fresh machine: sets everything up
    python benchmarks/gpu_check.py OUT         # where slack-ties is installed

One run of a few minutes writes OUT/gpu_check.json and OUT/gpu_check.md, one row per check. Results
are compared bit for bit, even the sign of zeros. If there is no time, no GPU or no package for a
check, its row says so. The exit code is 1 if bytes differ, a test fails or a check breaks.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from gpu import on_device
from kernel import make_tasks, make_tensors
from side_by_side import PACKAGES, print_table, take_turns
from slack_ties.rule.blockwise import ACCELERATOR_BLOCK, CPU_BLOCK, merge_blocks
from slack_ties.rule.definition import Engine, slack_ties_merge
from slack_ties.rule.kernel import load_kernel, merge_on_cpu
from triples import SHAPES, make_triple
from whole_merge import MERGEKIT, make_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
NO_GPU = "not measured: no CUDA device"
NO_TIME = "not measured: time"
MIB = 1 << 20
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
DTYPES = (torch.float16, torch.bfloat16, torch.float32)

KINDS = ("near", "zeros", "ties", "bits")  # of inputs: `make_inputs` says what they are
SMALL_SHAPES = ((), (1,), (7,), (1000,), (33, 65), (5, 3, 129))
PARAMETERS: dict[str, dict[str, Any]] = {
    "all kept": {"weight": [1.0, 0.5], "normalize": False},
    "half kept, slack": {"weight": [1.0, 0.5], "density": [0.5, 0.5], "slack": [0.0, 0.2]},
    "a tenth kept, lambda": {
        "weight": [0.9, 0.6],
        "density": [0.1, 0.1],
        "slack": [0.2, 0.2],
        "normalize": False,
        "lambda_": 0.7,
    },
    "four models, a negative weight": {
        "weight": [1.0, 0.3, -0.7, 0.45],
        "density": [0.5, 1.0, 0.1, 0.5],
        "slack": [0.0, 0.2, 0.05, 0.1],
        "lambda_": 1.3,
    },
    "a weight of 0": {
        "weight": [1.0, 0.0, 0.3],
        "density": [0.5, 0.5, 0.5],
        "slack": [0.0, 0.2, 0.2],
        "normalize": False,
    },
    "one model": {"weight": [0.9], "density": [0.5], "slack": [0.2]},
}

# mergekit's options, beside --cuda, for the device of tensors and for writing.
OPTIONS = ((), ("--low-cpu-memory",), ("--read-to-gpu",), ("--async-write",))
# GPU tests without the marker `cuda`, which is newer.
OLDER_TESTS = (
    "test_method.py::test_a_gpu_gives_the_same_bytes",
    "test_threshold.py::test_never_waits_for_the_device",
    "test_merge.py::test_how_it_is_done_changes_nothing",
)
FOR_TESTS = ("pytest", "hypothesis", "babel")

# Python code for commands that print their peak GPU memory at the end: equal bytes prove nothing
# if the merge did not use the GPU.
PROBE = """
import atexit, sys

@atexit.register
def say():
    torch = sys.modules.get("torch")  # too late to import it
    used = torch is not None and torch.cuda.is_initialized()
    cards = range(torch.cuda.device_count()) if used else ()
    peak = sum(torch.cuda.max_memory_allocated(card) for card in cards)
    print(f"GPU memory: {peak}", file=sys.stderr)

"""
STOCK, OURS = f"{PROBE}{MERGEKIT}", f"{PROBE}from slack_ties.cli.main import main; main()"
# The method's tables of counts take 16 MiB; the tensors of the triple are smaller.
LEAST_PEAK = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """The result of a check."""

    status: str
    numbers: dict[str, float] = field(default_factory=dict)
    wrong: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    name: str
    status: str
    numbers: dict[str, float]
    wrong: bool
    seconds: float


class Run:
    """The finished rows, and the time that is left."""

    def __init__(self, out: Path, limit: float, *, small: bool = False) -> None:
        """Start the clock."""
        self.out, self.small, self.limit = out, small, limit
        self.start = time.monotonic()
        self.rows: list[Row] = []
        self.about = environment()
        self.out.mkdir(parents=True, exist_ok=True)
        self.save()

    def left(self) -> float:
        """Return how many seconds are left."""
        return self.limit - (time.monotonic() - self.start)

    def row(
        self, name: str, check: Callable[[], Outcome], *, seconds: float, gpu: bool = True
    ) -> None:
        """Run a check that takes about so many seconds, if they are left, and add its row."""
        start = time.monotonic()
        if gpu and not torch.cuda.is_available():
            outcome = Outcome(NO_GPU)
        elif self.left() < seconds:
            outcome = Outcome(NO_TIME)
        else:
            try:
                outcome = check()
            except subprocess.TimeoutExpired:
                outcome = Outcome(NO_TIME)
            except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
                lines = str(error).strip().splitlines() or [""]
                outcome = Outcome(f"failed: {type(error).__name__}: {lines[-1][:200]}", wrong=True)
        took = time.monotonic() - start
        self.rows.append(Row(name, outcome.status, outcome.numbers, outcome.wrong, round(took, 2)))
        print(f"{took:6.1f} s  {name}: {outcome.status}", flush=True)
        self.save()

    def save(self) -> None:
        """Write all rows. This runs after each row: a stopped run leaves its finished rows."""
        data = {**self.about, "seconds": round(time.monotonic() - self.start, 1)}
        data["small"] = self.small
        data["rows"] = [asdict(row) for row in self.rows]
        (self.out / "gpu_check.json").write_text(json.dumps(data, indent=2) + "\n", "utf-8")
        (self.out / "gpu_check.md").write_text(self._table(), "utf-8")

    def _table(self) -> str:
        about, small = self.about, "; small: its times mean nothing" if self.small else ""
        versions = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
        machine = f"{about['card']}, driver {about['driver']}, {about['cpu_threads']} CPU threads"
        lines = (
            f"{about['date']}: {machine}, kernel {about['kernel']}{small}",
            f"{versions}; commit {about['commit']}",
        )
        cells = [
            (row.name, row.status.replace("|", "/"), f"{row.seconds:.1f}") for row in self.rows
        ]
        table = io.StringIO()
        with contextlib.redirect_stdout(table):
            print("\n\n".join(lines), end="\n\n")
            print_table(("check", "result", "seconds"), cells)
        return table.getvalue()


def environment() -> dict[str, Any]:
    """Return date, card, driver, versions and commit, which every figure needs."""
    versions = {"Python": platform.python_version(), "CUDA": str(torch.version.cuda)}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    here = torch.cuda.is_available()
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "card": torch.cuda.get_device_name() if here else "no CUDA device",
        "cards": torch.cuda.device_count() if here else 0,
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cpu_threads": torch.get_num_threads(),
        "kernel": "compiled" if load_kernel() else "none",
        "versions": versions,
        "commit": _commit(),
    }


def _said(*command: str) -> str:
    """Return the first line that a program prints, or "unknown"."""
    program = shutil.which(command[0])
    if program is None:
        return "unknown"
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # git must not write
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=False, env=quiet
    )
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines and not done.returncode else "unknown"


def _commit() -> str:
    """Return the commit of this checkout, and whether files differ from the commit."""
    commit = _said("git", "-C", str(ROOT), "rev-parse", "HEAD")
    changes = _said("git", "-C", str(ROOT), "status", "--porcelain", "--", "src")
    return commit if changes == "unknown" else f"{commit} with changes in src"


# The bytes of a tensor


def differing(one: torch.Tensor, other: torch.Tensor) -> int:
    """Return how many entries have different bits; all of them if shape or type differ."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return max(one.numel(), other.numel(), 1)
    integer = INTEGERS[one.dtype.itemsize]
    first, second = (t.detach().cpu().contiguous().view(integer) for t in (one, other))
    return int((first != second).sum())


def compare(pairs: Iterator[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor]]) -> Outcome:
    """Compare named pairs of tensors. The fourth item is the base, which the merge must change."""
    tensors = entries = wrong = changed = 0
    first = ""
    for name, one, other, base in pairs:
        found = differing(one, other)
        if found and not wrong:
            first = f" (first in {name})"
        tensors += 1
        entries += one.numel()
        wrong += found
        changed += differing(one, base)
    numbers = {"tensors": tensors, "entries": entries, "differ": wrong, "unlike base": changed}
    if wrong:
        return Outcome(f"differs: {wrong} of {entries} entries{first}", numbers, wrong=True)
    if not changed:  # equal bytes prove nothing if the merge did nothing
        return Outcome(f"failed: none of {entries} entries were merged", numbers, wrong=True)
    return Outcome("same bytes", numbers)


def make_inputs(
    kind: str, shape: Sequence[int], dtype: torch.dtype, models: int, seed: int = 0
) -> list[torch.Tensor]:
    """Return a base and some models with deltas of one kind.

    near: as models are, small deltas; zeros: two thirds of the deltas are 0; ties: few different
    deltas, which often add up to 0; bits: any finite bits, denormals and zeros of both signs.
    """
    random = torch.Generator().manual_seed(seed)
    if kind == "bits":
        return [_any_bits(shape, dtype, random) for _ in range(models + 1)]
    if kind == "ties":
        base = torch.randint(-4, 5, shape, generator=random) / 8
        deltas = [torch.randint(-2, 3, shape, generator=random) / 8 for _ in range(models)]
    else:
        base = torch.randn(shape, generator=random) * 0.02
        deltas = [torch.randn(shape, generator=random) * 0.003 / (i + 1) for i in range(models)]
    if kind == "zeros":
        deltas = [
            torch.where(torch.rand(shape, generator=random) < 1 / 3, delta, 0) for delta in deltas
        ]
    base = base.to(dtype)
    return [base, *((base.float() + delta).to(dtype) for delta in deltas)]


def _any_bits(shape: Sequence[int], dtype: torch.dtype, random: torch.Generator) -> torch.Tensor:
    integer = INTEGERS[dtype.itemsize]
    limits = torch.iinfo(integer)
    bits = torch.randint(limits.min, limits.max + 1, shape, generator=random)
    values = bits.to(integer).view(dtype)
    # Larger values would overflow: their sum is divided by a small sum of weights.
    return torch.where(values.abs() < torch.finfo(dtype).max / 1024, values, 0)


def cases(*, small: bool, largest: int) -> Iterator[tuple[str, str, Sequence[int], dict[str, Any]]]:
    """Yield the name, kind of inputs, shape and parameters of each case.

    Args:
        small: A few cases only.
        largest: A tensor of this many entries is among them, if it is not 0.

    """
    shapes = [*SMALL_SHAPES[2 if small else 0 : 5 if small else None]]
    for title, parameters in PARAMETERS.items():
        for shape in shapes:
            for kind in KINDS:
                yield f"{title}, {kind}, {tuple(shape)}", kind, shape, parameters
        several_blocks = (CPU_BLOCK + 1001,) if small else (2 * CPU_BLOCK + 1001,)
        for kind in () if small and title != "half kept, slack" else ("near", "ties"):
            yield f"{title}, {kind}, {several_blocks}", kind, several_blocks, parameters
    if largest:
        title = "half kept, slack"
        yield f"{title}, near, ({largest},)", "near", (largest,), PARAMETERS[title]


def merge_pairs(
    dtype: torch.dtype, one: Engine | None, device: str, *, small: bool, largest: int = 0
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield each case twice: merged by an engine on the CPU, and by torch on a device."""
    todo = cases(small=small, largest=largest)
    for seed, (name, kind, shape, parameters) in enumerate(todo):
        tensors = make_inputs(kind, shape, dtype, len(parameters["weight"]), seed)
        there = [tensor.to(device) for tensor in tensors]
        here = slack_ties_merge(tensors[0], tensors[1:], engine=one, **parameters)
        yield (
            name,
            here,
            slack_ties_merge(there[0], there[1:], engine=merge_blocks, **parameters),
            tensors[0],
        )


def check_method(run: Run) -> None:
    """Check that all engines give the same bytes: kernel and torch on the CPU, torch on the GPU."""
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")

        def on_cpu(dtype: torch.dtype = dtype) -> Outcome:
            if load_kernel() is None:
                return Outcome("not measured: slack-ties was built without its kernel")
            return compare(merge_pairs(dtype, merge_on_cpu, "cpu", small=run.small))

        def on_gpu(dtype: torch.dtype = dtype) -> Outcome:
            largest = 0 if run.small else ACCELERATOR_BLOCK + 1001
            pairs = merge_pairs(dtype, None, "cuda", small=run.small, largest=largest)
            return compare(pairs)

        run.row(f"{name}: kernel and torch on the CPU", on_cpu, seconds=10, gpu=False)
        run.row(f"{name}: CPU and GPU", on_gpu, seconds=20)


# Times


def check_times(run: Run) -> None:
    """Time one large tensor with two models on the GPU, and once on the CPU."""
    shape = (64, 172) if run.small else (4096, 11008)
    size = f"{shape[0]} x {shape[1]} bfloat16"
    tensors = cache(partial(make_tensors, shape))
    there = cache(lambda: [tensor.cuda() for tensor in tensors()])

    def same() -> Outcome:
        merged = make_tasks(there())["slack_ties"]()
        here = make_tasks(tensors())["slack_ties"]()
        return compare(iter([(size, here, merged, tensors()[0])]))

    def once() -> Outcome:
        task = make_tasks(tensors())["slack_ties"]
        (seconds,) = take_turns({"": task}, 1, warm_up=False)[""]
        threads = torch.get_num_threads()
        engine = "compiled kernel" if load_kernel() else "torch, no compiled kernel"
        numbers = {"ms": seconds * 1e3, "threads": threads}
        return Outcome(f"{seconds * 1e3:.1f} ms ({engine}, {threads} threads)", numbers)

    run.row(f"{size}: slack_ties, CPU, one run", once, seconds=15, gpu=False)
    run.row(f"{size}: slack_ties, CPU and GPU", same, seconds=15)
    copies: list[float] = []
    for name in ("copy of the three inputs", "slack_ties", "linear", "ties"):

        def timed(name: str = name) -> Outcome:
            copy = partial(_clone, there())
            task = copy if name.startswith("copy") else make_tasks(there())[name]
            return _time_on_gpu(task, copies, rounds=3 if run.small else 11)

        run.row(f"{size}: {name}, GPU", timed, seconds=10)


def _clone(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in tensors]


def _time_on_gpu(task: Callable[[], object], copies: list[float], *, rounds: int) -> Outcome:
    """Return median time and peak memory; the first task is the copy, whose time is in `copies`."""
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    times = take_turns({"": on_device(task)}, rounds + 1)[""][1:]  # without the two warm-up rounds
    peak = torch.cuda.max_memory_allocated()
    ms = statistics.median(times) * 1e3
    copies.append(ms)
    numbers = {
        "ms": ms,
        "fastest ms": min(times) * 1e3,
        "of copy": ms / copies[0],
        "peak MiB": peak / MIB,
        "beyond inputs MiB": (peak - before) / MIB,
    }
    return Outcome(
        f"{ms:.2f} ms, {ms / copies[0]:.2f} of the copy, peak {peak / MIB:.0f} MiB "
        f"({(peak - before) / MIB:.0f} beyond the inputs)",
        numbers,
    )


# The project's tests that need a GPU


def check_tests(run: Run) -> None:
    """Run the tests with the marker `cuda`, and the older GPU tests without it."""
    # Only the files with such tests: other files need further packages.
    marked = [
        path.name for path in sorted(TESTS.glob("test_*.py")) if "mark.cuda" in path.read_text()
    ]
    run.row("pytest -m cuda", partial(_pytest, run, "-m", "cuda", *marked), seconds=20, gpu=False)
    run.row("pytest, older tests of a GPU", partial(_pytest, run, *OLDER_TESTS), seconds=60)


def counts(said: str) -> dict[str, float]:
    """Return the numbers of tests from pytest's last line; errors count as failures."""
    last = (said.strip().splitlines() or [""])[-1]
    found = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    failed = found.get("failed", 0) + found.get("error", 0)
    return {
        "passed": found.get("passed", 0),
        "failed": failed,
        "skipped": found.get("skipped", 0),
    }


def _pytest(run: Run, *words: str) -> Outcome:
    if run.small and not torch.cuda.is_available():
        return Outcome(NO_GPU)  # all tests would be skipped
    missing = [name for name in FOR_TESTS if importlib.util.find_spec(name) is None]
    if missing:
        return Outcome(f"not measured: not installed: {', '.join(missing)}")
    # Warnings from other versions of torch or transformers are not failures here.
    plain = ("-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plain, *words],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        timeout=run.left(),
    )
    numbers = counts(done.stdout)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-2000:], file=sys.stderr)
    status = ", ".join(f"{number} {name}" for name, number in numbers.items())
    if done.returncode or numbers["failed"]:
        return Outcome(f"failed: {status}", numbers, wrong=True)
    if not torch.cuda.is_available() and not numbers["passed"]:
        return Outcome(f"{NO_GPU} ({status})", numbers)
    return Outcome(status, numbers)


# Whole merges


class Merges:
    """A tiny triple, and merges of it with the commands, each in its own process."""

    def __init__(self, run: Run, work: Path) -> None:
        """Make the models, and write their config."""
        self.run, self.work = run, work
        self.triple, self.config = work / "triple", work / "merge.yml"
        make_triple(self.triple, SHAPES["tiny"])
        _to_half_bin(self.triple / "ct")
        self.config.write_text(make_config("slack_ties", self.triple), "utf-8")
        self.bases = _tensors(self.triple / "base")
        self.reference: dict[str, torch.Tensor] = {}
        self.slowest = 15.0  # seconds; an estimate before the first merge

    def merge(self, code: str, *options: str) -> tuple[dict[str, torch.Tensor], int]:
        """Return the merged tensors, and the peak GPU memory of the process in bytes."""
        start = time.monotonic()
        out = Path(tempfile.mkdtemp(dir=self.work)) / "out"
        # mergekit would ask the Hub to write a card; slack-ties never lets mergekit write it.
        before, after = ([], ["--no-write-model-card"]) if code == STOCK else (["merge"], [])
        words = [*before, str(self.config), str(out), *after]
        words += ["--no-copy-tokenizer", "--out-shard-size", "20K"]
        quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(self.work / "hf")}
        done = subprocess.run(
            [sys.executable, "-c", code, *words, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=max(self.run.left(), 1),
            env=quiet,
        )
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            said = re.sub(r"GPU memory: \d+", "", done.stderr).strip()
            raise RuntimeError(said or f"exit code {done.returncode}")
        found = _tensors(out)
        shutil.rmtree(out.parent)
        self.slowest = max(self.slowest, 1.5 * (time.monotonic() - start))
        return found, int(re.findall(r"GPU memory: (\d+)", done.stderr)[-1])

    def make_reference(self) -> Outcome:
        """Merge with mergekit-yaml on the CPU, and compare with torch in this process."""
        self.reference, _ = self.merge(STOCK)
        return compare(_named_pairs(self.reference, _merged_by_torch(self.triple), self.bases))

    def like_reference(self, code: str, *options: str, gpu: bool = True) -> Outcome:
        """Merge with other options, and compare with the reference."""
        if not self.reference:
            return Outcome("not measured: there is no reference")
        found, peak = self.merge(code, *options)
        outcome = compare(_named_pairs(self.reference, found, self.bases))
        if not gpu:
            return outcome
        numbers = {**outcome.numbers, "peak MiB": peak / MIB}
        if peak < LEAST_PEAK and not outcome.wrong:
            return Outcome("failed: the GPU was not used", numbers, wrong=True)
        return replace(outcome, numbers=numbers)


def check_merges(run: Run) -> None:
    """Merge a tiny triple with the commands, on the CPU and on the GPU, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        merges = Merges(run, Path(folder))
        check = merges.make_reference
        run.row("mergekit-yaml, CPU, and torch", check, seconds=merges.slowest, gpu=False)
        check = partial(merges.like_reference, OURS, gpu=False)
        run.row("slack-ties merge, CPU", check, seconds=merges.slowest, gpu=False)
        for options in OPTIONS:
            check = partial(merges.like_reference, STOCK, "--cuda", *options)
            name = " ".join(("mergekit-yaml --cuda", *options))
            run.row(name, check, seconds=merges.slowest)
        check = partial(merges.like_reference, STOCK, "--multi-gpu")
        if torch.cuda.is_available() and torch.cuda.device_count() == 1:
            check = partial(Outcome, "not measured: one GPU")
        run.row("mergekit-yaml --multi-gpu", check, seconds=merges.slowest)
        check = partial(merges.like_reference, OURS, "--cuda")
        run.row("slack-ties merge --cuda", check, seconds=merges.slowest)


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    for path in sorted(folder.glob("*.bin")):
        found |= torch.load(path, weights_only=True)
    return found


def _to_half_bin(folder: Path) -> None:
    """Save a model as float16 in a .bin file: other code reads it, and it is cast."""
    tensors = _tensors(folder)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    torch.save(
        {name: tensor.half() for name, tensor in tensors.items()}, folder / "pytorch_model.bin"
    )


def _merged_by_torch(triple: Path) -> dict[str, torch.Tensor]:
    """Merge the config of `whole_merge.make_config` with torch operations on the CPU."""
    base, ct, sft = (_tensors(triple / role) for role in ("base", "ct", "sft"))
    return {
        name: slack_ties_merge(
            tensor,
            [ct[name].bfloat16(), sft[name]],
            weight=[1.0, 0.5],
            density=[0.5, 0.5],
            slack=[0.0, 0.2],
            engine=merge_blocks,
        )
        for name, tensor in base.items()
    }


def _named_pairs(
    some: dict[str, torch.Tensor], others: dict[str, torch.Tensor], bases: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield the tensors of two models by name; a missing tensor differs in every entry."""
    none = torch.empty(0)
    for name in sorted({*some, *others}):
        yield name, some.get(name, none), others.get(name, none), bases.get(name, none)


CHECKS = {
    "method": check_method,
    "times": check_times,
    "tests": check_tests,
    "merges": check_merges,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the checks, write the files, and return 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("gpu_check"), help="[gpu_check]")
    parser.add_argument("--seconds", type=float, default=420, help="time for everything  [420]")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), help="[all]")
    parser.add_argument("--small", action="store_true", help="few cases, and no times that count")
    options = parser.parse_args(arguments)
    run = Run(options.out, options.seconds, small=options.small)
    for name in options.only:
        CHECKS[name](run)
    wrong = [row.name for row in run.rows if row.wrong]
    print(f"{len(run.rows)} rows in {options.out / 'gpu_check.json'} and gpu_check.md")
    if wrong:
        print(f"wrong: {'; '.join(wrong)}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
