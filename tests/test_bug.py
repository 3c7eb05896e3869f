"""A bug of ours, and an output that cannot be written: one line, and nothing private."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import slack_ties
from command import Invoke
from slack_ties.cli.bug import describe_bug
from slack_ties.cli.main import cli
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
        "import slack_ties.plan.languages as c\n"
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
    assert 'slack_ties/plan/languages.py", line ' in text
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


@pytest.mark.skipif(sys.platform == "win32", reason="no >&- there")
@pytest.mark.parametrize(
    "words",
    [["languages", "bo"], ["languages", "--json"], ["card", "bo.yml"], ["publish", "x", "y"]],
)
@pytest.mark.parametrize("closed", [[1], [1, 2]])
def test_an_output_that_is_closed(closed: list[int], words: list[str], tmp_path: Path) -> None:
    """The command is refused before it does anything, in one line; it is not called a bug."""
    close = "".join(f" {number}>&-" for number in closed)
    typed = [sys.executable, "-m", "slack_ties", *words]

    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@"{close}', "sh", *typed],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 1
    said = "Error: the standard output is closed: the result has no place\n"
    said += "Next: end the command with > FILE instead of >&-\n"
    assert done.stderr == ("" if 2 in closed else said)
    assert not [*tmp_path.iterdir()]


def test_without_standard_error_a_command_works(tmp_path: Path) -> None:
    """Only what it would say there is lost."""
    code = "import os, sys; os.close(2); sys.stderr = None; sys.__stderr__ = None; " + OURS

    done = run(code, "config", "bo", "-o", str(tmp_path))

    assert done.returncode == 0, done
    assert (tmp_path / "bo.yml").is_file()


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
    *(["try", "out", "one"], ["chat", "out"], ["evaluate", "out"], ["export", "out"], ["doctor"]),
    *(["run", "bo", "--out", "out"], ["recipes", "search"], ["recipes", "pull", "me/x"]),
    *(["batch", "start", "bo"], ["batch", "status"], ["batch", "logs", "bo"]),
    *(["batch", "cancel"], ["batch", "work", "out", "bo"]),
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


def leaves(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *above, name)
        else:
            yield (*above, name)


def test_all_commands_are_tested() -> None:
    """The list of this file has every command."""
    known = [tuple(words) for words in COMMANDS]

    assert all(any(words[: len(leaf)] == leaf for words in known) for leaf in leaves(cli))


WRONG = [
    *(["demo", "--keep", "x.yml"], ["config", "nowhere"], ["plan", "x.yml"]),
    *(["merge", "x.yml", "out"], ["report", "x.yml"], ["compare", "x.yml", "x.yml"]),
    *(
        ["tune", "x.yml"],
        ["card", "out"],
        ["publish", "out", "me/x"],
        ["run", "x.yml", "--out", "out"],
    ),
    *(["try", "out", "one"], ["chat", "out"], ["evaluate", "x.yml"], ["export", "out"]),
    *(["recipes", "search"], ["recipes", "pull", "me/x"], ["verify", "me/x"]),
    ["recipes", "adapt", "x.yml", "--language", "bo", "--ct", "me/x"],
]


@pytest.mark.parametrize("option", ["--debug", "-v"])
@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_where_a_users_error_was_raised(words: list[str], option: str, invoke: Invoke) -> None:
    """Every command shows it with --debug and with -v, and without them never."""
    Path("x.yml").write_text("a: [", "utf-8")

    plain, shown = invoke(*words), invoke(*words, option)

    assert (plain.exit_code, shown.exit_code) == (1, 1)
    assert "Traceback" not in plain.output
    assert "Traceback (most recent call last)" in shown.stderr
    assert plain.stderr.splitlines()[0] in shown.stderr.splitlines()
    assert shown.stderr.count("\nNext: ") == plain.stderr.count("\nNext: ")
    if "x.yml" in words[1]:
        assert "yaml.parser.ParserError: while parsing" in shown.stderr


INJECTED = [
    ("languages", "slack_ties.plan.languages.expect"),
    ("config bo", "slack_ties.config.write.make_config"),
    ("plan bo.yml", "slack_ties.plan.make.resolve_license"),
    ("merge bo.yml out", "slack_ties.merge.merge.find_all"),
    ("merge bo.yml out", "slack_ties.merge.reader.Reader.get_tensor"),
    ("merge bo.yml out", "slack_ties.merge.engine.architecture_of"),
    ("merge bo.yml out", "slack_ties.rule.definition.can_merge"),
    ("merge bo.yml out", "slack_ties.merge.merge.parent_of"),
    ("report bo.yml", "slack_ties.merge.in_memory.describe"),
    ("compare bo.yml bo.yml", "slack_ties.explore.compare.compare_merges"),
    ("tune bo.yml", "slack_ties.tuning.tune._check"),
    ("try out one", "slack_ties.trying.try_prompts.try_prompts"),
    ("chat out", "slack_ties.trying.chat.open_chat"),
    ("evaluate bo.yml", "slack_ties.evaluating.evaluate.evaluate_merge"),
    ("card out", "slack_ties.card.write.write_card"),
    ("publish out me/x", "slack_ties.publish.publish.publish_model"),
    ("export out", "slack_ties.exporting.export.check_model"),
    ("run bo.yml --out out", "slack_ties.run.run_all"),
    ("recipes search", "slack_ties.sharing.search.search_recipes"),
    ("recipes pull me/x", "slack_ties.sharing.pull.pull_recipe"),
    ("recipes adapt bo.yml --language ug --ct me/x", "slack_ties.sharing.adapt.adapt_recipe"),
    ("verify me/x", "slack_ties.sharing.verify.pull_recipe"),
    ("demo", "slack_ties.demo.demo.run_demo"),
    ("doctor", "slack_ties.doctor.check.look_at_packages"),
]


@pytest.mark.parametrize(("words", "broken"), INJECTED, ids=[broken for _, broken in INJECTED])
def test_a_bug_of_any_command(
    words: str, broken: str, triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called a bug, also inside of mergekit's run, and its file has nothing private."""
    private = tmp_path / "anna maria" / "acme"
    private.mkdir(parents=True)
    (private / "bo.yml").write_text(RECIPE.format(**vars(triple)), "utf-8")
    monkeypatch.chdir(private)
    place, _, name = broken.rpartition(".")
    secret = f"{private}/model.bin of hf_{'a' * 30}"
    line = f"def fail(*_, **__): return {{}}[{secret!r}]"
    file = str(Path(slack_ties.__file__).with_name("broken.py"))  # it is to be a line of ours
    code = (
        "from pkgutil import resolve_name\n"
        f"exec(compile({line!r}, {file!r}, 'exec'))\n"
        f"setattr(resolve_name({place!r}), {name!r}, fail)\n"
    )

    done = run(code + OURS, *words.split(), "--debug")

    assert done.returncode == 1
    lines = done.stderr.splitlines()
    problem, hint = (line for line in lines if line.startswith(("Error: ", "Next: ")))
    assert problem.startswith("Error: this is a bug in slack-ties: KeyError: ")
    (report,) = private.glob("slack-ties-bug-*.txt")
    assert hint == f"Next: report it, with the file {report}"
    assert "Traceback (most recent call last):" in lines
    text = report.read_text("utf-8")
    assert "KeyError: " in text
    assert not any(word in text for word in ("anna", "maria", "acme", "a" * 30, "me/x"))
    assert list(private.glob("out*")) == [] or broken.endswith("parent_of")


