"""A bug of ours, and an output that cannot be written: one line, and nothing private."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slack_ties.cli.bug import describe_bug

OURS = "from slack_ties.cli.main import main; main()"


def run(
    code: str, *words: str, stdout: object = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code with the arguments of a command."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )


def test_a_bug_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, but a file with it, which names no folder of the user and no token."""
    monkeypatch.chdir(tmp_path)
    broken = (
        "import slack_ties.cli.configure as c\n"
        "def fail(): raise ZeroDivisionError('/home/anna/acme/bo.yml hf_' + 'a' * 30)\n"
        "c.list_languages = fail\n"
    )

    done = run(broken + OURS, "languages", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    said = done.stderr.splitlines()
    assert said[0].startswith("Error: this is a bug in slack-ties: ZeroDivisionError: ")
    (file,) = tmp_path.glob("slack-ties-bug-*.txt")
    assert said[1:] == [f"Next: report it, with the file {file}"]
    text = file.read_text("utf-8")
    assert text.startswith("slack-ties languages --json\nPython 3.")
    assert 'slack_ties/cli/configure.py", line ' in text
    assert "ZeroDivisionError: .../bo.yml [token]" in text
    assert "anna" not in text
    assert str(tmp_path) not in text


def test_values_of_a_command_line_are_left_out() -> None:
    """They may be names of people and places."""
    text = describe_bug(ValueError("no"), ["merge", "acme.yml", "--out=/data/acme", "-v"])

    assert text.splitlines()[0] == "slack-ties merge ... --out -v"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["languages"], ["languages", "--json"], ["--help"]])
def test_an_output_that_is_full(words: list[str]) -> None:
    """One line, and exit code 1."""
    with Path("/dev/full").open("w") as full:
        done = run(OURS, *words, stdout=full)

    assert done.returncode == 1
    assert done.stderr == "Error: cannot write the output: No space left on device\n"


def test_json_is_the_same_data_on_any_console() -> None:
    """Letters that the console lacks are escaped, not lost."""
    plain = run(OURS, "languages", "--json", PYTHONIOENCODING="utf-8").stdout
    latin = run(OURS, "languages", "--json", PYTHONIOENCODING="cp1252").stdout

    assert "བོད" in plain
    assert json.loads(latin) == json.loads(plain)
