"""Tensors of models on the Hub, read over real HTTP: the right ones, each byte once, compared."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hub_server import Fault, Server
from slack_ties.errors import WrongBytesError
from slack_ties.hub.ranges import HubFile, Ranges
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts
from slack_ties.models.cached import AwayFile
from slack_ties.models.places import places_of
from slack_ties.remote.away import Away, key_of
from triple import Folders

WINDOW = 16 << 20
QUICK = Retries(timeout=5.0, first_wait=0.01)

Files = dict[str, AwayFile]
Tensors = dict[str, torch.Tensor]


def away_files(api: HfApi, repo_id: str) -> Files:
    """Return the weight files of a model as the Hub states them."""
    info, ranges = api.model_info(repo_id, files_metadata=True), Ranges(api=api)
    found = {}
    for one in info.siblings or ():
        if one.lfs and one.rfilename.endswith((".safetensors", ".bin")):
            file = HubFile(repo_id, str(info.sha), one.rfilename, one.lfs.size, one.lfs.sha256)
            with ranges.open(file) as opened:
                places = places_of(opened, file.name, file.size, repo_id)
            found[file.name] = AwayFile(file, places)
    return found


def publish(api: HfApi, folder: Path, repo_id: str) -> Files:
    """Publish the weights of a folder; return them as files of the Hub."""
    api.create_repo(repo_id, private=True)
    names = ["*.safetensors", "*.bin"]
    api.upload_folder(folder_path=folder, repo_id=repo_id, allow_patterns=names)
    return away_files(api, repo_id)


def tensors_of(folder: Path) -> Tensors:
    """Return all tensors of a folder, read by others."""
    found: Tensors = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            found |= load_file(path)
        elif path.suffix == ".bin":
            found |= torch.load(path, weights_only=True)
    return found


@contextmanager
def opened(models: dict[str, Files], api: HfApi, **how: object) -> Iterator[Away]:
    """Read these models."""
    away = Away(models, api=api, quiet=True, **{"window": WINDOW, **how})  # type: ignore[arg-type]
    try:
        with timeouts(QUICK):
            yield away
    finally:
        away.close()


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two tensors are alike, type and shape included."""
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.fixture
def shared_bin(tmp_path: Path) -> Path:
    """A .bin file with tensors that share their storage, and one whose entries have gaps."""
    folder = tmp_path / "shared"
    folder.mkdir()
    both, rows = torch.randn(40, 8), torch.randn(30, 8)
    saved = {"embed": both, "head": both, "t": rows.t(), "part": rows[7:], "last": torch.ones(3)}
    torch.save(saved, folder / "pytorch_model.bin")
    return folder


def test_a_merge_reads_each_byte_once(
    triple: Folders, api: HfApi, hub: Server, shared_bin: Path
) -> None:
    """Shards, .bin and shared storages: the tensors are right, all files are compared."""
    folders = {
        "me/base": triple.base,
        "me/ct": triple.ct,
        "me/shared": shared_bin,
    }
    models = {name: publish(api, folder, name) for name, folder in folders.items()}
    expected = {name: tensors_of(folder) for name, folder in folders.items()}
    reads = sorted((t, m) for m, tensors in expected.items() for t in tensors)
    assert len(models["me/base"]) > 1
    hub.hub.sent_of.clear()
    noted: list[str] = []

    with opened(models, api, compared=noted.append) as away:
        away.expect([(model, tensor) for tensor, model in reads])
        wrong = [(m, t) for t, m in reads if not same(away.read(m, t), expected[m][t])]
        assert away.finish() == {}

    assert wrong == []
    files = [one.on_hub for found in models.values() for one in found.values()]
    assert sorted(noted) == sorted(key_of(file) for file in files)
    assert hub.hub.sent_of == {f"{one.repo_id}/{one.name}": one.size for one in files}


def test_two_models_that_share_a_file_read_it_once(
    triple: Folders, api: HfApi, hub: Server
) -> None:
    """Each gets tensors of its own: what one does with them, the other does not see."""
    files = publish(api, triple.sft, "me/sft")
    names = sorted(name for one in files.values() for name in one.places.tensors)
    expected = tensors_of(triple.sft)
    hub.hub.sent_of.clear()

    with opened({"one": files, "two": files}, api) as away:
        away.expect([(model, name) for name in names for model in ("one", "two")])
        for name in names:
            first = away.read("one", name).zero_()
            assert same(away.read("two", name), expected[name])
            assert not first.any()
        assert away.finish() == {}

    assert hub.hub.sent_of == {f"me/sft/{one}": files[one].on_hub.size for one in files}


