"""Ctrl-C ends every command within two seconds, wherever it waits, and leaves no half result."""

from __future__ import annotations

import math
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

import processes
from command import environment
from hub_server import KINDS, Fault, Server, Token, serving
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.files import sha256
from slack_ties.merge.merge import merge_models
from slack_ties.publish.publish import publish_model
from triple import Folders, changed, llama, tokenizer

TOKEN = "hf_" + "Abc123" * 6
PARENT, MERGED, NEW = "me/parent", "me/merged", "me/new"
LIMIT = 2.0  # seconds, the promise
BUSY = 4.0  # times longer on a busy machine; a silent Hub is waited for longer than that

# The words, what goes wrong with which requests, whether by hf_xet. OUT and CONFIG are replaced.
CASES = {
    "plan": ("plan CONFIG", "info", "stalled"),
    "plan, small files": ("plan CONFIG", "file", "stalled"),
    "config": (f"config bo --base {PARENT} --ct CT --sft SFT -o x.yml", "file", "stalled"),
    "merge": ("merge CONFIG OUT", "file", "stalled"),
    "merge, between two tries": ("merge CONFIG OUT --timeout 300", "info", "later"),
    "report": ("report CONFIG", "file", "stalled"),
    "compare": ("compare CONFIG MODEL", "file", "stalled"),
    "tune": ("tune CONFIG --slack 0,0.1", "file", "stalled"),
    "run": ("run CONFIG --out OUT", "file", "stalled"),
    "run --publish": (f"run CONFIG --out OUT --publish {NEW}", "whoami", "stalled"),
    "run --stream": (f"run LOCAL --out OUT --publish {NEW} --stream", "put", "stalled"),
    "run --stream, hf_xet": (f"run LOCAL --out OUT --publish {NEW} --stream", "xorb", "stalled"),
    "publish": (f"publish MODEL {NEW}", "put", "stalled"),
    "publish, hf_xet": (f"publish MODEL {NEW}", "xorb", "stalled"),
    "publish, shard": (f"publish MODEL {NEW}", "shard", "stalled"),
    "publish, commit": (f"publish MODEL {NEW}", "commit", "stalled"),
    "publish, between two tries": (f"publish MODEL {NEW}", "whoami", "later"),
    "recipes search": ("recipes search", "list", "stalled"),
    "recipes pull": (f"recipes pull {MERGED} -o x.yml", "file", "stalled"),
    "doctor": ("doctor", "whoami", "stalled"),
    "verify": (f"verify {MERGED}", "file", "stalled"),
}


@dataclass
class Place:
    """What the commands work on."""

    server: Server
    words: dict[str, str]


