"""The check of a GPU tells right from wrong; and, where there is a GPU, what it checks is so."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch

from slack_ties.errors import CheckpointError
from slack_ties.rule.blockwise import merge_blocks
from slack_ties.rule.definition import slack_ties_merge
from slack_ties.rule.kernel import can_merge, load_kernel, merge_on_cpu
from slack_ties.rule.shares import Share
from slack_ties.rule.tally import GRID, TOPS, Tally

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
DTYPES = [torch.float16, torch.bfloat16, torch.float32]
NO_GPU = "not measured: no CUDA device"
NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
PARAMETERS = {"weight": [1.0, 0.3, -0.7], "density": [0.5, 0.7, 1.0], "slack": [0.0, 0.2, 0.1]}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_check  # noqa: PLC0415 - it is on the path of these tests only

    return gpu_check


def rows_of(out: Path) -> dict[str, dict[str, object]]:
    """Return the rows of a run by their names."""
    return {row["name"]: row for row in json.loads((out / "gpu_check.json").read_text())["rows"]}


def bits(*patterns: int) -> torch.Tensor:
    """Return the float32 numbers of these bits."""
    return torch.tensor(patterns, dtype=torch.int32).view(torch.float32)


# The check itself, which runs anywhere


@pytest.mark.slow
def test_measures_on_a_cpu_what_can_be(tmp_path: Path) -> None:
    """Without a GPU the rows of the CPU say "same bytes", those of a GPU that there is none."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu_check.py", tmp_path / "out", "--small"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: row["status"] for name, row in rows_of(tmp_path / "out").items()}
    kernel = [f"{name}: kernel and torch on the CPU" for name in ("float16", "bfloat16", "float32")]
    same = [name for name, status in found.items() if status == "same bytes"]
    assert same == [
        *(kernel if load_kernel() else []),
        "mergekit-yaml, CPU, and torch",
        "slack-ties merge, CPU",
    ]
    timed = "64 x 172 bfloat16: slack_ties, CPU, one run"
    assert " ms (" in found[timed]
    others = {name: status for name, status in found.items() if name not in {*same, *kernel, timed}}
    assert set(others.values()) == {NO_GPU}
    assert {
        "float16: CPU and GPU",
        "64 x 172 bfloat16: ties, GPU",
        "pytest -m cuda",
        "mergekit-yaml --cuda --read-to-gpu",
        "mergekit-yaml --multi-gpu",
        "slack-ties merge --cuda",
    } <= set(others)
    about = json.loads((tmp_path / "out" / "gpu_check.json").read_text())
    assert (about["card"], about["small"]) == ("no CUDA device", True)
    assert {"date", "driver", "commit"} <= set(about)
    assert {"torch", "CUDA", "mergekit", "transformers", "slack-ties"} <= set(about["versions"])
    table = (tmp_path / "out" / "gpu_check.md").read_text()
    assert all(f"| {name} " in table for name in found)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (bits(1, 2, 3), bits(1, 2, 3), 0),
        (bits(1, 2, 3), bits(1, 5, 3), 1),
        (torch.tensor([0.0, 1.0]), torch.tensor([-0.0, 1.0]), 1),
        (bits(0x7FC00000), bits(0x7FC00000), 0),  # a NaN is not equal to itself, its bits are
        (bits(0x7FC00000), bits(0x7FC00001), 1),
        (torch.zeros(3).half(), torch.zeros(3).bfloat16(), 3),
        (torch.zeros(2, 3), torch.zeros(3, 2), 6),
        (torch.zeros(0), torch.zeros(4), 4),
        (torch.tensor(0.0), torch.tensor(-0.0), 1),
    ],
    ids=["same", "one", "zero", "same NaN", "other NaN", "type", "shape", "missing", "scalar"],
)
def test_compares_bits(
    check: ModuleType, one: torch.Tensor, other: torch.Tensor, expected: int
) -> None:
    """Two tensors differ in as many entries as have other bits, zeros by sign and NaNs too."""
    assert check.differing(one, other) == expected


