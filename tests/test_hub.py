"""Finding models: local folders, Hub ids, and every way in which the Hub can refuse."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_server import Fault, Refused, Server
from slack_ties.errors import CheckpointError, GatedError, HubError
from slack_ties.hub.retries import READING
from slack_ties.models.cached import Snapshot
from slack_ties.models.find import find_model
from slack_ties.models.look import look_at_model, open_weights
from slack_ties.models.names import split_reference
from slack_ties.models.parent_card import ParentCard
from slack_ties.sharing.pull import pull_recipe

QUICK = replace(READING, timeout=3, first_wait=0.01)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("me/model", [("me/model", None)]),
        ("me/model@v1", [("me/model", "v1")]),
        ("me/model@v1+me/lora@v2", [("me/model", "v1"), ("me/lora", "v2")]),
    ],
)
def test_takes_references_apart(reference: str, expected: list[tuple[str, str | None]]) -> None:
    """As mergekit writes them."""
    assert split_reference(reference) == expected


def test_a_folder_is_never_taken_apart(tmp_path: Path) -> None:
    """Whatever its name."""
    folder = tmp_path / "a@b+c"
    folder.mkdir()

    assert split_reference(str(folder)) == [(str(folder), None)]


def test_a_local_folder(tmp_path: Path) -> None:
    """It is what it is, with what its card says."""
    (tmp_path / "README.md").write_text("---\nlicense: llama2\n---\n")

    assert find_model(str(tmp_path)) == Snapshot(tmp_path, card=ParentCard("llama2"))


@pytest.mark.parametrize("path", ["./none", "/none", "a/b/c", "~/none", "../none", "C:\\none"])
def test_a_path_that_can_only_be_local(path: str) -> None:
    """The Hub is not asked for what cannot be a Hub id."""
    api = HfApi(endpoint="http://127.0.0.1:9")

    with pytest.raises(CheckpointError, match="does not exist, expected a folder"):
        find_model(path, api=api)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    """Somebody gave the weights instead of their folder."""
    (tmp_path / "model.safetensors").write_bytes(b"")

    with pytest.raises(CheckpointError, match="is a file, expected a folder"):
        find_model(str(tmp_path / "model.safetensors"))


@pytest.fixture
def model(api: HfApi, tmp_path: Path) -> str:
    """A model on the Hub in both formats, with much that a merge does not read."""
    folder = tmp_path / "upload"
    for name in (
        *("README.md", "config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("model.safetensors.index.json", "pytorch_model.bin", "consolidated.safetensors"),
        *("LICENSE.txt", "Notice", "USE_POLICY.md", "LICENSE.pdf"),
        *("training_args.bin", "evil.py", "onnx/model.json", "original/params.json"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("---\nlicense: mit\n---\n" if name == "README.md" else name)
    places = {f"t{i}": f"model-{i:05d}-of-00002.safetensors" for i in (1, 2)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    api.create_repo("me/model", private=False)
    api.upload_folder(repo_id="me/model", folder_path=folder)
    return "me/model"


def test_only_what_a_merge_reads_is_fetched(model: str, api: HfApi) -> None:
    """One format of weights, no code, nothing from folders below."""
    snapshot = find_model(model, api=api)

    assert {path.name for path in snapshot.path.rglob("*") if path.is_file()} == {
        *("README.md", "config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("model.safetensors.index.json", "LICENSE.txt", "Notice", "USE_POLICY.md"),
    }
    assert (snapshot.commit, snapshot.card.license) == (api.model_info(model).sha, "mit")
    assert snapshot.path.name == snapshot.commit


def test_a_license_of_great_length_is_not_fetched(model: str, api: HfApi) -> None:
    """Nobody's LICENSE has more than a megabyte."""
    api.upload_file(path_or_fileobj=b"x" * 1_000_001, path_in_repo="COPYING", repo_id=model)

    assert not (find_model(model, api=api).path / "COPYING").exists()


