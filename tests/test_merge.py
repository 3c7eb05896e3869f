"""Running a merge: the right bytes, all of them or none, and clear errors before the work."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import slack_ties.merge.merge as merge_module
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import CheckpointError, HubError, OutputError, RecipeError, SlackTiesError
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.pin import used_versions
from slack_ties.recipe.read import parse_recipe, read_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record
from slack_ties.rule.definition import slack_ties_merge
from slack_ties.rule.kernel import load_kernel
from triple import Folders, llama, save_sharded_bin

if TYPE_CHECKING:
    from hub_server import Server

QUIET = MergeOptions(quiet=True, lazy_unpickle=True)


def recipe(folders: Folders, **choices: object) -> Recipe:
    """Return the Tibetan config on the models of a triple."""
    models = {"base": str(folders.base), "ct": str(folders.ct), "sft": str(folders.sft)}
    return make_config("bo", Choices(**{**models, **choices}))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Read all weights of a model folder."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    for path in sorted(folder.glob("*.bin")):
        found |= torch.load(path, weights_only=True)
    return found


@pytest.fixture
def copies(triple: Folders, tmp_path: Path) -> Folders:
    """A triple that may be damaged."""
    shutil.copytree(triple.base.parent, tmp_path / "models")
    return Folders(*(tmp_path / "models" / role for role in ("base", "ct", "sft")))


def left_over(folder: Path) -> list[str]:
    """Return the names of what lies in a folder, hidden things too."""
    return sorted(path.name for path in folder.iterdir() if path.name != "models")


def test_merges_every_tensor_by_the_method(triple: Folders, tmp_path: Path) -> None:
    """Sharded bfloat16 + float16 .bin + bfloat16: each tensor is what the method gives."""
    record = merge_models(recipe(triple), tmp_path / "out", options=QUIET)

    base, ct, sft = (tensors(folder) for folder in (triple.base, triple.ct, triple.sft))
    merged = tensors(tmp_path / "out")
    assert set(merged) == set(base)
    for name, tensor in merged.items():
        expected = slack_ties_merge(
            base[name].float(),
            [ct[name].float(), sft[name].float()],
            weight=[1, 1],
            density=[0.5, 0.5],
            slack=[0, 0.2],
            normalize=False,
        )
        assert torch.equal(expected.bfloat16(), tensor), name
    assert record.parameters == sum(tensor.numel() for tensor in merged.values())
    assert record.dtype == "bfloat16"


def test_leaves_a_folder_that_transformers_loads(triple: Folders, tmp_path: Path) -> None:
    """Weights, config and tokenizer are there, and the model writes text."""
    out = tmp_path / "out"

    merge_models(recipe(triple), out, options=QUIET)

    words = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    inputs = words("བོད་", return_tensors="pt", return_token_type_ids=False)
    assert model.generate(**inputs, max_new_tokens=3, do_sample=False).shape[0] == 1
    assert left_over(tmp_path) == ["out"]


def test_records_what_was_done(triple: Folders, tmp_path: Path) -> None:
    """The config with what made the bytes, and models, versions and options beside it."""
    options = MergeOptions(quiet=True, out_shard_size=100_000, num_threads=2)

    record = merge_models(recipe(triple), tmp_path / "out", options=options)

    stored = read_recipe(tmp_path / "out" / CONFIG_FILE)
    assert stored.text.startswith(recipe(triple).text[:700])
    assert stored.facts.versions == used_versions()
    assert stored.facts.options == {"out_shard_size": 100_000}
    assert read_record(tmp_path / "out") == record
    assert [(p.model, p.role, p.commits) for p in record.parents] == [
        (str(triple.base), "base", ("",)),
        (str(triple.ct), "ct", ("",)),
        (str(triple.sft), "sft", ("",)),
    ]
    assert record.options == {"out_shard_size": 100_000}
    assert record.flags() == ["--out-shard-size", "100000"]
    assert set(record.versions) == {
        *("slack-ties", "mergekit", "torch", "transformers", "safetensors")
    }
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1


def test_twice_the_same_bytes(triple: Folders, tmp_path: Path) -> None:
    """Two merges of the same config give identical files."""
    for name in ("one", "two"):
        merge_models(recipe(triple), tmp_path / name, options=QUIET)

    files = {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    assert {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()} == files
    assert "model.safetensors" in files


def test_the_unpickler_changes_nothing(triple: Folders, tmp_path: Path) -> None:
    """Mergekit's lazy loader and PyTorch's own restricted one give the same bytes."""
    sharded = save_sharded_bin(AutoModelForCausalLM.from_pretrained(triple.ct), tmp_path / "ct")
    for name, ct, lazy in (
        ("a", triple.ct, True),
        ("b", triple.ct, False),
        ("c", sharded, True),
        ("d", sharded, False),
    ):
        options = MergeOptions(quiet=True, lazy_unpickle=lazy)
        merge_models(recipe(triple, ct=str(ct)), tmp_path / name, options=options)

    results = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abcd"]
    assert results[1:] == results[:1] * 3


NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize(
    "chosen",
    [
        {"async_write": True},
        {"async_write": True, "write_threads": 2, "num_threads": 2},
        {"low_cpu_memory": True},
        {"read_to_gpu": True},
        {"clone_tensors": True},
        *(
            pytest.param({"device": "cuda", **more}, marks=NEEDS_A_GPU)
            for more in ({}, {"low_cpu_memory": True}, {"read_to_gpu": True}, {"multi_gpu": True})
        ),
        pytest.param({"gpu_rich": True}, marks=NEEDS_A_GPU),
    ],
    ids=str,
)
def test_how_it_is_done_changes_nothing(
    triple: Folders, tmp_path: Path, chosen: dict[str, object]
) -> None:
    """Options of speed and memory: the same files, of several shards, byte for byte."""
    for name, options in (("plain", {}), ("chosen", chosen)):
        merge_models(
            recipe(triple),
            tmp_path / name,
            options=MergeOptions(quiet=True, out_shard_size=100_000, **options),
        )

    files = {
        name: {path.name: path.read_bytes() for path in (tmp_path / name).glob("model*")}
        for name in ("plain", "chosen")
    }
    assert files["chosen"] == files["plain"]
    assert len(files["plain"]) > 2


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here")
def test_multi_gpu_without_a_gpu(tmp_path: Path) -> None:
    """Said before the Hub is asked for anything."""
    options = MergeOptions(quiet=True, multi_gpu=True)

    with pytest.raises(SlackTiesError, match="--multi-gpu: there is no GPU here") as caught:
        merge_models(make_config("bo"), tmp_path / "out", options=options)

    assert caught.value.hint == "leave the device options out: the CPU can merge too"


def test_says_how_it_is_done(
    triple: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On what, with how many threads, and in files of what size; ours is not mergekit's 5 GB."""
    with caplog.at_level("INFO", "slack_ties"):
        record = merge_models(recipe(triple), tmp_path / "out", quiet=True)

    threads = torch.get_num_threads()
    engine = " and the compiled kernel, in" if load_kernel() else ", in"
    (said,) = (line for line in caplog.messages if "merging on" in line)
    assert said.startswith(f"  merging on the CPU with {threads} thread")
    assert engine in said
    assert said.endswith("in files of up to 1.0 GB")
    assert record.options == {}
    # What torch does is not said to be the kernel's.
    wide = recipe(triple)
    wide = parse_recipe(f"dtype: float64\n{wide.text}", where="wide.yml")
    caplog.clear()
    with caplog.at_level("INFO", "slack_ties"):
        merge_models(wide, tmp_path / "wide", quiet=True)
    assert "kernel" not in caplog.text
    # Whoever takes mergekit's default instead is told how to repeat it.
    other = merge_models(recipe(triple), tmp_path / "other", options=QUIET)
    assert other.flags() == ["--out-shard-size", "5000000000"]


