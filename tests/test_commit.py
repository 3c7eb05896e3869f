"""Sending and committing; what goes wrong on the way is in test_faults.py."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_server import Server
from slack_ties.hub.retries import Retries
from slack_ties.publish.branch import Branch, list_files
from slack_ties.publish.commit import commit_files, wrong_files
from slack_ties.publish.manifest import SentFile

REPO = "me/model"


@pytest.fixture
def branch(api: HfApi) -> Branch:
    """Main of a new repository."""
    api.create_repo(REPO, private=True)
    head = api.model_info(REPO).sha
    return Branch(REPO, "main", head, list_files(REPO, head, api=api))


def files_of(folder: Path, sizes: dict[str, int]) -> list[SentFile]:
    """Write files of these sizes, each with another content."""
    for name, size in sizes.items():
        (folder / name).write_bytes(name.encode().ljust(size, b"\0"))
    return [SentFile(name, size, folder / name) for name, size in sizes.items()]


def test_one_commit_that_adds_and_removes(tmp_path: Path, api: HfApi, branch: Branch) -> None:
    """On top of the head that was looked at, and on top of nothing else."""
    files = files_of(tmp_path, {"model.safetensors": 3000, "config.json": 20})

    first = commit_files(files, [".gitattributes"], branch, retries=Retries(), api=api)

    there = list_files(REPO, first, api=api)
    assert {name: one.size for name, one in there.items()} == {
        "model.safetensors": 3000,
        "config.json": 20,
    }
    assert wrong_files(files, [".gitattributes"], there) == []
    assert wrong_files(files_of(tmp_path, {"config.json": 21}), ["model.safetensors"], there) == [
        "config.json",
        "model.safetensors",
    ]


def test_texts_need_no_upload(tmp_path: Path, api: HfApi, branch: Branch, hub: Server) -> None:
    """They are part of the commit: the Hub is asked once how it takes them, by the commit."""
    files = files_of(tmp_path, {"README.md": 20, "config.json": 20})
    hub.hub.requests.clear()

    commit_files(files, [], branch, retries=Retries(), api=api)

    assert sum("/preupload/" in request for request in hub.hub.requests) == 1


def test_how_long_it_takes(
    tmp_path: Path, api: HfApi, branch: Branch, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """From the second large file on, after the speed of those before."""
    caplog.set_level("INFO", logger="slack_ties")
    files = files_of(tmp_path, {f"model-{n}.safetensors": 10_000_000 for n in (1, 2)})
    hub.hub.watcher = lambda request: time.sleep(2.1 if request.startswith("PUT") else 0)

    commit_files(files, [], branch, retries=Retries(), api=api)

    said = [record.getMessage() for record in caplog.records if record.name == "slack_ties"]
    assert said == [
        "  model-1.safetensors, 10.0 MB (1 of 2)",
        "  model-2.safetensors, 10.0 MB (2 of 2, about a minute left)",
    ]


def test_a_file_that_the_hub_lost_in_between(
    tmp_path: Path, api: HfApi, branch: Branch, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It is here still, and is sent again."""
    files = files_of(tmp_path, {"model.safetensors": 3000})

    def lose(request: str) -> None:
        if re.search("/commit/", request) and len(hub.hub.received) == 1:
            hub.hub.blob(files[0].sha256).unlink(missing_ok=True)
            hub.hub.watcher = None

    hub.hub.watcher = lose

    commit = commit_files(files, [], branch, retries=Retries(first_wait=0.1), api=api)

    assert wrong_files(files, [], list_files(REPO, commit, api=api)) == []
    assert "the Hub has lost an uploaded file" in caplog.text
