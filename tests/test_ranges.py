"""Tests of reading ranges of files on the Hub, against a real server on loopback."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import random
import socket
import ssl
import threading
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, close_session

from conftest import TOKEN
from hub_files import OF_ANSWERS
from hub_server import Fault, Server, Token, serving
from slack_ties.errors import HubError, NoRangesError, NotOnHubError
from slack_ties.hub.client import AskAgainError
from slack_ties.hub.ranges import HubFile, Ranges
from slack_ties.hub.retries import Retries
from slack_ties.hub.transfer import StoppedError
from slack_ties.hub.turns import Turns
from slack_ties.private.http import end_answer

QUICK = Retries(timeout=5.0, first_wait=0.01)
SHORT = Retries(timeout=1.5, first_wait=0.01)
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


# Faults


@pytest.fixture(params=["from the Hub", "from signed addresses"])
def way(request: pytest.FixtureRequest, hub: Server) -> str:
    """How large files come: from the Hub, or from another server at signed addresses."""
    hub.hub.signed = request.param == "from signed addresses"
    return str(request.param)


ONCE = ["500", "503", "429", "limited", "dropped_before", "stalled", "403", "416", *OF_ANSWERS]


@pytest.mark.parametrize("how", ONCE)
def test_one_fault_of_a_range(  # noqa: PLR0917 - fixtures
    how: str, file: HubFile, content: bytes, ranges: Ranges, hub: Server, way: str
) -> None:
    """After one fault the range is asked for again, and the bytes are the file's."""
    if how == "403" and way == "from the Hub":
        pytest.skip("the Hub itself refuses with 403: that is no fault")
    ranges.read(file, 0, 10)  # so that the address and the ETag are known
    hub.hub.faults.append(Fault("range", how))

    found = ranges.read(file, 100_000, 200_000)

    assert hub.hub.faults[0].times == 0
    assert (found == content[100_000:200_000]) == (how != "wrong_bytes")


# Of each fault: what the message says, and how the hint begins.
FOR_EVER = {
    "500": ("answered 500: fault 500", "try again later"),
    "429": ("answered 429 and asks to wait 1 s", "run the same command later"),
    "dropped_before": ("cannot reach", "check the network"),
    "dropped_inside": ("cannot reach", "check the network"),
    "truncated": ("cannot reach", "check the network"),
    "stalled": ("did not answer in time", "try again later"),
    "stalled_inside": ("did not answer in time", "try again later"),
    "416": ("answered 416: it has no bytes 1000-1007 of 300000", "run the same command later"),
    "whole": ("cannot send a part of the file: it ignores ranges", "hf download me/model model."),
    "page": ("answered 200 with an HTML page", "check HF_ENDPOINT"),
    "wrong_range": (
        "another Content-Range: expected bytes 1000-1007/300000, got bytes 1001",
        "run",
    ),
    "long_range": (f"expected bytes 1000-1007/300000, got bytes {94 * '9'}", "run the same"),
    "shorter": ("another Content-Range: expected bytes 1007-1007/300000, got bytes 1007-1006", "r"),
    "other_size": (
        "Content-Range: expected bytes 1000-1007/300000, got bytes 1000-1007/300001",
        "",
    ),
    "other_etag": ("another ETag: expected", "run the same command later"),
    "other_commit": ("another commit: expected", "run the same command later"),
    "401": ("does not accept", ""),  # the Hub itself
    "403": ("answered 403 to an address that the Hub has just given", "run the same command later"),
}


