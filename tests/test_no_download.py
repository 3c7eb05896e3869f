"""Merges of models whose weights stay on the Hub: the same bytes, and nothing of them kept here."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from command import Invoke
from hub_server import Server
from slack_ties.errors import CheckpointError, SlackTiesError, WrongBytesError
from slack_ties.evaluating.evaluate import evaluate_merge
from slack_ties.explore.compare import compare_merges
from slack_ties.explore.report import make_report
from slack_ties.files import sha256
from slack_ties.merge.merge import merge_models
from slack_ties.merge.options import DEFAULTS
from slack_ties.models.find import find_model
from slack_ties.plan.make import plan_merge
from slack_ties.record import read_record
from slack_ties.report.file import report_as_json
from slack_ties.trying.try_prompts import try_prompts
from slack_ties.tuning.search import Search
from slack_ties.tuning.tune import tune_config
from test_layout import fused
from triple import Folders, changed, extend, llama, save_bin, save_sharded
from zoo import ZOO
from zoo_merge import make_models

ROLES = ("base", "ct", "sft")
HEADERS = 600_000  # bytes of a file that are read to plan, to compare beginnings, and to find
WEIGHTS = (".safetensors", ".bin")


def upload(api: HfApi, folders: Mapping[str, Path]) -> dict[str, str]:
    """Upload models by their names; return their ids."""
    ids = {}
    for name, folder in folders.items():
        ids[name] = f"me/{name}"
        api.create_repo(ids[name])
        api.upload_folder(repo_id=ids[name], folder_path=folder)
    return ids


def config_of(path: Path, base: str, others: list[str], **more: Any) -> Path:
    """Write a config."""
    own = {"weight": 1.0, "density": 0.5, "slack": 0.1}
    data = {
        "merge_method": "slack_ties",
        "base_model": base,
        "models": [{"model": one, "parameters": dict(own)} for one in others],
        "dtype": "bfloat16",
        **more,
    }
    path.write_text(yaml.safe_dump(data))
    return path


def options(cache: Path, **more: Any) -> MergeOptions:
    """Return mergekit's options with an own Hub cache."""
    chosen = {**DEFAULTS, "quiet": True, "transformers_cache": str(cache), **more}
    return MergeOptions(**chosen)


def sums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file of a merged model, but for its record."""
    return {
        path.name: sha256(path)
        for path in folder.iterdir()
        if path.is_file() and path.name != "slack_ties.json"
    }


def weights_below(folder: Path) -> list[Path]:
    """Return all files that have the size or the name of weights."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix in WEIGHTS]


def ranges_asked(hub: Server) -> dict[str, list[tuple[int, int]]]:
    """Return by file the positions of all ranges that were asked for."""
    found: dict[str, list[tuple[int, int]]] = {}
    for one in hub.hub.ranges:
        match = re.fullmatch(r"(\S+) bytes=(\d+)-(\d+)", one)
        assert match, one
        found.setdefault(match[1], []).append((int(match[2]), int(match[3]) + 1))
    return found


def write_roles(config: Path) -> None:
    """Add to a config which model is which."""
    data = yaml.safe_load(config.read_text())
    ct, sft = (one["model"] for one in data["models"])
    data["slack_ties"] = {"recipe": 1, "roles": {"ct": [ct], "sft": [sft]}}
    config.write_text(yaml.safe_dump(data))


@pytest.fixture
def ids(triple: Folders, api: HfApi) -> dict[str, str]:
    """A triple on the Hub: sharded safetensors, a .bin, and one safetensors file."""
    return upload(api, {"base": triple.base, "ct": triple.ct, "sft": triple.sft})


@pytest.fixture
def config(ids: dict[str, str], tmp_path: Path) -> Path:
    """The config of that triple."""
    return config_of(tmp_path / "c.yml", ids["base"], [ids["ct"], ids["sft"]])


def check_same(config: Path, tmp_path: Path, api: HfApi, **more: Any) -> None:
    """Merge with and without download, and compare; nothing of the weights may be here."""
    for name in ("with", "without"):
        cache = tmp_path / f"cache-{name}"
        merge_models(
            config,
            tmp_path / name,
            options=options(cache, **more),
            api=api,
            download=name == "with",
        )
    assert sums(tmp_path / "without") == sums(tmp_path / "with")
    assert weights_below(tmp_path / "cache-without") == []
    assert read_record(tmp_path / "without") == read_record(tmp_path / "with")


