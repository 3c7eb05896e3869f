"""A Hub that asks one of several to wait is not asked by the others meanwhile."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_server import Fault
from processes import start
from slack_ties.errors import HubError
from slack_ties.hub import pause
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.faults import SilentError
from slack_ties.hub.pause import VARIABLE
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts
from slack_ties.hub.transfer import download
from slack_ties.models.download import files_of

if TYPE_CHECKING:
    from hub_server import Server

PATIENT = Retries(timeout=60, first_wait=0.01)
SHORT = Retries(timeout=1, first_wait=0.01)
BESIDE = 3.0  # seconds that may pass beside a wait on a busy machine
SAID = "the Hub has asked this batch to wait; going on in"

EVERY = 0.5  # seconds between two questions of a process or thread
ASKS = """
import sys, time
from pathlib import Path
from huggingface_hub import HfApi
from slack_ties.hub.retries import Retries
api, until, retries = HfApi(endpoint=sys.argv[1], token="hf_writer"), Path(sys.argv[2]), Retries()
while not until.exists():
    retries.ask(api.whoami)
    time.sleep(float(sys.argv[3]))
"""


class Asked:
    """When the Hub was asked after it has asked somebody to wait."""

    def __init__(self, server: Server, reset: int) -> None:
        """Let the Hub ask once to wait so many seconds, as soon as `begin` is called."""
        self.server, self.reset = server, reset
        self.times: list[float] = []
        server.hub.watcher = self._watch

    def begin(self) -> None:
        """Let it ask the next one."""
        self.server.hub.reset = self.reset
        self.server.hub.faults.append(Fault("whoami", "limited"))

    def _watch(self, _: str) -> None:
        if self.server.hub.faults and not self.server.hub.faults[0].times:
            self.times.append(time.monotonic())

    def wait(self) -> int:
        """Wait until somebody was told to wait, and asks again; return how many asked meanwhile."""
        end = time.monotonic() + 60
        while not self.times or self.times[-1] < self.times[0] + self.reset:
            assert time.monotonic() < end, "nobody asks"
            time.sleep(0.1)
        return sum(one < self.times[0] + self.reset for one in self.times[1:])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a batch that this process belongs to."""
    path = tmp_path / "pause.json"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def entry(left: float, seconds: float) -> dict[str, object]:
    """Return a pause that ends in so many seconds, and for how long the Hub has asked."""
    until = datetime.now(timezone.utc) + timedelta(seconds=left)
    return {"until": until.isoformat(), "seconds": seconds}


def others(hub: Server) -> str:
    """Return the name of the requests that ask for no file."""
    return f"{hub.url} other requests"


def took(api: HfApi, retries: Retries = PATIENT) -> float:
    """Ask, and return the seconds that it took."""
    began = time.monotonic()
    retries.ask(api.whoami)
    return time.monotonic() - began


@pytest.mark.parametrize("shared", [True, False])
def test_processes_share_a_pause(hub: Server, tmp_path: Path, *, shared: bool) -> None:
    """With the file of a batch, of three processes at most those ask that were about to."""
    asked, end = Asked(hub, 4), tmp_path / "end"
    env = {**os.environ, **({VARIABLE: str(tmp_path / "pause.json")} if shared else {})}
    imported = ("slack_ties.hub.retries", "huggingface_hub.hf_api")
    three = [
        start([hub.url, end, EVERY], env=env, merged=True, code=ASKS, imported=imported)
        for _ in range(3)
    ]
    while len(hub.hub.requests) < 6:
        time.sleep(0.1)
    asked.begin()

    meanwhile = asked.wait()

    end.touch()
    said = [process.communicate(timeout=60)[0] for process in three]
    assert [process.returncode for process in three] == [0, 0, 0], said
    assert sorted(text.count("429; retrying in 4 s") for text in said) == [0, 0, 1]
    if shared:
        assert meanwhile <= 2
        assert sorted(text.count(SAID) for text in said) == [0, 1, 1]
        assert "hf_writer" not in (tmp_path / "pause.json").read_text()
    else:
        assert meanwhile > 4
        assert SAID not in "".join(said)


