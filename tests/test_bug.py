"""A bug of ours, and an output that cannot be written: one line, and nothing private."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from slack_ties.cli.bug import describe_bug
from triple import Folders

RECIPE = """\
merge_method: slack_ties
base_model: {base}
models:
  - {{model: {ct}, parameters: {{weight: 1, density: 0.5}}}}
  - {{model: {sft}, parameters: {{weight: 1, density: 0.5, slack: 0.2}}}}
out_dtype: bfloat16
"""

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
        "import slack_ties.cli.languages as c\n"
        "def fail(*_): raise ZeroDivisionError('/home/anna/acme/bo.yml hf_' + 'a' * 30)\n"
        "c.match_triples = fail\n"
    )

    done = run(broken + OURS, "languages", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    said = done.stderr.splitlines()
    assert said[0].startswith("Error: this is a bug in slack-ties: ZeroDivisionError: ")
    (file,) = tmp_path.glob("slack-ties-bug-*.txt")
    assert said[1:] == [f"Next: report it, with the file {file}"]
    text = file.read_text("utf-8")
    assert text.startswith("slack-ties languages --json\nPython 3.")
    assert 'slack_ties/cli/languages.py", line ' in text
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


COMMANDS = [
    *(["demo"], ["languages"], ["config", "bo"], ["plan", "x.yml"], ["merge", "x.yml", "out"]),
    *(["merge", "x.yml", "out", "--cuda"], ["merge", "--help-mergekit"], ["report", "x.yml"]),
    *(["compare", "a", "b"], ["tune", "x.yml"], ["card", "out"], ["publish", "out", "me/x"]),
    *(["run", "bo", "--out", "out"], ["recipes", "search"], ["recipes", "pull", "me/x"]),
    *(["recipes", "adapt", "x.yml", "--language", "bo", "--ct", "me/x"], ["verify", "me/x"]),
]


def module(option: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `python OPTION -m slack_ties` with these words."""
    typed = [sys.executable, *filter(None, [option]), "-m", "slack_ties", *words]
    return subprocess.run(typed, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("words", [[], ["merge"], ["recipes"], ["recipes", "pull"], ["run"]])
def test_help_without_docstrings(words: list[str]) -> None:
    """`python -OO` shows the same help as Python does."""
    assert module("-OO", *words, "--help").stdout == module("", *words, "--help").stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_without_docstrings(words: list[str]) -> None:
    """It is refused in one line, because transformers cannot be imported; the next step works."""
    done = module("-OO", *words)

    problem, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert problem.startswith("Error: this Python removes docstrings (-OO or PYTHONOPTIMIZE=2)")
    typed = shlex.split(hint.removeprefix("Next: "))
    assert typed == [sys.executable, "-O", "-m", "slack_ties", *words]


def test_a_merge_without_assertions(triple: Folders, tmp_path: Path) -> None:
    """`python -O` merges as Python does, also if the environment asks for -OO."""
    config = tmp_path / "bo.yml"
    config.write_text(RECIPE.format(**vars(triple)), "utf-8")
    words = ["-m", "slack_ties", "merge", str(config)]
    optimized = {**os.environ, "PYTHONOPTIMIZE": "2"}

    refused = subprocess.run(
        [sys.executable, *words, str(tmp_path / "one")],
        env=optimized,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    typed = shlex.split(refused.stderr.splitlines()[-1].removeprefix("Next: "))
    subprocess.run(typed, env=optimized, check=True)
    subprocess.run([sys.executable, *words, str(tmp_path / "two")], check=True)

    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.safetensors")}
        for name in ("one", "two")
    )
    assert one == two
    assert one
