"""The benchmarks run, and print what their README shows: nothing here looks at a time."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
HAS_PROC = Path("/proc/self/status").is_file()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a benchmark within this process, and return what it prints."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run_it(script: str, *words: str) -> str:
        importlib.import_module(script).main(list(words))
        return capsys.readouterr().out

    return run_it


def test_prints_its_table(run: Callable[..., str]) -> None:
    """Quickly, on small tensors: every row is there, and date and versions above them."""
    printed = run("kernel", "--quick")

    rows = ("slack_ties", "read 3, write 1", "linear", "ties", "mergekit 0.")
    assert [text for text in rows if text not in printed] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_measures_nothing_without_a_gpu(run: Callable[..., str]) -> None:
    """It says so, and is not an error."""
    assert run("gpu", "--rounds", "1") == "no CUDA device here: not measured\n"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_prints_its_table_of_a_gpu(run: Callable[..., str]) -> None:
    """Beside each method, what a copy takes."""
    printed = run("gpu", "--rounds", "1")

    assert [text for text in ("copy", "slack_ties", "mergekit 0.") if text not in printed] == []


def test_says_which_bound_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A figure above its bound is missed, and one at its bound is not."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    table = importlib.import_module("no_download").Table()
    table.within("disk, GB", 2e9, 2e9, 1e9)
    table.within("memory, GB", 2.1e9, 2e9, 1e9)
    table.show()

    assert table.missed == ["memory, GB"]
    disk, memory = capsys.readouterr().out.splitlines()[-3:-1]
    assert "yes" in disk
    assert "**no**" in memory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "shown"),
    [
        ("scaling", ["--quick"], ["1,000 entries", "200,000 entries", "models: 6"]),
        (
            "whole_merge",
            ["--size", "tiny", "--rounds", "1", "--only", "slack_ties"],
            ["slack-ties merge", "mergekit-yaml, slack_ties"],
        ),
        pytest.param(
            "no_download",
            ["same", "7b", "--size", "30M", "--sent", "1.02"],
            ["SHA-256 of the weights", "what `plan` says", "from Ctrl-C"],
            marks=pytest.mark.skipif(not HAS_PROC, reason="memory is read from /proc"),
        ),
        ("needs", ["--only", "tiny"], ["| tiny | ", "| 15 of 15 |"]),
        pytest.param(
            "memory",
            ["--size", "tiny"],
            ["| safetensors |", "CT as .bin"],
            marks=pytest.mark.skipif(not HAS_PROC, reason="memory is read from /proc"),
        ),
        (
            "report",
            ["--size", "tiny", "--rounds", "1"],
            ["slack-ties merge --report", "merge and count"],
        ),
        (
            "batch",
            ["--size", "tiny", "--rounds", "1", "--tasks", "2"],
            ["single runs", "batch --at-once 1", "the weights are the same"],
        ),
        (
            "evaluate",
            ["--items", "4", "--hidden", "32", "--layers", "1", "--rounds", "1"],
            ["| lm_eval run ", "| slack-ties evaluate --alone |"],
        ),
    ],
)
def test_measures_processes(script: str, words: list[str], shown: list[str]) -> None:
    """Each process imports everything anew, which takes seconds."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{script}.py", *words],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [text for text in shown if text not in done.stdout] == []
    assert "mergekit 0." in done.stdout


@pytest.mark.skipif(HAS_PROC, reason="there is /proc here")
def test_measures_no_memory_without_proc() -> None:
    """It says so, and is not an error."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "memory.py", "--size", "tiny"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "not measured" in done.stdout
