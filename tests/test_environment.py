"""Environment variables that keep the Hub client from its work are named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_server import Server
from slack_ties.private.http import LIBRARY

CASES = [
    (
        {"SSL_CERT_FILE": "/none.pem", "HF_ENDPOINT": "https://127.0.0.1:9"},
        "SSL_CERT_FILE is '/none.pem', and nothing is there",
        "correct SSL_CERT_FILE, or: unset SSL_CERT_FILE",
    ),
    (
        {"https_proxy": "http://me:secret@127.0.0.1:9", "HF_ENDPOINT": "https://hub.example"},
        "cannot reach https://hub.example through the proxy 127.0.0.1:9 of https_proxy: ",
        "check whether the proxy runs, or: unset https_proxy",
    ),
    (
        {"ALL_PROXY": "socks5://127.0.0.1:9", "HF_ENDPOINT": "https://hub.example"},
        "ALL_PROXY names a SOCKS proxy, which needs a further package",
        f'pip install "{LIBRARY}[socks]" # or: unset ALL_PROXY',
    ),
    (
        {"all_proxy": "socks4://me:secret@127.0.0.1:9", "HF_ENDPOINT": "https://hub.example"},
        "all_proxy is '127.0.0.1:9', which cannot be used as a proxy",
        "set all_proxy to http://HOST:PORT, or: unset all_proxy",
    ),
    (
        {"https_proxy": "http://127.0.0.1:port", "HF_ENDPOINT": "https://hub.example"},
        "https_proxy is 'http://127.0.0.1:port', which cannot be used as a proxy",
        "set https_proxy to http://HOST:PORT, or: unset https_proxy",
    ),
    (
        {"HF_ENDPOINT": "127.0.0.1:8123"},
        "HF_ENDPOINT is '127.0.0.1:8123', expected http:// or https:// before the name",
        "export HF_ENDPOINT=http://127.0.0.1:8123 # or https://",
    ),
    (
        {"HF_HUB_OFFLINE": "1"},
        "this needs the Hub, but HF_HUB_OFFLINE is set",
        "unset HF_HUB_OFFLINE",
    ),
    (
        {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "*"},
        "cannot reach http://127.0.0.1:9: ",
        "check the network, then run the same command again",
    ),
    (
        {"HF_TOKEN": "hf_sec\u200bret"},
        "the token in HF_TOKEN has a character that no token has",
        "copy the token again from your settings on the Hub, then: export HF_TOKEN=TOKEN",
    ),
    (
        {"HF_TOKEN": "\u201chf_secret\u201d"},
        "the token in HF_TOKEN has a character that no token has",
        "copy the token again from your settings on the Hub, then: export HF_TOKEN=TOKEN",
    ),
]


def run(variables: dict[str, str], *words: str) -> list[str]:
    """Run a command in a new process, and return the lines of its error."""
    ended = subprocess.run(
        [sys.executable, "-m", "slack_ties", *words],
        env={**os.environ, "PYTHONUTF8": "1", **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    return ended.stderr.splitlines()


@pytest.mark.parametrize(("variables", "message", "hint"), CASES)
def test_a_wrong_variable_is_named(variables: dict[str, str], message: str, hint: str) -> None:
    """With what is wrong and how to correct it, and without a token or a password."""
    problem, following = run(variables, "recipes", "search")

    assert problem.startswith(f"Error: searching for recipes: {message}")
    assert following == f"Next: {hint}"
    assert "hf_sec" not in problem
    assert "secret" not in problem


def test_a_cache_that_cannot_be_written(hub: Server, api: HfApi, tmp_path: Path) -> None:
    """HF_HOME is a file here: the variable is named."""
    api.create_repo("me/x", private=False)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="mergekit_config.yml", repo_id="me/x")
    home = tmp_path / "home"
    home.write_text("")
    variables = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url}

    *_, problem, hint = run(variables, "recipes", "pull", "me/x")

    assert f"the folder of HF_HOME, {home}, cannot be written" in problem
    assert hint == "Next: set HF_HOME to a folder that you can write to, with free space"
