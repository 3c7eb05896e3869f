"""Whatever goes wrong on the way, the Hub shows the old model or the new one, and we say which.

Each case is the command in a process of its own against a Hub of its own, in which requests
of one kind go wrong in one way. They wait for each other's time-outs side by side.
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

import processes
from command import environment, files_on_main, kill_at, public_bytes
from hub_server import Fault, Hub, Token, serving
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.merge.merge import merge_models
from slack_ties.publish.destination import Destination
from slack_ties.publish.publish import publish_model

if TYPE_CHECKING:
    from triple import Folders

TOKEN = "hf_" + "Abc123" * 6
TOKENS = {TOKEN: Token("me")}
REPO = "me/tibetan"
# Seconds of silence that the command bears. Only where the Hub is silent do they pass, and then
# other requests may time out too; elsewhere they are enough for a busy machine.
TIMEOUTS = {"stalled": 2.0}
TIMEOUT = 5.0

# Less than other commands need: the smaller a process, the quicker it forks.
PUBLISHING = ("slack_ties.cli.main", "slack_ties.publish.publish", "huggingface_hub.hf_api")

# With the model of another merge there already; `made` is for a repository that is not there.
KINDS = ("whoami", "info", "auth", "validate", "preupload", "batch", "put", "part", "complete")
KINDS = (*KINDS, "verify", "commit", "tree", "tree after the commit", "create", "file")
ONCE = ("500", "429", "dropped_before", "dropped_after")
FOR_EVER = ("500", "dropped_before", "stalled", "401", "403", "412")
# Large files go by hf_xet in these, as they do for most people, and the classic way elsewhere.
XET = ("xet token", "xorb", "shard")
CASES = [(kind, how, 1) for kind in (*KINDS, *XET) for how in ONCE]
CASES += [(kind, how, math.inf) for kind in (*KINDS, *XET) for how in FOR_EVER]
CASES += [("create", "busy", 1), ("create", "busy", math.inf)]
# What a case says, beside the kinds' own words.
SAYS = {
    "500": "answered 500",
    "dropped_before": "cannot reach",
    "stalled": "did not answer in time",
    "401": "does not accept the token in HF_TOKEN",
    "403": "does not allow this",
    "412": "412",
    "busy": "is busy with another operation on it",
}


@dataclass
class Outcome:
    """What a case left behind."""

    code: int
    output: str
    root: Path  # of its Hub
    model: Path


@pytest.fixture(scope="module")
def prepared(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An earlier merge on a Hub, in shards, and a later one here, with other weights."""
    root = tmp_path_factory.mktemp("faults")
    folders = (str(triple.base), str(triple.ct), str(triple.sft))
    shards = MergeOptions(quiet=True, out_shard_size=100_000)
    merge_models(make_config("bo", Choices(*folders)), root / "old", options=shards)
    config = make_config("bo", Choices(*folders, slack=0.5))
    merge_models(config, root / "new", options=MergeOptions(quiet=True))
    for name in ("old", "new"):
        write_card(root / name)
    with serving(root / "hub", TOKENS) as server:
        publish_model(root / "old", REPO, api=HfApi(endpoint=server.url, token=TOKEN))
    return root


def run(case: tuple[str, str, float], prepared: Path, folder: Path) -> Outcome:
    """Publish the later merge over the earlier one, with one thing going wrong."""
    kind, how, times = case
    root = shutil.copytree(prepared / "hub", folder / "hub")
    model = shutil.copytree(prepared / "new", folder / "new")
    with serving(root, TOKENS) as server:
        if kind in {"part", "complete"}:
            server.hub.part_size = 100_000
        if kind == "create":
            shutil.rmtree(root / "models")
        kind, _, after = kind.partition(" after the ")
        server.hub.faults.append(Fault(kind, how, times, after))
        env = environment(server, folder / "home", TOKEN, xet=kind in XET)
        done = processes.run(
            [
                "publish",
                model,
                REPO,
                "--update",
                "--debug",
                "--timeout",
                TIMEOUTS.get(how, TIMEOUT),
            ],
            env={**env, "HF_DEBUG": "1"},
            merged=True,
            imported=PUBLISHING,
        )
    return Outcome(done.returncode, done.stdout, root, model)


@pytest.fixture(scope="module")
def outcomes(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str, float], Future[Outcome]]]:
    """Start all cases; those that wait longest first."""
    slow = sorted(CASES, key=lambda case: (case[2], case[1] == "stalled"), reverse=True)
    with ThreadPoolExecutor(12) as pool:
        yield {
            case: pool.submit(run, case, prepared, tmp_path_factory.mktemp("case")) for case in slow
        }