@pytest.fixture(scope="module")
def place(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Hub with a parent that has a large file, and with a merged model, which is here too."""
    root = tmp_path_factory.mktemp("stop")
    with serving(root / "hub", {TOKEN: Token("me")}) as server:
        api = HfApi(endpoint=server.url, token=TOKEN)
        api.create_repo(PARENT, private=False)
        api.upload_folder(repo_id=PARENT, folder_path=triple.base)
        folders = (str(triple.base), str(triple.ct), str(triple.sft))
        for name, slack in (("published", 0.2), ("model", 0.5)):
            made = make_config("bo", Choices(*folders, slack=slack))
            merge_models(made, root / name, options=MergeOptions(quiet=True))
            write_card(root / name)
        publish_model(root / "published", MERGED, public=True, api=api)
        local = make_config("bo", Choices(*folders, slack=0.6))
        (root / "local.yml").write_text(local.text)
        config = local.text.replace(str(triple.base), PARENT)
        (root / "config.yml").write_text(config)
        words = {
            "CONFIG": str(root / "config.yml"),
            "LOCAL": str(root / "local.yml"),
            "MODEL": str(root / "model"),
            "CT": str(triple.ct),
            "SFT": str(triple.sft),
        }
        yield Place(server, words)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("case", CASES)
def test_ctrl_c(place: Place, tmp_path: Path, case: str) -> None:
    """One line, the exit code of a stop, no traceback, nothing made, no process left."""
    words, kind, how = CASES[case]
    hub, there = place.server.hub, {**place.words, "OUT": str(tmp_path / "out")}
    reached = threading.Event()
    hub.wake.clear()
    hub.requests.clear()
    hub.faults[:] = [Fault(kind, how, math.inf)]
    hub.watcher = lambda request: reached.set() if matches(kind, request) else None
    env = environment(place.server, tmp_path / "home", TOKEN, xet=kind in {"xorb", "shard"})
    objects = set(hub.blob("").iterdir())
    before = {path.name for path in tmp_path.iterdir()}
    process = processes.start(
        [there.get(word, word) for word in words.split()], env=env, cwd=tmp_path, merged=True
    )
    try:
        if not reached.wait(60):
            process.kill()
            pytest.fail(f"it asked only for {hub.requests}: {process.communicate()[0]}")
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        took = time.monotonic() - began
    finally:
        process.kill()
        hub.faults.clear()
        hub.wake.set()
        for path in set(hub.blob("").iterdir()) - objects:  # or the next case sends nothing
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    assert process.returncode == 130, output
    assert "Traceback" not in output
    then = (
        "begins again"
        if words.startswith(("doctor", "merge", "report", "compare", "verify"))
        else "goes on"
    )
    assert output.count(f"Stopped: the same command {then}; what was downloaded ") == 1, output
    assert {path.name for path in tmp_path.iterdir()} - before <= {"home", ".out.stream"}
    assert took < LIMIT * BUSY


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_mergekit_runs(place: Place, tmp_path: Path) -> None:
    """In a process that has imported torch and mergekit, which Python would take apart for long."""
    with subprocess.Popen(
        [sys.executable, "-m", "slack_ties", "merge", place.words["LOCAL"], str(tmp_path / "out")],
        # Whoever runs the tests in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "merging on" in line:
                break
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, code = process.stderr.read(), process.wait(60)
        took = time.monotonic() - began

    assert (code, output.splitlines()[-1][:36]) == (130, "Stopped: the same command begins aga")
    assert list(tmp_path.iterdir()) == []
    assert took < LIMIT * BUSY


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_a_large_file_comes(place: Place, tmp_path: Path) -> None:
    """The process that downloads ends too; the same command asks for the rest of the file only."""
    hub, url = place.server.hub, place.server.url
    sums = large_triple(tmp_path, HfApi(endpoint=url, token=TOKEN))
    words = ["merge", str(tmp_path / "large.yml"), str(tmp_path / "out")]
    env = environment(place.server, tmp_path / "home", TOKEN)
    hub.rate = 4_000_000
    hub.wake.clear()
    process = processes.start(words, env=env, cwd=tmp_path, merged=True)
    try:
        for _ in range(600):
            halves = list((tmp_path / "home").glob("hub/models--*/blobs/*.incomplete"))
            if halves and halves[0].stat().st_size > 2_000_000:
                break
            time.sleep(0.1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        took = time.monotonic() - began
    finally:
        process.kill()
        hub.rate = 0

    assert process.returncode == 130, output
    assert output.endswith("the same command begins again; what was downloaded is kept\n")
    assert not (tmp_path / "out").exists()
    assert took < LIMIT * BUSY
    (half,) = (tmp_path / "home").glob("hub/models--*/blobs/*.incomplete")
    length = half.stat().st_size

    hub.ranges.clear()
    done = processes.run(words, env=env, cwd=tmp_path, merged=True)

    assert done.returncode == 0, done.stdout
    assert f"model.safetensors bytes={length}-" in hub.ranges
    assert not list((tmp_path / "home").rglob("*.incomplete"))
    assert (half.parent / sums).is_file()


def large_triple(folder: Path, api: HfApi) -> str:
    """Make a triple of larger models, the base on the Hub; return the SHA-256 of its weights."""
    base = llama(hidden=512)
    names = {"base": base, "ct": changed(base, 0.01, 1), "sft": changed(base, 0.01, 2)}
    words = tokenizer(["one two three"])
    for name, model in names.items():
        model.save_pretrained(folder / name)
        words.save_pretrained(folder / name)
    api.create_repo("me/large", private=False)
    api.upload_folder(repo_id="me/large", folder_path=folder / "base")
    made = make_config("bo", Choices(*(str(folder / name) for name in names)))
    (folder / "large.yml").write_text(made.text.replace(str(folder / "base"), "me/large"))
    return sha256(folder / "base" / "model.safetensors")


def matches(kind: str, request: str) -> bool:
    """Say whether a request is of a kind."""
    return bool(re.fullmatch(KINDS[kind], request))