def test_the_same_files(config: Path, api: HfApi, tmp_path: Path) -> None:
    """Without download the result is the same, all is compared, and no weights are kept."""
    check_same(config, tmp_path, api)


def test_each_byte_is_sent_once(api: HfApi, hub: Server, tmp_path: Path) -> None:
    """What is asked for twice is a few KB of headers; so it is for .bin and safetensors files."""
    base = llama(hidden=256, layers=3)
    save_sharded(base.bfloat16(), tmp_path / "base", shard="1MB")
    save_bin(changed(base, 0.02, 1).half(), tmp_path / "ct")
    changed(base, 0.01, 2).bfloat16().save_pretrained(tmp_path / "sft")
    ids = upload(api, {name: tmp_path / name for name in ROLES})
    weights = sum(path.stat().st_size for role in ROLES for path in weights_below(tmp_path / role))
    config = config_of(tmp_path / "c.yml", ids["base"], [ids["ct"], ids["sft"]])
    hub.hub.ranges.clear()

    out = tmp_path / "out"
    merge_models(config, out, options=options(tmp_path / "cache"), api=api, download=False)

    assert weights > 12_000_000
    asked = ranges_asked(hub)
    total = sum(end - first for ranges in asked.values() for first, end in ranges)
    assert total < weights + HEADERS * len(asked)
    for file, ranges in asked.items():
        large = sorted(one for one in ranges if one[1] - one[0] > 200_000)
        for one, other in pairwise(large):
            assert one[1] <= other[0], file


@pytest.mark.parametrize("name", ["qwen2-tied", "phi3", "gpt-neox", "mixtral", "t5"])
def test_architectures(name: str, api: HfApi, tmp_path: Path) -> None:
    """Tied, joined and many tensors of a layer: read once each, and merged to the same bytes."""
    make_models(next(animal for animal in ZOO if animal.name == name), tmp_path)
    ids = upload(api, {role: tmp_path / role for role in ROLES})
    config = config_of(tmp_path / "c.yml", ids["base"], [ids["ct"], ids["sft"]])

    check_same(config, tmp_path, api)


@pytest.mark.parametrize("joins", ["base", "ct"])
def test_experts_that_one_model_stores_joined(joins: str, api: HfApi, tmp_path: Path) -> None:
    """What is joined, or cut into pieces, is read once, however many pieces are wanted."""
    make_models(next(animal for animal in ZOO if animal.name == "mixtral"), tmp_path)
    path = tmp_path / joins / "model.safetensors"
    save_file(fused(load_file(path)), path, metadata={"format": "pt"})
    ids = upload(api, {role: tmp_path / role for role in ROLES})
    config = config_of(tmp_path / "c.yml", ids["base"], [ids["ct"], ids["sft"]])

    check_same(config, tmp_path, api)


