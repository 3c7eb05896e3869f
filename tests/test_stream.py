"""Weights that leave this disk while they are merged: nothing lost, nothing sent twice."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock, Timeout
from huggingface_hub import HfApi
from mergekit.io.tensor_writer import TensorWriter
from mergekit.options import MergeOptions
from safetensors.torch import save_file

import processes
from command import Killed, environment, files_on_main, kill_at, public_bytes
from hub_server import Fault, Hub, Server, Token, serving
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import (
    HubError,
    LostOnHubError,
    OutputError,
    SlackTiesError,
    WrongBytesError,
)
from slack_ties.files import sha256
from slack_ties.hub.retries import Retries
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.plan.waiting import waiting_bytes
from slack_ties.publish.ahead import Ahead
from slack_ties.publish.destination import Destination, check_publish
from slack_ties.publish.stream import Stream
from slack_ties.publish.stream_state import StreamState
from slack_ties.run import run_all
from triple import Folders

TOKEN = "hf_" + "Abc123" * 6
TOKENS = {TOKEN: Token("me")}
REPO = "me/tibetan"
SHARD = 100_000  # bytes; the merged model has four files of at most that
QUICK = Retries(timeout=1, tries=2, first_wait=0.01)


@pytest.fixture(scope="module")
def whole(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model merged on this disk; not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    merge_models(make_config("bo", chosen(triple)), out, options=options())
    return out


def chosen(triple: Folders) -> Choices:
    """Return the models to merge."""
    return Choices(str(triple.base), str(triple.ct), str(triple.sft))


def options(**changes: Any) -> MergeOptions:
    """Return mergekit's options for small files."""
    return MergeOptions(
        **{"quiet": True, "out_shard_size": SHARD, "lazy_unpickle": True, **changes}
    )


def stream_it(triple: Folders, out: Path, api: HfApi, **changes: Any) -> Any:
    """Merge, streaming."""
    arguments = {"options": options(), "choices": chosen(triple), "publish": REPO, **changes}
    return run_all("bo", out, stream=True, api=api, **{"retries": QUICK, **arguments})


def on_main(root: Path) -> dict[str, bytes]:
    """Return the files of the model on a Hub's main, without the Hub's own."""
    return files_on_main(Hub(root), REPO, "me")


def weights(folder: Path) -> dict[str, bytes]:
    """Return the weight files of a folder and their index."""
    return {path.name: path.read_bytes() for path in folder.glob("model*")}


