"""Commands and options in the sources' messages exist; the steps after common mistakes work."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest
from huggingface_hub import HfApi

import slack_ties
from command import COMMAND as TYPED
from command import Invoke, is_typable
from hub_server import Server
from slack_ties.cli.main import cli
from slack_ties.cli.mergekit_options import MERGEKIT_NAMES, MergeCommand
from slack_ties.config.make import make_config
from slack_ties.errors import SlackTiesError
from slack_ties.plan.make import plan_merge
from slack_ties.tuning.perplexity import read_text
from test_next_steps import commands, step
from triple import Folders

SOURCES = Path(slack_ties.__file__).parent

# Sentences with the name of the package, and texts that are no messages.
NO_COMMAND = re.compile(
    r"slack-ties (made|did|needs|was|uploads|sends|config` writes|\(|:|and |tune (replaces|did) )"
    r"|slack-ties names this|slack-ties (works|asks|listens)$"  # the last are names of threads
)

# A command ends at a bracket, two spaces, a comma, a semicolon, a quote, && or a full stop.
COMMAND = re.compile(r"slack-ties ([a-z]+[^`(,;\n]*?)(?=  |\. | \(|[,;`\n]| && | keeps|: |$)")

OTHERS = {"--force-download", "--local-dir", "--upgrade"}  # of `hf` and `pip`


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the strings of a module that are no docstrings; X stands for what is put in."""
    kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
    ours = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    left_out = {id(node.body[0].value) for node in ours if isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(value) for value in node.values}
            yield node.lineno, "".join(map(as_text, node.values))
        elif isinstance(node, ast.List) and [*map(as_text, node.elts[:1])] == ["slack-ties"]:
            yield node.lineno, " ".join(map(as_text, node.elts))
        elif isinstance(node, ast.Constant) and id(node) not in left_out:
            yield node.lineno, as_text(node)


def as_text(node: ast.AST) -> str:
    """Return the text of a constant, ... for words of any number, and X for anything else."""
    if isinstance(node, ast.Starred):
        return "..."
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "X"


def found() -> list[tuple[str, str]]:
    """Return every command of ours in the sources' strings, with its file."""
    return sorted(
        {
            (path.relative_to(SOURCES).as_posix(), match[1].strip())
            for path in SOURCES.rglob("*.py")
            for _, text in texts(ast.parse(path.read_text("utf-8")))
            for match in COMMAND.finditer(text)
            if not NO_COMMAND.match(text, match.start()) and " made" not in match[0]
        }
    )


FOUND = found()


def test_the_commands_are_found() -> None:
    """In strings, in strings with values in them, and in lists of words."""
    assert {
        ("recipe/check.py", "config LANG"),
        ("merge/output.py", "publish X X"),
        ("plan/room.py", "run X --out OUT --publish REPO_ID --stream"),
        ("cli/merging.py", "merge X X"),
        ("cli/configure.py", "plan"),
    } <= set(FOUND)
    assert len(FOUND) > 40


@pytest.mark.parametrize(("file", "words"), FOUND, ids=[": ".join(one) for one in FOUND])
def test_a_command_in_a_message_parses(file: str, words: str) -> None:  # noqa: ARG001 - for the id
    """It has the name, the options and the number of arguments of one of our commands."""
    command: click.Command = cli
    typed = shlex.split(words.replace("XX", "X"))
    ctx = click.Context(cli)
    while isinstance(command, click.Group) and typed:
        name = typed.pop(0)
        if name == "X":  # any command
            return
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    if not typed or typed[-1] == "...":  # only its name, or not all of its words are known
        return
    with suppress(click.exceptions.Exit):  # of --help-mergekit
        command.make_context(command.name, typed, parent=ctx)


def test_an_option_that_does_not_exist_is_found() -> None:
    """The test above can fail."""
    for words in ("plan x.yml --nothing", "plan", "merge", "report"):
        name, *typed = words.split()
        with pytest.raises(click.UsageError):
            cli.commands[name].make_context(name, typed, parent=click.Context(cli))


def flags(group: click.Group) -> set[str]:
    """Return all options of all commands."""
    ours: set[str] = set()
    for command in group.commands.values():
        if isinstance(command, click.Group):
            ours |= flags(command)
        elif isinstance(command, MergeCommand):
            ours |= MERGEKIT_NAMES
        for param in command.params:
            ours |= {*param.opts, *param.secondary_opts}
    return ours | {"--help", "-h", "--version"}


def test_every_option_in_a_hint_exists() -> None:
    """Of a hint, all options are those of a command of ours."""
    named = {
        (path.name, option)
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "hint"
        for _, text in texts(keyword.value)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }

    assert len(named) > 5
    assert {(file, name) for file, name in named if name not in flags(cli) | OTHERS} == set()


def test_a_step_that_is_a_command_can_be_typed() -> None:
    """In the sources, what follows a command is a comment: a bracket is an error of the shell."""
    steps = {
        (path.name, text)
        for path in SOURCES.rglob("*.py")
        for _, text in texts(ast.parse(path.read_text("utf-8")))
        for text in [text.partition("Next: ")[2] or text]
        if TYPED.match(text) and not NO_COMMAND.match(text) and "\n" not in text
    }

    assert len(steps) > 30
    assert {(file, step) for file, step in steps if not is_typable(step)} == set()