def test_a_revision_is_honoured(model: str, api: HfApi) -> None:
    """An older commit gives the older files."""
    old = api.model_info(model).sha
    api.upload_file(path_or_fileobj=b"new", path_in_repo="config.json", repo_id=model)

    assert (find_model(model, old, api=api).path / "config.json").read_text() == "config.json"
    assert (find_model(model, api=api).path / "config.json").read_text() == "new"


def test_no_such_model(api: HfApi) -> None:
    """It could also be a folder that is not there: both are said."""
    with pytest.raises(HubError, match=r"'me/none' \(no folder of that name here\): not found on"):
        find_model("me/none", api=api)


def test_no_such_revision(model: str, api: HfApi) -> None:
    """The revision is named."""
    with pytest.raises(HubError, match=r"revision 'v9': .* has no such revision"):
        find_model(model, "v9", api=api)


def test_a_private_model_of_somebody_else(api: HfApi, hub: Server) -> None:
    """Not to be told from one that is not there."""
    api.create_repo("me/secret", private=True)

    with pytest.raises(HubError, match="or private and your token may not"):
        find_model("me/secret", api=HfApi(endpoint=hub.url, token="hf_reader"))


def test_a_gated_model(model: str, hub: Server) -> None:
    """Said with what to do."""
    token = hub.hub.tokens["hf_writer"]
    hub.hub.save(model, {**hub.hub.repo(model, token), "gated": "manual"})

    with pytest.raises(GatedError, match=r"(?m)not given access to .* of your token$") as caught:
        find_model(model, api=HfApi(endpoint=hub.url, token="hf_reader"))

    again = "then run the same command again"
    assert caught.value.hint == f"ask for access on {hub.url}/{model}, {again}"


@pytest.mark.usefixtures("own_cache")
def test_a_gated_model_without_a_login(model: str, hub: Server) -> None:
    """The error says that no user is logged in, and the next step is the page, then the login."""
    hub.hub.save(model, {**hub.hub.repo(model, hub.hub.tokens["hf_writer"]), "gated": "manual"})

    with pytest.raises(GatedError, match=r"(?m)you are not logged in$") as caught:
        find_model(model, api=HfApi(endpoint=hub.url))

    assert caught.value.hint.startswith(f"ask for access on {hub.url}/{model}, then: hf auth login")


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "You have reached your storage limit",
            "does not allow this: You have .* limit$",
            "do what the Hub's message says",
        ),
        (
            "You must use a write token",
            "does not allow this: You must use .* token$",
            "do what the Hub's message says, then run the same command again; for another token: "
            "hf auth login # a token that may do this, or set HF_TOKEN to it",
        ),
        ("", "does not allow this with your token$", "hf auth login"),
        ("Access to this resource is disabled.", "the repository is disabled on", "use another"),
    ],
)
def test_a_403(api: HfApi, hub: Server, said: str, message: str, hint: str) -> None:
    """The Hub's own sentence is shown; without one, logging in is advised."""

    def refuse(*_: object) -> None:
        raise Refused(403, said)

    hub.hub.repo = refuse

    with pytest.raises(HubError, match=f"(?m)'me/other'.*: .*{message}") as caught:
        find_model("me/other", api=api)

    assert caught.value.hint.startswith(hint)


def test_a_fault_of_the_hub(api: HfApi, hub: Server) -> None:
    """Its status is told, and to try again."""

    def busy(*_: object) -> None:
        raise Refused(503, "Busy")

    hub.hub.repo = busy

    with pytest.raises(HubError, match=r"answered 503: .*Busy") as caught:
        find_model("me/other", api=api, retries=QUICK)

    hint = "try again later; if the error persists, contact the operator of this Hub"
    assert caught.value.hint == hint


@pytest.mark.parametrize("read", [look_at_model, find_model])
@pytest.mark.parametrize("how", ["500", "429", "dropped_before"])
def test_one_fault_ends_no_read(
    read: Callable[..., object], how: str, model: str, api: HfApi, hub: Server
) -> None:
    """A plan goes on after one error of the Hub or one broken connection."""
    expected = read(model, api=api)
    hub.hub.faults.append(Fault("info", how))
    hub.hub.requests.clear()

    assert read(model, api=api, retries=QUICK) == expected
    assert hub.hub.requests[:2] == [f"GET /api/models/{model}"] * 2