def test_tensors_are_as_aligned_as_those_of_a_file_on_this_disk(api: HfApi, tmp_path: Path) -> None:
    """Also those that are read twice: the last bits of a sum of products depend on it."""
    folder = tmp_path / "model"
    folder.mkdir()
    tensors = {name: torch.randn(len(name) * 1001) for name in ("a", "bb", "ccc", "d")}
    save_file(tensors, folder / "model.safetensors")
    torch.save({f"{name}.": one for name, one in tensors.items()}, folder / "pytorch_model.bin")
    local = torch.load(folder / "pytorch_model.bin", mmap=True, weights_only=True)
    with safe_open(folder / "model.safetensors", "pt") as mapped:
        local |= {name: mapped.get_tensor(name) for name in tensors}
    files = publish(api, folder, "me/model")

    with opened({"me/model": files}, api) as away:
        away.expect([("me/model", name) for name in [*local, "a", "a."]])
        for name in [*local, "a", "a.", "a", "bb"]:
            found = away.read("me/model", name)
            assert same(found, local[name])
            assert found.data_ptr() % 64 == local[name].data_ptr() % 64, name
    assert {one.data_ptr() % 64 for one in local.values()} != {0}


def test_the_beginning_of_a_tensor_costs_a_few_bytes(
    api: HfApi, hub: Server, shared_bin: Path, tmp_path: Path
) -> None:
    """It is the same as of the tensor that others read, in each format, without `expect`."""
    large = tmp_path / "large"
    large.mkdir()
    save_file({"a": torch.randn(500, 500), "b": torch.randn(500, 500)}, large / "model.safetensors")
    torch.save({"c": torch.randn(500, 500), "d": torch.randn(300_000)}, large / "pytorch_model.bin")
    models, folders = {}, {"me/large": large, "me/shared": shared_bin}
    for name, folder in folders.items():
        models[name] = publish(api, folder, name)
    hub.hub.sent_of.clear()

    with opened(models, api) as away:
        for name, folder in folders.items():
            for tensor, expected in tensors_of(folder).items():
                found = away.begin(name, tensor, 100)
                assert same(found, expected.flatten()[:100]), tensor

    assert sum(hub.hub.sent_of[f"me/large/{one}"] for one in models["me/large"]) < 2000


@pytest.mark.parametrize("finished", [5, 0, 21])
@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_an_earlier_run_has_read_a_part_of(
    triple: Folders, api: HfApi, hub: Server, finished: int, *, known: bool
) -> None:
    """Only its rest is read, and it is listed: what an earlier run compared, it read then."""
    files = publish(api, triple.ct, "me/ct")
    (file,) = files.values()
    reads = [("me/ct", name) for name in sorted(file.places.tensors)]
    assert len(reads) == 21
    before, rest = reads[:finished], reads[finished:]
    key, again, noted = key_of(file.on_hub), list[str](), list[str]()
    spans = {file.places.tensors[name].span for _, name in rest}
    size = sum(file.places.spans[span].size for span in spans)
    hub.hub.sent_of.clear()

    how = {"known": [key] if known else [], "begin": again.append, "compared": noted.append}
    with opened({"me/ct": files}, api, **how) as away:
        away.expect(rest, finished=before)
        for one in rest:
            away.read(*one)
        left = away.finish()

    sent = hub.hub.sent_of.get(f"me/ct/{file.on_hub.name}", 0)
    if before:
        assert size <= sent < file.on_hub.size
    else:
        assert sent == file.on_hub.size
    is_open = bool(before) and (bool(rest) or not known)
    assert left == ({"me/ct": (file.on_hub.name,)} if is_open else {})
    assert noted == ([] if before else [key])
    assert again == ([key] if known and rest else [])


