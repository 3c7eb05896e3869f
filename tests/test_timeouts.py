"""--timeout SECONDS is kept by every command that talks to the Hub, whatever the Hub does.

Each case is a command in a process of its own, with an empty cache. They wait side by side.
"""

from __future__ import annotations

import math
import re
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from huggingface_hub import HfApi

import processes
from command import environment
from hub_server import Fault, Token, serving
from slack_ties.cli.main import cli

if TYPE_CHECKING:
    from triple import Folders

TOKEN = "hf_" + "Abc123" * 6
TIMEOUT = 3.0
# The limit, the short last chances, and what a busy machine needs for the command itself.
MOST = 1.2 * TIMEOUT + 2 + 10

MODELS = ("--base", "me/base", "--ct", "me/ct", "--sft", "me/sft")
COMMANDS = {
    "config": ["config", "bo", *MODELS, "-o", "new"],
    "plan": ["plan", "merge_configs/bo.yml"],
    "pin": ["plan", "merge_configs/bo.yml", "--pin", "-o", "pinned.yml"],
    "merge": ["merge", "merge_configs/bo.yml", "merged"],
    "report": ["report", "merge_configs/bo.yml", "-o", "reported"],
    "compare": ["compare", "merge_configs/bo.yml", "merge_configs/bo.yml"],
    "tune": ["tune", "merge_configs/bo.yml"],
    "card": ["card", "out"],
    "dry publish": ["publish", "out", "me/tibetan", "--dry-run"],
    "publish": ["publish", "out", "me/tibetan"],
    "run": ["run", "merge_configs/bo.yml", "--out", "ran"],
    "run a language": ["run", "bo", *MODELS, "--out", "ran"],
    "run and publish": ["run", "merge_configs/bo.yml", "--out", "ran", "--publish", "me/ran"],
    "run a model": ["run", "me/base", "--out", "ran"],
    "search": ["recipes", "search"],
    "pull": ["recipes", "pull", "me/base"],
    "adapt": [
        *("recipes", "adapt", "merge_configs/bo.yml", "--language", "dz", "--ct", "me/dz"),
        *("-o", "adapted.yml"),
    ],
    "verify": ["verify", "me/base"],
}
ENDS_WELL = {"config", "card", "adapt"}  # they say what they could not ask, and go on
FAULTS = {
    "silent": "did not answer in time",
    "500": "answered 500",
    "limited": "answered 429 and asks to wait 15 s",
    "no proxy": "through the proxy http://127.0.0.1:9 of https_proxy",
    "silent proxy": "did not answer in time",
}
CASES = [(command, fault) for command in COMMANDS for fault in FAULTS]


@dataclass
class Outcome:
    """How a command ended, and when."""

    code: int
    said: str
    seconds: float


@contextmanager
def silent() -> Iterator[str]:
    """Yield the address of a server that accepts connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def prepared(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hub with three models, a config that merges them, and the merged model."""
    root = tmp_path_factory.mktemp("timeouts")
    (root / "work").mkdir()
    with serving(root / "hub", {TOKEN: Token("me")}) as server:
        api = HfApi(endpoint=server.url, token=TOKEN)
        for name in ("base", "ct", "sft"):
            api.create_repo(f"me/{name}", private=False)
            api.upload_folder(repo_id=f"me/{name}", folder_path=getattr(triple, name))
        env = environment(server, root / "home", TOKEN)
        for words in (["config", "bo", *MODELS], ["merge", "merge_configs/bo.yml", "out"]):
            done = processes.run(words, env=env, cwd=root / "work")
            assert done.returncode == 0, done.stderr
        done = processes.run(["card", "out"], env={**env, "HF_HUB_OFFLINE": "1"}, cwd=root / "work")
        assert done.returncode == 0, done.stderr
    return root


def run(case: tuple[str, str], prepared: Path, folder: Path) -> Outcome:
    """Run a command with one thing wrong."""
    command, fault = case
    work = shutil.copytree(prepared / "work", folder / "work")
    with serving(folder / "hub", {TOKEN: Token("me")}) as server, silent() as nobody:
        env = environment(server, folder / "home", TOKEN)
        if fault in {"500", "limited"}:
            server.hub.faults.append(Fault("any", fault, math.inf))
            server.hub.reset = 15
        elif fault == "silent":
            env["HF_ENDPOINT"] = nobody
        else:
            env["HF_ENDPOINT"] = "https://hub.example"
            env["https_proxy"] = nobody if fault == "silent proxy" else "http://127.0.0.1:9"
        words = [*COMMANDS[command], "--timeout", TIMEOUT]
        began = time.monotonic()
        done = processes.run(words, env=env, cwd=work)
        return Outcome(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


@pytest.fixture(scope="module")
def outcomes(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Future[Outcome]]]:
    """Start all cases, a few at a time."""
    with ThreadPoolExecutor(6) as pool:
        yield {
            case: pool.submit(run, case, prepared, tmp_path_factory.mktemp("case"))
            for case in CASES
        }


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_limit_is_kept(
    case: tuple[str, str], outcomes: dict[tuple[str, str], Future[Outcome]]
) -> None:
    """The command says what is wrong soon after the limit, or before it, and ends."""
    command, fault = case

    outcome = outcomes[case].result()

    assert outcome.code == (0 if command in ENDS_WELL else 1), outcome.said
    assert FAULTS[fault] in outcome.said
    assert "bug in slack-ties" not in outcome.said
    assert "Traceback" not in outcome.said
    assert outcome.seconds < MOST


def leaves(group: click.Group) -> Iterator[click.Command]:
    """Yield the commands of a group and of the groups in it."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from leaves(command)
        else:
            yield command


def test_who_has_the_option() -> None:
    """All commands that talk to the Hub have --timeout, so the hint to set it is true."""
    have = {
        one.name for one in leaves(cli) if any("--timeout" in param.opts for param in one.params)
    }

    assert {one.name for one in leaves(cli)} - have == {"languages", "demo", "export", "work"}


def test_three_silent_models_cost_one_limit(prepared: Path, tmp_path: Path) -> None:
    """A plan asks about its models at the same time, and names them in their order."""
    work = shutil.copytree(prepared / "work", tmp_path / "work")
    with serving(tmp_path / "hub", {TOKEN: Token("me")}) as server, silent() as nobody:
        env = {**environment(server, tmp_path / "home", TOKEN), "HF_ENDPOINT": nobody}
        began = time.monotonic()
        done = processes.run(["plan", "merge_configs/bo.yml", "--timeout", 10], env=env, cwd=work)

    assert re.findall(r"model '(me/\w+)'", done.stdout) == ["me/base", "me/ct", "me/sft"]
    assert 9 < time.monotonic() - began < 20


def test_the_cache_serves_a_plan_of_a_silent_hub(prepared: Path, tmp_path: Path) -> None:
    """After the limit, and with the models named in their order."""
    home = shutil.copytree(prepared / "home", tmp_path / "home", symlinks=True)
    work = shutil.copytree(prepared / "work", tmp_path / "work")
    with serving(tmp_path / "hub", {TOKEN: Token("me")}) as server, silent() as nobody:
        env = {**environment(server, home, TOKEN), "HF_ENDPOINT": nobody}
        began = time.monotonic()
        done = processes.run(
            ["plan", "merge_configs/bo.yml", "--timeout", TIMEOUT], env=env, cwd=work
        )

    assert done.returncode == 0
    named = re.findall(r"(me/\w+) is read from the cache", done.stderr)
    assert named == ["me/base", "me/ct", "me/sft"]
    assert time.monotonic() - began < MOST
