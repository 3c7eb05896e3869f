"""The benchmarks run, and print what their README shows: nothing here looks at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("script", "words", "shown"),
    [
        ("kernel", ["--quick"], ["slack_ties", "read 3, write 1", "linear", "ties"]),
        ("scaling", ["--quick"], ["1,000 entries", "200,000 entries", "models: 6"]),
        (
            "whole_merge",
            ["--size", "tiny", "--rounds", "1", "--only", "slack_ties"],
            ["slack-ties merge", "mergekit-yaml, slack_ties"],
        ),
        (
            "memory",
            ["--size", "tiny"],
            ["| safetensors |", "CT as .bin"]
            if Path("/proc/self/status").is_file()
            else ["not measured"],
        ),
        (
            "report",
            ["--size", "tiny", "--rounds", "1"],
            ["slack-ties merge --report", "merge and count"],
        ),
        (
            "gpu",
            ["--rounds", "1"],
            ["copy", "slack_ties"] if torch.cuda.is_available() else ["not measured"],
        ),
    ],
)
def test_prints_its_table(script: str, words: list[str], shown: list[str]) -> None:
    """Quickly, on small tensors: every row is there, and date and versions above them."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{script}.py", *words],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    for text in shown:
        assert text in done.stdout
    assert "mergekit 0." in done.stdout or "not measured" in done.stdout
