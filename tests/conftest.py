"""What the tests share: isolated caches, a triple of small models, a Hub on loopback."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before any import of the client, which reads them then: no test may see the user's token
# or cache, and the Hub of the tests does not speak Xet.
HF_HOME = tempfile.TemporaryDirectory(prefix="slack-ties-hf-")  # gone when Python ends
os.environ["HF_HOME"] = HF_HOME.name
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
# Whoever asks the real Hub is refused at once instead of reaching it.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
# Tables fit that width if it is set, as it can be in workers of pytest-xdist.
os.environ.pop("COLUMNS", None)
for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ.pop(name, None)

import pytest
import torch
from click.testing import CliRunner, Result
from huggingface_hub import HfApi
from hypothesis import settings

from command import Invoke, is_typable
from hub_server import Server, Token, serving
from slack_ties.cli.main import cli
from slack_ties.errors import SlackTiesError
from triple import Folders, make_triple

# A shell that runs the tests in the background lets them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Small tensors gain nothing from threads, and on a busy machine threads wait for each other.
torch.set_num_threads(1)
# A loaded machine makes no test fail: speed is measured elsewhere.
settings.register_profile("slack-ties", deadline=None)
settings.load_profile("slack-ties")

TOKEN, READ_TOKEN = "hf_writer", "hf_reader"


@pytest.fixture(autouse=True)
def typable_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test fail in which an error has a next step that begins with a command, and is none."""
    made, wrong = SlackTiesError.__init__, []

    def check(error: SlackTiesError, message: str, *, hint: str = "") -> None:
        made(error, message, hint=hint)
        if not is_typable(error.hint):
            wrong.append(error.hint)

    monkeypatch.setattr(SlackTiesError, "__init__", check)
    yield
    assert wrong == [], "what follows a command must be a comment"


@pytest.fixture(scope="session")
def triple(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A base, a CT and an SFT model on disk, in three formats; not to be changed."""
    return make_triple(tmp_path_factory.mktemp("triple"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache that a test may damage: the others share one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    return tmp_path / "hf-cache"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Server]:
    """A Hub on loopback with an empty disk, a writer `me` and a reader `you`."""
    tokens = {TOKEN: Token("me"), READ_TOKEN: Token("you", "read")}
    with serving(tmp_path / "hub", tokens) as server:
        yield server


@pytest.fixture
def api(hub: Server) -> HfApi:
    """The real client of that Hub, as the user `me`."""
    return HfApi(endpoint=hub.url, token=TOKEN)


@pytest.fixture(autouse=True)
def no_shared_pause() -> Iterator[None]:
    """Let no test wait for what the Hub asked of a batch of another test in this process."""
    yield
    os.environ.pop("SLACK_TIES_HUB_PAUSE", None)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Undo what a command in this process says of log lines: a later test may read them."""
    loggers = [logging.getLogger(name) for name in ("slack_ties", "huggingface_hub")]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    yield
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in an empty folder, within this process."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words])

    return run