@pytest.mark.parametrize("how", sorted({*FOR_EVER} - {"401"}))
def test_a_fault_of_ranges_for_ever(  # noqa: PLR0917 - fixtures
    how: str, file: HubFile, content: bytes, api: HfApi, hub: Server, way: str
) -> None:
    """The call ends with a true message after a bounded number of requests; then all is well."""
    if how == "403" and way == "from the Hub":
        how = "401"  # whom the Hub itself refuses has no right to read
    kind = "address" if hub.hub.signed and how == "other_commit" else "range"
    ranges = Ranges(api=api, retries=SHORT)
    ranges.read(file, 0, 10)
    hub.hub.faults.append(Fault(kind, how, math.inf))
    if kind == "address":
        hub.hub.addresses.given.clear()  # or the known address is used
    hub.hub.requests.clear()

    with pytest.raises(HubError) as caught:
        ranges.read(file, 1000, 1008)

    message, hint = FOR_EVER[how]
    assert message in str(caught.value)
    server = hub.hub.storage_url if kind == "range" and hub.hub.signed else hub.url
    assert server.removeprefix("http://") in str(caught.value)
    assert str(caught.value).startswith("model 'me/model', model.safetensors: ")
    assert "\n" not in str(caught.value)
    assert "ignature" not in str(caught.value) + caught.value.hint
    assert caught.value.hint.startswith(hint)
    assert len(hub.hub.requests) <= 2 * 21
    hub.hub.wake.set()
    hub.hub.faults.clear()
    assert ranges.read(file, 1000, 1008) == content[1000:1008]


@pytest.mark.usefixtures("way")
def test_a_broken_body_is_not_read_again(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server
) -> None:
    """After a drop only the missing bytes are asked for."""
    hub.hub.faults.append(Fault("range", "truncated"))

    assert ranges.read(file, 0, 200_000) == content[:200_000]
    assert hub.hub.ranges == [f"{NAME} bytes=0-199999", f"{NAME} bytes=100000-199999"]
    assert ranges.received == hub.hub.sent[NAME] == 200_000


