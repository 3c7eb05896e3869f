"""Large files come and go in a process of its own: it can be ended, and its work is taken up."""

from __future__ import annotations

import hashlib
import math
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from huggingface_hub import HfApi

from hub_server import Fault, Server
from slack_ties.errors import HubError
from slack_ties.hub.process import PROGRAM, ChildError
from slack_ties.hub.retries import Retries
from slack_ties.hub.transfer import upload
from slack_ties.models.checksums import stated_sums
from slack_ties.models.download import fetch_files, files_of
from slack_ties.sharing.differences import PublishedModel

REPO, WEIGHTS = "me/big", "model.safetensors"
SIZE = 16_000_000
CONTENT = random.Random(0).randbytes(SIZE)
QUICK = Retries(timeout=2, tries=1, first_wait=0.01)
# As a command does: its parent is this process, its child the one that downloads.
CODE = """
import sys
from huggingface_hub import HfApi
from slack_ties.hub.retries import READING
from slack_ties.models.download import fetch_files, files_of
api = HfApi(endpoint=sys.argv[1], token=sys.argv[2])
info = api.model_info("me/big", files_metadata=True)
fetch_files("me/big", files_of(info), commit=info.sha, what="model", cache=sys.argv[3],
            retries=READING, api=api)
"""


@pytest.fixture
def big(hub: Server, api: HfApi) -> Server:
    """A Hub with a repository that has a large file and a small one."""
    api.create_repo(REPO, private=True)
    put(api, CONTENT)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=REPO)
    hub.hub.requests.clear()
    return hub


def put(api: HfApi, content: bytes) -> str:
    """Commit the large file; return its SHA-256."""
    api.upload_file(path_or_fileobj=content, path_in_repo=WEIGHTS, repo_id=REPO)
    return hashlib.sha256(content).hexdigest()


def fetch(api: HfApi, cache: Path, retries: Retries = QUICK) -> None:
    """Download the repository."""
    info = api.model_info(REPO, files_metadata=True)
    fetch_files(
        REPO,
        files_of(info),
        commit=info.sha or "",
        what="model 'me/big'",
        cache=str(cache),
        retries=retries,
        api=api,
    )


def blobs(cache: Path) -> dict[str, int]:
    """Return the files of the cache's folder for contents, with their sizes."""
    return {path.name: path.stat().st_size for path in cache.glob("models--*/blobs/*")}


def children() -> list[psutil.Process]:
    """Return the processes that transfer files for this one."""
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if PROGRAM in one.cmdline():
                found.append(one)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def wait_for(condition: object) -> None:
    """Wait until a function returns true, a minute at most."""
    for _ in range(600):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.1)
    pytest.fail("waited in vain")