def test_a_bug_after_the_weights(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are kept, and it is said where."""
    monkeypatch.chdir(tmp_path)
    Path("bo.yml").write_text(RECIPE.format(**vars(triple)), "utf-8")
    file = str(Path(slack_ties.__file__).with_name("broken.py"))
    code = "import slack_ties.merge.merge as m\n"
    code += f"m.parent_of = eval(compile('lambda *_, **__: {{}}[1]', {file!r}, 'eval'))\n"

    done = run(code + OURS, "merge", "bo.yml", "out")

    assert f"the weights are merged and kept in {tmp_path / 'out'}, the rest" in done.stderr
    assert "Error: this is a bug in slack-ties: KeyError: 1" in done.stderr
    assert list(Path("out").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("t: [0, 1]", ""),
        (
            "t: 0.5\ntokenizer: {source: base, tokens: {'<s>': {source: {kind: zero}, force: 7}}}",
            "force",
        ),
    ],
)
def test_what_mergekit_refuses_is_no_bug(
    parameters: str, said: str, triple: Folders, invoke: Invoke
) -> None:
    """It is an error of the input, with mergekit's reason."""
    models = f"models: [{{model: {triple.base}}}, {{model: {triple.sft}}}]"
    Path("x.yml").write_text(
        f"merge_method: slerp\nbase_model: {triple.base}\n{models}\nparameters:\n  {parameters}\n"
    )

    result = invoke("merge", "x.yml", "out")

    assert result.exit_code == (1 if said else 0), result.output
    assert said in result.stderr
    assert "bug" not in result.stderr


def test_what_mergekit_raises_is_named(triple: Folders, tmp_path: Path) -> None:
    """Its type and its text, and the option that shows where it was raised."""
    (tmp_path / "bo.yml").write_text(RECIPE.format(**vars(triple)), "utf-8")
    code = (
        "import mergekit.graph, mergekit.plan\n"
        "mergekit.plan.MergePlanner._plan = eval('lambda self: mergekit.graph.Executor(1, 2, 3)')\n"
    )

    config, out = str(tmp_path / "bo.yml"), str(tmp_path / "out")
    plain, shown = (run(code + OURS, "merge", config, out, *more) for more in ([], ["--debug"]))

    problem, hint = plain.stderr.splitlines()[-2:]
    assert problem.startswith(f"Error: mergekit cannot merge {config}: TypeError: ")
    assert hint == (
        "Next: run the same command with --debug: it shows where in mergekit this was raised"
    )
    assert "Traceback" not in plain.stderr
    assert "mergekit/graph.py" in shown.stderr