def test_reads_files_as_they_are_now(copies: Folders, tmp_path: Path) -> None:
    """In one process, a model that changed between two merges is read again."""
    merge_models(recipe(copies), tmp_path / "before", options=QUIET)
    sft = load_file(copies.sft / "model.safetensors")
    save_file({k: 2 * v for k, v in sft.items()}, copies.sft / "model.safetensors")

    merge_models(recipe(copies), tmp_path / "after", options=QUIET)

    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("before", "after")]
    assert files[0] != files[1]


def test_merges_a_lora_adapter(copies: Folders, tmp_path: Path) -> None:
    """MODEL+LORA is the model with its adapter merged in, and leaves nothing behind."""
    torch.manual_seed(0)
    adapter = get_peft_model(
        AutoModelForCausalLM.from_pretrained(copies.base),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    adapter.save_pretrained(tmp_path / "models" / "lora")
    adapter.merge_and_unload().save_pretrained(tmp_path / "models" / "full")
    pair = f"{copies.base}+{tmp_path / 'models' / 'lora'}"

    record = merge_models(recipe(copies, sft=pair), tmp_path / "a", options=QUIET)

    merge_models(
        recipe(copies, sft=str(tmp_path / "models" / "full")), tmp_path / "b", options=QUIET
    )
    assert record.parents[2].model == pair
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert left_over(tmp_path) == ["a", "b"]


def test_says_when_the_result_gets_wider(
    triple: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Mixed half-precision inputs make a float32 result unless the config says otherwise."""
    text = recipe(triple).text.replace("out_dtype: bfloat16\n", "")

    record = merge_models(parse_recipe(text, where="x.yml"), tmp_path / "out", options=QUIET)

    assert record.dtype == "float32"
    assert "add to the config: out_dtype: bfloat16" in caplog.text


def test_reads_any_mergekit_config(triple: Folders, tmp_path: Path) -> None:
    """Slices, gradients, long references and another method."""
    layers = [0, 2]
    data = {
        "merge_method": "ties",
        "base_model": {"model": {"path": str(triple.base)}},
        "slices": [
            {
                "sources": [
                    {"model": str(triple.base), "layer_range": layers},
                    {
                        "model": str(triple.sft),
                        "layer_range": layers,
                        "parameters": {
                            "weight": [{"filter": "mlp", "value": [0, 1]}, {"value": 1}]
                        },
                    },
                ]
            }
        ],
        "dtype": "bfloat16",
    }

    record = merge_models(
        parse_recipe(json.dumps(data), where="x.yml"), tmp_path / "out", options=QUIET
    )

    base, sft, merged = (tensors(f) for f in (triple.base, triple.sft, tmp_path / "out"))
    first, last = (f"model.layers.{i}.mlp.up_proj.weight" for i in (0, 1))
    assert record.method == "ties"
    assert torch.equal(base[first], merged[first])
    assert not torch.equal(base[last], merged[last])
    torch.testing.assert_close(sft[last], merged[last], rtol=0.01, atol=1e-3)


def test_an_extended_vocabulary(copies: Folders, tmp_path: Path) -> None:
    """With mergekit's tokenizer section the merged model has the CT model's tokens."""
    words = AutoTokenizer.from_pretrained(copies.ct)
    words.add_tokens(["བོད་སྐད་", "ལྷ་ས་"])
    words.save_pretrained(copies.ct)
    model = AutoModelForCausalLM.from_pretrained(copies.ct)
    model.resize_token_embeddings(514, mean_resizing=False)
    (copies.ct / "pytorch_model.bin").unlink()
    model.save_pretrained(copies.ct)
    text = recipe(copies).text + f"tokenizer: {{source: {copies.ct}}}\n"

    merge_models(parse_recipe(text, where="x.yml"), tmp_path / "out", options=QUIET)

    merged = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tensors(tmp_path / "out")["model.embed_tokens.weight"].shape == (514, 64)
    assert merged.tokenize("ལྷ་ས་") == ["ལྷ་ས་"]
    refused(
        copies, tmp_path / "without", CheckpointError, "and the config has no tokenizer section"
    )


def test_a_base_without_a_tokenizer(
    copies: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can be copied, and that is said."""
    for path in copies.base.glob("tokenizer*"):
        path.unlink()

    merge_models(recipe(copies), tmp_path / "out", options=QUIET)

    assert "the merged model has none" in caplog.text
    assert list((tmp_path / "out").glob("*token*")) == []


def test_a_damaged_tokenizer(copies: Folders, tmp_path: Path) -> None:
    """Mergekit would log it and go on: the result would look complete."""
    (copies.base / "tokenizer_config.json").unlink()
    (copies.base / "tokenizer.json").write_text("{")

    refused(
        copies,
        tmp_path / "out",
        CheckpointError,
        r"base': the tokenizer \(tokenizer\.json\) cannot be read",
    )


def test_a_link_to_an_empty_folder(triple: Folders, tmp_path: Path) -> None:
    """The result goes where the link leads."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)

    merge_models(recipe(triple), tmp_path / "link", options=QUIET)

    assert (tmp_path / "real" / RECORD_FILE).is_file()


def test_a_result_is_kept_if_its_place_was_taken(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody put a file into OUT while hours of merging went on."""
    out = tmp_path / "out"

    def meanwhile(*_: object, **__: object) -> None:
        out.mkdir()
        (out / "thesis.txt").write_text("mine")

    # The last step before the result is moved into place; nothing else can be timed surely.
    write = merge_module.write_record
    monkeypatch.setattr(merge_module, "write_record", lambda *given: (write(*given), meanwhile()))

    with pytest.raises(OutputError, match="the merge is complete, but") as caught:
        merge_models(recipe(triple), out, options=QUIET)

    (kept,) = tmp_path.glob(".out.*.partial")
    assert str(kept) in caught.value.hint
    assert (kept / "model.safetensors").is_file()
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_folders_may_have_any_name(copies: Folders, tmp_path: Path) -> None:
    """Also one with the characters that separate revisions and adapters for mergekit."""
    odd = tmp_path / "models" / "a+b@c d"
    copies.sft.rename(odd)

    record = merge_models(recipe(copies, sft=str(odd)), tmp_path / "out", options=QUIET)

    assert record.parents[2].model == str(odd)


# Nothing goes over the network


def test_local_models_need_no_network(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths that look like Hub ids too: nobody opens a connection."""
    opened = []
    watching = [True]

    def watch(event: str, details: tuple) -> None:  # cannot be removed again, only silenced
        if watching[0] and event in {"socket.connect", "socket.getaddrinfo"}:
            opened.append(details)

    sys.addaudithook(watch)
    monkeypatch.chdir(triple.base.parent.parent)
    parent = triple.base.parent.name
    local = Folders(*(Path(parent) / role for role in ("base", "ct", "sft")))

    merge_models(recipe(local), tmp_path / "out", options=QUIET)

    watching[0] = False
    assert opened == []


def test_hub_models_are_fetched_first_at_one_commit(
    triple: Folders, tmp_path: Path, hub: Server, api: HfApi
) -> None:
    """All files come before the merge, and the record says from which commit."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
    on_hub = make_config(
        "bo", Choices(base="me/base", ct="me/ct@main", sft="me/sft", dtype="bfloat16")
    )
    hub.hub.requests.clear()

    record = merge_models(on_hub, tmp_path / "out", options=QUIET, api=api)

    merge_models(recipe(triple), tmp_path / "local", options=QUIET)
    shas = [api.model_info(f"me/{role}").sha for role in ("base", "ct", "sft")]
    assert [parent.commits for parent in record.parents] == [(sha,) for sha in shas]
    assert [p.hub_ids for p in record.parents] == [["me/base"], ["me/ct"], ["me/sft"]]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "local" / "model.safetensors"
    ).read_bytes()
    # Once more without any Hub: the cache serves.
    hub.stop()
    again = merge_models(on_hub, tmp_path / "again", options=QUIET, api=api)
    assert again.parents == record.parents


def test_without_network_it_says_so(tmp_path: Path) -> None:
    """A refused connection is one line that names model and Hub."""
    api = HfApi(endpoint="http://127.0.0.1:9")

    with pytest.raises(HubError, match=r"'meta-llama/Llama-2-7b-hf' .* cannot reach http://127"):
        merge_models(make_config("bo"), tmp_path / "out", api=api)

    assert left_over(tmp_path) == []


# What is wrong is said before the work, and leaves nothing behind


def refused(folders: Folders, out: Path, error: type[Exception], match: str) -> None:
    """Check that a merge is refused, and that nothing is left where it would have gone."""
    before = left_over(out.parent)
    with pytest.raises(error, match=match):
        merge_models(recipe(folders), out, options=QUIET)
    assert left_over(out.parent) == before


def test_a_missing_model_folder(copies: Folders, tmp_path: Path) -> None:
    """It is named as the config has it."""
    shutil.rmtree(copies.ct)

    refused(copies, tmp_path / "out", CheckpointError, f"model folder '{copies.ct}' does not exist")


def test_a_truncated_file(copies: Folders, tmp_path: Path) -> None:
    """Model and file are named."""
    path = copies.sft / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])

    refused(copies, tmp_path / "out", CheckpointError, r"sft': model\.safetensors cannot be read")


