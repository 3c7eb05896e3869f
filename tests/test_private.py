"""Names of other libraries that may go: each is there today, and its loss is one clear line."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from types import SimpleNamespace

import click
import huggingface_hub
import pytest
from click.testing import CliRunner
from huggingface_hub import CommitOperationAdd, HfApi
from packaging.requirements import Requirement

from slack_ties.cli import mergekit_options
from slack_ties.cli.main import cli
from slack_ties.cli.mergekit_options import (
    MERGEKIT_NAMES,
    NOT_OFFERED,
    WITH_VALUE,
    parse_size,
)
from slack_ties.errors import SlackTiesError
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts
from slack_ties.private import huggingface_hub as hub_names
from slack_ties.private import mergekit, peft, transformers
from slack_ties.private.click import options_of
from slack_ties.private.safetensors import system_errors

LIBRARIES = {"mergekit": mergekit, "peft": peft, "transformers": transformers}
NAMES = [(library, name) for library, module in LIBRARIES.items() for name in module.NAMES]


@pytest.mark.parametrize(("library", "name"), NAMES)
def test_a_name_is_there_and_its_loss_is_one_line(
    library: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the library, its version, the name, and the versions to install."""
    module = LIBRARIES[library]
    assert getattr(module, name) is not None

    monkeypatch.delattr(importlib.import_module(module.NAMES[name]), name)
    with pytest.raises(SlackTiesError) as caught:
        getattr(module, name)

    version = importlib.import_module("importlib.metadata").version(library)
    place = f"{module.NAMES[name]}.{name}"
    assert str(caught.value) == f"{library} {version} has no {place}, which slack-ties needs"
    assert caught.value.hint == f'pip install "{library}{module.BOUNDS}"'


def test_what_a_library_itself_misses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dependency of mergekit that is not installed is not called a fault of mergekit."""
    import_module("mergekit.tokenizer")  # so that it is there to be taken away
    monkeypatch.delitem(sys.modules, "mergekit.tokenizer")
    monkeypatch.setitem(sys.modules, "mergekit.tokenizer.build", None)

    with pytest.raises(ModuleNotFoundError, match=r"mergekit\.tokenizer\.build"):
        _ = mergekit.TokenizerInfo


def test_a_name_that_nobody_listed() -> None:
    """A slip of ours is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="no such name: nonsense"):
        _ = mergekit.nonsense


def test_bounds_are_those_of_the_package() -> None:
    """What an error tells people to install is what pyproject.toml asks for."""
    needed = {one.name: one.specifier for one in map(Requirement, requires("slack-ties"))}

    for library, bounds in [
        ("mergekit", mergekit.BOUNDS),
        ("transformers", transformers.BOUNDS),
        ("huggingface-hub", hub_names.BOUNDS),
    ]:
        assert {*Requirement(f"x{bounds}").specifier} == {*needed[library]}


def test_every_dependency_has_an_upper_bound() -> None:
    """The next major version of a library is tried before users get it."""
    for one in map(Requirement, requires("slack-ties")):
        assert any(part.operator == "<" for part in one.specifier), one


def test_the_table_of_options_is_mergekits() -> None:
    """A misspelt option is refused by this table, and mergekit is not imported for it."""
    options = options_of(mergekit.add_merge_options(lambda **_: None))
    names = {
        flag
        for option in options
        if option.name not in NOT_OFFERED
        for flag in (*option.opts, *option.secondary_opts)
    }

    assert names == MERGEKIT_NAMES


@pytest.mark.parametrize(
    ("words", "alike"),
    [
        (["merge", "a", "b", "--devise", "cpu"], "--device"),
        (["run", "bo", "--privte"], "--private"),
        (["run", "bo", "--no-normalise"], "--no-normalize"),
        (["plan", "a", "--hlp"], "--help"),
    ],
)
def test_a_misspelt_option_is_answered_with_what_is_like_it(words: list[str], alike: str) -> None:
    """Our options, their negations, and mergekit's."""
    said = CliRunner().invoke(cli, words)

    assert said.exit_code == 2
    assert f"'{alike}'" in said.output or alike in said.output.partition("options:")[2]


