"""The demo of the package: what it shows, what it leaves alone, and its small Hub."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from slack_ties.catalogue.languages import find_triple
from slack_ties.demo.demo import END, STEPS, Step, run_steps
from slack_ties.demo.hub import Hub, serving
from slack_ties.errors import SlackTiesError
from slack_ties.plan.expected import expect
from slack_ties.wording import size

COMMAND = [sys.executable, "-m", "slack_ties", "demo"]
SECRET = "hf_" + "x" * 34


@dataclass(frozen=True)
class Done:
    """A demo that ran, in an environment of a user."""

    code: int
    output: str
    kept: Path
    user: Path


def of_a_user(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user with a token and a cache, whose Hub is out of reach."""
    for name in ("home", "here", "temporary"):
        (folder / name).mkdir()
    (folder / "home" / "token").write_text(SECRET)
    return {
        **os.environ,
        "HF_HOME": str(folder / "home"),
        "HF_TOKEN": SECRET,
        "HF_HUB_OFFLINE": "1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "temporary")),
        **more,
    }


def files_in(folder: Path) -> dict[str, str]:
    """Return what a user has on disk afterwards."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One whole demo, whose results are kept."""
    folder = tmp_path_factory.mktemp("demo")
    kept = folder / "kept"
    user = folder / "user"
    user.mkdir()
    run = subprocess.run(
        [*COMMAND, "--keep", str(kept)],
        cwd=folder,
        env=of_a_user(user),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return Done(run.returncode, run.stdout, kept, user)


def test_all_steps_are_shown_and_succeed(done: Done) -> None:
    """Each command stands there as a user types it, and the end says what to type next."""
    assert done.code == 0, done.output
    shown = re.findall(r"^\$ (.*)$", done.output, re.MULTILINE)
    assert shown == [step.command for step in STEPS]
    assert "all 21 tensors have the same bytes" in done.output
    assert "slack-ties run lo --out lao " in done.output


def test_what_it_keeps_can_be_merged_again(done: Done, tmp_path: Path) -> None:
    """The commands that it ends with run without its Hub, and give the same weights."""
    at, typed = (line.split() for line in done.output.splitlines()[-2:])
    kept = Path(shutil.copytree(done.kept, tmp_path / "kept"))

    assert at == ["cd", str(done.kept)]
    assert typed[0] == "slack-ties"
    subprocess.run(
        [sys.executable, "-m", "slack_ties", *typed[1:]],
        cwd=kept,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    weights = [(kept / name / "model.safetensors").read_bytes() for name in ("again", "tibetan")]
    assert weights[0] == weights[1]


def test_the_size_of_the_first_real_merge_is_the_catalogues() -> None:
    """What the demo says of the download is what `slack-ties languages` says."""
    assert f"({size(expect(find_triple('lo')).download)} to download)" in END


def test_stock_mergekit_makes_the_same_bytes(done: Done) -> None:
    """The demo compares the weights, and these are the files that it compared."""
    ours, theirs = (
        (done.kept / name / "model.safetensors").read_bytes()
        for name in ("tibetan", "tibetan-by-mergekit")
    )

    assert ours == theirs
    assert "tibetan-by-mergekit/model.safetensors have the same bytes" in done.output


def test_the_merged_model_can_do_what_the_others_can(done: Done) -> None:
    """It counts in Tibetan better than the SFT model, and answers better than the CT model."""
    rows = re.findall(r"^demo/(\S+) +(\d) of 9 +(\d) of 9 +(\d) of 9$", done.output, re.MULTILINE)
    scores = {name: tuple(map(int, counts)) for name, *counts in rows}

    assert list(scores) == ["base", "ct", "sft", "tiny-llama-tibetan"]
    assert scores["tiny-llama-tibetan"][1] > scores["sft"][1]
    assert scores["tiny-llama-tibetan"][2] > scores["ct"][2]


def test_the_models_are_of_three_formats(done: Done) -> None:
    """Safetensors in several files, a .bin file, one safetensors file; as real ones are."""
    names = {
        role: sorted(path.name for path in (done.kept / "models" / role).glob("*model*"))
        for role in ("base", "ct", "sft")
    }

    assert names == {
        "base": [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ],
        "ct": ["pytorch_model.bin"],
        "sft": ["model.safetensors"],
    }


def test_nothing_of_the_user_is_touched_and_nothing_is_left(done: Done) -> None:
    """The token is neither used nor shown, and there is no file but those in the kept folder."""
    assert files_in(done.user) == {"home/token": SECRET}
    assert SECRET not in done.output
    assert sorted(path.name for path in done.kept.iterdir()) == [
        *("merge_configs", "models", "tibetan", "tibetan-by-mergekit"),
    ]


def test_a_failing_step_ends_it_with_exit_code_1(tmp_path: Path) -> None:
    """In an environment with a broken package; what was made is deleted."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "transformers.py").write_text("raise ImportError('a broken installation')")

    run = subprocess.run(
        COMMAND,
        env=of_a_user(tmp_path, PYTHONPATH=str(broken)),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert run.returncode == 1
    assert "a broken installation" in run.stderr
    assert "Error: step 1 of the demo ended with exit code 1: python -m" in run.stderr
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the step that is running, and delete what was made."""
    with subprocess.Popen(
        COMMAND,
        env=of_a_user(tmp_path),
        # Whoever runs the tests in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        for line in process.stdout:
            if line.startswith("$ "):
                break
        process.send_signal(number)
        process.stdout.read()  # which ends when the step's process has ended too

    assert process.returncode != 0
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """At once: nothing of the user is written over."""
    (tmp_path / "mine").write_text("")

    run = subprocess.run(
        [*COMMAND, "--keep", str(tmp_path)], capture_output=True, encoding="utf-8", check=False
    )

    assert (run.returncode, run.stdout) == (1, "")
    assert "is not empty" in run.stderr


def test_files_that_differ_are_said(tmp_path: Path) -> None:
    """A step may promise that files have the same bytes."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    shown = []

    with pytest.raises(SlackTiesError, match="expected the same bytes, got SHA-256"):
        run_steps(
            (Step("Do nothing", "python -c pass", ("a", "b")),), tmp_path, {}, show=shown.append
        )

    assert shown == ["\n[1/1] Do nothing\n\n$ python -c pass"]


# The Hub, asked by the real client.


@pytest.fixture
def demo_hub() -> Iterator[Hub]:
    """The demo's Hub, of a user `me`."""
    with serving("me", "hf_mine") as hub:
        yield hub


@pytest.fixture
def mine(demo_hub: Hub) -> HfApi:
    """Its client, as `me`."""
    return HfApi(endpoint=demo_hub.url, token="hf_mine")


def publish(api: HfApi, repo_id: str, files: Mapping[str, bytes], *, private: bool) -> str:
    """Make a repository with these files in one commit, whose id is returned."""
    api.create_repo(repo_id, private=private, exist_ok=True)
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(repo_id, operations, commit_message="Add files").oid


def test_a_model_comes_back_as_it_was_sent(mine: HfApi, tmp_path: Path) -> None:
    """Small files and large ones, in folders too, by name and by commit."""
    card = b"---\nlicense: mit\ntags: [small]\n---\n"
    files = {"README.md": card, "model.safetensors": b"w" * 5000, "a/b.json": b"{}"}

    first = publish(mine, "me/x", files, private=False)
    second = publish(mine, "me/x", {"a/b.json": b"[]"}, private=False)

    info = mine.model_info("me/x", files_metadata=True)
    sizes = {one.rfilename: one.size for one in info.siblings if one.rfilename in files}
    assert (info.sha, info.card_data.license, info.tags) == (second, "mit", ["small"])
    assert sizes == {path: len(content) for path, content in files.items()}
    for revision, changed in ((first, b"{}"), ("main", b"[]")):
        folder = mine.snapshot_download(
            "me/x", revision=revision, local_dir=tmp_path / revision, allow_patterns=list(files)
        )
        got = {path: Path(folder, path).read_bytes() for path in files}
        assert got == {**files, "a/b.json": changed}
    assert [one.path for one in mine.list_repo_tree("me/x", "a")] == ["a/b.json"]


def test_a_part_of_a_file_is_sent(mine: HfApi, demo_hub: Hub) -> None:
    """As those ask who read the header of a weight file."""
    publish(mine, "me/x", {"x.bin": b"0123456789"}, private=False)

    for wanted, part in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=8-99", b"89")):
        with closing(HTTPConnection(*demo_hub.server_address)) as connection:
            connection.request("GET", "/me/x/resolve/main/x.bin", headers={"Range": wanted})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (206, part)


def test_what_is_private_or_not_there_is_not_found(mine: HfApi, demo_hub: Hub) -> None:
    """A repository, a revision, a file: each with the client's own exception."""
    publish(mine, "me/x", {"a.txt": b"a"}, private=True)
    anybody = HfApi(endpoint=demo_hub.url, token=False)

    with pytest.raises(RepositoryNotFoundError):
        anybody.model_info("me/x")
    with pytest.raises(RepositoryNotFoundError):
        mine.model_info("me/none")
    with pytest.raises(RevisionNotFoundError):
        mine.model_info("me/x", revision="none")
    with pytest.raises(RemoteEntryNotFoundError):
        mine.hf_hub_download("me/x", "none.txt")
    assert mine.model_info("me/x").private


def test_only_its_user_may_write(mine: HfApi, demo_hub: Hub) -> None:
    """In repositories of its own; a wrong token is refused, and so is none."""
    publish(mine, "me/x", {"a.txt": b"a"}, private=False)

    for token in (False, "hf_no"):
        api = HfApi(endpoint=demo_hub.url, token=token)
        with pytest.raises(HfHubHTTPError) as caught:
            api.create_commit("me/x", [CommitOperationAdd("b", b"b")], commit_message="Add b")
        assert caught.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError, match="rights to write to you"):
        mine.create_repo("you/x")
    assert mine.whoami()["name"] == "me"


def test_a_commit_on_an_old_state_is_refused(mine: HfApi) -> None:
    """Two who write at once do not undo each other; files can be deleted."""
    first = publish(mine, "me/x", {"a.txt": b"a"}, private=False)
    gone = [CommitOperationDelete("a.txt")]
    mine.create_commit("me/x", gone, commit_message="Delete a", parent_commit=first)

    with pytest.raises(HfHubHTTPError) as caught:
        mine.create_commit("me/x", gone, commit_message="Delete a", parent_commit=first)

    assert caught.value.response.status_code == 412
    assert mine.list_repo_files("me/x") == [".gitattributes"]


def test_a_card_that_is_no_yaml_is_refused(mine: HfApi) -> None:
    """The client asks before it commits."""
    with pytest.raises(ValueError, match="Invalid metadata"):
        publish(mine, "me/x", {"README.md": b"---\na: [\n---\n"}, private=False)
