"""Streaming merges of models that stay on the Hub: whatever goes wrong, the right model or none."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from safetensors.torch import load_file

import processes
from command import environment, files_on_main
from hub_server import Fault, Hub, Server, Token, serving
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import HubError, SlackTiesError, WrongBytesError
from slack_ties.hub.retries import Retries
from slack_ties.merge.merge import merge_models
from slack_ties.record import read_record
from slack_ties.remote.window import Window
from slack_ties.run import run_all
from triple import Folders

TOKEN = "hf_" + "Abc123" * 6
TOKENS = {TOKEN: Token("me")}
REPO = "me/tibetan"
SHARD = 100_000  # bytes; the merged model has four files of at most that
SMALL, WINDOW = 50_000, 60_000  # bytes of a file, and of the window, of runs that are killed
PATIENT = Retries(timeout=30, tries=2, first_wait=0.01)  # on a busy machine
QUICK, SHORT = (replace(PATIENT, timeout=seconds) for seconds in (3, 6))  # what never ends
BUSY = 4.0  # times longer on a busy machine
PARENTS = {"base": "me/base", "ct": "me/ct", "sft": "me/sft"}


@pytest.fixture(scope="module")
def parents(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Hub that has the triple; to be copied."""
    root = tmp_path_factory.mktemp("parents") / "hub"
    with serving(root, TOKENS) as server:
        api = HfApi(endpoint=server.url, token=TOKEN)
        for role, repo_id in PARENTS.items():
            api.create_repo(repo_id, private=False)
            api.upload_folder(repo_id=repo_id, folder_path=getattr(triple, role))
    return root