@pytest.mark.usefixtures("way")
def test_a_server_may_send_less_than_was_asked(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """If an answer says that it has fewer bytes, only the others are asked for: no fault."""
    hub.hub.faults.append(Fault("range", "shorter"))

    assert ranges.read(file, 0, 1000) == content[:1000]
    assert hub.hub.ranges == [f"{NAME} bytes=0-999", f"{NAME} bytes=999-999"]
    assert caplog.records == []


@pytest.mark.usefixtures("way")
def test_a_connection_that_was_closed_meanwhile(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A server may close a connection between two requests: nothing is said of that."""
    ranges.read(file, 0, 10)
    hub.hub.faults.append(Fault("range", "dropped_before"))

    assert ranges.read(file, 10, 20) == content[10:20]
    assert hub.hub.faults[0].times == 0
    assert caplog.records == []


def test_a_file_object_after_an_error(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server
) -> None:
    """Bytes that came before an error are not taken for those that did not come."""
    with ranges.open(file) as opened:
        opened.read(100)
        opened.seek(100_000)
        hub.hub.faults.append(Fault("range", "page", 4))
        with pytest.raises(HubError):
            opened.read(100)

        assert opened.read(100) == content[100_000:100_100]


def test_a_file_is_not_read_from_a_server_that_ignores_ranges(
    api: HfApi, ranges: Ranges, hub: Server
) -> None:
    """Its answer is not read, and the message says so and what to do."""
    api.create_repo("me/large")
    size = 1 << 30
    commit = hub.hub.generate("me/large", NAME, size, "a" * 64, lambda at, end: bytes(end - at))
    hub.hub.faults.append(Fault("range", "whole", math.inf))

    with pytest.raises(NoRangesError, match="it ignores ranges") as caught:
        ranges.read(HubFile("me/large", commit, NAME, size, "a" * 64), 0, 1000)

    command = f"hf download me/large {NAME} --revision {commit}"
    assert caught.value.hint.startswith(f"{command} # ")
    assert ranges.received == 0
    assert hub.hub.sent[NAME] < size / 10  # what fits into the buffers of the connections


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"checksum": "f" * 64}, "another ETag: expected ffff"),
        ({"size": 299_999}, "expected "),
    ],
)
def test_another_file_than_was_stated(
    wrong: dict[str, Any], message: str, file: HubFile, ranges: Ranges
) -> None:
    """A file of another size or checksum than the Hub stated is not read."""
    with pytest.raises(HubError, match=message):
        ranges.read(replace(file, **wrong), 0, 10)

    assert ranges.received == 0


def test_a_model_that_is_not_there(file: HubFile, ranges: Ranges) -> None:
    """A model or file that the Hub does not have is an error at once."""
    with pytest.raises(NotOnHubError):
        ranges.read(replace(file, repo_id="me/none"), 0, 10)
    with pytest.raises(NotOnHubError):
        ranges.read(replace(file, name="none.safetensors"), 0, 10)


# Signed addresses


def test_a_signed_address_is_kept(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server
) -> None:
    """The Hub is asked once for each file; the storage server gets no token."""
    hub.hub.signed = True
    hub.hub.requests.clear()

    for at in range(0, 5000, 1000):
        assert ranges.read(file, at, at + 1000) == content[at : at + 1000]

    assert len([one for one in hub.hub.requests if "/resolve/" in one]) == 1
    assert len([one for one in hub.hub.requests if "/storage/" in one]) == 5
    assert hub.hub.leaked == []


@pytest.mark.parametrize("uses", [1, 2])
def test_an_expired_address_is_asked_for_again(  # noqa: PLR0917 - fixtures
    uses: int,
    file: HubFile,
    content: bytes,
    ranges: Ranges,
    hub: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An address that has expired is no fault: nothing is said, and the bytes come."""
    hub.hub.signed, hub.hub.addresses.uses = True, uses

    found = b"".join(ranges.read(file, at, at + 1000) for at in range(0, 6000, 1000))

    assert found == content[:6000]
    assert len(hub.hub.addresses.given) == 6 / uses
    assert caplog.records == []


def test_an_address_that_holds_for_some_time(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """An address is used until the storage server refuses it."""
    hub.hub.signed = True
    assert ranges.read(file, 0, 100) == content[:100]
    for signed in hub.hub.addresses.given.values():
        signed.until = 0.0

    assert ranges.read(file, 100, 200) == content[100:200]
    assert len(hub.hub.addresses.given) == 2
    assert caplog.records == []


def test_a_storage_server_that_is_gone(
    file: HubFile, content: bytes, api: HfApi, hub: Server
) -> None:
    """The Hub is asked for another address; if there is none, the message names that server."""
    hub.hub.signed, ranges = True, Ranges(api=api, retries=SHORT)
    assert ranges.read(file, 0, 10) == content[:10]
    assert hub.storage
    hub.storage.shutdown()
    hub.storage.server_close()
    close_session()  # or its open connection goes on
    hub.hub.requests.clear()

    with pytest.raises(HubError, match=f"cannot reach {hub.hub.storage_url}"):
        ranges.read(file, 10, 20)

    assert any("/resolve/" in one for one in hub.hub.requests)
    hub.storage = None
    assert ranges.read(file, 10, 20) == content[10:20]


@pytest.mark.parametrize("server", ["http://127.0.0.1:99999", "http://[::1", "ftp://127.0.0.1"])
def test_a_redirect_to_what_is_no_address(
    server: str, file: HubFile, ranges: Ranges, hub: Server
) -> None:
    """A redirect that leads nowhere is an error of one line."""
    hub.hub.signed = True
    hub.start_storage()
    hub.hub.storage_url = server

    with pytest.raises(HubError, match="answered 302 without an address"):
        ranges.read(file, 0, 10)


def test_a_renamed_model(file: HubFile, content: bytes, ranges: Ranges, hub: Server) -> None:
    """A redirect on the Hub itself is followed with the token."""
    hub.hub.moved["me/old"] = "me/model"

    assert ranges.read(replace(file, repo_id="me/old"), 0, 100) == content[:100]


@pytest.mark.usefixtures("way")
def test_a_mirror(file: HubFile, content: bytes, hub: Server, tmp_path: Path) -> None:
    """A Hub that names another Hub for its files is followed without the token, and checked."""
    state = hub.hub.repo("me/model", Token("me"))
    hub.hub.save("me/model", {**state, "private": False})
    hub.hub.heard = []
    with serving(tmp_path / "mirror", {}) as mirror:
        mirror.hub.mirrored = hub.url
        ranges = Ranges(api=HfApi(mirror.url, token=TOKEN), retries=QUICK)
        assert ranges.read(file, 0, 100) == content[:100]
        with pytest.raises(HubError, match="another commit"):
            ranges.read(replace(file, commit="main"), 0, 100)
        with pytest.raises(HubError, match="another ETag"):
            ranges.read(replace(file, checksum="0" * 64), 0, 100)
    assert hub.hub.heard
    assert TOKEN.encode() not in b"".join(hub.hub.heard)


def test_a_hub_that_redirects_for_ever(file: HubFile, ranges: Ranges, hub: Server) -> None:
    """Redirects are followed a bounded number of times."""
    hub.hub.moved["me/model"] = "me/model"
    hub.hub.requests.clear()

    with pytest.raises(HubError, match="redirects"):
        ranges.read(file, 0, 100)

    assert len(hub.hub.requests) <= 4 * 5


# Several threads


def at_once(
    ranges: Ranges, file: HubFile, count: int, server: Server | None = None
) -> list[bytes | BaseException]:
    """Return what so many threads read at the same time, each a part of the file.

    The server answers none of them before it has heard all.
    """
    arrived, all_there = itertools.count(1), threading.Event()

    def watch(_: str) -> None:
        if next(arrived) == count:
            all_there.set()
        all_there.wait(30)

    if server is not None:
        server.hub.watcher = watch
    found: list[bytes | BaseException] = [b""] * count
    together = threading.Barrier(count)

    def read(number: int) -> None:
        together.wait()
        try:
            found[number] = ranges.read(file, number * 1000, number * 1000 + 1000)
        except BaseException as error:  # noqa: BLE001 - compared by the test
            found[number] = error

    threads = [threading.Thread(target=read, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.usefixtures("way")
def test_one_thread_asks_again_for_all(
    file: HubFile, content: bytes, api: HfApi, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """While the Hub is busy, one of eight threads retries, and messages come once."""
    ranges = Ranges(api=api, retries=Retries(timeout=20.0, first_wait=0.01))
    hub.hub.faults.append(Fault("range", "429", 10))
    hub.hub.requests.clear()

    found = at_once(ranges, file, 8)

    assert found == [content[at * 1000 : at * 1000 + 1000] for at in range(8)]
    assert 2 <= len(caplog.records) <= 10 - 7 + 1  # the first request of each thread, then one's
    assert all("the Hub answered 429; retrying in 1 s" in one.message for one in caplog.records)


def test_a_wrong_answer_is_told_once(
    file: HubFile, content: bytes, ranges: Ranges, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight threads that get wrong answers do not each say so, and end with one error."""
    hub.hub.faults.append(Fault("range", "whole", math.inf))

    found = at_once(ranges, file, 8, hub)

    assert len({str(one) for one in found}) == 1
    assert all(isinstance(one, NoRangesError) and "ignores ranges" in str(one) for one in found)
    assert len(caplog.records) == 3

    hub.hub.faults[:] = [Fault("range", "page", 8)]
    caplog.clear()
    assert at_once(ranges, file, 8, hub) == [content[at : at + 1000] for at in range(0, 8000, 1000)]
    assert len(caplog.records) == 1


def test_a_fault_of_the_time_before_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """A call that began before another thread's success, and fails after it, is repeated."""
    turns, began, fails = Turns(threading.Event()), threading.Event(), threading.Event()
    faults, found = {"first": 1, "late": 1}, []

    def call(name: str) -> str:
        if faults[name]:
            faults[name] -= 1
            if name == "late":
                began.set()
                fails.wait(30)
            raise AskAgainError(name)
        turns.recovered()
        return name

    def ask(name: str) -> None:
        found.append(turns.ask(QUICK, lambda: call(name), lambda error: error))

    thread = threading.Thread(target=ask, args=("late",))
    thread.start()
    began.wait(30)
    ask("first")
    fails.set()
    thread.join(30)

    assert found == ["first", "late"]
    assert [one.getMessage() for one in caplog.records] == ["  first; retrying (3 retries left)"]


@pytest.mark.usefixtures("way")
def test_all_threads_end_when_one_has_given_up(
    file: HubFile, api: HfApi, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The error of the thread that retries is that of all; none of them begins anew."""
    ranges = Ranges(api=api, retries=SHORT)
    hub.hub.faults.append(Fault("range", "500", math.inf))
    began = time.monotonic()

    found = at_once(ranges, file, 8)

    assert all(isinstance(one, HubError) and "answered 500" in str(one) for one in found)
    assert time.monotonic() - began < 4 * SHORT.timeout
    assert len(caplog.records) <= 20


def test_without_network_messages_come_once(
    file: HubFile, api: HfApi, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight threads that cannot reach the Hub say so as one does."""
    ranges = Ranges(api=api, retries=SHORT)
    hub.stop()

    found = at_once(ranges, file, 8)

    assert all(isinstance(one, HubError) and "cannot reach" in str(one) for one in found)
    assert 1 <= len(caplog.records) <= 8


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("how", ["stalled", "stalled_inside"])
def test_stop_ends_running_requests(how: str, file: HubFile, api: HfApi, hub: Server) -> None:
    """A request that waits for the server ends soon after `stop`, and no other begins."""
    ranges = Ranges(api=api, retries=Retries(timeout=300.0))
    hub.hub.faults.append(Fault("range", how, math.inf))
    found: list[BaseException] = []

    def read() -> None:
        try:
            ranges.read(file, 0, 1000)
        except BaseException as error:  # noqa: BLE001 - compared by the test
            found.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    while sum("/resolve/" in one for one in hub.hub.requests) < 3:
        time.sleep(0.01)
    time.sleep(0.2)
    began = time.monotonic()
    ranges.stop()
    for thread in threads:
        thread.join(30)

    assert [type(one) for one in found] == [StoppedError] * 3
    assert time.monotonic() - began < 2
    hub.hub.requests.clear()
    with pytest.raises(StoppedError):
        ranges.read(file, 0, 1000)
    assert hub.hub.requests == []


def test_stop_between_the_beginning_of_an_answer_and_its_body(
    file: HubFile, ranges: Ranges, hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that has just begun is not waited for."""
    hub.hub.faults.append(Fault("range", "stalled_inside"))
    monkeypatch.setattr(ranges._turns, "recovered", ranges.stop)  # noqa: SLF001
    began = time.monotonic()

    with pytest.raises(StoppedError):
        ranges.read(file, 0, 1)

    assert time.monotonic() - began < 1


def test_an_encrypted_answer_that_is_ended() -> None:
    """What comes after the end is never encrypted bytes that look like those of the file."""
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)]
    contexts[1].check_hostname, contexts[1].verify_mode = False, ssl.CERT_NONE
    for context in contexts:  # encryption that needs no certificate
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.set_ciphers("AECDH:@SECLEVEL=0")
        except ssl.SSLError as error:
            pytest.skip(f"this OpenSSL cannot do it: {error}")
    ours, theirs = socket.socketpair()

    def send() -> None:
        with suppress(OSError), contexts[0].wrap_socket(theirs, server_side=True) as server:
            server.sendall(b"y" * 1_000_000)

    thread = threading.Thread(target=send)
    thread.start()
    with contexts[1].wrap_socket(ours) as line:
        found = line.recv(10)
        stream = SimpleNamespace(get_extra_info={"socket": line}.get)
        end_answer(SimpleNamespace(extensions={"network_stream": stream}))
        with suppress(OSError):
            while more := line.recv(1 << 16):
                found += more
    thread.join(30)

    assert found.startswith(b"y" * 10)
    assert set(found) == set(b"y")
