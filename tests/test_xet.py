"""Uploads by hf_xet: watched in their own process, and not waited for without end."""

from __future__ import annotations

import math
import random
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi

from hub_server import Fault, Server
from slack_ties.errors import HubError
from slack_ties.hub.child import Watch
from slack_ties.hub.process import child_environment
from slack_ties.hub.retries import Retries
from slack_ties.hub.transfer import StoppedError, upload
from slack_ties.progress import Progress

QUICK = Retries(timeout=1, tries=1, first_wait=0.01)
SIZE = 3_000_000


def report(done: int, sent: int) -> SimpleNamespace:
    """Return what hf_xet reports of ten bytes, ten of which go over the line."""
    return SimpleNamespace(
        total_bytes=10,
        total_bytes_completed=done,
        total_transfer_bytes=10,
        total_transfer_bytes_completed=sent,
    )


class Told:
    """Notes what the process would tell its command."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.done: list[int] = []
        self.grace = 0.0

    def moved(self, done: int, *, grace: float = 0.0, seldom: bool = True) -> None:
        """Take a report."""
        assert not seldom
        self.done.append(done)
        self.grace = grace


def send(api: HfApi, folder: Path, **how: Any) -> dict[str, tuple[str, int]]:
    """Upload a file that cannot be compressed."""
    (folder / "model.safetensors").write_bytes(random.Random(0).randbytes(SIZE))
    api.create_repo("me/x", private=True, exist_ok=True)
    file = {"name": "model.safetensors", "path": folder / "model.safetensors", "size": SIZE}
    return upload(
        "me/x",
        [{**file, "large": True, "sha256": ""}],
        revision="main",
        what="uploading",
        **{"retries": QUICK, "api": api, **how},
    )


@pytest.fixture
def by_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let large files go by hf_xet, as they do for most people."""
    monkeypatch.delenv("HF_HUB_DISABLE_XET")


def test_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only in its own process, and never against what the user says."""
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "9")

    inside = child_environment(Retries(timeout=7))

    assert {key: value for key, value in inside.items() if "HF_XET_CLIENT" in key} == {
        "HF_XET_CLIENT_CONNECT_TIMEOUT": "7s",
        "HF_XET_CLIENT_READ_TIMEOUT": "3600s",
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "9",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "350ms",
    }


@pytest.mark.usefixtures("by_xet")
def test_a_real_upload(
    hub: Server, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte is reported, under the names that we know, and the Hub has the file."""
    seen: list[int] = []
    monkeypatch.setattr(Progress, "at", lambda _, done: seen.append(done))

    sent = send(api, tmp_path, retries=Retries(timeout=60))

    assert "POST /cas/v1/shards" in hub.hub.requests
    assert seen[0] == 0
    assert seen[-1] == SIZE
    ((name, (checksum, length)),) = sent.items()
    assert (name, length) == ("model.safetensors", SIZE)
    assert hub.hub.blob(checksum).stat().st_size == SIZE


@pytest.mark.usefixtures("by_xet")
@pytest.mark.parametrize("kind", ["xet token", "xorb"])
def test_silence_ends_it(hub: Server, api: HfApi, tmp_path: Path, kind: str) -> None:
    """An upload in which nothing moves ends after the time-out, and its process with it."""
    hub.hub.faults.append(Fault(kind, "stalled", math.inf))

    with pytest.raises(HubError, match=r"uploading: .* did not answer in time"):
        send(api, tmp_path)


@pytest.mark.usefixtures("by_xet")
def test_another_thread_ends_it(hub: Server, api: HfApi, tmp_path: Path) -> None:
    """At once, though the Hub is silent and the time-out is long."""
    hub.hub.faults.append(Fault("xorb", "stalled", math.inf))
    stop = threading.Event()
    threading.Timer(3, stop.set).start()
    began = time.monotonic()

    with pytest.raises(StoppedError):
        send(api, tmp_path, retries=Retries(timeout=600), stop=stop)

    assert time.monotonic() - began < 30


def test_a_block_may_be_sent_again() -> None:
    """hf_xet counts no byte twice: so much silence as the block takes at the speed so far."""
    told = Told()
    watch = Watch(Retries(timeout=1), told)  # type: ignore[arg-type]
    watch.begin()
    watch.start -= 2  # seconds: five bytes in two of them
    watch.look(report(5, 5))

    assert told.grace == pytest.approx(4, rel=0.1)
    assert told.done == [0, 5]


def test_the_hubs_own_work_may_take_longer() -> None:
    """When all is sent, the Hub has the whole limit: a third for each try, and the rest."""
    told = Told()
    watch = Watch(Retries(timeout=6), told)  # type: ignore[arg-type]
    watch.look(report(10, 10))

    assert told.grace == pytest.approx(4)


def test_what_the_hub_has_needs_no_line() -> None:
    """Bytes that are read and need not be sent are done."""
    told = Told()
    watch = Watch(Retries(), told)  # type: ignore[arg-type]
    one = report(8, 0)
    one.total_transfer_bytes = 2
    watch.look(one)

    assert told.done == [8]


def test_a_report_without_the_names_that_we_know() -> None:
    """It is not looked at: no healthy upload is ended for it."""
    told = Told()
    watch = Watch(Retries(), told)  # type: ignore[arg-type]
    watch.look(SimpleNamespace(total_bytes=10))

    assert told.done == []
