"""What a plan says about a merge that reads its models from the Hub and keeps none of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from mergekit.options import MergeOptions

from hub_server import Fault, Server
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import CheckpointError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.cost import PROCESS
from slack_ties.plan.make import plan_merge
from slack_ties.plan.text import plan_as_text
from test_room import free_is, only_error
from triple import Folders, changed, llama, save_bin

HUB = make_config("bo", Choices(base="me/base", ct="me/ct", sft="me/sft", dtype="bfloat16"))
QUIET = MergeOptions(quiet=True, lazy_unpickle=True)

pytestmark = pytest.mark.usefixtures("own_cache")


def upload(api: HfApi, **folders: Path) -> None:
    """Put models on the Hub."""
    for role, folder in folders.items():
        api.create_repo(f"me/{role}", private=False, exist_ok=True)
        api.upload_folder(repo_id=f"me/{role}", folder_path=folder)


@pytest.fixture
def on_hub(triple: Folders, api: HfApi, hub: Server) -> Server:
    """A Hub that holds the triple."""
    upload(api, base=triple.base, ct=triple.ct, sft=triple.sft)
    return hub


@pytest.fixture(scope="session")
def in_the_order_of_layers(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A triple of twelve layers whose CT model is a .bin: layer 10 lies behind layer 2."""
    folder = tmp_path_factory.mktemp("layers")
    base = llama(64, layers=12)
    found = Folders(*(folder / role for role in ("base", "ct", "sft")))
    base.bfloat16().save_pretrained(found.base)
    save_bin(changed(base, 0.02, 1).bfloat16(), found.ct)
    changed(base, 0.01, 2).bfloat16().save_pretrained(found.sft)
    return found


def weights_sent(hub: Server) -> int:
    """Return the bytes of weight files that were sent."""
    sent = hub.hub.sent
    return sum(count for name, count in sent.items() if name.endswith((".safetensors", ".bin")))


@pytest.mark.usefixtures("on_hub")
def test_both_ways_are_said(api: HfApi, tmp_path: Path) -> None:
    """What is downloaded, or what disk and memory are enough if nothing is kept."""
    plan = plan_merge(HUB, out=tmp_path / "out", api=api)

    assert (plan.errors, plan.no_download) == ((), False)
    weights = sum(model.bytes for model in plan.models)
    having, without = plan.with_download, plan.without_download
    assert (plan.download, plan.disk, plan.memory) == (
        having["download"],
        having["disk"],
        having["memory"],
    )
    assert having["cache"] == weights
    assert (without["download"], without["cache"]) == (weights, 0)
    assert having["disk"] < without["disk"] < having["disk"] + 1_000_000  # and the texts
    assert without["memory"] - having["memory"] == plan.window == 1_000_000_000
    assert plan.not_compared == ()
    text = plan_as_text(plan)
    assert "Download:   0.9 MB\n" in text
    said = "read the models from the Hub without keeping them (--no-download): "
    assert f"\nOr:         {said}" in text
    data = json.loads(json.dumps(plan.as_json()))
    assert data["without_download"] == dict(without)
    assert "places" not in data
    assert set(plan.places) == {"me/base", "me/ct", "me/sft"}


@pytest.mark.usefixtures("on_hub")
def test_it_can_be_asked_for(api: HfApi, tmp_path: Path) -> None:
    """Then the plan is for that: nothing is kept of the download, and the window is in memory."""
    plan = plan_merge(HUB, out=tmp_path / "out", api=api, download=False, window=5_000_000)

    assert (plan.errors, plan.no_download, plan.window) == ((), True, 5_000_000)
    assert plan.memory == plan.with_download["memory"] + 5_000_000
    assert plan.memory > PROCESS + 5_000_000
    for said in (
        "Download:   none: 0.9 MB are read from the Hub as the merge needs them, and not kept here",
        " free here, 5.0 MB of it to read ahead (--window)\n",
        "Checksums:  all files that are read from the Hub are compared with its checksums\n",
        "Or:         download 0.9 MB first (--download); besides that, 0.3 MB of disk, about ",
    ):
        assert said in plan_as_text(plan)


