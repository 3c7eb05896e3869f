"""Log in from a notebook: the token comes from its secrets, and is never shown."""

from __future__ import annotations

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi

import slack_ties
from conftest import READ_TOKEN, TOKEN
from hub_server import Server
from slack_ties.doctor.finding import BROKEN
from slack_ties.doctor.hub_access import look_at_hub
from slack_ties.hub import log_in as module
from slack_ties.hub import token


@pytest.fixture
def asker(hub: Server, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """A client without a token of its own; the variable HF_TOKEN is as before after the test."""
    monkeypatch.setenv("HF_TOKEN", "")
    return HfApi(endpoint=hub.url)


def kaggle(monkeypatch: pytest.MonkeyPatch, secrets: dict[str, str]) -> None:
    """Let this process look like a notebook of Kaggle with these secrets."""
    client = SimpleNamespace(get_secret=secrets.__getitem__)
    package = SimpleNamespace(UserSecretsClient=lambda: client)
    monkeypatch.setitem(sys.modules, "kaggle_secrets", package)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")


def test_the_secret_of_kaggle(asker: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used from then on, also by processes that are started, and is not shown."""
    kaggle(monkeypatch, {"HF_TOKEN": f" {TOKEN}\n"})

    account = slack_ties.log_in(api=asker)

    assert (account.name, account.may_write) == ("me", True)
    assert os.environ["HF_TOKEN"] == TOKEN
    for text in (repr(account), str(account), account._repr_html_()):
        assert "logged in as me; the token in HF_TOKEN can write" in text
        assert TOKEN not in text


def test_a_secret_that_is_not_attached(asker: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where to attach it."""
    kaggle(monkeypatch, {})

    with pytest.raises(slack_ties.SlackTiesError, match="no secret HF_TOKEN") as caught:
        slack_ties.log_in(api=asker)

    assert "Add-ons > Secrets" in caught.value.hint


def test_the_secret_of_colab(asker: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub client reads it, but only in this process: others get it as a variable."""
    for one in (module, token):
        monkeypatch.setattr(one, "get_token", lambda: TOKEN)

    assert slack_ties.log_in(api=asker).may_write
    assert os.environ["HF_TOKEN"] == TOKEN


def test_a_token_that_can_only_read(asker: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before anybody merges for hours."""
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)

    account = slack_ties.log_in(api=asker)

    assert not account.may_write
    assert "can only read: it cannot publish" in str(account)


def test_something_that_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy answers {} to everything: one line says so, and what to check."""

    class Proxy(BaseHTTPRequestHandler):
        """It answers."""

        def do_GET(self) -> None:
            """Answer {}."""
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = HfApi(endpoint=f"http://127.0.0.1:{server.server_port}")
        try:
            with pytest.raises(
                slack_ties.SlackTiesError, match="not the answer of a Hub"
            ) as caught:
                slack_ties.log_in(api=api)
            reached, _ = look_at_hub(5, api=api)
        finally:
            server.shutdown()

    assert "HF_ENDPOINT" in caught.value.hint
    assert (reached.state, "not the answer of a Hub" in reached.text) == (BROKEN, True)


def test_no_token(asker: HfApi) -> None:
    """Outside of a notebook nothing is asked; the error says how to get one."""
    with pytest.raises(slack_ties.SlackTiesError, match="there is no token") as caught:
        slack_ties.log_in(api=asker)

    assert "https://huggingface.co/settings/tokens" in caught.value.hint