def on_main(outcome: Outcome, prepared: Path) -> tuple[str, int]:
    """Return which model main holds, and how many merges were committed to it."""
    hub = Hub(outcome.root)
    if REPO not in hub.repos():
        return "nothing", 0
    files, state = files_on_main(hub, REPO, "me"), hub.repo(REPO, Token("me"))
    merges = [one for one in hub.history(state, "main") if one["title"].startswith("Merge")]
    for name, folder in {"old": prepared / "old", "new": outcome.model}.items():
        if files == public_bytes(folder):
            return name, len(merges)
    return (f"a mixture: {sorted(files)}" if files else "nothing"), len(merges)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_whatever_goes_wrong(
    case: tuple[str, str, float],
    outcomes: dict[tuple[str, str, float], Future[Outcome]],
    prepared: Path,
) -> None:
    """What fails once is tried again; what fails for ever ends, with the truth about main."""
    kind, how, times = case
    outcome = outcomes[case].result()
    before, after = ("nothing", 0) if kind == "create" else ("old", 1), on_main(outcome, prepared)
    done = ("new", before[1] + 1)
    said = outcome.output

    assert "bug in slack-ties" not in said
    assert TOKEN not in said
    if times == 1:
        assert (outcome.code, after) == (0, done), said
    elif kind == "verify" and how in {"500", "dropped_before"}:
        # The second try finds the file on the Hub, and so does not ask to verify it.
        assert (outcome.code, after) == (0, done), said
    elif kind == "tree after the commit":
        assert (outcome.code, after) == (1, done), said
        assert f"'{REPO}' is published at commit" in said
        assert "The uploaded files were not verified" in said
    else:
        assert (outcome.code, after) == (1, before), said
        assert "is published" not in said
    if outcome.code:
        assert re.search(f"^Error: .*{SAYS[how]}", said, re.MULTILINE), said
        assert re.search(r"^Next: ", said, re.MULTILINE)
    sending = {"put", "part", "complete", "verify", "commit", "batch", "preupload", *XET}
    if kind in sending and outcome.code:
        assert re.search(f"main of {REPO} is unchanged, at [0-9a-f]{{7}}$", said, re.MULTILINE)

    with serving(outcome.root, TOKENS) as server:
        api = HfApi(endpoint=server.url, token=TOKEN)
        again = publish_model(outcome.model, Destination(REPO, update=True), api=api)
        assert api.model_info(REPO).sha == again.commit
    assert on_main(outcome, prepared) == done


def publish_until(count: int, prepared: Path, folder: Path) -> tuple[Outcome, list[str]]:
    """Publish a model in shards, and kill the command when it makes its request `count`."""
    model = shutil.copytree(prepared / "old", folder / "old")
    root = folder / "hub"
    with serving(root, TOKENS) as server:
        words = ["publish", str(model), REPO]
        killed = kill_at(count, words, server, environment(server, folder / "home", TOKEN))
    return Outcome(killed.code, killed.output, root, model), killed.requests


def test_killed_at_ten_points(prepared: Path, tmp_path: Path) -> None:
    """Main is empty or complete; the same command again completes it, and sends nothing twice."""
    _, all_requests = publish_until(0, prepared, tmp_path / "whole")
    uploads = [i for i, one in enumerate(all_requests, 1) if one.startswith("PUT")]
    points = {*random.Random(5).sample(range(2, len(all_requests)), 10 - len(uploads)), *uploads}
    with ThreadPoolExecutor(4) as pool:
        killed = list(
            pool.map(lambda count: publish_until(count, prepared, tmp_path / str(count)), points)
        )

    resumed = 0
    for outcome, _ in killed:
        assert outcome.code != 0, outcome.output
        assert on_main(outcome, prepared) in {("nothing", 0), ("old", 1)}
        with serving(outcome.root, TOKENS) as server:
            there = {path.name for path in (outcome.root / "objects").glob("?" * 64)}
            api = HfApi(endpoint=server.url, token=TOKEN)
            published = publish_model(outcome.model, REPO, api=api)
            assert api.model_info(REPO).sha == published.commit
            assert not there & set(server.hub.received)
            resumed += bool(there) and bool(server.hub.received)
        assert on_main(outcome, prepared) == ("old", 1)
    assert resumed  # one at least was killed between two shards


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_heard_while_the_hub_is_silent(
    prepared: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """At once, though several files wait for their answers in threads of the client's."""
    model = shutil.copytree(prepared / "old", tmp_path / "old")
    with serving(tmp_path / "hub", TOKENS) as server:
        server.hub.faults.append(Fault("put", "stalled", math.inf))
        process = subprocess.Popen(
            [sys.executable, "-m", "slack_ties", "publish", str(model), REPO],
            env=environment(server, tmp_path / "home", TOKEN),
            # Whoever started the tests may have told them to ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        waiting = threading.Event()
        server.hub.watcher = lambda request: waiting.set() if request.startswith("PUT") else None
        assert waiting.wait(60)
        process.send_signal(number)
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()

    assert process.returncode == 128 + number
    assert "Stopped: the same command goes on" in output
