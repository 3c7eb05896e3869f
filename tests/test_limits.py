"""One limit for a command: over its requests, its threads, and the process that transfers."""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import HfApi

import hub_server
from hub_server import Fault, Server
from slack_ties.errors import HubError, masked
from slack_ties.hub.limit import Limit
from slack_ties.hub.retries import READING, Retries
from slack_ties.hub.side_by_side import side_by_side
from slack_ties.hub.timeouts import timeouts
from slack_ties.hub.transfer import upload
from slack_ties.models.download import fetch_files, files_of
from slack_ties.publish.branch import Branch
from slack_ties.publish.commit import commit_files
from slack_ties.publish.manifest import SentFile

REPO = "me/x"
CONTENT = random.Random(0).randbytes(12_000_000)
LONG = 3 * CONTENT  # much more than the system keeps between a client and a server


@pytest.fixture
def repository(api: HfApi) -> Branch:
    """An empty repository."""
    api.create_repo(REPO, private=True)
    return Branch(REPO, "main", str(api.model_info(REPO).sha))


@pytest.fixture
def slow_hub(hub: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A Hub that takes a large file in pieces, with pauses."""
    read = hub_server.Handler._read_body  # noqa: SLF001 - ours

    def slowly(handler: hub_server.Handler, path: str) -> None:
        if not (path.startswith("/lfs/") and handler.command == "PUT"):
            read(handler, path)
            return
        left, blocks = int(handler.headers["Content-Length"]), []
        while left and (block := handler.rfile.read(min(left, 1 << 19))):
            blocks.append(block)
            left -= len(block)
            time.sleep(0.1)
        handler.body = b"".join(blocks)

    monkeypatch.setattr(hub_server.Handler, "_read_body", slowly)
    return hub


def written(folder: Path, number: int = 1, content: bytes = CONTENT) -> list[dict[str, object]]:
    """Write weight files, and return them as `upload` takes them."""
    files = []
    for i in range(number):
        path = folder / f"m{i}.safetensors"
        path.write_bytes(content + bytes([i]))
        one = {"name": path.name, "path": path, "size": path.stat().st_size}
        files.append({**one, "large": True, "sha256": ""})
    return files


def asked(hub: Server, what: str) -> int:
    """Return how many requests contain a text."""
    return sum(what in request for request in hub.hub.requests)


@pytest.mark.usefixtures("slow_hub")
def test_a_slow_upload_leaves_the_whole_limit_to_the_commit(
    api: HfApi, repository: Branch, tmp_path: Path
) -> None:
    """The upload takes longer than the limit, and something moves all the time."""
    (tmp_path / "model.safetensors").write_bytes(LONG)
    file = SentFile("model.safetensors", len(LONG), tmp_path / "model.safetensors")

    with timeouts(Retries(timeout=4)) as limit:
        began = time.monotonic()
        commit = commit_files([file], [], repository, retries=Retries(timeout=4), api=api)
        took = time.monotonic() - began

    assert api.model_info(REPO).sha == commit
    assert took > limit.seconds


@pytest.mark.usefixtures("slow_hub", "repository")
def test_an_upload_does_not_stop_another_thread(api: HfApi, tmp_path: Path) -> None:
    """While it runs, a question to the Hub is answered."""
    policy, files = Retries(timeout=4), written(tmp_path, content=LONG)
    with timeouts(policy):
        thread = threading.Thread(
            target=upload,
            args=(REPO, files),
            kwargs={"revision": "main", "what": "u", "retries": policy, "api": api},
        )
        thread.start()
        time.sleep(5)
        assert thread.is_alive()
        assert READING.ask(lambda: api.model_info(REPO)).id == REPO
        thread.join()


@pytest.mark.usefixtures("repository")
def test_each_file_has_the_limit_anew(hub: Server, api: HfApi, tmp_path: Path) -> None:
    """The Hub has all contents; its many answers together take longer than the limit."""
    files, policy = written(tmp_path, 6, b"x" * 100_000), Retries(timeout=4)
    upload(REPO, files, revision="main", what="u", retries=policy, api=api)
    hub.hub.watcher = lambda one: time.sleep(0.6 if "preupload" in one or "batch" in one else 0)

    with timeouts(policy):
        assert len(upload(REPO, files, revision="main", what="u", retries=policy, api=api)) == 6
        assert policy.ask(lambda: api.model_info(REPO)).id == REPO


@pytest.mark.parametrize("fault", [("preupload", "503"), ("put", "500"), ("put", "dropped_before")])
@pytest.mark.usefixtures("repository")
def test_an_upload_is_retried(
    fault: tuple[str, str], hub: Server, api: HfApi, tmp_path: Path
) -> None:
    """What fails once is sent again by the process that transfers."""
    hub.hub.faults.append(Fault(*fault))
    policy = Retries(timeout=20, first_wait=0.01)

    assert upload(
        REPO, written(tmp_path), revision="main", what="u", retries=policy, api=api
    ).keys() == {"m0.safetensors"}


def test_a_commit_without_an_answer_is_sent_once(
    hub: Server, api: HfApi, repository: Branch, tmp_path: Path
) -> None:
    """It had the whole limit; the branch is looked at once more."""
    (tmp_path / "README.md").write_text("hi")
    hub.hub.faults.append(Fault("commit", "stalled", math.inf))
    file = SentFile("README.md", 2, tmp_path / "README.md")

    with timeouts(Retries(timeout=2)), pytest.raises(HubError, match="did not answer in time"):
        commit_files([file], [], repository, retries=Retries(timeout=2), api=api)

    assert asked(hub, "/commit/") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.usefixtures("repository")
def test_after_an_interrupt_the_next_call_has_a_new_limit(hub: Server, api: HfApi) -> None:
    """In a notebook Python goes on, and threads of the stopped call may still wait."""
    hub.hub.faults.append(Fault("info", "limited", math.inf))
    hub.hub.reset = 30
    policy = Retries(timeout=60)
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt), timeouts(policy):
        side_by_side([lambda: policy.ask(lambda: api.model_info(REPO))] * 2)

    hub.hub.faults.clear()
    assert policy.ask(lambda: api.model_info(REPO)).id == REPO


def test_a_short_time_is_left_for_a_last_question() -> None:
    """It does not depend on a microsecond whether the Hub can be asked what happened."""
    limit = Limit(300.0)
    for used in (299.999_999, 300.000_001):
        limit.before = used
        assert limit.left_for_request == pytest.approx(15, rel=0.01)


def download(api: HfApi, cache: Path, policy: Retries) -> None:
    """Download the repository."""
    info = api.model_info(REPO, files_metadata=True)
    files = files_of(info)
    fetch_files(
        REPO, files, commit=str(info.sha), what="m", cache=str(cache), retries=policy, api=api
    )


@pytest.fixture
def cache(api: HfApi, repository: Branch, tmp_path: Path) -> Path:  # noqa: ARG001 - it is made
    """A cache that holds a repository's large file, but does not know of which commit it is."""
    api.upload_file(path_or_fileobj=CONTENT, path_in_repo="model.safetensors", repo_id=REPO)
    folder = tmp_path / "cache"
    download(api, folder, Retries())
    for link in folder.glob("models--*/snapshots/*/model.safetensors"):
        link.unlink()
    return folder


def test_to_wait_for_another_process_uses_no_limit(api: HfApi, cache: Path) -> None:
    """It downloads the file for longer than the limit; then the next question is answered."""
    name = hashlib.sha256(CONTENT).hexdigest()
    path = cache / ".locks" / "models--me--x" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, policy = FileLock(path, thread_local=False), Retries(timeout=2)
    lock.acquire()
    threading.Timer(5, lock.release).start()

    with timeouts(policy):
        download(api, cache, policy)
        assert policy.ask(lambda: api.model_info(REPO)).id == REPO


@pytest.mark.parametrize("slow", ["hash", "start"])
def test_work_here_is_no_silence_of_the_hub(
    slow: str, api: HfApi, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A slow disk makes the start of Python slow, and the checksum of a half file."""
    name = hashlib.sha256(CONTENT).hexdigest()
    blobs = cache / "models--me--x" / "blobs"
    (blobs / name).rename(blobs / f"{name}.0123abcd.incomplete")
    (tmp_path / "site").mkdir()
    code = {
        "start": "import time; time.sleep(4)",
        "hash": "import slack_ties.files as f, time\nreal = f.sha256\n"
        "f.sha256 = lambda path: (time.sleep(6), real(path))[1]",
    }
    (tmp_path / "site" / "sitecustomize.py").write_text(code[slow])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    download(api, cache, Retries(timeout=2))

    assert (blobs / name).is_file()
    assert not [*blobs.glob("*.incomplete")]


def test_no_signature_of_an_address_is_shown() -> None:
    """Who has such an address may read or write the file."""
    address = "https://s3.example/lfs/1?X-Amz-Credential=AKIA1&X-Amz-Signature=5ec2e7&partNumber=1"

    assert (
        masked(f"500 for url '{address}'") == "500 for url 'https://s3.example/lfs/1?[signature]'"
    )
    assert masked("https://x.example/f?sv=1&sig=5ec2e7") == "https://x.example/f?[signature]"
    assert masked("GET https://hub.example/api/models/a?blobs=true") == (
        "GET https://hub.example/api/models/a?blobs=true"
    )