@pytest.mark.parametrize(
    "step",
    [
        "hf auth login  (or set HF_TOKEN)",
        "slack-ties config lo, or slack-ties run lo --out DIR",
        "hf download ID; then run verify again",
        "unset HF_TOKEN, or use folders",
        "slack-ties card 'a folder",
    ],
)
def test_a_step_that_cannot_be_typed_is_found(step: str) -> None:
    """The test above can fail."""
    assert not is_typable(step)
    assert is_typable("slack-ties evaluate OUT --tasks a,b  # or --overwrite")
    assert is_typable("slack-ties card 'a (folder)'  # writes it again (and keeps the old one)")


@pytest.fixture
def config(invoke: Invoke, triple: Folders) -> Path:
    """A config of three models that are on this disk."""
    models = ["--base", triple.base, "--ct", triple.ct, "--sft", triple.sft]
    assert invoke("config", "bo", *models).exit_code == 0
    return Path("merge_configs/bo.yml")


@pytest.mark.parametrize(
    "words",
    [
        ["card", "out"],
        ["publish", "out", "me/x"],
        ["report", "out"],
        ["compare", "out", "out"],
        ["verify", "out"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("folder", ["missing", "empty", "damaged", "another program's"])
def test_a_folder_that_is_no_merge(
    words: list[str], folder: str, invoke: Invoke, config: Path
) -> None:
    """The next step is a command that works when the names of the user are put in."""
    if folder != "missing":
        Path("out").mkdir()
    if folder == "damaged":
        Path("out", "slack_ties.json").write_text("{")
    if folder == "another program's":
        Path("out", "config.json").write_text("{}")

    proposed = step(invoke(*words))

    (first, *_) = commands(proposed) or [shlex.split("languages")]
    if first == ["recipes", "search"]:  # `out` may be meant as a model of the Hub
        assert (words[0], folder) == ("verify", "missing")
        return
    names = {"CONFIG": str(config), "OUT": "new model", "LANG": "lo"}
    typed = [names.get(word, word) for word in first]
    done = invoke(*typed)
    assert done.exit_code == 0, (proposed, done.output)


def test_a_key_given_twice(invoke: Invoke, config: Path) -> None:
    """After the step that is named, the plan is made."""
    text = config.read_text("utf-8")
    config.write_text(f"{text}out_dtype: float32\n", "utf-8")

    proposed = step(invoke("plan", config))

    assert proposed == "remove one of the two: YAML would use the last one"
    config.write_text(text, "utf-8")
    assert invoke("plan", config).exit_code == 0


def test_every_common_mistake_has_a_next_step(
    invoke: Invoke, config: Path, triple: Folders, hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing folder or text, a config that is no YAML, and a search without a result."""
    missing = str(triple.ct).removesuffix("ct") + "cct"
    text = config.read_text("utf-8")
    config.write_text(text.replace(str(triple.ct), missing), "utf-8")
    assert step(invoke("plan", config)) == f"use {triple.ct}, which exists"

    config.write_text("merge_method: [\n", "utf-8")
    assert step(invoke("plan", config)).endswith("slack-ties config LANG")

    with pytest.raises(SlackTiesError) as caught:
        read_text(Path("none.txt"))
    assert "--text FILE" in caught.value.hint

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    api = HfApi(endpoint=hub.url)
    monkeypatch.setattr("slack_ties.sharing.search.HfApi", lambda: api)
    said = invoke("recipes", "search", "--author", "nobody").stderr
    assert "Next: slack-ties recipes search  # without a filter" in said


def test_a_model_of_the_catalogue_that_the_hub_lacks(hub: Server) -> None:
    """The user typed no id: the error says that the catalogue names it."""
    plan = plan_merge(make_config("lo"), api=HfApi(endpoint=hub.url))

    assert len(plan.errors) == 3
    for error in plan.errors:
        assert "the catalogue of slack-ties names this model for lo" in str(error)
        assert error.hint.startswith("slack-ties languages lo #")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("dtype: bf16", "dtype: bfloat16"),
        ("dtpye: float32", "dtype: float32"),
        ("parameters: {lamda: 1}", "parameters: {lambda: 1}"),
    ],
)
def test_a_misspelt_word(wrong: str, right: str, invoke: Invoke, config: Path) -> None:
    """The hint has the right one among the known ones, and with it the plan is made."""
    text = config.read_text("utf-8").replace("parameters:\n  normalize", "more:\n  normalize")
    text = re.sub(r"more:\n(  .*\n)+", "", text)
    config.write_text(f"{wrong}\n{text}", "utf-8")

    proposed = step(invoke("plan", config))

    assert re.search(rf"\b{re.split('[ {:]+', right)[0 if 'dtpye' in wrong else 1]}\b", proposed)
    config.write_text(f"{right}\n{text}", "utf-8")
    assert invoke("plan", config).exit_code == 0
