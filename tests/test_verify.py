"""Verifying a published merge: the same bytes, or which tensors differ and by how much."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

import processes
from conftest import TOKEN
from hub_server import Server, Token, serving
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import (
    CheckpointError,
    HubError,
    OutputError,
    RecipeError,
    SlackTiesError,
    WrongBytesError,
)
from slack_ties.files import sha256
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.read import parse_recipe
from slack_ties.run import run_all
from slack_ties.sharing.verify import verify_model
from triple import Folders

QUIET = MergeOptions(quiet=True, lazy_unpickle=True)
SMALL = MergeOptions(quiet=True, lazy_unpickle=True, out_shard_size=100_000)
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def made(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hub with a merge of its models in several shards, the merge and the cache: to be copied."""
    root = tmp_path_factory.mktemp("published")
    cache = "huggingface_hub.constants.HF_HUB_CACHE"
    with serving(root / "hub", {TOKEN: Token("me")}) as server, pytest.MonkeyPatch.context() as at:
        at.setattr(cache, str(root / "hf-cache"))
        api = HfApi(endpoint=server.url, token=TOKEN)
        for role in ("base", "ct", "sft"):
            api.create_repo(f"me/{role}", private=False)
            api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
        choices = Choices(base="me/base", ct="me/ct", sft="me/sft")
        run_all(
            "bo", root / "out", choices=choices, options=SMALL, publish="me/tibetan",
            license="mit", api=api,
        )  # fmt: skip
    return root


@pytest.fixture
def published(made: Path, hub: Server, own_cache: Path, tmp_path: Path) -> Path:
    """A merge of Hub models, published as me/tibetan in several shards; its folder."""
    shutil.copytree(made / "hf-cache", own_cache, symlinks=True)
    shutil.copytree(made / "hub", hub.hub.root, dirs_exist_ok=True)
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand where nothing else is, to see what is left behind."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def flip_a_byte(folder: Path, tensor: str = Q_PROJ) -> Path:
    """Flip one bit of one entry of a tensor in a folder; return the file."""
    for path in sorted(folder.glob("model*.safetensors")):
        weights = load_file(path)
        if tensor in weights:
            start = path.read_bytes().find(weights[tensor].view(torch.uint8).numpy().tobytes())
            content = bytearray(path.read_bytes())
            content[start] ^= 1
            path.write_bytes(content)
            return path
    raise KeyError(tensor)


def test_a_true_merge(published: Path, api: HfApi, hub: Server, tmp_path: Path) -> None:
    """Every file has the Hub's checksum: nothing of the published weights is downloaded."""
    hub.hub.sent.clear()

    result = verify_model("me/tibetan", quiet=True, api=api)

    assert result.same
    assert (result.tensors, result.compared, result.files) == (21, 0, ())
    assert result.commit == api.model_info("me/tibetan").sha
    assert result.as_text() == (
        f"me/tibetan at {result.commit[:7]}: all 21 tensors have the same bytes"
    )
    assert not [name for name in hub.hub.sent if "00004" in name]  # of the result: 4 shards
    assert list((tmp_path / "here").iterdir()) == []
    assert published.is_dir()


def test_one_flipped_bit(published: Path, api: HfApi, tmp_path: Path) -> None:
    """The tensor is named, with its file, and how far it is off; the folder can be kept."""
    shard = flip_a_byte(Path(shutil.copytree(published, tmp_path / "bad")))
    api.upload_file(path_or_fileobj=shard, path_in_repo=shard.name, repo_id="me/tibetan")

    result = verify_model("me/tibetan", out=tmp_path / "kept", quiet=True, api=api)

    assert not result.same
    (difference,) = result.differences
    assert (difference.tensor, difference.file, difference.entries) == (Q_PROJ, shard.name, 1)
    assert 0 < difference.largest < 1e-3
    assert f"  {Q_PROJ} ({shard.name}) 1 of 4,096 entries differ, by at most " in result.as_text()
    assert "1 of 21 tensors differ" in result.as_text()
    assert result.against == str(tmp_path / "kept")
    against = verify_model("me/tibetan", against=tmp_path / "kept", api=api)
    assert against.differences == result.differences