def test_reports_an_entry_that_differs(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one engine gets one bit of one tensor wrong, its row says so and the exit code is 1."""

    def wrong(
        base: torch.Tensor, models: Sequence[torch.Tensor], *rest: object, **more: object
    ) -> tuple[torch.Tensor, bool]:
        merged, finite = merge_blocks(base, models, *rest, **more)
        if base.dtype == torch.float16 and base.numel() > 100_000:
            merged[7] = -merged[7]
        return merged, finite

    monkeypatch.setattr(check, "merge_blocks", wrong)
    monkeypatch.setattr(check, "merge_on_cpu", merge_blocks)
    monkeypatch.setattr(check, "load_kernel", lambda: True)
    monkeypatch.setattr(check, "PARAMETERS", {"one": {"weight": [0.9]}, "half kept, slack": {}})
    monkeypatch.setitem(check.PARAMETERS, "half kept, slack", {"weight": [1.0, 0.5]})

    code = check.main([str(tmp_path), "--small", "--only", "method"])

    rows = rows_of(tmp_path)
    half = rows["float16: kernel and torch on the CPU"]
    assert code == 1
    assert half["status"].startswith("differs: 2 of ")
    assert half["status"].endswith("entries (first in half kept, slack, near, (263145,))")
    assert half["wrong"]
    assert rows["float32: kernel and torch on the CPU"]["status"] == "same bytes"


def test_a_merge_that_does_nothing_is_no_proof(check: ModuleType) -> None:
    """Equal tensors that equal the base as well are a failure: nothing was merged."""
    one = torch.ones(3)

    assert check.compare(iter([("name", one, one, one)])).wrong
    assert not check.compare(iter([("name", one, one, torch.zeros(3))])).wrong


def test_a_check_that_breaks_is_a_row(check: ModuleType, tmp_path: Path) -> None:
    """An error is the row of its check, and the next one goes on."""
    run = check.Run(tmp_path, 60)

    def broken() -> object:
        msg = "a line\nout of memory"
        raise RuntimeError(msg)

    run.row("one", broken, seconds=1, gpu=False)
    run.row("other", lambda: check.Outcome("same bytes"), seconds=1, gpu=False)

    rows = rows_of(tmp_path)
    assert rows["one"]["status"] == "failed: RuntimeError: out of memory"
    assert (rows["one"]["wrong"], rows["other"]["wrong"]) == (True, False)


def test_says_what_there_was_no_time_for(check: ModuleType, tmp_path: Path) -> None:
    """Out of time, every row is there and says so, and that is no failure."""
    code = check.main([str(tmp_path), "--seconds", "0", "--small"])

    statuses = {row["status"] for row in rows_of(tmp_path).values()}
    assert code == 0
    assert "not measured: time" in statuses
    assert all(status.startswith("not measured: ") for status in statuses)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("warning\n3 passed, 2 skipped, 40 deselected in 1.23s\n", (3, 0, 2)),
        ("1 failed, 2 passed, 1 error in 9.99s", (2, 2, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_reads_what_pytest_says(
    check: ModuleType, said: str, expected: tuple[int, int, int]
) -> None:
    """Passed, failed and skipped tests are counted from pytest's last line."""
    assert tuple(check.counts(said).values()) == expected


@pytest.mark.skipif(os.name == "nt" or not shutil.which("sh"), reason="no POSIX shell here")
def test_the_shell_script_runs_the_check(tmp_path: Path) -> None:
    """With an interpreter that is told to it, the script installs nothing and does the checks."""
    script = [str(shutil.which("sh")), BENCHMARKS / "gpu_check.sh", tmp_path / "out"]
    done = subprocess.run(
        [*script, "--small", "--only", "times"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON_BIN": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
    )

    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / "out")) == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "gpu_check.json",
        "gpu_check.md",
    ]


# What is checked, on a GPU


def make_tensors(size: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return a base and three models with small deltas, some of them zero."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(size, generator=random).mul_(0.02).to(dtype)
    deltas = [torch.randn(size, generator=random) * spread for spread in (0.003, 0.001, 0.002)]
    return [base, *((base + delta.relu()).to(dtype) for delta in deltas)]


@pytest.mark.cuda
@NEEDS_A_GPU
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 33, 1_000_003])
def test_kernel_cpu_and_gpu_give_the_same_bytes(
    check: ModuleType, dtype: torch.dtype, size: int
) -> None:
    """The compiled kernel, torch on the CPU and torch on the GPU give the same bytes."""
    base, *models = make_tensors(size, dtype)

    on_gpu = slack_ties_merge(base.cuda(), [model.cuda() for model in models], **PARAMETERS)

    by_torch = slack_ties_merge(base, models, engine=merge_blocks, **PARAMETERS)
    assert on_gpu.is_cuda
    assert check.differing(by_torch, on_gpu) == 0
    if can_merge(base, *models):
        by_kernel = slack_ties_merge(base, models, engine=merge_on_cpu, **PARAMETERS)
        assert check.differing(by_kernel, on_gpu) == 0


@pytest.mark.cuda
@NEEDS_A_GPU
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_gpu_refuses_what_is_not_finite(dtype: torch.dtype, where: int, bad: float) -> None:
    """A NaN or an infinity in the base or a model is refused on the GPU in the CPU's words."""
    tensors = make_tensors(1000, dtype)
    tensors[where][123] = bad
    said = []

    for device in ("cpu", "cuda"):
        base, *models = (tensor.to(device) for tensor in tensors)
        with pytest.raises(CheckpointError, match="1 of 1000 entries") as caught:
            slack_ties_merge(base, models, **PARAMETERS)
        said.append(str(caught.value))

    assert said[0] == said[1]


@pytest.mark.cuda
@NEEDS_A_GPU
def test_a_gpu_refuses_a_result_that_overflows() -> None:
    """A float16 result beyond 65504 is an error on the GPU, too, not an infinity."""
    with pytest.raises(CheckpointError, match="overflows float16"):
        slack_ties_merge(
            torch.zeros(2).half().cuda(),
            [torch.ones(2).half().cuda()],
            weight=[1e5],
            normalize=False,
        )


@pytest.mark.cuda
@NEEDS_A_GPU
def test_a_gpu_counts_for_a_report_what_a_cpu_counts() -> None:
    """The numbers of entries of a report are the same, and its sums as good as the same."""
    base, *models = make_tensors(100_003, torch.bfloat16)
    size = base.numel()
    marks = tuple(int(top * size) for top in (*TOPS, *GRID))
    shares = [Share(1.0, size // 2, size // 5, marks), Share(0.3, size, 0, marks)]
    tallies = []

    for device in ("cpu", "cuda"):
        tally = Tally.empty([False, True])
        there = [model.to(device) for model in models[:2]]
        merge_blocks(base.to(device), there, shares, normalize=True, lambda_=1.0, tally=tally)
        tallies.append(tally)

    one, other = tallies
    for name in Tally.arrays():
        expected, found = (torch.as_tensor(getattr(tally, name)) for tally in (one, other))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert one.counts.sum() > 0