@pytest.mark.parametrize("known", [False, True])
def test_a_file_of_which_all_is_read_again(triple: Folders, api: HfApi, *, known: bool) -> None:
    """Its bytes of now are compared; those of an earlier run only if that run has done so."""
    files = publish(api, triple.ct, "me/ct")
    (file,) = files.values()
    reads = [("me/ct", name) for name in sorted(file.places.tensors)]
    key, noted = key_of(file.on_hub), list[str]()

    with opened({"me/ct": files}, api, known=[key] if known else [], compared=noted.append) as away:
        away.expect(reads, finished=reads[:2])
        for one in reads:
            away.read(*one)
        left = away.finish()

    assert left == ({} if known else {"me/ct": (file.on_hub.name,)})
    assert noted == ([key] if known else [])


def test_a_small_window_leaves_files_uncompared_and_says_which(triple: Folders, api: HfApi) -> None:
    """A file that the merge reads backwards is not compared, and is named."""
    files = publish(api, triple.sft, "me/sft")
    expected = tensors_of(triple.sft)
    (file,) = files.values()
    order = sorted(expected, key=lambda name: file.places.tensors[name].span, reverse=True)
    with opened({"me/sft": files, "unused": files}, api, window=50_000) as away:
        away.expect([("me/sft", name) for name in order])
        assert all(same(away.read("me/sft", name), expected[name]) for name in order)
        assert away.finish()["me/sft"] == ("model.safetensors",)


def test_a_parent_with_a_wrong_byte_ends_the_merge(
    triple: Folders, api: HfApi, hub: Server
) -> None:
    """The Hub sends a body of the right length with one other byte: the checksum tells."""
    files = publish(api, triple.ct, "me/ct")
    (file,) = files.values()
    hub.hub.faults.append(Fault("range", "wrong_bytes"))
    names = sorted(file.places.tensors)

    def merge(away: Away) -> None:
        away.expect([("me/ct", name) for name in names])
        for name in names:
            away.read("me/ct", name)
        away.finish()

    with opened({"me/ct": files}, api) as away:
        with pytest.raises(WrongBytesError, match=r"'me/ct': pytorch_model\.bin arrived") as error:
            merge(away)
        assert "run the same command again" in error.value.hint


def test_faults_of_the_hub_are_asked_for_again(triple: Folders, api: HfApi, hub: Server) -> None:
    """A busy Hub and dropped connections change nothing in the tensors."""
    files = publish(api, triple.base, "me/base")
    expected = tensors_of(triple.base)
    hub.hub.faults += [
        Fault("range", how) for how in ("500", "dropped_before", "dropped_inside", "truncated")
    ]
    with opened({"me/base": files}, api) as away:
        away.expect([("me/base", name) for name in expected])
        assert all(same(away.read("me/base", name), one) for name, one in expected.items())
        assert away.finish() == {}


def test_ctrl_c_ends_a_wait_for_a_silent_hub(triple: Folders, api: HfApi, hub: Server) -> None:
    """The read is interrupted, and nothing waits for the requests that hang."""
    files = publish(api, triple.sft, "me/sft")
    (file,) = files.values()
    name = min(file.places.tensors)
    hub.hub.faults += [Fault("range", "stalled", times=9)]
    with opened({"me/sft": files}, api) as away:
        away.expect([("me/sft", name)])
        threading.Timer(0.3, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            away.read("me/sft", name)


def test_a_tensor_that_is_read_once_more_than_expected(triple: Folders, api: HfApi) -> None:
    """It is right, but its file counts as not compared: these bytes were not."""
    files = publish(api, triple.sft, "me/sft")
    (file,) = files.values()
    name, other = sorted(file.places.tensors)[:2]
    expected = tensors_of(triple.sft)
    with opened({"me/sft": files}, api) as away:
        away.expect([("me/sft", name)])
        for one in (name, name, other):
            assert same(away.read("me/sft", one), expected[one])
        assert away.finish() == {"me/sft": (file.on_hub.name,)}


def test_reading_without_an_order_is_a_mistake(triple: Folders, api: HfApi) -> None:
    """`read` needs `expect` before it, and what is not away is not read."""
    files = publish(api, triple.sft, "me/sft")
    name = min(tensors_of(triple.sft))
    with opened({"me/sft": files}, api) as away:
        with pytest.raises(ValueError, match="expect"):
            away.read("me/sft", name)
        away.expect([("me/x", "a")])
        assert away.finish() == {}
        with pytest.raises(KeyError):
            away.read("me/x", "a")