def test_an_older_commit(published: Path, api: HfApi, tmp_path: Path) -> None:
    """What was published first is still what it was."""
    first = api.model_info("me/tibetan").sha
    shard = flip_a_byte(Path(shutil.copytree(published, tmp_path / "bad")))
    api.upload_file(path_or_fileobj=shard, path_in_repo=shard.name, repo_id="me/tibetan")

    assert verify_model(f"me/tibetan@{first}", against=published, api=api).same
    assert not verify_model("me/tibetan", against=published, api=api).same


def change_shape(weights: dict[str, torch.Tensor]) -> None:
    """Cut a tensor."""
    weights[Q_PROJ] = weights[Q_PROJ][:-1].clone()


def remove(weights: dict[str, torch.Tensor]) -> None:
    """Leave a tensor out."""
    del weights[Q_PROJ]


def add(weights: dict[str, torch.Tensor]) -> None:
    """Put another tensor in."""
    weights["backdoor"] = torch.zeros(2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_shape, "is (63, 64) bfloat16, expected (64, 64) bfloat16"),
        (remove, "is not in {bad!r}"),
        (add, "is only in {bad!r}"),
    ],
)
def test_other_tensors(
    published: Path,
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], None],
    said: str,
) -> None:
    """A shape, a tensor that is missing, one too many; between two folders."""
    bad = Path(shutil.copytree(published, tmp_path / "bad"))
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(bad.glob("model*")):
        weights |= load_file(path) if path.suffix == ".safetensors" else {}
        path.unlink()
    change(weights)
    save_file(weights, bad / "model.safetensors")

    result = verify_model(bad, against=published)

    assert [difference.what for difference in result.differences] == [said.format(bad=str(bad))]
    assert result.compared == len(weights)


def test_a_damaged_folder_was_not_published(published: Path, api: HfApi, tmp_path: Path) -> None:
    """It is named as what it is, and made again by the next step."""
    bad = Path(shutil.copytree(published, tmp_path / "my model"))
    shard = next(bad.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])

    with pytest.raises(CheckpointError, match=f"my model': {shard.name} cannot be read") as caught:
        verify_model(bad, quiet=True, api=api)
    assert "published" not in str(caught.value)

    words = shlex.split(caught.value.hint.removeprefix("make it again: slack-ties "))
    assert words[:1] == ["run"]
    merge_models(words[1], words[3], api=api)
    assert verify_model(words[3], against=published).same
    with pytest.raises(CheckpointError, match=f"model {str(bad)!r}"):  # not: "rebuilt model"
        verify_model(published, against=bad)


def test_other_files_are_said(published: Path, tmp_path: Path) -> None:
    """A changed tokenizer is no changed tensor, and another model all the same."""
    bad = Path(shutil.copytree(published, tmp_path / "bad"))
    (bad / "tokenizer.json").write_text("{}")

    result = verify_model(bad, against=published)

    assert not result.same
    assert (result.differences, result.files) == ((), ("tokenizer.json",))
    assert "Other files that are loaded and differ: tokenizer.json" in result.as_text()