@pytest.mark.parametrize(
    "words",
    [
        ["merge", "a", "b", "-j", "two"],
        ["merge", "a", "b", "--random-seed", "x"],
        ["merge", "a", "b", "--out-shard-size", "5X"],
        ["publish", "a", "-j", "2"],
        ["merge", "-j", "2"],
        ["run", "bo", "--cuda"],
    ],
)
def test_a_wrong_command_line_imports_no_mergekit(words: list[str]) -> None:
    """A value of the wrong type or a missing argument beside an option of mergekit."""
    code = (
        "import sys; from slack_ties.cli.main import main\n"
        "try:\n main()\n"
        "except SystemExit as end:\n"
        " print(end.code, sorted({'mergekit', 'torch', 'transformers'} & {*sys.modules}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )

    assert done.stdout == "2 []\n", done.stderr


def test_what_mergekit_reads_as_a_size() -> None:
    """Our pattern of a size takes what mergekit takes."""
    for text in ("5000", "500k", "500K", "5M", "2b", "2B"):
        assert parse_size(text) == mergekit.parse_kmb(text)


def test_the_types_of_options_are_mergekits() -> None:
    """Which of its options take a value, and of which type."""
    options = options_of(mergekit.add_merge_options(lambda **_: None))
    types = {
        tuple(one.opts): int if one.type is click.INT else str
        for one in options
        if not one.is_flag and not one.count
    }

    assert types == dict(WITH_VALUE)


def test_another_version_of_mergekit_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have options that our table does not know."""
    monkeypatch.setattr(mergekit_options, "TABLE_VERSION", "0.1.4")
    asked: list[str] = []
    add = mergekit.add_merge_options
    monkeypatch.setattr(
        "mergekit.options.add_merge_options", lambda call: asked.append("mergekit") or add(call)
    )

    said = CliRunner().invoke(cli, ["merge", "a", "b", "--devise", "cpu"])

    assert (said.exit_code, asked) == (2, ["mergekit"])


def test_data_folders_are_there() -> None:
    """The chat templates and the architectures that mergekit brings."""
    assert (mergekit.data_folder("chat_templates") / "chatml.jinja").is_file()
    assert (mergekit.data_folder("architectures") / "whisper.json").is_file()


def test_click_keeps_options_elsewhere() -> None:
    """One line in place of a traceback."""

    @click.option("--one")
    @click.option("--two")
    def function() -> None:
        """Do nothing."""

    assert [one.name for one in options_of(function)] == ["one", "two"]
    with pytest.raises(SlackTiesError, match=r"click .* has no __click_params__"):
        options_of(len)


def test_the_number_of_a_full_disk() -> None:
    """Safetensors gives the number of the system's error in its text alone."""
    full = RuntimeError("I/O error: No space left on device (os error 28)")

    assert system_errors(full) == {28}
    assert system_errors(ValueError("something else")) == set()


def test_no_client_factory(
    api: HfApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls still work, and a warning says that no timeout is set."""
    monkeypatch.setattr("huggingface_hub.utils._http", SimpleNamespace())

    with caplog.at_level(logging.WARNING, "slack_ties"), timeouts(Retries()):
        name = api.whoami()["name"]

    assert name == "me"
    assert "has no _GLOBAL_CLIENT_FACTORY, which slack-ties needs: no timeout" in caplog.text


def test_operations_without_their_private_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is published that may be incomplete: an error says what is missing."""
    (tmp_path / "file").write_bytes(b"content")
    operation = CommitOperationAdd("file", tmp_path / "file")
    assert not hub_names.was_sent(operation)

    monkeypatch.delattr(CommitOperationAdd, "_is_uploaded")
    with pytest.raises(SlackTiesError, match=r"has no CommitOperationAdd\._is_uploaded"):
        hub_names.was_sent(operation)


def test_a_file_that_the_hub_has() -> None:
    """The operation names its checksum and its size, and carries no content."""
    operation = hub_names.add_sent_file("model.safetensors", "ab" * 32, 7)

    assert hub_names.was_sent(operation)
    assert (operation.upload_info.sha256.hex(), operation.upload_info.size) == ("ab" * 32, 7)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("validate_repo_id", lambda: hub_names.is_repo_id("a--b")),
        ("disable_progress_bars", hub_names.hide_progress_bars),
        ("tqdm", hub_names.no_progress),
    ],
)
def test_small_helpers_can_go(name: str, call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them a check or a progress bar is other than it was, and nothing fails."""
    call()
    monkeypatch.setattr(hub_names, "utils", SimpleNamespace())

    assert hasattr(huggingface_hub.utils, name)
    assert call() in (None, True)
