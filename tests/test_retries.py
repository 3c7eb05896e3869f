"""A call waits for the Hub no longer than its limit, and repeats what may succeed."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from hub_server import Fault
from slack_ties.errors import HubError
from slack_ties.hub.client import AskAgainError
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.faults import BrokenError, FaultError, SilentError, UnconnectedError
from slack_ties.hub.retries import READING, Retries, patiently
from slack_ties.hub.timeouts import in_force, timeouts

if TYPE_CHECKING:
    from hub_server import Server

QUICK = Retries(timeout=3, first_wait=0.01)
SHORT = Retries(timeout=0.5, first_wait=0.01)
# What may pass beside a limit on a busy machine: a call has a last short chance, and Python runs.
BESIDE = 3.0


@pytest.mark.parametrize("how", ["500", "429", "limited", "dropped_before", "dropped_after"])
def test_asks_again(api: HfApi, hub: Server, how: str) -> None:
    """One fault of the Hub or of the connection ends no call."""
    hub.hub.faults.append(Fault("whoami", how))

    assert QUICK.ask(api.whoami)["name"] == "me"

    assert hub.hub.requests == ["GET /api/whoami-v2"] * 2


def test_a_lost_answer_is_asked_for_again(api: HfApi, hub: Server) -> None:
    """A read may wait for a third of the limit, so a lost packet costs no more."""
    hub.hub.faults.append(Fault("whoami", "stalled"))

    assert QUICK.ask(api.whoami)["name"] == "me"

    assert hub.hub.requests == ["GET /api/whoami-v2"] * 2


@pytest.mark.parametrize("how", ["401", "403", "404", "412"])
def test_does_not_ask_again(api: HfApi, hub: Server, how: str) -> None:
    """A clear answer is one."""
    hub.hub.faults.append(Fault("whoami", how))

    with pytest.raises(HfHubHTTPError):
        QUICK.ask(api.whoami)

    assert len(hub.hub.requests) == 1


@pytest.mark.parametrize(
    ("how", "error"),
    [("500", HfHubHTTPError), ("dropped_before", BrokenError), ("stalled", SilentError)],
)
@pytest.mark.parametrize("kind", ["whoami", "tree", "info", "file"])
def test_ends(api: HfApi, hub: Server, how: str, error: type[Exception], kind: str) -> None:
    """A call gives up within its limit, also where the Hub client has retries of its own."""
    api.create_repo("me/x", private=True)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="me/x")
    calls = {
        "whoami": api.whoami,
        "tree": lambda: list(api.list_repo_tree("me/x")),
        "info": lambda: api.model_info("me/x"),
        "file": lambda: api.hf_hub_download("me/x", "config.json", force_download=True),
    }
    hub.hub.faults.append(Fault(kind, how, math.inf))
    began = time.monotonic()

    with pytest.raises(error):
        SHORT.ask(calls[kind])

    assert time.monotonic() - began < SHORT.timeout + BESIDE


@pytest.mark.parametrize("how", ["429", "limited"])
def test_waits_as_long_as_the_hub_asks(api: HfApi, hub: Server, how: str) -> None:
    """By Retry-After or by RateLimit; if the limit is shorter, the call gives up at once."""
    hub.hub.faults.append(Fault("whoami", how))
    began = time.monotonic()

    QUICK.ask(api.whoami)

    assert time.monotonic() - began >= 1  # the server says 1 second
    hub.hub.faults.append(Fault("whoami", how))
    hub.hub.requests.clear()
    with pytest.raises(HubError, match="429 and asks to wait 1 s") as caught, hub_errors("it", api):
        SHORT.ask(api.whoami)
    assert caught.value.hint == "run the same command later, or with --timeout 10"
    assert len(hub.hub.requests) == 1


def test_a_slow_answer_is_no_silent_one(api: HfApi, hub: Server, tmp_path: Path) -> None:
    """A download that takes longer than the limit succeeds while bytes come."""
    api.create_repo("me/x", private=True)
    api.upload_file(path_or_fileobj=b"x" * 400_000, path_in_repo="x.json", repo_id="me/x")
    hub.hub.rate = 200_000

    began = time.monotonic()
    with timeouts(replace(SHORT, timeout=1.5)):
        path = SHORT.ask(lambda: api.hf_hub_download("me/x", "x.json", cache_dir=tmp_path))

    assert Path(path).stat().st_size == 400_000
    assert time.monotonic() - began > 1.5


def test_a_command_has_one_limit(api: HfApi, hub: Server) -> None:
    """After one call has given up, the next ones of the block get a short chance each."""
    hub.hub.faults.append(Fault("whoami", "stalled", math.inf))
    hub.hub.faults.append(Fault("info", "stalled", math.inf))
    began = time.monotonic()

    with timeouts(SHORT):
        for call in [api.whoami, lambda: api.model_info("me/x"), api.whoami, api.whoami]:
            with pytest.raises(SilentError):
                SHORT.ask(call)

    assert time.monotonic() - began < SHORT.timeout + BESIDE


def test_an_answer_gives_the_time_back(api: HfApi, hub: Server) -> None:
    """A model that the Hub cannot tell about does not keep a command from the next one."""
    api.create_repo("me/x", private=True)
    hub.hub.faults.append(Fault("whoami", "stalled", math.inf))

    with timeouts(SHORT):
        with pytest.raises(SilentError):
            SHORT.ask(api.whoami)
        assert SHORT.ask(lambda: api.model_info("me/x")).id == "me/x"
        hub.hub.faults[:] = [Fault("info", "500")]
        assert SHORT.ask(lambda: api.model_info("me/x")).id == "me/x"


def test_time_between_calls_does_not_count(api: HfApi) -> None:
    """A merge of an hour is no silence of the Hub."""
    with timeouts(Retries(timeout=0.3)) as limit:
        SHORT.ask(api.whoami)
        time.sleep(0.4)

        assert limit.left > 0.2


def test_what_may_succeed_at_once_is_repeated_a_few_times() -> None:
    """Without an end it would be a loop."""
    calls = []

    def call() -> None:
        calls.append(1)
        msg = "the Hub has lost a file"
        raise AskAgainError(msg)

    with pytest.raises(AskAgainError):
        QUICK.ask(call)

    assert len(calls) == QUICK.tries


@contextmanager
def deaf() -> Iterator[str]:
    """Yield the address of a port to which no connection comes about, and which refuses none."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):  # the queue is full: the system leaves further ones without an answer
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_no_answer_to_a_connection() -> None:
    """A firewall that drops packets costs the limit and no more."""
    began = time.monotonic()

    with deaf() as url, pytest.raises(SilentError):
        SHORT.ask(lambda: HfApi(endpoint=url).model_info("a/b"))

    assert time.monotonic() - began < SHORT.timeout + BESIDE


