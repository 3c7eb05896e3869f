"""hf_xet is told how long to wait, and is not waited for without end."""

from __future__ import annotations

import os
import random
import threading
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import _xet_progress_reporting as reporting
from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]
from huggingface_hub.utils._xet import get_xet_session

from hub_server import Server
from slack_ties.hub.retries import Retries
from slack_ties.hub.xet import SilenceTimeoutError, watched, xet_settings

QUICK = Retries(timeout=0.5, commit=1.5, tries=2, first_wait=0.01)


def report(done: int, sent: int) -> SimpleNamespace:
    """Return what hf_xet reports of ten bytes, ten of which go over the line."""
    return SimpleNamespace(
        total_bytes=10,
        total_bytes_completed=done,
        total_transfer_bytes=10,
        total_transfer_bytes_completed=sent,
    )


def test_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the block, and never against what the user says."""
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "9")

    with xet_settings(Retries(timeout=7, tries=3, first_wait=0.5)):
        inside = {key: value for key, value in os.environ.items() if "HF_XET_CLIENT" in key}

    assert inside == {
        "HF_XET_CLIENT_CONNECT_TIMEOUT": "7s",
        "HF_XET_CLIENT_READ_TIMEOUT": "3600s",
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "9",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "500ms",
    }
    assert "HF_XET_CLIENT_CONNECT_TIMEOUT" not in os.environ


def test_what_a_call_returns_or_raises() -> None:
    """It is as if nobody watched, and afterwards nobody does."""
    before = reporting.XetUploadProgressReporter

    assert watched(lambda: 3, QUICK) == 3
    with pytest.raises(KeyError):
        watched(lambda: {}["x"], QUICK)

    assert reporting.XetUploadProgressReporter is before
    assert are_progress_bars_disabled()


@pytest.mark.parametrize("sent", [0, 9])
def test_silence_ends_it(sent: int) -> None:
    """An upload in which nothing moves; others may take as long as they need."""
    ended, reported = threading.Event(), threading.Event()

    def upload() -> None:
        reporter = reporting.XetUploadProgressReporter()
        for done in range(sent):
            reporter.update_progress(report(done, done), {})
            ended.wait(0.2)  # longer in all than the time-out
        reported.set()
        ended.wait(60)

    before = get_xet_session()
    with pytest.raises(SilenceTimeoutError, match=r"no progress for \d s"):
        watched(upload, QUICK)
    assert reported.is_set()
    assert get_xet_session() is not before  # what it was doing is aborted
    ended.set()


def test_a_block_may_be_sent_again() -> None:
    """hf_xet counts no byte twice: so much silence as the block takes at the speed so far."""
    ended = threading.Event()

    def upload(seconds: float) -> bool:
        reporter = reporting.XetUploadProgressReporter()
        for done in (1, 2, 3, 4):
            reporter.update_progress(report(done, done), {})
            ended.wait(0.2)  # five bytes a second: two seconds for all ten
        ended.wait(seconds)
        return True

    assert watched(lambda: upload(1.4), QUICK)
    with pytest.raises(SilenceTimeoutError):
        watched(lambda: upload(60), QUICK)
    ended.set()


def test_the_hubs_own_work_may_take_longer() -> None:
    """When all is sent, the Hub has as long as for a commit."""
    ended = threading.Event()

    def upload(seconds: float) -> bool:
        reporter = reporting.XetUploadProgressReporter()
        reporter.update_progress(report(10, 10), {})
        ended.wait(seconds)
        return True

    assert watched(lambda: upload(1.0), QUICK)
    with pytest.raises(SilenceTimeoutError):
        watched(lambda: upload(60), QUICK)
    ended.set()


def test_what_hf_xet_reports_of_a_real_upload(
    hub: Server, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers that the watch reads are there, under these names, and count every byte."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    content = random.Random(0).randbytes(3_000_000)
    reports: list[dict[str, int]] = []

    class Noting(reporting.XetUploadProgressReporter):
        """Notes what it is told."""

        def update_progress(self, report: object, items: object) -> None:
            """Take a report."""
            names = (name for name in vars(self_made) if hasattr(report, name))
            reports.append({name: int(getattr(report, name)) for name in names})
            super().update_progress(report, items)

    self_made = report(0, 0)
    monkeypatch.setattr(reporting, "XetUploadProgressReporter", Noting)
    monkeypatch.setattr("huggingface_hub.utils.are_progress_bars_disabled", lambda *_: False)
    api.create_repo("me/x", private=True)

    watched(
        lambda: api.upload_file(
            path_or_fileobj=content, path_in_repo="model.safetensors", repo_id="me/x"
        ),
        Retries(timeout=60),
    )

    assert "POST /cas/v1/shards" in hub.hub.requests
    assert reports[-1] == {
        "total_bytes": 3_000_000,
        "total_bytes_completed": 3_000_000,
        "total_transfer_bytes": reports[-1]["total_transfer_bytes_completed"],
        "total_transfer_bytes_completed": reports[-1]["total_transfer_bytes"],
    }
    assert reports[-1]["total_transfer_bytes"] >= 3_000_000  # chance cannot be compressed