@pytest.fixture(scope="module")
def whole(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The weight files and the index of the same merge of local folders."""
    out = tmp_path_factory.mktemp("whole") / "out"
    folders = Choices(*(str(getattr(triple, role)) for role in PARENTS))
    merge_models(make_config("bo", folders), out, options=options(out.parent))
    return {path.name: path.read_bytes() for path in out.glob("model*")}


@pytest.fixture
def hub(parents: Path, tmp_path: Path) -> Iterator[Server]:
    """A Hub of its own with the triple."""
    shutil.copytree(parents, tmp_path / "hub")
    with serving(tmp_path / "hub", TOKENS) as server:
        yield server


def options(cache: Path) -> MergeOptions:
    """Return mergekit's options for small files and a cache of its own."""
    return MergeOptions(
        quiet=True, out_shard_size=SHARD, lazy_unpickle=True, transformers_cache=str(cache)
    )


def stream_it(folder: Path, url: str, **changes: Any) -> Any:
    """Merge without download, streaming, with a cache in the folder."""
    arguments = {"options": options(folder / "home" / "hub"), "retries": PATIENT, **changes}
    return run_all(
        "bo",
        folder / "out",
        choices=Choices(**PARENTS),
        publish=REPO,
        license="mit",
        api=HfApi(endpoint=url, token=TOKEN),
        **{"stream": True, "download": False, **arguments},
    )


def what_fails(folder: Path, url: str, **changes: Any) -> str:
    """Merge, streaming; return the error, or nothing."""
    try:
        stream_it(folder, url, **changes)
    except SlackTiesError as error:
        return str(error)
    return ""


def published(root: Path) -> dict[str, bytes]:
    """Return the weight files and the index on main."""
    found = files_on_main(Hub(root), REPO, "me")
    return {name: content for name, content in found.items() if name.startswith("model")}


# What goes wrong once, what goes wrong for ever, and what is said then.
FAULTS = {
    "500": ("500", "500", "answered 500"),
    "429": ("429", "429", "answered 429"),
    "dropped": ("dropped_inside", "dropped_before", "disconnected|reset by peer|forcibly closed"),
    "stalled": ("stalled_inside", "stalled", "did not answer in time"),
    "truncated": ("truncated", "truncated", "without sending complete|did not answer in time"),
    "wrong bytes": ("wrong_bytes", "wrong_bytes", "arrived with the checksum .* expected"),
    "expired": ("expired", "expired", "answered 403 to an address that the Hub has just given"),
    "416": ("416", "416", "answered 416"),
    "whole": ("whole", "whole", "cannot send a part of the file: it ignores ranges"),
    "other ETag": ("other_etag", "other_etag", "answered with another ETag"),
}


def go_wrong(hub: Hub, how: str, times: float) -> None:
    """Let requests for ranges go wrong so often."""
    hub.signed = how == "expired"
    hub.addresses.uses = {math.inf: 0.0, 1: 1.0, 0: math.inf}[times]
    hub.faults[:] = [] if hub.signed else [Fault("range", how, times)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_weights_are_merged(
    hub: Server,
    tmp_path: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """For ever: a true message and nothing committed. Once: the right model, or the same."""
    once, for_ever, said = FAULTS[fault]
    start, times = Window.start, math.inf

    def begin(window: Window) -> None:
        go_wrong(hub.hub, once if times == 1 else for_ever, times)
        start(window)

    monkeypatch.setattr(Window, "start", begin)
    # Each time half of what is left comes: many waits, and none of them may be long.
    quick = replace(QUICK, timeout=1) if fault == "truncated" else QUICK
    with pytest.raises(SlackTiesError, match=said) as caught:
        stream_it(tmp_path, hub.url, retries=quick)
    assert re.search("run the same command (again|later)|hf download me/", caught.value.hint)
    assert published(tmp_path / "hub") == {}
    assert not (tmp_path / "out").exists()
    hub.hub.wake.set()
    hub.hub.wake = threading.Event()
    go_wrong(hub.hub, once, 0)

    times = 1
    if error := what_fails(tmp_path, hub.url, retries=SHORT if fault == "stalled" else PATIENT):
        assert re.search(said, error)
        assert published(tmp_path / "hub") == {}
        times = 0
        stream_it(tmp_path, hub.url)
    assert published(tmp_path / "hub") == whole
    assert all(parent.not_compared == () for parent in read_record(tmp_path / "out").parents)


@pytest.mark.parametrize("fault", ["500", "wrong bytes", "whole", "other ETag"])
def test_a_fault_while_headers_are_read(
    hub: Server, tmp_path: Path, whole: dict[str, bytes], fault: str
) -> None:
    """For ever: an error before the merge. Once: the right model, or an error."""
    once, for_ever, said = FAULTS[fault]
    said = "cannot be read|arrived with the checksum" if fault == "wrong bytes" else said
    go_wrong(hub.hub, for_ever, math.inf)
    with pytest.raises(SlackTiesError, match=said):
        stream_it(tmp_path, hub.url, retries=QUICK)
    assert published(tmp_path / "hub") == {}

    go_wrong(hub.hub, once, 1)
    if error := what_fails(tmp_path, hub.url):
        assert re.search(said, error)
        assert published(tmp_path / "hub") == {}
        stream_it(tmp_path, hub.url)
    assert published(tmp_path / "hub") == whole


# Runs the command, and leaves a mark when the merge begins to read.
MARKING = """
from pathlib import Path
from slack_ties.cli.main import main
from slack_ties.remote.window import Window

start = Window.start

def begin(window):
    Path({!r}).touch()
    start(window)

Window.start = begin
main()
"""


@dataclass
class Reading:
    """What a run that was killed has read for the merge."""

    code: int
    output: str
    requests: list[str]  # since the merge began to read
    ranges: list[str]


def stream_until(count: int, folder: Path, parents: Path) -> Reading:
    """Stream in a process of its own; kill it at its request `count` after the merge began."""
    shutil.copytree(parents, folder / "hub")
    mark = folder / "begun"
    words = ["run", "bo", *(word for role, one in PARENTS.items() for word in (f"--{role}", one))]
    words += ["--out", str(folder / "out"), "--publish", REPO, "--stream", "--license", "mit"]
    words += ["--no-download", "--window", f"{WINDOW}", "--out-shard-size", f"{SMALL}"]
    begun: list[tuple[int, int]] = []
    with serving(folder / "hub", TOKENS) as server:
        hub, env = server.hub, environment(server, folder / "home", TOKEN)
        process = processes.start(words, env=env, merged=True, code=MARKING.format(str(mark)))

        def watch(_: str) -> None:
            if not begun and mark.exists():
                begun.append((len(hub.requests) - 1, len(hub.ranges)))
            if begun and len(hub.requests) - begun[0][0] == count:
                process.kill()
                hub.stopped = True

        hub.watcher = watch
        output, _ = process.communicate(timeout=300)
        requests, ranges = begun[0] if begun else (0, 0)
    assert process.returncode is not None
    return Reading(process.returncode, output, hub.requests[requests:], hub.ranges[ranges:])


def read_twice(*runs: Sequence[str]) -> int:
    """Return how many bytes were asked for more than once, in ranges "file bytes=1-2"."""
    seen: Counter[tuple[str, int]] = Counter()
    for one in (range_ for run in runs for range_ in run):
        match = re.fullmatch(r"(\S+) bytes=(\d+)-(\d+)", one)
        assert match, one
        seen.update((match[1], at) for at in range(int(match[2]), int(match[3]) + 1))
    return sum(count - 1 for count in seen.values())


def test_killed_at_ten_points(
    tmp_path: Path, parents: Path, triple: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command completes it; it reads again what one file and the window held."""
    complete = stream_until(0, tmp_path / "whole", parents)
    assert complete.code == 0, complete.output
    assert read_twice(complete.ranges) == 0
    right = published(tmp_path / "whole" / "hub")
    count = len(complete.requests)
    points = sorted({1 + number * (count - 1) // 9 for number in range(10)})
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda n: stream_until(n, tmp_path / str(n), parents), points)
        killed = dict(zip(points, found, strict=True))

    ranges: list[str] = []
    start = Window.start
    file = max(len(content) for name, content in right.items() if name.endswith(".safetensors"))
    tensors = load_file(triple.sft / "model.safetensors").values()
    tensor = max(one.nbytes for one in tensors)  # of each model: all have two bytes an entry
    for number, one in killed.items():
        folder = tmp_path / str(number)
        assert one.code != 0, one.output
        assert published(folder / "hub") in ({}, right)
        with serving(folder / "hub", TOKENS) as server:
            hub = server.hub

            def begin(window: Window, hub: Hub = hub) -> None:
                hub.ranges.clear()
                start(window)

            monkeypatch.setattr(Window, "start", begin)
            small = options(folder / "home" / "hub").model_copy(update={"out_shard_size": SMALL})
            stream_it(folder, server.url, options=small, window=WINDOW)
            ranges = list(hub.ranges)
        assert published(folder / "hub") == right
        twice = read_twice(one.ranges, ranges)
        assert twice <= len(PARENTS) * (file + tensor) + WINDOW


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_a_merge_is_verified(tmp_path: Path, parents: Path) -> None:
    """It does not wait for a range that does not come, and leaves nothing here."""
    shutil.copytree(parents, tmp_path / "hub")
    mark, here, asked = tmp_path / "begun", tmp_path / "here", threading.Event()
    here.mkdir()
    with serving(tmp_path / "hub", TOKENS) as server:
        stream_it(tmp_path, server.url)
        hub = server.hub

        def watch(_: str) -> None:
            if mark.exists() and not hub.faults:
                hub.faults.append(Fault("range", "stalled_inside", math.inf))
            elif mark.exists():
                asked.set()

        hub.watcher = watch
        process = processes.start(
            ["verify", REPO, "--no-download"],
            env=environment(server, tmp_path / "home", TOKEN),
            cwd=here,
            merged=True,
            code=MARKING.format(str(mark)),
        )
        assert asked.wait(60)
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        took = time.monotonic() - began
        hub.wake.set()

    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert list(here.iterdir()) == []
    assert took < 2 * BUSY  # two seconds are the promise


def test_what_is_read_again_in_pieces_is_not_called_compared(
    hub: Server, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """The first run compares all and sends a file; the second reads parts again, the third none."""
    path = tmp_path / ".out.stream" / "stream.json"

    def stop(request: str) -> None:
        if request.startswith("PUT") and hub.hub.received:
            hub.hub.faults[:] = [Fault("put", "403", math.inf)]

    hub.hub.watcher = stop
    with pytest.raises(HubError, match="uploading model-2"):
        stream_it(tmp_path, hub.url)
    assert json.loads(path.read_text())["not_compared"] == []
    hub.hub.watcher, hub.hub.faults[:] = None, [Fault("commit", "403", math.inf)]
    with pytest.raises(HubError):
        stream_it(tmp_path, hub.url)
    not_compared = set(json.loads(path.read_text())["not_compared"])
    assert not_compared
    hub.hub.faults[:] = []

    stream_it(tmp_path, hub.url)

    assert published(tmp_path / "hub") == whole
    found = {
        f"{parent.model}/{file}"
        for parent in read_record(tmp_path / "out").parents
        for file in parent.not_compared
    }
    assert found == not_compared


def test_a_run_that_keeps_the_weights(
    hub: Server, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong bytes leave nothing here or on main; what is merged is published and not read again."""
    start = Window.start
    hows = ["wrong_bytes"]

    def begin(window: Window) -> None:
        hub.hub.faults[:] = [Fault("range", how, 1) for how in hows]
        start(window)

    monkeypatch.setattr(Window, "start", begin)
    with pytest.raises(WrongBytesError, match="arrived with the checksum") as caught:
        stream_it(tmp_path, hub.url, stream=False)
    assert caught.value.hint.startswith("run the same command again; if this happens again, run it")
    assert [path.name for path in tmp_path.glob("*out*")] == []
    assert published(tmp_path / "hub") == {}
    hows.clear()
    hub.hub.faults[:] = [Fault("commit", "403", math.inf)]
    monkeypatch.setattr(Window, "start", start)
    with pytest.raises(HubError, match="the merged model is complete in"):
        stream_it(tmp_path, hub.url, stream=False)
    hub.hub.faults[:] = []
    hub.hub.ranges.clear()
    monkeypatch.setattr(Window, "start", begin)
    hows.append("500")

    stream_it(tmp_path, hub.url, stream=False)

    assert published(tmp_path / "hub") == whole
    assert hub.hub.faults == []  # the window was not opened


def test_a_download_after_an_interruption_calls_nothing_compared(
    hub: Server, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """What was merged of bytes that were not compared is named, though the files are here now."""
    hub.hub.faults[:] = [Fault("put", "403", math.inf)]
    with pytest.raises(HubError, match="uploading model-1"):
        stream_it(tmp_path, hub.url, window=WINDOW)
    state = json.loads((tmp_path / ".out.stream" / "stream.json").read_text())
    assert state["not_compared"]
    hub.hub.faults[:] = []

    stream_it(tmp_path, hub.url, download=True)

    assert published(tmp_path / "hub") == whole
    files = {
        f"{parent.model}/{file}"
        for parent in read_record(tmp_path / "out").parents
        for file in parent.not_compared
    }
    assert files == {*state["not_compared"]}