def test_weights_that_an_index_leads_to(published: Path, tmp_path: Path) -> None:
    """Right files beside, and others that are loaded in their place."""
    bad = Path(shutil.copytree(published, tmp_path / "bad"))
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(bad.glob("model*.safetensors")):
        weights |= load_file(path)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    save_file(zeros, bad / "evil.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "evil.safetensors")}
    (bad / "model.safetensors.index.json").write_text(json.dumps(index))
    (bad / "evil.py").write_text("")

    result = verify_model(bad, against=published)

    assert not result.same
    assert len(result.differences) == 21
    assert result.files == ("evil.py",)
    (bad / "model.safetensors.index.json").write_text("{}")
    assert "model.safetensors.index.json" in verify_model(bad, against=published).files


def test_files_of_another_size(published: Path, tmp_path: Path) -> None:
    """The same tensors in one file instead of several, and the other way round."""
    whole = Path(shutil.copytree(published, tmp_path / "whole"))
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(whole.glob("model*")):
        weights |= load_file(path) if path.suffix == ".safetensors" else {}
        path.unlink()
    save_file(weights, whole / "model.safetensors", metadata={"format": "pt"})

    for one, other in ((whole, published), (published, whole)):
        result = verify_model(one, against=other)
        assert (result.same, result.compared) == (True, 21)


def test_another_version_of_transformers_is_no_difference(published: Path, tmp_path: Path) -> None:
    """It writes its number into config.json; anything else there counts."""
    bad = Path(shutil.copytree(published, tmp_path / "bad"))
    config = json.loads((bad / "config.json").read_text("utf-8"))
    (bad / "config.json").write_text(json.dumps({**config, "transformers_version": "9"}))
    assert verify_model(bad, against=published).same
    (bad / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))

    assert verify_model(bad, against=published).files == ("config.json",)


def test_a_folder_is_made_again(published: Path, api: HfApi) -> None:
    """From the config that lies in it."""
    result = verify_model(published, quiet=True, api=api)

    assert (result.same, result.commit) == (True, "")


def test_a_corrupt_download_is_not_blamed_on_the_publisher(
    published: Path, api: HfApi, tmp_path: Path
) -> None:
    """Its checksum is compared with the Hub's before its tensors are."""
    bad = Path(shutil.copytree(published, tmp_path / "bad"))
    shard = flip_a_byte(bad)
    cached = Path(api.hf_hub_download("me/tibetan", shard.name))
    target = cached.resolve()
    target.write_bytes(shard.read_bytes()[::-1])

    with pytest.raises(HubError, match="is damaged: its checksum differs from the Hub's"):
        verify_model("me/tibetan", against=bad, api=api)


def test_options_of_a_recipe(published: Path, api: HfApi, caplog: object) -> None:
    """Harmless ones are applied; one that would run code is left to the user, and said."""
    path = published / "mergekit_config.yml"
    text = path.read_text("utf-8")
    assert "options: {out_shard_size: 100000}" in text
    path.write_text(
        text.replace(
            "{out_shard_size: 100000}", "{out_shard_size: 100000, trust_remote_code: true}"
        )
    )

    result = verify_model(published, quiet=True, api=api)

    assert result.same
    assert "option trust_remote_code: give it on the command line" in caplog.text


def test_what_cannot_be_verified(published: Path, api: HfApi, tmp_path: Path) -> None:
    """A recipe of local folders, no folder to compare with, a model without weights."""
    api.upload_file(
        path_or_fileobj=make_config("bo", Choices(base="/b", ct="/c", sft="/s")).text.encode(),
        path_in_repo="mergekit_config.yml",
        repo_id="me/tibetan",
    )
    with pytest.raises(RecipeError, match="the model '/b', expected a Hub id"):
        verify_model("me/tibetan", api=api)
    with pytest.raises(OutputError, match="there is no folder"):
        verify_model(published, against=tmp_path / "none")
    pickled = MergeOptions(quiet=True, safe_serialization=False)
    with pytest.raises(SlackTiesError, match="--no-safe-serialization does not write"):
        verify_model(published, options=pickled, api=api)
    bad = Path(shutil.copytree(published, tmp_path / "bad"))
    for path in bad.glob("model*.safetensors"):
        path.unlink()
    with pytest.raises(CheckpointError, match="has no safetensors weights to compare"):
        verify_model(bad, against=published)