@pytest.mark.usefixtures("on_hub")
def test_it_is_chosen_where_only_that_fits(
    api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has room for the result alone; --download forbids it."""
    fits = plan_merge(HUB, out=tmp_path / "out", api=api)
    free_is(monkeypatch, fits.without_download["disk"])

    plan = plan_merge(HUB, out=tmp_path / "out", api=api)

    assert (plan.errors, plan.no_download) == ((), True)
    assert plan.disk == fits.without_download["disk"]
    said = "Or:         nothing else: there is no room here for the download of 0.9 MB"
    assert said in plan_as_text(plan)
    forbidden = plan_merge(HUB, out=tmp_path / "out", api=api, download=True)
    assert str(only_error(forbidden)).startswith("the download needs 0.9 MB")
    assert "--no-download" not in only_error(forbidden).hint
    free_is(monkeypatch, fits.without_download["disk"] - 1)
    too_small = plan_merge(HUB, out=tmp_path / "out", api=api)
    assert "the download needs" in str(only_error(too_small))
    assert "\nOr: " not in plan_as_text(too_small)  # nothing fits
    asked = plan_merge(HUB, out=tmp_path / "out", api=api, download=False)
    assert str(only_error(asked)).startswith("the merged model needs 0.3 MB, ")


@pytest.mark.usefixtures("on_hub")
def test_what_is_here_is_read_from_here(api: HfApi, triple: Folders, own_cache: Path) -> None:
    """Only files that are not on this disk are read from the Hub; none: there is one way only."""
    api.snapshot_download("me/base", cache_dir=own_cache)
    mixed = make_config("bo", Choices(base="me/base", ct="me/ct", sft=str(triple.sft)))

    plan = plan_merge(mixed, api=api, download=False)

    assert plan.download == plan.models[1].bytes
    assert set(plan.places) == {"me/ct"}
    api.snapshot_download("me/ct", cache_dir=own_cache)
    here = plan_merge(mixed, api=api, download=False)
    assert (here.no_download, here.with_download, here.without_download) == (False, {}, {})
    assert "Download:   nothing: " in plan_as_text(here)


def test_streaming_without_download_is_proposed(
    in_the_order_of_layers: Folders, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the result does not fit, but two of its files do."""
    models = in_the_order_of_layers
    upload(api, base=models.base, ct=models.ct, sft=models.sft)
    small = MergeOptions(quiet=True, out_shard_size=10_000)
    streamed = plan_merge(HUB, out=tmp_path / "out", options=small, api=api, streamed=True)
    free_is(monkeypatch, streamed.without_download["disk"])

    plan = plan_merge(HUB, out=tmp_path / "out", options=small, api=api)

    step = "type the same command with --publish REPO_ID --stream --no-download"
    assert f", or {step}" in only_error(plan).hint
    assert plan.without_download["streamed_disk"] == streamed.without_download["disk"]
    found = plan_merge(HUB, out=tmp_path / "out", options=small, api=api, streamed=True)
    assert (found.errors, found.no_download) == ((), True)
    asked = plan_merge(HUB, out=tmp_path / "out", options=small, api=api, download=False)
    assert step in only_error(asked).hint


def test_files_that_do_not_fit_into_the_window(
    in_the_order_of_layers: Folders, api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """The plan names them, and what it says is what the merge does: checksums and bytes."""
    models = in_the_order_of_layers
    upload(api, base=models.base, ct=models.ct, sft=models.sft)
    hub.hub.sent.clear()
    plan = plan_merge(HUB, api=api, download=False, window=100_000)
    headers = weights_sent(hub)
    hub.hub.sent.clear()

    record = merge_models(
        HUB, tmp_path / "out", options=QUIET, api=api, download=False, window=100_000
    )

    assert plan.not_compared == ("me/ct: pytorch_model.bin",)
    assert {p.model: p.not_compared for p in record.parents if p.not_compared} == {
        parent.model: ("pytorch_model.bin",) for parent in record.parents if parent.role == "ct"
    }
    said = "not compared with the Hub's (they are with --window 2M): pytorch_model.bin of me/ct\n"
    assert said in plan_as_text(plan)
    assert 1_000_000 < plan.window_for_all <= 2_000_000
    assert weights_sent(hub) == plan.download + headers  # the merge makes a plan, too
    larger = plan_merge(HUB, api=api, download=False, window=plan.window_for_all)
    assert larger.not_compared == ()
    whole = plan_merge(HUB, api=api, download=False)
    assert whole.not_compared == ()
    assert whole.download == sum(model.bytes for model in whole.models)


@pytest.mark.usefixtures("on_hub")
def test_an_old_bin_file(triple: Folders, api: HfApi, tmp_path: Path) -> None:
    """A file from before PyTorch 1.6 can be downloaded, but not read in parts."""
    file = tmp_path / "pytorch_model.bin"
    state = torch.load(triple.ct / "pytorch_model.bin", weights_only=True)
    torch.save(state, file, _use_new_zipfile_serialization=False)
    api.upload_file(path_or_fileobj=file, path_in_repo=file.name, repo_id="me/ct")

    plan = plan_merge(HUB, api=api, download=False)

    error = only_checkpoint_error(plan.errors)
    assert str(error).startswith("model 'me/ct': pytorch_model.bin cannot be read from the Hub in ")
    assert "PyTorch 1.6" in str(error)
    assert error.hint.startswith("hf download me/ct pytorch_model.bin")
    whole = plan_merge(HUB, api=api)
    assert (whole.errors, whole.no_download, whole.without_download) == ((), False, {})
    assert "me/ct: pytorch_model.bin can be checked only after the download" in whole.warnings


def only_checkpoint_error(errors: tuple[object, ...]) -> CheckpointError:
    """Return the one error."""
    (error,) = errors
    assert isinstance(error, CheckpointError)
    return error


def test_a_server_that_ignores_ranges(on_hub: Server, api: HfApi) -> None:
    """Said beforehand with what to do; a merge with download is still possible."""
    on_hub.hub.faults.append(Fault("range", "whole", math.inf))

    plan = plan_merge(HUB, api=api, download=False)

    named = dict.fromkeys(str(error).partition(":")[0] for error in plan.errors)
    assert [*named] == ["model 'me/base'", "model 'me/ct'", "model 'me/sft'"]
    assert all("it ignores ranges" in str(error) for error in plan.errors)
    assert plan.errors[-1].hint.startswith("hf download me/sft model.safetensors")
    whole = plan_merge(HUB, api=api)
    assert whole.errors == ()
    assert (whole.no_download, whole.without_download) == (False, {})
    on_hub.hub.faults.clear()
    assert plan_merge(HUB, api=api).without_download


@pytest.mark.usefixtures("on_hub")
def test_half_of_the_free_memory_is_the_most(api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window is 1 GB, or less on a small machine."""
    import psutil  # noqa: PLC0415

    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=600_000_000))

    plan = plan_merge(HUB, api=api, download=False)

    assert plan.window == 300_000_000
    assert "600.0 MB free here" in plan_as_text(plan) or "0.6 GB free here" in plan_as_text(plan)


@pytest.mark.usefixtures("on_hub")
def test_a_window_larger_than_the_memory(api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning says which window fits: not the result is too large."""
    import psutil  # noqa: PLC0415

    memory = psutil.virtual_memory()
    free = {"now": 30_000_000_000}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=free["now"]))

    (said,) = plan_merge(HUB, api=api, download=False, window=999_000_000_000).warnings

    assert said.endswith("programs, or make the window of memory smaller (--window 1000M)")
    free["now"] = PROCESS + 200_000_000
    (said,) = plan_merge(HUB, api=api, download=False, window=999_000_000_000).warnings
    window = int(said.rpartition("--window ")[2].removesuffix("M)"))
    assert 100 < window < 200
    assert plan_merge(HUB, api=api, download=False, window=window * 10**6).warnings == ()
    free["now"] = PROCESS
    (said,) = plan_merge(HUB, api=api, download=False, window=10**9).warnings
    assert said.endswith("smaller (--out-shard-size 500M)")