def disk_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_same_model_and_no_weights_here(
    triple: Folders, whole: Path, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """The Hub has, in one commit, what a merge on this disk makes; here is all but the weights."""
    out = tmp_path / "out"
    peak = 0

    def watch(_: str) -> None:
        nonlocal peak
        peak = max(peak, disk_of(tmp_path / ".out.stream"))

    hub.hub.watcher = watch
    result = stream_it(triple, out, api)

    published = on_main(tmp_path / "hub")
    assert {name: published[name] for name in weights(whole)} == weights(whole)
    assert len(weights(whole)) == 5
    assert public_bytes(out) == {
        name: content for name, content in published.items() if ".safetensors" not in name[-12:]
    }
    assert result.folder == out
    assert result.published.commit == api.model_info(REPO).sha
    assert not list(tmp_path.glob(".out*"))
    largest = sorted(len(content) for content in weights(whole).values())[-2:]
    beside = sum(map(len, public_bytes(out).values())) + 50_000  # and headers, the state
    assert max(largest) < peak < sum(largest) + beside


def test_files_are_sent_while_others_are_merged(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """Not one after the merge: the third file is not there yet when the first is sent."""
    seen: list[set[str]] = []

    def watch(request: str) -> None:
        if request.startswith("PUT"):
            there = (tmp_path / ".out.stream" / "model").glob("model-*.safetensors")
            seen.append({path.name for path in there})

    hub.hub.watcher = watch
    stream_it(triple, tmp_path / "out", api)

    assert "model-3.safetensors" not in seen[0]
    assert len(seen) == 4


def stream_until(count: int, triple: Folders, folder: Path, *, xet: bool = False) -> Killed:
    """Stream in a process of its own, and kill it when it makes its request `count`."""
    words = command_of(triple, folder)
    with serving(folder / "hub", TOKENS) as server:
        env = environment(server, folder / "home", TOKEN, xet=xet)
        return kill_at(count, [*words, "--out-shard-size", str(SHARD)], server, env)


def command_of(triple: Folders, folder: Path) -> list[str]:
    """Return the words of a run that streams."""
    models = ["--base", triple.base, "--ct", triple.ct, "--sft", triple.sft]
    words = ["run", "bo", *map(str, models), "--out", str(folder / "out")]
    return [*words, "--publish", REPO, "--stream"]


# Runs the command, and kills it before or after the given call of a method.
DYING = """
import os
from slack_ties.cli.main import main
from slack_ties.publish.stream_state import StreamState

name, number, after = {!r}
real, calls = getattr(StreamState, name), []

def die(*arguments):
    calls.append(name)
    if len(calls) == number and not after:
        os.kill(os.getpid(), 9)
    real(*arguments)
    if len(calls) == number:
        os.kill(os.getpid(), 9)

setattr(StreamState, name, die)
main()
"""

# The method, which of its calls, whether after it.
BETWEEN = (
    ("note_written", 2, False),  # a file is written, and not listed
    ("note_written", 3, True),  # listed; the one before it is on its way
    ("note_checksum", 1, True),  # nothing of it is on its way
    ("note_sent", 2, False),  # the Hub has it, which is not listed
    ("note_sent", 3, True),  # that is listed, and the file is whole
)


def stream_until_between(point: tuple[str, int, bool], triple: Folders, folder: Path) -> Killed:
    """Stream in a process of its own that kills itself between two requests."""
    words = [*command_of(triple, folder), "--out-shard-size", str(SHARD)]
    with serving(folder / "hub", TOKENS) as server:
        env = environment(server, folder / "home", TOKEN)
        process = processes.start(words, env=env, merged=True, code=DYING.format(point))
        output, _ = process.communicate(timeout=300)
    assert process.returncode is not None
    return Killed(process.returncode, output, server.hub.requests)


def listed(folder: Path) -> tuple[int, int]:
    """Return how many files a run has sent, and how many it has written and not sent."""
    path = folder / ".out.stream" / "stream.json"
    state = json.loads(path.read_text()) if path.is_file() else {"done": [], "written": []}
    return len(state["done"]), len(state["written"])


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the weight files that mergekit writes in this process."""
    names: list[str] = []
    save = TensorWriter._save_st  # noqa: SLF001 - the real one, called by ours

    def count(writer: TensorWriter, data: Any, path: str) -> None:
        names.append(Path(path).name)
        save(writer, data, path)

    monkeypatch.setattr(TensorWriter, "_save_st", count)
    return names


def test_killed_at_ten_points(
    triple: Folders, whole: Path, tmp_path: Path, saved: list[str]
) -> None:
    """Main is empty or complete; the same command completes it, and merges no listed file again."""
    complete = stream_until(0, triple, tmp_path / "whole")
    assert complete.code == 0, complete.output
    assert TOKEN not in complete.output
    uploads = [i for i, r in enumerate(complete.requests, 1) if r.startswith("PUT")]
    points = {10, uploads[0], uploads[1] - 1, uploads[3], len(complete.requests)}
    with ThreadPoolExecutor(3) as pool:
        at = {n: pool.submit(stream_until, n, triple, tmp_path / str(n)) for n in points}
        between = {
            "-".join(map(str, point)): pool.submit(
                stream_until_between, point, triple, tmp_path / "-".join(map(str, point))
            )
            for point in BETWEEN
        }
    killed = {str(name): one.result() for name, one in {**at, **between}.items()}
    assert len(killed) == 10

    found = {}
    for name, one in killed.items():
        folder = tmp_path / name
        assert one.code != 0, one.output
        assert not (folder / "out").exists()
        assert set(on_main(folder / "hub")) in (set(), set(on_main(tmp_path / "whole" / "hub")))
        found[name] = sent, written = listed(folder)
        saved.clear()
        with serving(folder / "hub", TOKENS) as server:
            there = {path.name for path in (folder / "hub" / "objects").glob("?" * 64)}
            api = HfApi(endpoint=server.url, token=TOKEN)
            stream_it(triple, folder / "out", api)
            assert not there & set(server.hub.received)
            assert len(api.list_repo_commits(REPO)) == 2  # the Hub's own, and ours
        assert saved == [f"model-{n}.safetensors" for n in range(sent + written + 1, 5)]
        published = on_main(folder / "hub")
        assert {name: published[name] for name in weights(whole)} == weights(whole)
        assert not list(folder.glob(".out*"))
    totals = [sum(found["-".join(map(str, point))]) for point in BETWEEN]
    assert totals[:2] == [1, 3]
    assert totals[2] >= 1
    assert [found["-".join(map(str, point))][0] for point in BETWEEN[3:]] == [1, 3]


@pytest.mark.parametrize("damage", ["shorter", "other bytes", "other header", "gone", "other time"])
def test_a_file_that_waits_is_damaged(
    triple: Folders,
    whole: Path,
    tmp_path: Path,
    api: HfApi,
    *,
    hub: Server,
    saved: list[str],
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    """It is merged again, and so is the file after it; without damage both are only sent."""
    hub.hub.faults.append(Fault("put", "403", math.inf))
    with pytest.raises(HubError):
        stream_it(triple, tmp_path / "out", api)
    hub.hub.faults.clear()
    assert listed(tmp_path) == (0, 2)
    path = tmp_path / ".out.stream" / "model" / "model-1.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "other bytes":
        content[-1] ^= 1
    elif damage == "other header":
        content[10] ^= 1
    elif damage == "shorter":
        del content[-1]
    if damage == "gone":
        path.unlink()
    elif damage == "other time":
        os.utime(path, ns=(0, 1))
    else:
        path.write_bytes(content)
    saved.clear()

    stream_it(triple, tmp_path / "out", api)

    first = 3 if damage == "other time" else 1  # its checksum is known
    assert saved == [f"model-{number}.safetensors" for number in range(first, 5)]
    assert ("model-1.safetensors was changed or lost" in caplog.text) == (first == 1)
    published = on_main(tmp_path / "hub")
    assert {name: published[name] for name in weights(whole)} == weights(whole)


def test_a_file_that_waits_and_is_not_hashed_yet(tmp_path: Path) -> None:
    """It is believed until it is written to."""
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "model-1.safetensors"
    save_file({"x": torch.ones(100)}, path)
    StreamState(tmp_path).note_written(path)

    def left() -> int:
        state = StreamState(tmp_path)
        state.read({})
        return len(state.done)

    assert left() == 1
    path.write_bytes(path.read_bytes())
    assert left() == 0


def test_a_run_that_is_killed_when_it_has_found_wrong_bytes(tmp_path: Path) -> None:
    """What it merged is believed no more: the next run begins again."""
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "model-1.safetensors"
    save_file({"x": torch.ones(100)}, path)
    killed = StreamState(tmp_path)
    killed.note_written(path)
    killed.note_read("me/ct@1/model.safetensors")
    killed.note_wrong()

    for wrong in (True, False):
        state = StreamState(tmp_path)
        state.read({})
        assert (state.done, state.not_compared) == ([], set())
        assert json.loads((tmp_path / "stream.json").read_text("utf-8"))["wrong"] == wrong
        state.write()


def test_files_that_wait_need_no_room_again(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk with room for two files, a run that left them there can be resumed."""
    hub.hub.faults.append(Fault("put", "403", math.inf))
    with pytest.raises(HubError, match="does not allow"):
        stream_it(triple, tmp_path / "out", api)
    waiting = waiting_bytes(tmp_path / "out")
    assert waiting > SHARD
    recipe = make_config("bo", chosen(triple))
    need = plan_merge(recipe, out=tmp_path / "out", streamed=True, options=options()).disk
    usage = shutil.disk_usage(tmp_path)._replace(free=need - waiting)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(HubError, match="does not allow"):
        stream_it(triple, tmp_path / "out", api)
    with pytest.raises(OutputError, match="the merged model, two files at a time, needs"):
        stream_it(triple, tmp_path / "other", api)


def test_wrong_bytes_of_a_parent_make_the_stream_forget(
    triple: Folders, whole: Path, tmp_path: Path, api: HfApi, saved: list[str]
) -> None:
    """What was merged of them may be wrong: the next run merges and sends everything again."""
    target = check_publish(Destination(REPO), api=api)
    stream = Stream(tmp_path / "out", target, api=api)

    def take(path: Path) -> None:
        send(path)
        if path.name == "model-3.safetensors":
            stream.note_read(f"me/ct@{'0' * 40}/model.safetensors")
            assert sum(listed(tmp_path)) == 3
            msg = "a file has another checksum than the Hub states"
            raise WrongBytesError(msg)

    send, stream.take = stream.take, take  # type: ignore[method-assign]
    with pytest.raises(WrongBytesError):
        merge_models(
            make_config("bo", chosen(triple)), tmp_path / "out", options=options(), stream=stream
        )
    assert listed(tmp_path) == (0, 0)
    assert json.loads((tmp_path / ".out.stream" / "stream.json").read_text())["not_compared"] == []
    assert disk_of(tmp_path / ".out.stream") < 10_000
    assert on_main(tmp_path / "hub") == {}
    saved.clear()

    stream_it(triple, tmp_path / "out", api)

    assert saved == [f"model-{number}.safetensors" for number in range(1, 5)]
    published = on_main(tmp_path / "hub")
    assert {name: published[name] for name in weights(whole)} == weights(whole)


def test_disk_while_files_that_wait_are_sent(
    triple: Folders, whole: Path, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """A run that resumes with two files has no third one here."""
    hub.hub.faults.append(Fault("put", "403", math.inf))
    with pytest.raises(HubError):
        stream_it(triple, tmp_path / "out", api)
    hub.hub.faults.clear()
    peak = 0

    def watch(_: str) -> None:
        nonlocal peak
        peak = max(peak, disk_of(tmp_path / ".out.stream"))

    hub.hub.watcher = watch
    stream_it(triple, tmp_path / "out", api)

    largest = sorted(len(content) for content in weights(whole).values())[-2:]
    assert largest[1] < peak < sum(largest) + 100_000  # and headers, the tokenizer, the state


def test_by_xet(triple: Folders, whole: Path, tmp_path: Path) -> None:
    """The way that most people's files go: the same model, and the same after a kill."""
    complete = stream_until(0, triple, tmp_path / "whole", xet=True)
    assert complete.code == 0, complete.output
    assert not any("/lfs/" in request for request in complete.requests)
    published = on_main(tmp_path / "whole" / "hub")
    assert {name: published[name] for name in weights(whole)} == weights(whole)
    shards = [i for i, r in enumerate(complete.requests, 1) if r == "POST /cas/v1/shards"]
    assert len(shards) == 4

    killed = stream_until(shards[2], triple, tmp_path / "killed", xet=True)

    assert killed.code != 0
    assert on_main(tmp_path / "killed" / "hub") == {}
    with serving(tmp_path / "killed" / "hub", TOKENS) as server:
        there = {path.name for path in (tmp_path / "killed" / "hub" / "objects").glob("?" * 64)}
        assert len(there) >= 2
        stream_it(triple, tmp_path / "killed" / "out", HfApi(endpoint=server.url, token=TOKEN))
        assert not there & set(server.hub.received)
    assert on_main(tmp_path / "killed" / "hub") == published


def test_what_is_done_is_not_merged_again(
    triple: Folders,
    whole: Path,
    tmp_path: Path,
    api: HfApi,
    *,
    hub: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run goes on behind the last file that was sent, and the result is the same."""
    hub.hub.faults.append(Fault("put", "403", math.inf))
    with pytest.raises(HubError, match="uploading model-1") as caught:
        stream_it(triple, tmp_path / "out", api)
    assert "the same command again: it continues" in caught.value.hint
    hub.hub.faults[:] = [Fault("put", "500", 0)]

    class Stopped(Exception):  # noqa: N818 - no error of ours
        """Somebody pulls the plug."""

    def stop(request: str) -> None:
        if request.startswith("PUT") and len(hub.hub.received) == 3:
            hub.hub.faults.append(Fault("put", "403", math.inf))

    hub.hub.watcher = stop
    with pytest.raises(HubError):
        stream_it(triple, tmp_path / "out", api)
    hub.hub.watcher, hub.hub.faults[:] = None, []
    caplog.clear()
    caplog.set_level("INFO", logger="slack_ties")

    stream_it(triple, tmp_path / "out", api)

    said = [record.getMessage() for record in caplog.records]
    going = [line for line in said if line.startswith("  resuming: the Hub already has ")]
    assert len(going) == 1
    sent = [line.split()[1].rstrip(",") for line in said if line.startswith("  uploading model-")]
    count = int(going[0].split()[5])
    assert count >= 1
    assert sent == [f"model-{n}.safetensors" for n in range(count + 1, 5)]
    published = on_main(tmp_path / "hub")
    assert {name: published[name] for name in weights(whole)} == weights(whole)


def interrupted(triple: Folders, out: Path, api: HfApi, hub: Server) -> None:
    """Leave a run behind of which all was sent, and nothing committed."""
    hub.hub.faults.append(Fault("commit", "403", math.inf))
    with pytest.raises(HubError, match="does not allow this"):
        stream_it(triple, out, api)
    hub.hub.faults.clear()


def test_another_recipe_in_the_same_place(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """What was sent is not a part of it: the folder is named, and nothing is deleted."""
    interrupted(triple, tmp_path / "out", api, hub)

    with pytest.raises(OutputError, match=r"(?m)\.out\.stream.* with another recipe$") as caught:
        stream_it(triple, tmp_path / "out", api, choices=replace(chosen(triple), slack=0.5))

    assert caught.value.hint.startswith(f"delete '{tmp_path / '.out.stream'}' to start again")
    assert (tmp_path / ".out.stream" / "stream.json").is_file()
    with pytest.raises(OutputError, match="with another repo_id"):
        stream_it(triple, tmp_path / "out", api, publish="me/other")
    with pytest.raises(OutputError, match="with another recipe and options"):
        stream_it(triple, tmp_path / "out", api, options=options(out_shard_size=50_000))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_model_that_was_replaced_meanwhile(
    triple: Folders, tmp_path: Path, api: HfApi, *, hub: Server, name: str
) -> None:
    """Other files under the same name are another merge: weights or what tells how to read them."""
    mine = Folders(*(Path(shutil.copytree(x, tmp_path / x.name)) for x in vars(triple).values()))
    interrupted(mine, tmp_path / "out", api, hub)
    os.utime(mine.sft / name, ns=(0, 1))

    with pytest.raises(OutputError, match="with another models"):
        stream_it(mine, tmp_path / "out", api)


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1, "done": [{"file": "../x"}]}'])
def test_a_damaged_state(triple: Folders, tmp_path: Path, api: HfApi, content: str) -> None:
    """Nothing in it is believed."""
    (tmp_path / ".out.stream").mkdir()
    (tmp_path / ".out.stream" / "stream.json").write_text(content)

    with pytest.raises(OutputError, match="of an earlier run cannot be read") as caught:
        stream_it(triple, tmp_path / "out", api)

    assert "delete" in caught.value.hint


def test_the_hub_lost_what_was_sent(
    triple: Folders, whole: Path, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """That file is named, and the same command merges and sends it again."""
    interrupted(triple, tmp_path / "out", api, hub)
    (tmp_path / "hub" / "objects" / max(hub.hub.received)).unlink()

    with pytest.raises(
        LostOnHubError, match=r"has lost these uploaded files: model-\d+-of-\d+\.safetensors\. "
    ) as caught:
        stream_it(triple, tmp_path / "out", api)
    assert (
        caught.value.hint == "run the same command again: it merges and uploads these files again"
    )
    stream_it(triple, tmp_path / "out", api)

    published = on_main(tmp_path / "hub")
    assert {name: published[name] for name in weights(whole)} == weights(whole)


def test_what_a_power_cut_leaves(
    triple: Folders, whole: Path, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """A header that was never written to the disk: from that file on all is merged again."""
    interrupted(triple, tmp_path / "out", api, hub)
    (tmp_path / ".out.stream" / "model-2.safetensors.header").write_bytes(b"")
    (tmp_path / ".out.stream" / ".out.abc.lora.partial").mkdir()

    stream_it(triple, tmp_path / "out", api)

    published = on_main(tmp_path / "hub")
    assert {name: published[name] for name in weights(whole)} == weights(whole)
    assert not list(tmp_path.glob(".out*"))


def test_two_at_once(triple: Folders, tmp_path: Path, api: HfApi, hub: Server) -> None:
    """The second says so, and the first is not disturbed."""
    interrupted(triple, tmp_path / "out", api, hub)
    folder = tmp_path / ".out.stream"
    before = (folder / "stream.json").read_bytes()

    with FileLock(folder / "lock"), pytest.raises(OutputError, match="another run") as caught:
        stream_it(triple, tmp_path / "out", api)

    assert caught.value.hint == "wait for it, or choose another --out"
    assert (folder / "stream.json").read_bytes() == before
    stream_it(triple, tmp_path / "out", api)


def test_a_file_that_something_else_cut_short(tmp_path: Path, api: HfApi) -> None:
    """It is not sent: what is sent is taken for what was merged."""
    stream = Stream(tmp_path / "out", check_publish(Destination(REPO), api=api), api=api)
    with stream.working({}, resumes=True) as work:
        save_file({"x": torch.ones(100)}, work / "model-1.safetensors")
        os.truncate(work / "model-1.safetensors", 100)
        with pytest.raises(OutputError, match="has another length than its header says"):
            stream.take(work / "model-1.safetensors")
    stream.close()


def test_a_repository_that_takes_no_large_files(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """Nothing is deleted here that the Hub did not keep."""
    hub.hub.regular = True

    with pytest.raises(HubError, match="does not accept model-1") as caught:
        stream_it(triple, tmp_path / "out", api)

    assert ".gitattributes" in caught.value.hint
    state = json.loads((tmp_path / ".out.stream" / "stream.json").read_text())
    assert state["done"] == []


def test_killed_in_the_very_end(triple: Folders, tmp_path: Path, api: HfApi, hub: Server) -> None:
    """Published and in its place, but for the folder of the stream: said, and cleared up."""
    interrupted(triple, tmp_path / "out", api, hub)
    left = tmp_path / "left"
    shutil.copytree(tmp_path / ".out.stream", left)
    shutil.rmtree(left / "model")  # by then it is the output
    stream_it(triple, tmp_path / "out", api)
    left.rename(tmp_path / ".out.stream")

    again = stream_it(triple, tmp_path / "out", api)

    assert again.published.commit == api.model_info(REPO).sha
    assert not list(tmp_path.glob(".out*"))
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_an_output_that_is_a_link(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """What it leads to takes the result, and the files that are on their way."""
    disk = tmp_path / "disk" / "real"
    disk.mkdir(parents=True)
    (tmp_path / "out").symlink_to(disk)

    result = stream_it(triple, tmp_path / "out", api)

    assert result.folder == disk
    assert (tmp_path / "out").is_symlink()
    assert (disk / "README.md").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit as Linux does")
def test_a_full_disk(triple: Folders, tmp_path: Path) -> None:
    """One line and no traceback; what was sent is remembered."""
    import resource  # noqa: PLC0415 - Linux has it

    command = [sys.executable, "-m", "slack_ties", *command_of(triple, tmp_path)]
    with serving(tmp_path / "hub", TOKENS) as server:
        done = subprocess.run(
            command,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (32_000, 32_000)),
            env={
                **environment(server, tmp_path / "home", TOKEN),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1, done.stderr
    assert "Error: the disk is full or a file-size limit is reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Next: free some space" in done.stderr


def test_a_method_that_draws_random_numbers_begins_anew(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """What it makes of a tensor depends on those before it."""
    text = make_config("bo", chosen(triple)).text.replace("slack_ties\n", "dare_ties\n")
    config = tmp_path / "dare.yml"
    config.write_text(text.replace("    slack: 0.2\n", ""))
    seeded = options(random_seed=3)
    hub.hub.faults.append(Fault("commit", "403", math.inf))
    with pytest.raises(HubError):
        run_all(
            config, tmp_path / "out", publish=REPO, stream=True, options=seeded, api=api,
            retries=QUICK,
        )  # fmt: skip
    hub.hub.faults.clear()
    state = tmp_path / ".out.stream" / "stream.json"
    assert len(json.loads(state.read_text())["done"]) == 4

    run_all(
        config, tmp_path / "out", publish=REPO, stream=True, options=seeded, api=api, retries=QUICK
    )

    merge_models(config, tmp_path / "here", options=seeded)
    published = on_main(tmp_path / "hub")
    assert {n: published[n] for n in weights(tmp_path / "here")} == weights(tmp_path / "here")


def test_what_cannot_be_streamed(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """Said before anything is merged or made."""
    with pytest.raises(SlackTiesError, match="--no-safe-serialization"):
        stream_it(triple, tmp_path / "out", api, options=options(safe_serialization=False))
    with pytest.raises(ValueError, match="needs publish"):
        stream_it(triple, tmp_path / "out", api, publish=None)
    api.create_repo(REPO, private=True)
    target = check_publish(Destination(REPO, pull_request=True), api=api)
    with pytest.raises(HubError, match="--stream and --pr cannot be used"):
        Stream(tmp_path / "out", target, api=api)
    assert not list(tmp_path.glob(".out*"))


def test_sent_ahead(triple: Folders, whole: Path, tmp_path: Path, api: HfApi, hub: Server) -> None:
    """Without streaming, files are sent during the merge too, and none of them twice."""
    out = tmp_path / "out"
    run_all("bo", out, choices=chosen(triple), options=options(), publish=REPO, api=api)

    kinds = [request.partition("/")[0] for request in hub.hub.requests]
    merged = hub.hub.requests.index("GET /api/whoami-v2", 5)  # asked again before publishing
    assert "PUT " in kinds[:merged]
    assert kinds.count("PUT ") == 4
    assert weights(out) == weights(whole)
    published = on_main(tmp_path / "hub")
    assert published == public_bytes(out)
    assert dict(hub.hub.received.items()) == {
        path.name: path.stat().st_size for path in (tmp_path / "hub" / "objects").glob("?" * 64)
    }
    assert not list(tmp_path.glob(".out*"))


def test_a_file_that_comes_when_the_sender_ends(tmp_path: Path, api: HfApi, hub: Server) -> None:
    """It is sent at once: the thread has found no other file, and is still alive."""
    target = check_publish(Destination(REPO), api=api)
    out = tmp_path / "out"
    out.mkdir()
    files = [out / f"model-{number}.safetensors" for number in (1, 2)]
    for number, file in enumerate(files):
        save_file({"x": torch.full((200_000,), float(number))}, file)

    class Late:
        """A lock; when the sender gives it back and ends, the second file comes."""

        def __init__(self) -> None:
            """No second file came yet."""
            self.lock, self.came = threading.Lock(), False

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            ends = not ahead.waiting and threading.current_thread() is ahead.sender.thread
            self.lock.release()
            if ends and ahead.sender.branch and not self.came:
                self.came = True
                late = threading.Thread(target=ahead.take, args=(files[1],))
                late.start()
                late.join()

    with Ahead(out, target, retries=QUICK, api=api) as ahead:
        ahead.lock = Late()  # type: ignore[assignment]  # all that it is used for
        ahead.take(files[0])
        while ahead.sender.thread and ahead.sender.thread.is_alive():
            ahead.sender.thread.join(0.1)
        ahead.sender.wait()

        sums = {sha256(file) for file in files}
        assert sums <= {path.name for path in hub.hub.root.rglob("*") if path.is_file()}


def test_the_folder_of_a_stream_is_deleted_before_it_is_given_back(
    triple: Folders, tmp_path: Path, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run that took it in between would lose its files."""
    taken: list[bool] = []

    def rmtree(folder: str | Path, **how: Any) -> None:
        lock = Path(folder) / "lock"
        if lock.exists():
            try:
                FileLock(lock, timeout=0).acquire()
                taken.append(True)
            except Timeout:
                taken.append(False)
        delete(folder, **how)

    delete = shutil.rmtree
    monkeypatch.setattr("slack_ties.publish.stream.shutil.rmtree", rmtree)

    stream_it(triple, tmp_path / "out", api)

    assert taken == [False]
    assert not list(tmp_path.glob(".out*"))


def test_sending_ahead_may_fail(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server, caplog: Any
) -> None:
    """The merge goes on, and publishing sends what is missing."""
    hub.hub.faults.append(Fault("batch", "403", 1))

    run_all(
        "bo", tmp_path / "out", choices=chosen(triple), options=options(), publish=REPO, api=api
    )

    said = [record.getMessage() for record in caplog.records]
    assert any("no more uploads until the merge is complete" in line for line in said)
    assert set(weights(tmp_path / "out")) <= set(on_main(tmp_path / "hub"))


def test_a_merge_that_fails_makes_no_commit(triple: Folders, tmp_path: Path, api: HfApi) -> None:
    """Whatever was sent of it."""
    broken = Path(shutil.copytree(triple.sft, tmp_path / "sft"))
    path = broken / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2:] = b"\xff\x7f"  # not a number, in the last tensor
    path.write_bytes(content)
    choices = replace(chosen(triple), sft=str(broken))
    for stream in (False, True):
        with pytest.raises(SlackTiesError, match="NaN"):
            run_all(
                "bo", tmp_path / "out", choices=choices, options=options(), publish=REPO,
                stream=stream, api=api,
            )  # fmt: skip

    assert on_main(tmp_path / "hub") == {}
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.glob(".out*")] == [".out.stream"]


def test_another_recipe_there_is_seen_before_the_merge(
    triple: Folders, tmp_path: Path, api: HfApi, hub: Server
) -> None:
    """Nobody merges and sends for hours what is refused in the end."""
    stream_it(triple, tmp_path / "first", api)
    hub.hub.received.clear()

    with pytest.raises(HubError, match="holds the merge of another recipe") as caught:
        stream_it(triple, tmp_path / "out", api, choices=replace(chosen(triple), slack=0.5))

    assert caught.value.hint == "choose another name, or replace it: --update"
    assert hub.hub.received == {}
    assert not list(tmp_path.glob(".out*"))