def test_threads_share_a_pause(api: HfApi, hub: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Without a file too; one line says it."""
    asked, end = Asked(hub, 4), threading.Event()

    def ask() -> None:
        while not end.wait(EVERY):
            PATIENT.ask(api.whoami)

    with timeouts(PATIENT):
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        asked.begin()
        meanwhile = asked.wait()
        end.set()
        for thread in threads:
            thread.join()

    assert meanwhile <= 2
    assert [one.getMessage() for one in caplog.records if one.name == "slack_ties"] == [
        "  the Hub answered 429; retrying in 4 s"
    ]


@pytest.mark.usefixtures("file")
def test_a_pause_of_a_batch_does_not_count(api: HfApi, hub: Server) -> None:
    """A task whose limit is shorter goes on when the Hub answers again."""
    hub.hub.reset = 2
    hub.hub.faults.append(Fault("whoami", "limited"))

    assert took(api, SHORT) >= 2

    assert hub.hub.requests == ["GET /api/whoami-v2"] * 2


@pytest.mark.usefixtures("file")
def test_a_hub_that_only_asks_to_wait(
    api: HfApi, hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From some time on the waits count, and the call gives up."""
    monkeypatch.setattr(pause, "LONGEST", 2.0)
    hub.hub.faults.append(Fault("whoami", "limited", math.inf))

    with pytest.raises(HfHubHTTPError, match="429"):
        SHORT.ask(api.whoami)

    assert len(hub.hub.requests) == 2


def test_a_pause_of_another_task(
    file: Path, api: HfApi, hub: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent before its end; it is kept once, and said once."""
    file.write_text(json.dumps({others(hub): entry(2, 2)}))

    assert took(api, SHORT) >= 1.5

    assert took(api) < 1
    assert len(hub.hub.requests) == 2
    assert caplog.text.count(SAID) == 1


def test_files_and_other_requests_have_limits_of_their_own(
    file: Path, api: HfApi, hub: Server
) -> None:
    """A pause of the Hub's API holds up no download, and one of the whole Hub does."""
    api.create_repo("me/x")
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="me/x")
    file.write_text(json.dumps({others(hub): entry(300, 300)}))
    began = time.monotonic()

    PATIENT.ask(lambda: api.hf_hub_download("me/x", "config.json", force_download=True))

    assert time.monotonic() - began < BESIDE
    file.write_text("{}")
    hub.hub.faults.append(Fault("whoami", "later"))

    def ask() -> None:
        with pytest.raises(SilentError):
            PATIENT.ask(api.whoami)

    with timeouts(PATIENT) as limit:
        thread = threading.Thread(target=ask)
        thread.start()
        while len(json.loads(file.read_text())) != 2:
            assert time.monotonic() - began < 60
            time.sleep(0.1)
        limit.close()
        thread.join()


@pytest.mark.usefixtures("file")
def test_a_foolish_wait(api: HfApi, hub: Server) -> None:
    """The call gives up with one line, and holds up nobody."""
    hub.hub.reset = 10**400
    hub.hub.faults.append(Fault("whoami", "limited"))

    with pytest.raises(HubError, match="429 and asks to wait"), hub_errors("it", api):
        PATIENT.ask(api.whoami)

    assert took(api) < BESIDE


WRONG = {
    "empty": b"",
    "half": b'{"',
    "a list": b"[]",
    "deep": b"[" * 60_000,
    "long": b" " * 100_000 + b"{}",
    "no text": b"\xff\xfe",
    "not an entry": {"NAME": 5},
    "in the far future": {"NAME": entry(300, 1e9)},
    "a year that does not exist": {"NAME": {"until": "99999-01-01T00:00:00+00:00", "seconds": 9}},
    "a number": {"NAME": {"until": 1e12, "seconds": 9}},
    "without a time zone": {"NAME": {"until": "2999-01-01T00:00:00", "seconds": 9}},
    "not a number": {"NAME": entry(300, math.nan)},
    "infinite": {"NAME": entry(300, math.inf)},
    "negative": {"NAME": entry(300, -9)},
    "over": {"NAME": entry(-1, 300)},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_holds_nobody_up(file: Path, api: HfApi, hub: Server, case: str) -> None:
    """It is as if there were none."""
    wrong = WRONG[case]
    content = wrong if isinstance(wrong, bytes) else json.dumps(wrong).encode()
    file.write_bytes(content.replace(b"NAME", others(hub).encode()))

    assert took(api, SHORT) < SHORT.timeout + BESIDE


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe_or_a_folder_in_place_of_the_file(file: Path, api: HfApi, hub: Server) -> None:
    """Nobody waits for it; the process that is asked to wait keeps the pause for itself."""
    for make, remove in ((os.mkfifo, Path.unlink), (os.mkdir, Path.rmdir)):
        make(file)
        hub.hub.requests.clear()
        hub.hub.faults[:] = [Fault("whoami", "limited")]
        assert 1 <= took(api, SHORT) < 2 + BESIDE
        assert len(hub.hub.requests) == 2
        remove(file)


def test_another_clock(file: Path, api: HfApi, hub: Server) -> None:
    """If the other machine is an hour ahead, a pause takes as long as the Hub has asked for."""
    file.write_text(json.dumps({others(hub): entry(3600, 1)}))

    assert 0.9 <= took(api, SHORT) < 1 + BESIDE
    assert took(api) < 0.9


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_within_a_pause(file: Path, api: HfApi, hub: Server) -> None:
    """It ends the wait at once."""
    file.write_text(json.dumps({others(hub): entry(300, 300)}))
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.5, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        PATIENT.ask(api.whoami)

    assert time.monotonic() - sent[0] < 2
    assert hub.hub.requests == []


def test_a_process_that_transfers_keeps_the_pause(
    file: Path, api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """The command that watches it does not take the pause for silence."""
    api.create_repo("me/x")
    api.upload_file(path_or_fileobj=b"x" * 9000, path_in_repo="m.safetensors", repo_id="me/x")
    info = api.model_info("me/x", files_metadata=True)
    hub.hub.reset = 4
    hub.hub.faults.append(Fault("file", "limited"))
    hub.hub.requests.clear()

    download(
        "me/x",
        {"m.safetensors": files_of(info)["m.safetensors"]},
        commit=info.sha or "",
        cache=str(tmp_path / "cache"),
        what="model 'me/x'",
        retries=replace(SHORT, tries=1),
        api=api,
    )

    assert f"{hub.url} files" in json.loads(file.read_text())
    asked = [one for one in hub.hub.requests if one.startswith("GET /me/x/resolve/")]
    assert len(asked) == len(set(asked)) + 1
