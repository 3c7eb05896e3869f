"""Is there room for what a merge downloads and writes, on one disk and on two."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from hub_server import Server
from slack_ties.catalogue.languages import find_triple
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import OutputError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.expected import expect
from slack_ties.plan.make import plan_merge
from slack_ties.plan.plan import Plan
from slack_ties.plan.room import Need, no_room, smaller_merges
from slack_ties.plan.text import plan_as_text
from slack_ties.wording import size
from triple import Folders, llama

HUB = make_config("bo", Choices(base="me/base", ct="me/ct", sft="me/sft", dtype="bfloat16"))

MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - a second file system, on Linux


@pytest.fixture(autouse=True)
def on_hub(triple: Folders, api: HfApi, hub: Server, own_cache: Path) -> Server:  # noqa: ARG001
    """A Hub that holds the triple, and an empty cache."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
    return hub


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the Hub cache."""
    if not MEMORY_DISK.is_dir() or MEMORY_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        yield Path(folder)


def free_is(monkeypatch: pytest.MonkeyPatch, here: int, on_other: int = 10**12) -> None:
    """Set what is free. A disk's size cannot be made small for real."""

    def usage(path: Path) -> object:
        free = on_other if Path(path).is_relative_to(MEMORY_DISK) else here
        return type("Usage", (), {"free": free})

    monkeypatch.setattr(shutil, "disk_usage", usage)


def only_error(plan: Plan) -> OutputError:
    """Return the plan's error, after making sure that there is one."""
    (error,) = plan.errors
    assert isinstance(error, OutputError)
    return error