def test_a_shape_mismatch(copies: Folders, tmp_path: Path) -> None:
    """Tensor, models and shapes are named."""
    llama(500).save_pretrained(copies.sft)
    for path in copies.sft.glob("tokenizer*"):  # which would explain it
        path.unlink()

    match = r"shape mismatch: model\.embed_tokens\.weight is 500x64 in '.*sft', expected 512x64"
    refused(copies, tmp_path / "out", CheckpointError, match)


def test_a_missing_tensor(copies: Folders, tmp_path: Path) -> None:
    """Model and tensor are named, and no half result stays."""
    weights = load_file(copies.sft / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, copies.sft / "model.safetensors")

    match = r"sft' lacks 'model\.norm\.weight', which its config\.json requires"
    refused(copies, tmp_path / "out", CheckpointError, match)


def test_weights_that_are_not_finite(copies: Folders, tmp_path: Path) -> None:
    """Model and tensor are named, and no half result stays."""
    weights = load_file(copies.sft / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, copies.sft / "model.safetensors")

    match = rf"model\.norm\.weight of {copies.sft}: 1 of 64 entries are NaN or infinite"
    refused(copies, tmp_path / "out", CheckpointError, match)


def test_an_output_folder_that_is_not_empty(triple: Folders, tmp_path: Path) -> None:
    """What is there stays."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")

    refused(triple, out, OutputError, r"output folder '.*out' is not empty")

    assert (out / "thesis.txt").read_text() == "mine"


def test_an_empty_output_folder_is_used(triple: Folders, tmp_path: Path) -> None:
    """So is one whose parents are missing."""
    (tmp_path / "empty").mkdir()

    merge_models(recipe(triple), tmp_path / "empty", options=QUIET)
    merge_models(recipe(triple), tmp_path / "a" / "b", options=QUIET)

    assert (tmp_path / "empty" / RECORD_FILE).is_file()
    assert (tmp_path / "a" / "b" / RECORD_FILE).is_file()


def test_the_folder_one_is_in(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be replaced while somebody stands in it."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(OutputError, match=r"'\.' is the current folder"):
        merge_models(recipe(triple), ".", options=QUIET)

    assert left_over(tmp_path) == []


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_here(tmp_path: Path, device: str) -> None:
    """Said before the Hub is asked for anything."""
    options = MergeOptions(quiet=True, device=device)

    with pytest.raises(SlackTiesError, match=f"device '{device}' cannot be used here"):
        merge_models(make_config("bo"), tmp_path / "out", options=options)


def test_an_output_that_is_a_file(triple: Folders, tmp_path: Path) -> None:
    """It stays."""
    (tmp_path / "out").write_text("mine")

    refused(triple, tmp_path / "out", OutputError, "is a file, expected a folder")
    with pytest.raises(OutputError, match="cannot write to"):
        merge_models(recipe(triple), tmp_path / "out" / "deeper", options=QUIET)
    assert (tmp_path / "out").read_text() == "mine"


def test_an_unknown_method(triple: Folders, tmp_path: Path) -> None:
    """The nearest one is named."""
    text = recipe(triple).text.replace("merge_method: slack_ties", "merge_method: slak_ties")

    with pytest.raises(RecipeError, match=r"unknown merge method 'slak_ties'\. Did you mean"):
        merge_models(parse_recipe(text, where="x.yml"), tmp_path / "out", options=QUIET)


def test_what_pydantic_refuses(triple: Folders, tmp_path: Path) -> None:
    """A value of the wrong kind deep in the config is one line, not mergekit's traceback."""
    text = recipe(triple).text + "tokenizer: {source: base, tokens: {x: {source: {kind: y}}}}\n"

    with pytest.raises(RecipeError, match=r"x\.yml: tokenizer\."):
        merge_models(parse_recipe(text, where="x.yml"), tmp_path / "out", options=QUIET)

    assert left_over(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file-size limit to set")
def test_a_full_disk(triple: Folders, tmp_path: Path) -> None:
    """A file-size limit stands in for it: one line, and nothing is left."""
    import resource  # noqa: PLC0415 - not on Windows

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        refused(triple, tmp_path / "out", OutputError, "the disk is full or a file-size limit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_a_killed_merge_left_is_named(
    triple: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not deleted: it could be somebody's."""
    left = tmp_path / ".out.12345678.partial"
    left.mkdir()

    with caplog.at_level(logging.WARNING, "slack_ties"):
        merge_models(recipe(triple), tmp_path / "out", options=QUIET)

    assert str(left) in caplog.text
    assert left.is_dir()


def test_another_merge_to_the_same_place(triple: Folders, tmp_path: Path) -> None:
    """One that runs is not called dead, and nobody is told to delete its folder."""
    (tmp_path / f".out.{os.getpid()}-0123abcd.partial").mkdir()

    with pytest.raises(OutputError, match=r"another merge into '.*out' is running") as caught:
        merge_models(recipe(triple), tmp_path / "out", options=QUIET)

    assert "wait for it" in caught.value.hint