def command(hub: Server, cache: Path) -> subprocess.Popen[str]:
    """Start a command that downloads the repository."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE, hub.url, "hf_writer", str(cache)],
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(hub: Server, cache: Path) -> int:
    """Kill a command in the middle of the large file; return how many bytes of it are here."""
    hub.hub.rate = 4_000_000
    process = command(hub, cache)
    try:
        wait_for(lambda: any(size > 1_000_000 for size in blobs(cache).values()))
    finally:
        (child,) = children()
        process.kill()
        process.communicate(timeout=60)
    child.wait(5)
    hub.hub.rate = 0
    (half,) = [size for name, size in blobs(cache).items() if name.endswith(".incomplete")]
    return half


def test_small_files_need_no_process(big: Server, api: HfApi, tmp_path: Path) -> None:
    """Only the large file comes by one, and nothing comes twice."""
    fetch(api, tmp_path)

    agents = [name for name in big.hub.sent if name]
    assert sorted(agents) == [".gitattributes", "config.json", WEIGHTS]
    assert blobs(tmp_path)[hashlib.sha256(CONTENT).hexdigest()] == SIZE
    big.hub.sent.clear()
    fetch(api, tmp_path)
    assert big.hub.sent == {}


def test_a_killed_download_is_taken_up(big: Server, api: HfApi, tmp_path: Path) -> None:
    """Kill -9 ends the process that downloads too; the same command asks for the rest only."""
    half = killed(big, tmp_path)

    fetch(api, tmp_path)

    assert big.hub.ranges == [f"{WEIGHTS} bytes={half}-"]
    assert blobs(tmp_path)[hashlib.sha256(CONTENT).hexdigest()] == SIZE
    assert not [name for name in blobs(tmp_path) if name.endswith(".incomplete")]
    (link,) = tmp_path.glob(f"models--*/snapshots/*/{WEIGHTS}")
    assert link.read_bytes() == CONTENT


def test_verify_takes_it_up_too(
    big: Server, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of a published model come in the same way as those of parents."""
    half = killed(big, tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    info = api.model_info(REPO, files_metadata=True)
    sizes = {name: length for name, (length, _) in files_of(info).items()}
    published = PublishedModel(REPO, info.sha or "", stated_sums(info), api=api, sizes=sizes)

    assert published.file(WEIGHTS).read_bytes() == CONTENT
    assert big.hub.ranges == [f"{WEIGHTS} bytes={half}-"]


def test_a_damaged_half_file(big: Server, api: HfApi, tmp_path: Path) -> None:
    """It is completed, found wrong, deleted, and the whole file downloaded."""
    killed(big, tmp_path)
    (half,) = tmp_path.glob("models--*/blobs/*.incomplete")
    half.write_bytes(b"x" * half.stat().st_size)

    fetch(api, tmp_path)

    assert blobs(tmp_path)[hashlib.sha256(CONTENT).hexdigest()] == SIZE
    assert not list(tmp_path.glob("models--*/blobs/*.incomplete"))
    (link,) = tmp_path.glob(f"models--*/snapshots/*/{WEIGHTS}")
    assert link.read_bytes() == CONTENT


def test_half_files_that_are_of_no_use(big: Server, api: HfApi, tmp_path: Path) -> None:
    """Those of an older version of the file are deleted, except one that a process writes now."""
    killed(big, tmp_path)
    folder = next(tmp_path.glob("models--*"))
    used, other = folder / "blobs" / f"{'a' * 64}.0123abcd.incomplete", folder / "blobs" / "notes"
    used.write_bytes(b"1")
    other.write_bytes(b"2")
    new = put(api, CONTENT[::-1])

    with FileLock(tmp_path / ".locks" / folder.name / f"{'a' * 64}.lock"):
        fetch(api, tmp_path)

    assert sorted(path.name for path in (folder / "blobs").iterdir() if path.suffix) == [used.name]
    assert other.is_file()
    assert blobs(tmp_path)[new] == SIZE


@pytest.mark.usefixtures("big")
def test_another_process_that_downloads_the_file(
    api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is waited for, longer than for a silent Hub."""
    caplog.set_level("INFO", logger="slack_ties")
    lock = tmp_path / ".locks" / "models--me--big" / f"{hashlib.sha256(CONTENT).hexdigest()}.lock"
    lock.parent.mkdir(parents=True)
    held = FileLock(lock, thread_local=False)
    held.acquire()
    release = threading.Timer(5, lambda: held.release(force=True))
    release.start()

    fetch(api, tmp_path)

    assert f"{WEIGHTS}: waiting for another process that downloads it" in caplog.text
    assert blobs(tmp_path)[lock.stem] == SIZE


def test_a_hub_that_falls_silent(big: Server, api: HfApi, tmp_path: Path) -> None:
    """The download ends after the time-out, in one line, and its process with it."""
    big.hub.faults.append(Fault("file", "stalled", math.inf))
    began = time.monotonic()

    with pytest.raises(HubError, match=r"model 'me/big': .* did not answer in time"):
        fetch(api, tmp_path)

    assert time.monotonic() - began < 30
    assert children() == []


def test_a_process_that_the_system_ends(big: Server, api: HfApi, tmp_path: Path) -> None:
    """For want of memory, as a rule: one line says so, and the same command goes on."""
    big.hub.rate = 2_000_000

    def end_it() -> None:
        wait_for(lambda: any(size > 1_000_000 for size in blobs(tmp_path).values()))
        children()[0].send_signal(signal.SIGKILL)

    thread = threading.Thread(target=end_it)
    thread.start()
    with pytest.raises(
        HubError, match=r"(?m)that transfers the files was ended by signal 9$"
    ) as caught:
        fetch(api, tmp_path)
    thread.join()
    big.hub.rate = 0

    assert "enough memory" in caught.value.hint
    fetch(api, tmp_path)
    assert len(big.hub.ranges) == 1


def test_nothing_secret_in_its_arguments(big: Server, api: HfApi, tmp_path: Path) -> None:
    """Others on the machine can read the arguments of a process, so the token is not in them."""
    big.hub.rate = 8_000_000
    seen: list[str] = []

    def look() -> None:
        wait_for(children)
        seen.extend(children()[0].cmdline())

    thread = threading.Thread(target=look)
    thread.start()
    fetch(api, tmp_path)
    thread.join()

    assert seen[-2:] == ["-c", PROGRAM]
    assert not any("hf_writer" in word for word in seen)


def test_a_bug_in_the_process_is_no_error_of_the_hub(api: HfApi) -> None:
    """It is raised as what it is, with its traceback."""
    with pytest.raises(ChildError, match="KeyError: 'large'"):
        upload(
            REPO,
            [{"name": "x", "path": "x", "size": 1}],
            revision="main",
            what="x",
            retries=QUICK,
            api=api,
        )


def test_the_process_imports_nothing_heavy() -> None:
    """It starts in a fraction of a second, and leaves the memory to the merge."""
    code = "import slack_ties.hub.child, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )

    heavy = {"torch", "transformers", "mergekit", "numpy", "safetensors", "click", "hf_xet"}
    assert heavy.isdisjoint(done.stdout.split())