def test_a_folder_whose_weights_are_only_on_the_hub(
    published: Path, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """As after `run --stream`: nothing is merged, and the next step verifies the Hub's weights."""
    for path in published.glob("*.safetensors"):
        path.unlink()

    with (
        caplog.at_level(logging.INFO, "slack_ties"),
        pytest.raises(CheckpointError, match="has no safetensors weights to compare") as caught,
    ):
        verify_model(published, quiet=True, api=api)

    assert "merging" not in caplog.text
    assert caught.value.hint == "slack-ties verify me/tibetan # if the Hub has its weights"
    assert verify_model(shlex.split(caught.value.hint)[2], quiet=True, api=api).same
    (published / "README.md").unlink()
    with pytest.raises(CheckpointError) as caught:
        verify_model(published, quiet=True, api=api)
    assert caught.value.hint.startswith("slack-ties verify OWNER/NAME ")


@pytest.fixture
def only_on_hub(published: Path, own_cache: Path) -> Path:
    """The same merge, of models that are not in the cache; its folder."""
    shutil.rmtree(own_cache)
    return published


def weights_below(*folders: Path) -> list[Path]:
    """Return the weight files in folders and what is below them."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".safetensors", ".bin"}
    ]


def test_without_download(
    only_on_hub: Path, api: HfApi, hub: Server, own_cache: Path, in_an_empty_folder: Path
) -> None:
    """The same answer; here are at most two weight files at once, and of parents none."""
    peak = 0

    def watch(_: str) -> None:
        nonlocal peak
        peak = max(peak, sum(path.stat().st_size for path in weights_below(in_an_empty_folder)))

    hub.hub.watcher = watch
    hub.hub.sent.clear()

    result = verify_model("me/tibetan", quiet=True, api=api, download=False)

    assert (result.same, result.tensors, result.compared) == (True, 21, 0)
    assert not [name for name in hub.hub.sent if "-of-00004" in name]
    assert weights_below(own_cache) == []
    assert list(in_an_empty_folder.iterdir()) == []
    largest = sorted(path.stat().st_size for path in only_on_hub.glob("*.safetensors"))[-2:]
    assert peak < sum(largest) + 50_000


def test_one_flipped_bit_without_download(
    only_on_hub: Path, api: HfApi, hub: Server, own_cache: Path, tmp_path: Path
) -> None:
    """The tensor is named as with download; only its file is read, and not kept."""
    shard = flip_a_byte(Path(shutil.copytree(only_on_hub, tmp_path / "bad")))
    api.upload_file(path_or_fileobj=shard, path_in_repo=shard.name, repo_id="me/tibetan")
    hub.hub.sent.clear()

    result = verify_model("me/tibetan", quiet=True, api=api, download=False)

    (difference,) = result.differences
    assert (difference.tensor, difference.file, difference.entries) == (Q_PROJ, shard.name, 1)
    assert 0 < difference.largest < 1e-3
    assert (result.tensors, result.compared) == (21, len(load_file(shard)))
    assert weights_below(own_cache) == []
    others = {name: count for name, count in hub.hub.sent.items() if "-of-00004" in name}
    assert others.pop(shard.name) <= shard.stat().st_size + 33_000
    assert sum(others.values()) < 100_000  # headers, read with some bytes after them


@pytest.mark.parametrize("flipped", [False, True])
def test_files_of_another_size_without_download(
    only_on_hub: Path, api: HfApi, tmp_path: Path, *, flipped: bool
) -> None:
    """Then every tensor is compared with the published one, wherever that is."""
    if flipped:
        shard = flip_a_byte(Path(shutil.copytree(only_on_hub, tmp_path / "bad")))
        api.upload_file(path_or_fileobj=shard, path_in_repo=shard.name, repo_id="me/tibetan")
    larger = MergeOptions(quiet=True, lazy_unpickle=True, out_shard_size=150_000)

    result = verify_model("me/tibetan", options=larger, api=api, download=False)

    assert (result.tensors, result.compared) == (21, 21)
    assert [one.tensor for one in result.differences] == [Q_PROJ] * flipped
    assert result.same is not flipped


def test_tensors_beside_the_right_ones_without_download(
    only_on_hub: Path, api: HfApi, tmp_path: Path
) -> None:
    """Right files, one more with tensors of the same names and others, and a file that is gone."""
    zeros: dict[str, torch.Tensor] = {"backdoor": torch.zeros(2)}
    shards = sorted(only_on_hub.glob("*.safetensors"))
    for path in shards[:2]:
        zeros |= {name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}
    gone = set(load_file(shards[3]))
    save_file(zeros, tmp_path / "evil.safetensors", metadata={"format": "pt"})
    evil = tmp_path / "evil.safetensors"
    api.upload_file(path_or_fileobj=evil, path_in_repo=evil.name, repo_id="me/tibetan")
    api.delete_file(shards[3].name, "me/tibetan")

    result = verify_model("me/tibetan", quiet=True, api=api, download=False)

    found = {(one.tensor, one.file) for one in result.differences}
    changed = {(name, evil.name) for name in zeros}
    assert found == changed | {(name, "") for name in gone}
    assert not result.same
    against = verify_model("me/tibetan", against=only_on_hub, api=api)
    assert against.differences == result.differences


def test_wrong_bytes_of_a_parent_are_no_difference(
    only_on_hub: Path, api: HfApi, hub: Server, in_an_empty_folder: Path
) -> None:
    """They are an error that names the file, and nothing is left here."""
    (lfs,) = [one.lfs for one in api.list_repo_tree("me/sft") if one.path == "model.safetensors"]
    blob = hub.hub.blob(lfs.sha256)
    content = bytearray(blob.read_bytes())
    content[-100] ^= 1
    blob.write_bytes(content)

    with pytest.raises(WrongBytesError, match=r"model\.safetensors"):
        verify_model("me/tibetan", quiet=True, api=api, download=False)

    assert list(in_an_empty_folder.iterdir()) == []
    assert only_on_hub.is_dir()


def test_wrong_bytes_of_the_published_file_are_no_difference(
    only_on_hub: Path, api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """A file that the Hub sends with another checksum is not blamed on the publisher."""
    shard = flip_a_byte(Path(shutil.copytree(only_on_hub, tmp_path / "bad")))
    api.upload_file(path_or_fileobj=shard, path_in_repo=shard.name, repo_id="me/tibetan")
    blob = hub.hub.blob(sha256(shard))
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)

    with pytest.raises(HubError, match="is damaged: its checksum differs from the Hub's"):
        verify_model("me/tibetan", quiet=True, api=api, download=False)


def test_everything_offline_after_one_run(
    published: Path, api: HfApi, hub: Server, own_cache: Path, tmp_path: Path
) -> None:
    """With HF_HUB_OFFLINE=1, in processes of their own: plan, merge, card, pull, run, verify."""
    verify_model("me/tibetan", out=tmp_path / "online", quiet=True, api=api)
    api.snapshot_download("me/tibetan")
    config = make_config("bo", Choices(base="me/base", ct="me/ct", sft="me/sft")).text
    (tmp_path / "here" / "bo.yml").write_text(config)
    hub.stop()
    settings = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(own_cache)}
    environment = {**os.environ, **settings, "HF_TOKEN": TOKEN}

    for words in (
        ["plan", "bo.yml"],
        ["plan", published / "mergekit_config.yml"],
        ["merge", "bo.yml", "merged"],
        ["card", "merged"],
        ["recipes", "pull", "me/tibetan"],
        ["run", "me/tibetan", "--out", "again"],
        ["verify", "me/tibetan"],
    ):
        done = processes.run(words, env=environment)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert "all 21 tensors have the same bytes" in done.stdout
    card = Path("merged/README.md").read_text("utf-8")
    assert "base_model:\n- me/base\n- me/ct\n- me/sft" in card
    assert (
        parse_recipe(Path("tibetan.yml").read_text("utf-8"), where="x")
        .models[0]
        .startswith("me/base@")
    )
    for words in (["recipes", "pull", "me/other"], ["verify", "me/other", "--no-download"]):
        done = processes.run(words, env=environment)
        assert done.returncode == 1
        assert "HF_HUB_OFFLINE is set, and it is not in the cache" in done.stderr
        assert "Traceback" not in done.stderr
