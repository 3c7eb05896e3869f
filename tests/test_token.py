"""Errors about a token say where it is from, and the next step gives another one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from command import PROGRAM, environment
from hub_server import Server
from slack_ties.errors import HubError
from slack_ties.hub.token import another_token, has_token, no_token, token_name
from slack_ties.models.find import find_model
from slack_ties.publish.destination import Destination, check_publish

WRITES = "with write access"
LOGIN = "hf auth login  # a token with write access, or set HF_TOKEN to it"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the stored login; it does not exist yet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "token"


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_in_a_variable(name: str, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login has no effect as long as the variable is set, so the step unsets it."""
    monkeypatch.setenv(name, "hf_variable")
    api = HfApi()

    assert token_name(api) == token_name(HfApi(token="hf_variable")) == f"the token in {name}"
    assert another_token(api, WRITES).startswith(f"unset {name} && hf auth login  # a token with")
    assert another_token(api).startswith(f"unset {name}  # a public model needs no token")
    stored.write_text("hf_stored\n")
    assert another_token(api, WRITES) == f"unset {name}  # the token of your login is used then"


def test_a_stored_token(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new login replaces it; HF_TOKEN_PATH is named if it says where it is stored."""
    stored.write_text("hf_stored\n")

    for api in (HfApi(), HfApi(token="hf_stored")):
        assert token_name(api) == "the token of your login"
        assert another_token(api, WRITES) == LOGIN
    monkeypatch.setenv("HF_TOKEN_PATH", str(stored))
    assert token_name(HfApi()) == f"the token in {stored} (HF_TOKEN_PATH)"


@pytest.mark.usefixtures("stored")
def test_a_token_that_a_caller_gives() -> None:
    """It is neither of the user's variables nor of the login."""
    assert token_name(HfApi(token="hf_other")) == "your token"
    assert has_token(HfApi(token="hf_other"))


def test_no_token(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is a login; but if a variable holds the token back, the step unsets the variable."""
    assert not has_token(HfApi())
    assert no_token(WRITES) == "hf auth login  # or set HF_TOKEN to a token with write access"

    stored.write_text("hf_stored")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert not has_token(HfApi())
    assert no_token().startswith("unset HF_HUB_DISABLE_IMPLICIT_TOKEN  #")


@pytest.mark.usefixtures("stored")
def test_a_wrong_token_for_a_public_model(
    hub: Server, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading does not need write access: the step is to send no token, or another one."""
    api.create_repo("me/x", private=False)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")

    with pytest.raises(HubError, match=r"(?m)does not accept the token in HF_TOKEN$") as caught:
        find_model("me/x", api=HfApi(endpoint=hub.url))

    assert caught.value.hint.startswith("unset HF_TOKEN # a public model needs no token")


@pytest.mark.usefixtures("stored")
def test_a_variable_that_can_only_read(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, and the step unsets it before the login."""
    monkeypatch.setenv("HF_TOKEN", "hf_reader")

    with pytest.raises(HubError, match=r"(?m)the token in HF_TOKEN can only read$") as caught:
        check_publish(Destination("you/x"), api=HfApi(endpoint=hub.url))

    assert caught.value.hint.startswith("unset HF_TOKEN && hf auth login # a token with write")


def test_the_step_works_in_a_shell(hub: Server, api: HfApi, tmp_path: Path) -> None:
    """As typed, it lets the stored login read the private model that HF_TOKEN's user cannot."""
    api.create_repo("me/x", private=False)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="mergekit_config.yml", repo_id="me/x")
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text("hf_writer")
    variables = environment(hub, home, "hf_wrong")
    variables.pop("HF_TOKEN_PATH", None)
    pull = f"'{PROGRAM}' recipes pull me/x"

    def ask(line: str) -> str:
        return subprocess.run(  # noqa: S602 - as a user types it
            line,
            shell=True,
            env=variables,
            cwd=tmp_path,
            check=False,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        ).stderr

    refused, step = ask(pull).splitlines()

    assert refused.endswith("does not accept the token in HF_TOKEN")
    assert "does not accept" not in ask(f"{step.removeprefix('Next: ')}\n{pull}")