def test_a_name_with_many_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tries each address for as long as it may; together they get the limit."""
    look_up = socket.getaddrinfo

    def many(*given: object, **named: object) -> list[object]:
        return [*look_up(*given, **named)] * 20  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", many)
    began = time.monotonic()

    with deaf() as url, pytest.raises(SilentError):
        SHORT.ask(lambda: HfApi(endpoint=url).model_info("a/b"))

    assert time.monotonic() - began < SHORT.timeout + BESIDE


def test_no_connection_at_all() -> None:
    """Reading gives up at once, so that the cache serves; publishing tries a few times."""
    api = HfApi(endpoint="http://127.0.0.1:9")
    times = []
    for retries in (replace(SHORT, connect=False), replace(SHORT, first_wait=0.1)):
        began = time.monotonic()
        with pytest.raises(UnconnectedError):
            retries.ask(lambda: api.model_info("a/b"))
        times.append(time.monotonic() - began)

    assert times[0] < times[1] < SHORT.timeout + BESIDE


def test_threads_share_the_limit(api: HfApi, hub: Server) -> None:
    """Three that wait at the same time wait as long as one."""
    hub.hub.faults.append(Fault("whoami", "stalled", math.inf))
    errors: list[Exception] = []

    def ask() -> None:
        try:
            QUICK.ask(api.whoami)
        except FaultError as error:
            errors.append(error)

    began = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(errors) == 3
    assert time.monotonic() - began < QUICK.timeout + BESIDE


def test_the_client_is_left_as_it_was(api: HfApi) -> None:
    """Outside our calls it has no limit of ours, and raises its own errors."""
    before = get_session().timeout
    with timeouts(SHORT):
        api.whoami()

    assert get_session().timeout == before
    with pytest.raises(Exception, match="refused") as caught:
        HfApi(endpoint="http://127.0.0.1:9").model_info("a/b")
    assert not isinstance(caught.value, FaultError)


@pytest.mark.parametrize("bug", [RuntimeError("x"), ValueError("x"), KeyError("x"), TypeError("x")])
def test_a_bug_is_no_error_of_the_hub(api: HfApi, bug: Exception) -> None:
    """It leaves the calls as it is, so that the command line reports it as a bug."""

    def call() -> None:
        raise bug

    with pytest.raises(type(bug)) as caught, hub_errors("it", api):
        QUICK.ask(call)

    assert caught.value is bug


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (READING, Retries()),
        (replace(READING, timeout=5), replace(READING, timeout=5, connect=True)),
        (Retries(timeout=7), Retries(timeout=7)),
        (None, Retries()),
    ],
)
def test_a_long_reading_is_patient(given: Retries | None, kept: Retries) -> None:
    """It waits for a lost connection too, and longer, unless the user has set a time limit."""
    with timeouts(given) if given else ExitStack():
        with patiently(), timeouts(QUICK) as limit:
            assert in_force(QUICK) == kept
            assert limit.seconds == kept.timeout
        assert in_force(QUICK) == (given or QUICK)
