"""Tests of reading ranges of files on the Hub, against a real server on loopback."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_server import Server
from slack_ties.hub.ranges import HubFile, Ranges
from slack_ties.hub.retries import Retries

QUICK = Retries(timeout=5.0, first_wait=0.01)
NAME = "model.safetensors"


@pytest.fixture(scope="session")
def content() -> bytes:
    """What the weight file holds."""
    return random.Random(1).randbytes(300_000)


@pytest.fixture
def file(content: bytes, api: HfApi, tmp_path: Path) -> HubFile:
    """A weight file of a model on the Hub."""
    api.create_repo("me/model", private=True)
    path = tmp_path / "weights"
    path.write_bytes(content)
    made = api.upload_file(path_or_fileobj=path, path_in_repo=NAME, repo_id="me/model")
    digest = hashlib.sha256(content).hexdigest()
    return HubFile("me/model", str(made.oid), NAME, len(content), digest)


@pytest.fixture
def ranges(api: HfApi) -> Ranges:
    """Reads ranges with the writer's token."""
    return Ranges(api=api, retries=QUICK)


def test_a_range_is_read(file: HubFile, content: bytes, ranges: Ranges, hub: Server) -> None:
    """The bytes of a range come with one request, and no others."""
    hub.hub.requests.clear()

    assert ranges.read(file, 1000, 5000) == content[1000:5000]
    assert ranges.received == hub.hub.sent[NAME] == 4000
    assert hub.hub.requests == [f"GET /me/model/resolve/{file.commit}/{NAME}"]


def test_a_buffer_is_filled(file: HubFile, content: bytes, ranges: Ranges) -> None:
    """Bytes go into the caller's buffer, and nothing else of it is changed."""
    buffer = bytearray(b"-" * 20)

    ranges.read_into(file, file.size - 10, memoryview(buffer)[5:15])

    assert buffer == b"-----" + content[-10:] + b"-----"


def test_nothing_is_asked_for_an_empty_range(file: HubFile, ranges: Ranges, hub: Server) -> None:
    """An empty range needs no request."""
    hub.hub.requests.clear()

    assert ranges.read(file, 7, 7) == b""
    assert hub.hub.requests == []


@pytest.mark.parametrize(("first", "end"), [(-1, 5), (5, 4), (299_999, 300_001)])
def test_no_bytes_outside_the_file(file: HubFile, ranges: Ranges, first: int, end: int) -> None:
    """A range that the file does not have is an error before any request."""
    with pytest.raises(ValueError, match="has no bytes"):
        ranges.read(file, first, end)


def test_several_threads_read_at_once(file: HubFile, content: bytes, ranges: Ranges) -> None:
    """Each of eight threads gets its own bytes."""
    found: dict[int, bytes] = {}

    def read(number: int) -> None:
        for at in range(number * 1000, file.size - 1000, 50_000):
            found[at] = ranges.read(file, at, at + 1000)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) >= 40
    assert all(content[at : at + 1000] == part for at, part in found.items())


def test_a_file_object_reads_ahead(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server
) -> None:
    """Small reads that follow each other need one request."""
    hub.hub.requests.clear()

    with ranges.open(file) as opened:
        assert [opened.read(8), opened.read(2000)] == [content[:8], content[8:2008]]
        assert len(hub.hub.requests) == 1
        assert opened.seek(-5, io.SEEK_END) == file.size - 5
        assert opened.read() == content[-5:]
        assert opened.read(3) == b""
        opened.seek(100_000)
        assert opened.read(60_000) == content[100_000:160_000]
        assert opened.tell() == 160_000


def test_the_directory_of_a_zip_is_read_from_the_end(
    api: HfApi, ranges: Ranges, hub: Server, tmp_path: Path
) -> None:
    """The names in a zip file cost one request for its last bytes."""
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50):
            archive.writestr(f"data/{number}", bytes(10_000))
    api.create_repo("me/zipped")
    made = api.upload_file(path_or_fileobj=path, path_in_repo=path.name, repo_id="me/zipped")
    hub.hub.requests.clear()

    size = path.stat().st_size
    with ranges.open(HubFile("me/zipped", str(made.oid), path.name, size)) as opened:
        assert len(zipfile.ZipFile(opened).namelist()) == 50

    assert len(hub.hub.requests) == 1
    assert hub.hub.sent[path.name] <= 40_000