@pytest.mark.parametrize("read", [look_at_model, find_model])
def test_one_fault_ends_no_download(
    read: Callable[..., object], model: str, api: HfApi, hub: Server, own_cache: Path
) -> None:
    """A file is asked for again."""
    hub.hub.faults.append(Fault("file", "500"))

    read(model, api=api, retries=QUICK)

    assert next(own_cache.rglob("config.json")).read_text() == "config.json"
    assert hub.hub.faults[0].times == 0


def test_one_fault_ends_no_reading_of_weights(model: str, api: HfApi, hub: Server) -> None:
    """The first bytes of a weight file are read after one error, and nothing else is asked."""
    look = look_at_model(model, api=api)
    name = min(look.weights)
    hub.hub.faults.append(Fault("range", "500"))
    hub.hub.requests.clear()

    with open_weights(look, name, api) as opened:
        assert opened.read(5) == name.encode()[:5]

    assert {one.partition("/resolve/")[0] for one in hub.hub.requests} == {f"GET /{model}"}
    assert hub.hub.faults[0].times == 0


@pytest.mark.parametrize("read", [look_at_model, find_model, pull_recipe])
def test_a_silent_hub(
    read: Callable[..., object], api: HfApi, hub: Server, own_cache: Path
) -> None:
    """The call ends soon after the limit."""
    hub.hub.faults.append(Fault("info", "stalled", math.inf))
    began = time.monotonic()

    with pytest.raises(HubError, match="did not answer in time") as caught:
        read("me/model", api=api, retries=QUICK)

    assert caught.value.hint == "try again later, or set a longer --timeout SECONDS"
    assert list(own_cache.glob("*")) == []
    assert time.monotonic() - began < 2 * QUICK.timeout


def test_the_cache_serves_without_network(model: str, api: HfApi, hub: Server) -> None:
    """What was fetched once is found again when the Hub is away."""
    fetched = find_model(model, api=api)
    hub.stop()

    assert find_model(model, api=api) == fetched
    with pytest.raises(HubError, match="cannot reach"):
        find_model("me/other", api=api)


@pytest.mark.parametrize(
    "names",
    [
        (
            "model.safetensors-00001-of-00002.safetensors",
            "model.safetensors-00002-of-00002.safetensors",
        ),
        ("model_00001-of-00072.safetensors", "overlay.safetensors"),
    ],
)
def test_weight_files_are_those_that_the_index_names(
    names: tuple[str, str], api: HfApi, tmp_path: Path
) -> None:
    """Whatever they are called: seen before the download, and fetched."""
    folder = tmp_path / "upload"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    index = {"metadata": {}, "weight_map": {f"t{i}": name for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in (*names, "model-other.safetensors"):
        (folder / name).write_text(name)
    repo = f"me/{tmp_path.name}"
    api.create_repo(repo)
    api.upload_folder(repo_id=repo, folder_path=folder)

    look, snapshot = look_at_model(repo, api=api), find_model(repo, api=api)

    assert look.weights == {name: len(name) for name in sorted(names)}
    there = {path.name for path in snapshot.path.glob("*.safetensors")}
    assert there == set(names)


def test_a_shard_that_was_not_uploaded(api: HfApi, tmp_path: Path) -> None:
    """The index names it: known before anything large is fetched."""
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "config.json").write_text("{}")
    index = {"weight_map": {"t": "model-00001-of-00001.safetensors"}}
    (tmp_path / "upload" / "model.safetensors.index.json").write_text(json.dumps(index))
    api.create_repo("me/half")
    api.upload_folder(repo_id="me/half", folder_path=tmp_path / "upload")

    with pytest.raises(CheckpointError, match=r"model-00001-of-00001\.safetensors is not on"):
        look_at_model("me/half", api=api)