def test_on_one_disk_the_needs_add_up(
    api: HfApi, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fits alone, and both do not: a merge stops before it downloads a weight."""
    plan = plan_merge(HUB, out=tmp_path / "out", api=api, download=True)
    assert plan.errors == ()
    assert plan.one_disk
    assert "Disk:       0.3 MB, and 0.9 MB for the download, of " in plan_as_text(plan)
    free_is(monkeypatch, plan.download + plan.disk - 1)

    error = only_error(plan_merge(HUB, out=tmp_path / "out", api=api, download=True))

    assert str(error).startswith("the download needs 0.9 MB and the merged model needs 0.3 MB, '")
    assert str(error).endswith(" has 1.1 MB free for all of it")
    for step in (
        "free 1 byte on the disk of '",
        "set HF_HUB_CACHE to a folder on a disk with 0.9 MB free",
        "choose a folder OUT on a disk with 0.3 MB free",
    ):
        assert step in error.hint
    assert "--stream" not in error.hint  # one small file: nothing would be spared
    with pytest.raises(OutputError, match="the download needs"):
        merge_models(HUB, tmp_path / "out", api=api, download=True)
    assert not [*own_cache.rglob("*.safetensors"), *own_cache.rglob("*.bin")]
    free_is(monkeypatch, plan.download + plan.disk)
    assert plan_merge(HUB, out=tmp_path / "out", api=api, download=True).errors == ()


def test_on_two_disks_each_has_its_own_need(
    api: HfApi, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full disk is named first, and only what helps there is proposed."""
    plan = plan_merge(HUB, out=other_disk / "out", api=api, download=True)
    assert not plan.one_disk
    assert "0.9 MB (the disk of the Hub cache has " in plan_as_text(plan)
    free_is(monkeypatch, here=plan.download, on_other=plan.disk)
    assert plan_merge(HUB, out=other_disk / "out", api=api, download=True).errors == ()

    free_is(monkeypatch, here=plan.download - 1, on_other=plan.disk)
    error = only_error(plan_merge(HUB, out=other_disk / "out", api=api, download=True))
    assert str(error).startswith("the download needs 0.9 MB, '")
    assert f"; the merged model needs 0.3 MB, {str(other_disk)!r} has 0.3 MB free" in str(error)
    assert "set HF_HUB_CACHE" in error.hint
    assert "OUT" not in error.hint

    free_is(monkeypatch, here=plan.download, on_other=plan.disk - 1)
    error = only_error(plan_merge(HUB, out=other_disk / "out", api=api, download=True))
    assert str(error).startswith("the merged model needs 0.3 MB, '")
    assert "HF_HUB_CACHE" not in error.hint


def test_an_adapter_has_no_room_in_the_cache(
    triple: Folders, api: HfApi, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is downloaded in any case: what is proposed names the room that it needs elsewhere."""
    lora = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(triple.sft), lora)
    adapted.save_pretrained(tmp_path / "lora")
    (tmp_path / "lora" / "README.md").unlink()  # names a folder, which the Hub refuses
    api.create_repo("me/lora", private=False)
    api.upload_folder(repo_id="me/lora", folder_path=tmp_path / "lora")
    models = Choices(base="me/base", ct="me/ct", sft="me/sft+me/lora", dtype="bfloat16")
    recipe = make_config("bo", models)
    assert plan_merge(recipe, out=other_disk / "out", api=api, download=False).errors == ()
    free_is(monkeypatch, 1000)

    plan = plan_merge(recipe, out=other_disk / "out", api=api, download=False)

    length = size((tmp_path / "lora" / "adapter_model.safetensors").stat().st_size)
    assert f"the download needs {length}, " in str(only_error(plan))
    assert f"set HF_HUB_CACHE to a folder on a disk with {length} free" in only_error(plan).hint


def test_what_writes_no_model_needs_room_for_the_download(
    api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report downloads the models, and writes none."""
    plan = plan_merge(HUB, api=api, download=True)
    free_is(monkeypatch, plan.download)
    assert plan_merge(HUB, writes=False, api=api, download=True).errors == ()

    free_is(monkeypatch, plan.download - 1)
    assert "merged model" not in str(
        only_error(plan_merge(HUB, writes=False, api=api, download=True))
    )


@pytest.mark.parametrize(
    ("key", "free", "proposed"),
    [
        (
            "bo",
            20_000_000_000,
            "bo-qwen2.5-1.5b # download 9.3 GB or more, result 3.1 GB; whether a model has a gate "
            "is not known",
        ),
        ("bo", 12_000_000_000, ""),  # 9.3 GB and 3.1 GB do not fit
        ("lo-qwen1.5-7b", 20_000_000_000, "lo # download 3.7 GB, result 1.2 GB"),
        ("lo", 2_000_000_000, ""),  # there is no smaller one
        ("sl-gemma-2-9b", 30_000_000_000, ""),  # the smaller one is gated too
    ],
)
def test_smaller_models_of_the_same_language(
    key: str, free: int, proposed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge that fits is proposed, without a known gate; a gate not known is said."""
    cost = expect(find_triple(key))
    needs = [
        Need("the download", tmp_path, cost.download, "download"),
        Need("the merged model", tmp_path, cost.result, "result"),
    ]
    free_is(monkeypatch, free)

    error = no_room(needs, make_config(key), spared=0, cache=None)

    assert error is not None
    said = error.hint.partition("or merge smaller models: slack-ties config ")[2]
    assert said == proposed
    for name in said.split(" ")[:1] if said else ():
        assert find_triple(name).language == find_triple(key).language


def test_smaller_models_on_two_disks(tmp_path: Path) -> None:
    """Each of them must have room for its part."""
    needs = [Need("it", tmp_path, 10**12, kind) for kind in ("download", "result")]

    def fitting(download: int, result: int) -> list[str]:
        disks = [([needs[0]], download), ([needs[1]], result)]
        return [key for key, _ in smaller_merges(make_config("bo"), disks)]

    assert fitting(20 * 10**9, 7 * 10**9) == ["bo-qwen2.5-1.5b", "bo-qwen2.5-3b"]
    assert fitting(20 * 10**9, 4 * 10**9) == ["bo-qwen2.5-1.5b"]
    assert fitting(9 * 10**9, 7 * 10**9) == []


def test_nobodys_own_models_are_replaced(tmp_path: Path) -> None:
    """Nothing is proposed for models that are not of the catalogue."""
    needs = [Need("it", tmp_path, 10**12, "download")]

    assert smaller_merges(HUB, [(needs, 10**11)]) == []


def test_a_cache_in_another_place_begins_empty(
    api: HfApi, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the cache already would be downloaded again there, so it is counted."""
    for role in ("base", "ct"):
        api.snapshot_download(f"me/{role}", cache_dir=own_cache)
    plan = plan_merge(HUB, out=tmp_path / "out", api=api, download=True)
    whole = sum(model.bytes for model in plan.models)
    free_is(monkeypatch, plan.disk)

    error = only_error(plan_merge(HUB, out=tmp_path / "out", api=api, download=True))

    assert "the download needs 0.3 MB" in str(error)
    assert f"HF_HUB_CACHE to a folder on a disk with {size(whole)} free" in error.hint


def test_streaming_is_proposed_where_it_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of a few KB are sent one by one, and never lie on the disk together."""
    for seed, role in enumerate(("base", "ct", "sft")):
        llama(64, layers=16, seed=seed).bfloat16().save_pretrained(tmp_path / role)
    roles = {role: str(tmp_path / role) for role in ("base", "ct", "sft")}
    config, out = make_config("bo", Choices(**roles)), tmp_path / "out"
    small = MergeOptions(quiet=True, out_shard_size=10_000)
    free_is(monkeypatch, 400_000)

    plan = plan_merge(config, out=out, options=small, allow_unrelated=True)

    step = "type the same command with --publish REPO_ID --stream"
    assert only_error(plan).hint.endswith(step)
    streamed = plan_merge(config, out=out, options=small, streamed=True, allow_unrelated=True)
    assert streamed.errors == ()
    (tmp_path / "my.yml").write_text(config.text, encoding="utf-8")
    plan = plan_merge(tmp_path / "my.yml", out=out, options=small, allow_unrelated=True)
    step = f"slack-ties run {tmp_path / 'my.yml'} --out OUT --publish REPO_ID --stream"
    assert only_error(plan).hint.endswith(step)


def test_smaller_files_are_proposed_where_they_are_enough(tmp_path: Path) -> None:
    """Where two files of the usual size have no room, the largest size that has is proposed."""
    recipe = make_config("bo", Choices(base="me/a", ct=("me/b",), sft=("me/c",)))

    def need(count: int) -> list[Need]:
        return [Need("the merged model", tmp_path, count, "result")]

    smaller = {"": need(10**15), " --out-shard-size 500M": need(1000), " --out-shard-size 1M": []}
    error = no_room(need(10**16), recipe, spared=0, cache=None, smaller=smaller)

    assert error
    step = "type the same command with --publish REPO_ID --stream --no-download"
    assert error.hint.endswith(f", or {step} --out-shard-size 500M")