def test_tied_tensors_that_are_stored_twice(
    api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are compared while they are read; if they differ, no model is written."""
    make_models(next(animal for animal in ZOO if animal.name == "qwen2-tied"), tmp_path)
    path = tmp_path / "ct" / "model.safetensors"
    stored = load_file(path)
    head = stored["model.embed_tokens.weight"].clone()
    save_file({**stored, "lm_head.weight": head}, path, metadata={"format": "pt"})
    ids = upload(api, {role: tmp_path / role for role in ROLES})
    config = config_of(tmp_path / "c.yml", ids["base"], [ids["ct"], ids["sft"]])

    check_same(config, tmp_path, api)

    head[-1, -1] += 1
    save_file({**stored, "lm_head.weight": head}, path, metadata={"format": "pt"})
    api.upload_file(repo_id=ids["ct"], path_or_fileobj=path, path_in_repo=path.name)
    for module in ("models.entries", "merge.reader"):  # the models are small
        monkeypatch.setattr(f"slack_ties.{module}.COMPARED", 8)
    how = options(tmp_path / "cache")
    with pytest.raises(CheckpointError, match=r"ties model\.embed_tokens\.weight and lm_head"):
        merge_models(config, tmp_path / "out", options=how, api=api, download=False)
    assert not (tmp_path / "out").exists()


def test_a_longer_vocabulary(
    ids: dict[str, str], triple: Folders, api: HfApi, tmp_path: Path
) -> None:
    """Embeddings that are read from the Hub are aligned as those on this disk."""
    ids |= upload(api, {"extended": extend(tmp_path / "extended", triple.ct)})
    section = {"tokenizer": {"source": ids["extended"]}}
    config = config_of(tmp_path / "c.yml", ids["base"], [ids["extended"], ids["sft"]], **section)

    check_same(config, tmp_path, api)


def test_layers_that_are_used_twice(ids: dict[str, str], api: HfApi, tmp_path: Path) -> None:
    """A stack of layers of two models, some of them twice."""
    parts = [
        (ids["base"], [0, 2]),
        (ids["sft"], [1, 2]),
        (ids["base"], [0, 1]),
        (ids["ct"], [1, 2]),
    ]
    slices = [{"sources": [{"model": name, "layer_range": layers}]} for name, layers in parts]
    path = tmp_path / "c.yml"
    path.write_text(
        yaml.safe_dump({"merge_method": "passthrough", "slices": slices, "dtype": "float64"})
    )

    check_same(path, tmp_path, api)


def test_random_numbers(ids: dict[str, str], api: HfApi, tmp_path: Path) -> None:
    """A method that draws: the tensors are merged in the same order, so it draws the same."""
    path = config_of(tmp_path / "c.yml", ids["base"], [ids["ct"], ids["sft"]])
    data = yaml.safe_load(path.read_text()) | {"merge_method": "dare_ties"}
    for one in data["models"]:
        del one["parameters"]["slack"]
    path.write_text(yaml.safe_dump(data))

    check_same(path, tmp_path, api, random_seed=3)


def test_a_model_with_an_adapter(
    ids: dict[str, str], triple: Folders, api: HfApi, tmp_path: Path
) -> None:
    """A model with an adapter gives the same files too, also if it is listed without it as well."""
    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(triple.sft), lora)
    adapted.save_pretrained(tmp_path / "lora")
    (tmp_path / "lora" / "README.md").unlink()  # names a folder, which the Hub refuses
    ids |= upload(api, {"lora": tmp_path / "lora"})
    others = [ids["ct"], ids["sft"], f"{ids['sft']}+{ids['lora']}"]
    config = config_of(tmp_path / "c.yml", ids["base"], others)

    for name in ("with", "without"):
        how = options(tmp_path / f"cache-{name}")
        merge_models(config, tmp_path / name, options=how, api=api, download=name == "with")

    assert sums(tmp_path / "without") == sums(tmp_path / "with")


def test_what_is_here_is_read_here(
    ids: dict[str, str], triple: Folders, api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """A folder, a file of the cache, and files on the Hub: one model may be here in part."""
    cache = tmp_path / "cache-without"
    commit = api.model_info(ids["base"]).sha
    files = api.list_repo_files(ids["base"])
    first = min(name for name in files if name.endswith(".safetensors"))
    api.hf_hub_download(ids["base"], first, revision=commit, cache_dir=cache)
    config = config_of(tmp_path / "c.yml", ids["base"], [str(triple.ct), ids["sft"]])
    hub.hub.sent.clear()

    for name in ("without", "with"):
        how = options(tmp_path / f"cache-{name}")
        merge_models(config, tmp_path / name, options=how, api=api, download=name == "with")
        if name == "without":
            assert first not in hub.hub.sent
            assert [path.name for path in weights_below(cache) if path.is_symlink()] == [first]

    assert sums(tmp_path / "without") == sums(tmp_path / "with")


def test_a_small_window(
    config: Path, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that cannot be read from front to back are named; the model is the same."""
    for name, window in (("large", None), ("small", 40_000)):
        how = options(tmp_path / "cache")
        merge_models(config, tmp_path / name, options=how, api=api, download=False, window=window)

    assert sums(tmp_path / "small") == sums(tmp_path / "large")
    found = {
        name: [one.not_compared for one in read_record(tmp_path / name).parents]
        for name in ("large", "small")
    }
    assert found == {"large": [(), (), ()], "small": [(), ("pytorch_model.bin",), ()]}
    (said,) = [text for text in caplog.messages if "not compared" in text]
    assert said.endswith("checksums: 1 weight file of the models; see slack_ties.json")
    path = tmp_path / "small" / "slack_ties.json"
    data = json.loads(path.read_text("utf-8"))
    data["parents"][0]["not_compared"] = ["a`b"]
    path.write_text(json.dumps(data), "utf-8")
    with pytest.raises(SlackTiesError, match="invalid character"):
        read_record(tmp_path / "small")


def test_a_wrong_byte(
    config: Path, ids: dict[str, str], api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """A file of the right length with another byte is found before a result has its name."""
    (info,) = api.get_paths_info(ids["sft"], "model.safetensors")
    blob = hub.hub.blob(info.lfs.sha256)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)

    with pytest.raises(WrongBytesError, match=r"model\.safetensors"):
        merge_models(
            config, tmp_path / "out", options=options(tmp_path / "c"), api=api, download=False
        )

    how = {"options": options(tmp_path / "c"), "api": api, "download": False}
    write_roles(config)
    with pytest.raises(WrongBytesError):
        make_report(config, tmp_path / "report", **how)
    with pytest.raises(WrongBytesError):
        compare_merges(config, config, **how)
    study = tmp_path / "study.json"
    with pytest.raises(WrongBytesError):
        tune_config(config, search=Search(slack=(0.1,)), study=study, **how)
    assert not any(path.exists() for path in (tmp_path / "out", tmp_path / "report"))
    assert not study.exists() or json.loads(study.read_text("utf-8"))["trials"] == []


def test_an_old_file(ids: dict[str, str], triple: Folders, api: HfApi, tmp_path: Path) -> None:
    """A .bin file that cannot be read in parts is refused, with the command that downloads it."""
    model = AutoModelForCausalLM.from_pretrained(triple.ct)
    folder = save_bin(model, tmp_path / "old")
    state = model.state_dict()
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    ids |= upload(api, {"old": folder})
    config = config_of(tmp_path / "c.yml", ids["base"], [ids["old"], ids["sft"]])

    with pytest.raises(CheckpointError, match=r"me/old.*pytorch_model\.bin") as caught:
        merge_models(
            config, tmp_path / "out", options=options(tmp_path / "c"), api=api, download=False
        )

    assert caught.value.hint.startswith("hf download me/old pytorch_model.bin")


def test_a_file_that_is_not_on_the_hub(triple: Folders, api: HfApi, tmp_path: Path) -> None:
    """If an index names a file that the repository lacks, the error says so."""
    whole = shutil.copytree(triple.base, tmp_path / "whole")
    gone = min(whole.glob("model-*.safetensors"))
    gone.unlink()
    ids = upload(api, {"half": whole})

    with pytest.raises(CheckpointError, match=rf"{gone.name} is not on .*, but .*index.json names"):
        find_model(ids["half"], api=api, cache=str(tmp_path / "cache"), weights=False)


def test_without_network(
    config: Path, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_HUB_OFFLINE works if the cache has all files, and is refused if it lacks one."""
    cache = tmp_path / "cache"
    merge_models(config, tmp_path / "a", options=options(cache), api=api, download=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    merge_models(config, tmp_path / "b", options=options(cache), api=api, download=False)

    assert sums(tmp_path / "a") == sums(tmp_path / "b")
    with pytest.raises(SlackTiesError, match="HF_HUB_OFFLINE is set") as caught:
        merge_models(
            config, tmp_path / "c", options=options(tmp_path / "empty"), api=api, download=False
        )
    assert caught.value.hint == "unset HF_HUB_OFFLINE"  # nobody asked for a download


def test_by_itself(
    config: Path,
    api: HfApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the plan says that the weights have no room here, they are read from the Hub."""
    how = options(tmp_path / "cache")
    needed = plan_merge(config, out=tmp_path / "out", options=how, api=api).without_download
    # A disk's size cannot be made small for real.
    free = SimpleNamespace(free=needed["disk"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    caplog.set_level(logging.INFO)

    merge_models(config, tmp_path / "out", options=how, api=api)

    assert weights_below(tmp_path / "cache") == []
    assert caplog.text.count("have no room on this disk: they are read from the Hub") == 1


def test_a_report(config: Path, api: HfApi, tmp_path: Path) -> None:
    """A report without download has the same figures."""
    reports = [
        make_report(
            config,
            tmp_path / f"report-{download}",
            options=options(tmp_path / f"cache-{download}"),
            api=api,
            download=download,
        ).report
        for download in (True, False)
    ]

    assert report_as_json(reports[0]) == report_as_json(reports[1])
    assert weights_below(tmp_path / "cache-False") == []


def test_a_download_is_said(
    config: Path, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before weights are downloaded, one line says how many bytes, where to, and what else."""
    caplog.set_level(logging.INFO, logger="slack_ties")
    for download, how in ((False, ""), (None, "; with --no-download they"), (True, "")):
        caplog.clear()
        cache = tmp_path / f"cache-{download}"
        make_report(
            config, tmp_path / f"{download}", options=options(cache), api=api, download=download
        )
        said = [one for one in map(str, caplog.messages) if " are downloaded into " in one]
        assert len(said) == (download is not False)
        for one in said:
            assert f" MB are downloaded into {cache}{how}" in one
            assert ("--no-download" in one) == bool(how)
    caplog.clear()
    make_report(config, tmp_path / "again", options=options(cache), api=api)
    assert " are downloaded into " not in caplog.text


def test_a_search(
    config: Path, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`tune --metric kept` says how often it reads the models, and finds the same."""
    write_roles(config)
    caplog.set_level(logging.INFO)
    search = Search(slack=(0.0, 0.1, 0.2), methods=("slack_ties", "ties"))

    found = [
        tune_config(
            config,
            search=search,
            study=tmp_path / f"study-{download}.json",
            output=tmp_path / f"tuned-{download}.yml",
            options=options(tmp_path / f"cache-{download}"),
            api=api,
            download=download,
        )
        for download in (True, False)
    ]

    assert found[0].results == found[1].results
    assert weights_below(tmp_path / "cache-False") == []
    assert caplog.text.count("they are read up to 2 times") == 1


def test_where_models_are_loaded(config: Path, tmp_path: Path, invoke: Invoke) -> None:
    """Commands that load whole models refuse to do so without download, before any work."""
    write_roles(config)
    text = tmp_path / "t.txt"
    text.write_text("some text\n" * 100)
    with pytest.raises(SlackTiesError, match="perplexity loads whole models") as caught:
        tune_config(config, metric="perplexity", text=text, download=False)
    assert caught.value.hint.startswith("slack-ties tune ")
    with pytest.raises(SlackTiesError, match="try loads whole models"):
        try_prompts(config, "x", download=False)
    with pytest.raises(SlackTiesError, match="evaluate loads whole models"):
        evaluate_merge(config, download=False)
    for command in ("evaluate", "try"):
        said = invoke(command, config, "--no-download")
        assert said.exit_code == 2
        assert "This command loads whole models, so it downloads them" in said.output


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500M", 500_000_000),
        ("1GB", 10**9),
        ("1.5gb", 1_500_000_000),
        ("2B", 2 * 10**9),
        ("5000", 5000),
    ],
)
def test_sizes(text: str, size: int, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """--window takes sizes as mergekit writes them, and as people do."""
    seen = []
    monkeypatch.setattr(
        "slack_ties.merge.merge.merge_models", lambda *_, **named: seen.append(named) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        raise invoke("merge", "c.yml", "out", "--window", text).exception or ValueError

    assert seen[0]["window"] == size
    for wrong, said in (
        ("100", "100 needs a unit: 100M or 100G"),
        ("1.5", "1.5 needs a unit: 1.5M or 1.5G"),
        ("0", "0 is too small"),
        ("0.1K", "0.1K is too small"),
        ("1XB", "expected a number of bytes"),
        ("-5M", "expected a number of bytes"),
    ):
        refused = invoke("merge", "c.yml", "out", "--window", wrong)
        assert (refused.exit_code, said in refused.output) == (2, True), refused.output


def test_a_damaged_file_in_the_cache_is_read_from_the_hub(
    config: Path, hub: Server, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not downloaded again, and stays as it is."""
    cache = tmp_path / "cache"
    merge_models(config, tmp_path / "with", options=options(cache), api=api, download=True)
    path = next(one for one in weights_below(cache) if one.name == "pytorch_model.bin").resolve()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    hub.hub.requests.clear()

    with caplog.at_level("WARNING"):
        merge_models(config, tmp_path / "out", options=options(cache), api=api, download=False)

    assert sums(tmp_path / "out") == sums(tmp_path / "with")
    assert "pytorch_model.bin of me/ct is damaged in the cache: it is read from the Hub" in (
        caplog.text
    )
    assert path.read_bytes() == bytes(content)
