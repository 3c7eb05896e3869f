"""What is known before a merge: good plans, every kind of bad one, and no weights read."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub_server import Server, Token
from slack_ties.catalogue.languages import find_triple
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import (
    CheckpointError,
    GatedError,
    NotOnHubError,
    OutputError,
    SlackTiesError,
)
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge, plan_pinned
from slack_ties.plan.plan import Plan
from slack_ties.plan.text import plan_as_text
from slack_ties.recipe.pin import used_versions
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from triple import CHAT, Folders, extend, llama, save_bin

QUIET = MergeOptions(quiet=True, lazy_unpickle=True)
HUB = Choices(base="me/base", ct="me/ct", sft="me/sft", dtype="bfloat16")


def recipe(folders: Folders, **choices: object) -> Recipe:
    """Return the Tibetan config on the models of a triple."""
    models = {"base": str(folders.base), "ct": str(folders.ct), "sft": str(folders.sft)}
    return make_config("bo", Choices(**{**models, **choices}))


@pytest.fixture
def copies(triple: Folders, tmp_path: Path) -> Folders:
    """A triple that may be damaged."""
    shutil.copytree(triple.base.parent, tmp_path / "models")
    return Folders(*(tmp_path / "models" / role for role in ("base", "ct", "sft")))


@pytest.fixture
def on_hub(triple: Folders, api: HfApi, hub: Server) -> Server:
    """A Hub that holds the triple."""
    for role in ("base", "ct", "sft"):
        upload(api, f"me/{role}", getattr(triple, role))
    return hub


def upload(api: HfApi, repo_id: str, folder: Path, card: str = "") -> str:
    """Put a folder on the Hub; return the commit."""
    api.create_repo(repo_id, private=False, exist_ok=True)
    if card:
        api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repo_id)
    return api.upload_folder(repo_id=repo_id, folder_path=folder).oid


def edit(path: Path, **changes: object) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}))


def only_error(plan: Plan) -> str:
    """Return the plan's error, after making sure that there is one."""
    assert len(plan.errors) == 1, plan_as_text(plan)
    return str(plan.errors[0])


# A good one


def test_a_good_local_triple(triple: Folders, tmp_path: Path) -> None:
    """Every fact that a reader needs, and no complaint."""
    plan = plan_merge(recipe(triple), out=tmp_path / "out")

    assert (plan.errors, plan.warnings) == ((), ())
    assert [(m.role, m.dtype, m.format, m.tokens) for m in plan.models] == [
        ("base", "bfloat16", "safetensors", 512),
        ("ct", "float16", ".bin", 512),
        ("sft", "bfloat16", "safetensors", 512),
    ]
    assert (plan.dtype, plan.parameters, plan.disk) == ("bfloat16", 139_584, 2 * 139_584)
    assert {m.architecture for m in plan.models} == {"LlamaForCausalLM"}
    assert plan.download == 0
    assert 0.5 < plan.models[1].likeness.cosine < plan.models[2].likeness.cosine < 1
    text = plan_as_text(plan)
    for said in (
        "bo.yml: slack_ties for Tibetan",
        f"CT    {triple.ct}",
        "similarity to the base 0.71 (1: equal, 0: unrelated)",
        "Vocabulary: the same 512 tokens in all models",
        f"Chat:       template and special tokens of {triple.sft}",
        "Download:   nothing: all models are folders here",
        "Licence:    mit, the licence of every parent.",
    ):
        assert said in text
    data = json.loads(json.dumps(plan.as_json()))
    assert data["errors"] == []
    assert data["versions"] == used_versions()


def test_what_it_says_is_what_the_merge_makes(triple: Folders, tmp_path: Path) -> None:
    """Type, size and number of parameters of the result, for plain and extended vocabularies."""
    extended = replace(triple, ct=extend(tmp_path / "ct", triple.ct))
    for name, folders in (("plain", triple), ("extended", extended)):
        plan = plan_pinned(recipe(folders))
        record = merge_models(plan.pinned(), tmp_path / name, options=QUIET)

        size = sum(path.stat().st_size for path in (tmp_path / name).glob("*.safetensors"))
        assert (plan.dtype, plan.parameters) == (record.dtype, record.parameters)
        assert plan.disk <= size < plan.disk + 10_000


def test_memory_of_a_device(triple: Folders) -> None:
    """On a GPU the largest tensor of each model, and the result if it stays there."""
    text = recipe(triple).text
    plans = [
        plan_merge(parse_recipe(text, where="x"), options=MergeOptions(quiet=True, **chosen))
        for chosen in ({}, {"device": "cuda"}, {"device": "cuda", "low_cpu_memory": True})
    ]

    largest = 512 * 64 * 2 * 3
    assert [p.device_memory for p in plans] == [0, largest, largest + 2 * 139_584]
    assert "cuda:       at least 0.2 MB" in plan_as_text(plans[1])


def test_other_methods_and_layouts(triple: Folders) -> None:
    """A community config of another method is planned as well."""
    text = f"""
merge_method: linear
models:
  - {{model: {triple.base}, parameters: {{weight: 1}}}}
  - {{model: {triple.sft}, parameters: {{weight: 1}}}}
"""
    plan = plan_merge(parse_recipe(text, where="x.yml"))

    assert plan.errors == ()
    assert plan.dtype == "bfloat16"


# What is wrong with local models


def damage(folders: Folders, what: str) -> None:
    """Make one thing wrong with a triple."""
    config = folders.ct / "config.json"
    match what:
        case "another architecture":
            edit(config, architectures=["MistralForCausalLM"])
        case "another width":
            save_bin(llama(hidden=32).half(), folders.ct.with_name("new"))
            shutil.rmtree(folders.ct)
            folders.ct.with_name("new").rename(folders.ct)
        case "more layers":
            edit(config, num_hidden_layers=3)
        case "a tied head":
            edit(config, tie_word_embeddings=True)
            weights = torch.load(folders.ct / "pytorch_model.bin", weights_only=True)
            del weights["lm_head.weight"]
            torch.save(weights, folders.ct / "pytorch_model.bin")
        case "no head":
            weights = torch.load(folders.ct / "pytorch_model.bin", weights_only=True)
            del weights["lm_head.weight"]
            torch.save(weights, folders.ct / "pytorch_model.bin")
        case "unrelated":
            weights = llama(seed=9).half().state_dict()
            torch.save(weights, folders.ct / "pytorch_model.bin")
        case "a missing tensor":
            weights = torch.load(folders.ct / "pytorch_model.bin", weights_only=True)
            del weights["model.norm.weight"]
            torch.save(weights, folders.ct / "pytorch_model.bin")
        case "another shape":
            weights = torch.load(folders.ct / "pytorch_model.bin", weights_only=True)
            weights["model.norm.weight"] = torch.zeros(63)
            torch.save(weights, folders.ct / "pytorch_model.bin")
        case "quantized":
            edit(config, quantization_config={"quant_method": "bitsandbytes"})
            weights = torch.load(folders.ct / "pytorch_model.bin", weights_only=True)
            name = "model.layers.0.self_attn.q_proj.weight"
            weights[name] = (100 * weights[name]).to(torch.int8)
            torch.save(weights, folders.ct / "pytorch_model.bin")
        case "an adapter":
            config.rename(folders.ct / "adapter_config.json")
        case "no weights":
            (folders.ct / "pytorch_model.bin").unlink()
        case "not there":
            shutil.rmtree(folders.ct)
        case "tokens without a row":
            weights = AutoModelForCausalLM.from_pretrained(folders.ct)
            weights.resize_token_embeddings(500)
            save_bin(weights, folders.ct.with_name("new"))
            for name in ("config.json", "pytorch_model.bin"):
                (folders.ct.with_name("new") / name).replace(folders.ct / name)


@pytest.mark.parametrize(
    ("what", "message", "hint"),
    [
        (
            "another architecture",
            "ct': config.json names the architecture MistralForCausalLM, expected LlamaForCausalLM",
            "same base",
        ),
        ("another width", "ct': hidden_size is 32, expected 64 as in '", "same base"),
        ("more layers", "ct': num_hidden_layers is 3, expected 2 as in '", "same base"),
        ("a tied head", "base' has its own head (lm_head.weight), but '", "--allow-crimes"),
        ("no head", "ct' lacks lm_head.weight, and its config.json does not tie it", "whole model"),
        ("unrelated", "ct' have nothing in common with the base '", "--allow-unrelated"),
        (
            "a missing tensor",
            "lacks 'model.norm.weight', which its config.json requires",
            "take a complete model",
        ),
        ("another shape", "its config.json: model.norm.weight is 63, expected 64", "config.json"),
        (
            "quantized",
            "is quantized: model.layers.0.self_attn.q_proj.weight is stored",
            "original model",
        ),
        ("an adapter", "is an adapter (LoRA), expected a whole model", "BASE+"),
        ("no weights", "no weights in '", "hf download"),
        ("not there", "ct' does not exist, expected a folder", ""),
        ("tokens without a row", "its tokenizer has '", "remove these tokens"),
    ],
)
def test_each_kind_of_bad_triple(copies: Folders, what: str, message: str, hint: str) -> None:
    """One error that names the model and the cause, with what to do; a merge stops on it."""
    damage(copies, what)

    plan = plan_merge(recipe(copies))

    assert message in only_error(plan)
    assert str(copies.ct) in only_error(plan)
    assert hint in plan.errors[0].hint
    out = copies.base.parent.parent / "out"
    with pytest.raises(CheckpointError) as caught:
        merge_models(recipe(copies), out, options=QUIET)
    assert str(caught.value) == only_error(plan)
    assert not out.exists()


def test_unrelated_models_can_be_merged_all_the_same(copies: Folders, tmp_path: Path) -> None:
    """Whoever knows better says so; it stays a warning."""
    damage(copies, "unrelated")

    plan = plan_merge(recipe(copies), allow_unrelated=True)

    assert plan.errors == ()
    assert "expected a model that was trained from it" in plan.warnings[0]
    merge_models(recipe(copies), tmp_path / "out", options=QUIET, allow_unrelated=True)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_several_errors_are_all_said(copies: Folders) -> None:
    """Two models that are not there are two errors; a merge names the first and the rest."""
    shutil.rmtree(copies.ct)
    shutil.rmtree(copies.sft)

    plan = plan_merge(recipe(copies))

    assert [str(copies.ct) in str(e) or str(copies.sft) in str(e) for e in plan.errors] == [
        True
    ] * 2
    with pytest.raises(CheckpointError) as caught:
        plan.check()
    assert "; 1 more error: slack-ties config bo --base " in str(caught.value)
    assert str(caught.value).endswith(" && slack-ties plan merge_configs/bo.yml")
    assert caught.value.hint == (plan.errors[0].hint or str(caught.value).partition("error: ")[2])


def computed(folders: Folders) -> None:
    """Let the base have what old versions saved and new ones compute."""
    for path in folders.base.glob("model-00001*.safetensors"):
        name = "model.layers.0.self_attn.rotary_emb.inv_freq"
        save_file({**load_file(path), name: torch.zeros(8)}, path, metadata={"format": "pt"})
        index = json.loads((folders.base / "model.safetensors.index.json").read_text("utf-8"))
        index["weight_map"][name] = path.name
        (folders.base / "model.safetensors.index.json").write_text(json.dumps(index))


def null(folders: Folders) -> None:
    """Let a config leave to the default what another states."""
    edit(folders.base / "config.json", head_dim=None)


def old(folders: Folders) -> None:
    """Save the CT model as PyTorch did before it wrote zip files."""
    path = folders.ct / "pytorch_model.bin"
    weights = torch.load(path, weights_only=True)
    torch.save(weights, path, _use_new_zipfile_serialization=False)


def odd_generation(folders: Folders) -> None:
    """Let the SFT model's generation settings be nonsense."""
    (folders.sft / "generation_config.json").write_text('{"eos_token_id": {}}')


def stale(folders: Folders) -> None:
    """Leave in a config what training in 4 bits wrote, and say that a head is tied which is not."""
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    edit(folders.ct / "config.json", quantization_config=quantized, tie_word_embeddings=True)


@pytest.mark.parametrize("change", [computed, null, old, odd_generation, stale])
def test_what_is_fine_is_fine(
    copies: Folders, tmp_path: Path, change: Callable[[Folders], None]
) -> None:
    """Differences between real checkpoints that mean nothing: planned, and merged."""
    change(copies)
    options = MergeOptions(quiet=True, lazy_unpickle=change is not old)

    assert plan_merge(recipe(copies), options=options).errors == ()
    merge_models(recipe(copies), tmp_path / "out", options=options)


def test_a_base_without_a_head(copies: Folders) -> None:
    """One that ties its embeddings need not have the matrix that the others have."""
    for folder in (copies.base, copies.ct, copies.sft):
        model = AutoModelForCausalLM.from_pretrained(folder)
        model.config.tie_word_embeddings = True
        model.tie_weights()
        for path in (*folder.glob("*.safetensors*"), *folder.glob("*.bin")):
            path.unlink()
        model.save_pretrained(folder)
    weights = load_file(copies.ct / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, copies.ct / "model.safetensors", metadata={"format": "pt"})

    plan = plan_merge(recipe(copies))

    assert (plan.errors, plan.warnings) == ((), ())
    assert plan.parameters == 139_584 - 512 * 64


def rope(folders: Folders) -> None:
    """Change what a model was trained with, and no tensor."""
    edit(folders.ct / "config.json", max_position_embeddings=4096)


def same(folders: Folders) -> None:
    """Put the base in the SFT model's place."""
    shutil.rmtree(folders.sft)
    shutil.copytree(folders.base, folders.sft)


def mixed(folders: Folders) -> None:
    """Add a tensor that the base does not have, and one that old versions saved."""
    weights = torch.load(folders.ct / "pytorch_model.bin", weights_only=True)
    weights["model.extra.weight"] = torch.zeros(2)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(2)
    torch.save(weights, folders.ct / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (
            rope,
            "max_position_embeddings is 4096, but the merged model will have the base's value, 128",
        ),
        (same, "sft: no difference from the base in"),
        (mixed, "ct: 'model.extra.weight' is not in the base and is left out"),
    ],
)
def test_what_is_only_odd_is_a_warning(
    copies: Folders, change: Callable[[Folders], None], warning: str
) -> None:
    """It may be meant."""
    change(copies)

    plan = plan_merge(recipe(copies))

    assert plan.errors == ()
    assert len(plan.warnings) == 1
    assert warning in plan.warnings[0]


def test_a_vocabulary_that_was_extended(triple: Folders, tmp_path: Path) -> None:
    """Without the section it is an error that says what to add, and --pin adds it."""
    folders = replace(triple, ct=extend(tmp_path / "ct", triple.ct))
    text = recipe(folders).text

    plan = plan_merge(parse_recipe(text, where="bo.yml"))

    assert "can give the result the 576 tokens of" in only_error(plan)
    added = f"tokenizer: {{source: {folders.ct}}}"
    assert plan.errors[0].hint.startswith("slack-ties config bo --base ")
    step = f" && slack-ties plan merge_configs/bo.yml --pin # adds: {added}"
    assert plan.errors[0].hint.endswith(step)
    mended = plan_pinned(parse_recipe(text, where="bo.yml"))
    assert mended.errors == ()
    assert mended.pinned().data["tokenizer"] == {"source": str(folders.ct)}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("tokenizer: {source: elsewhere/words}", "'elsewhere/words' is not a merged model"),
        ("tokenizer_source: elsewhere/words", "tokenizer_source: 'elsewhere/words' is not"),
        ("tokenizer: {source: base, tokens: {new: {}}}", "adds 'new' to the base's own tokenizer"),
        ("tokenizer: {source: CT, tokens: {new: {source: SFT}}}", "has no token 'new'"),
        ("chat_template: chatlm", "unknown template 'chatlm'. Did you mean 'chatml'?"),
    ],
)
def test_a_section_that_mergekit_would_trip_over(
    triple: Folders, section: str, message: str
) -> None:
    """Said before hours of work."""
    section = section.replace("CT", str(triple.ct)).replace("SFT", str(triple.sft))

    plan = plan_merge(parse_recipe(f"{section}\n{recipe(triple).text}", where="x.yml"))

    assert message in only_error(plan)


def test_a_token_beyond_the_embedding(copies: Folders, tmp_path: Path) -> None:
    """Of the base it is stripped by mergekit; of another model it stops the merge."""
    for folder, beyond in ((copies.base, True), (copies.sft, False)):
        words = AutoTokenizer.from_pretrained(folder)
        words.add_tokens(["<pad>"])
        words.save_pretrained(folder)
        if not beyond:
            model = AutoModelForCausalLM.from_pretrained(folder)
            model.resize_token_embeddings(513, mean_resizing=False)
            model.save_pretrained(folder)
    fine = f"tokenizer: {{source: {copies.sft}}}\n{recipe(copies).text}"
    fine = parse_recipe(fine, where="x.yml")

    assert plan_merge(fine).errors == ()
    merge_models(fine, tmp_path / "out", options=QUIET)
    words = AutoTokenizer.from_pretrained(copies.ct)
    words.add_tokens(["<pad>"])
    words.save_pretrained(copies.ct)
    for source in ("union", copies.sft):
        text = f"tokenizer: {{source: {source}}}\n{recipe(copies).text}"
        assert "its tokenizer has '<pad>'" in only_error(
            plan_merge(parse_recipe(text, where="x.yml"))
        )


def test_rows_that_are_rounded_up(triple: Folders, tmp_path: Path) -> None:
    """The size of the result counts them."""
    folders = replace(triple, ct=extend(tmp_path / "ct", triple.ct))
    section = f"tokenizer: {{source: {folders.ct}, pad_to_multiple_of: 128}}"
    padded = parse_recipe(f"{section}\n{recipe(folders).text}", where="x.yml")

    plan = plan_merge(padded)

    record = merge_models(padded, tmp_path / "out", options=QUIET)
    assert plan.parameters == record.parameters == 139_584 + 2 * 128 * 64


def test_a_method_without_a_base_is_compared_too(copies: Folders) -> None:
    """With the first model."""
    damage(copies, "another width")
    text = f"""
merge_method: linear
models:
  - {{model: {copies.sft}, parameters: {{weight: 1}}}}
  - {{model: {copies.ct}, parameters: {{weight: 1}}}}
"""
    assert "hidden_size is 32, expected 64" in only_error(
        plan_merge(parse_recipe(text, where="x.yml"))
    )


def test_what_a_terminal_would_obey_is_written_out(copies: Folders) -> None:
    """Whatever a model's files say."""
    edit(copies.ct / "config.json", architectures=["\x1b[31mEvil"])

    plan = plan_merge(recipe(copies))

    assert "\\x1b[31mEvil" in only_error(plan)
    assert "\x1b" not in plan_as_text(plan)


def test_memory_is_counted(triple: Folders, tmp_path: Path) -> None:
    """A file of the result, or all of it; rows as they were and aligned."""
    text = recipe(triple).text

    def memory(text: str, **chosen: object) -> int:
        options = MergeOptions(quiet=True, **chosen)
        return plan_merge(parse_recipe(text, where="x"), options=options).memory

    small = memory(text, out_shard_size=100_000)
    assert memory(text, out_shard_size=100_000, async_write=True) - small == 2 * 139_584 - 100_000
    folders = replace(triple, ct=extend(tmp_path / "ct", triple.ct))
    aligned = plan_pinned(recipe(folders), options=MergeOptions(quiet=True, out_shard_size=1000))
    plain = memory(text, out_shard_size=1000)
    # Three models and the result are float32 while they are merged: the CT model is float16.
    copies = 4 * 4 * (576 - 512) * 64
    assert aligned.memory - plain == 3 * 2 * 576 * 64 * 2 - 3 * 512 * 64 * 2 + copies


def test_lora_pairs(triple: Folders, tmp_path: Path) -> None:
    """An adapter is looked into; one for another model is a warning, another kind an error."""
    adapter = get_peft_model(
        AutoModelForCausalLM.from_pretrained(triple.base),
        LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False),
    )
    adapter.save_pretrained(tmp_path / "lora")
    pair = recipe(triple, sft=f"{triple.base}+{tmp_path / 'lora'}")

    plan = plan_merge(pair)

    assert (plan.errors, plan.warnings) == ((), ())
    assert plan.disk == 2 * 139_584  # the pair is merged tensor by tensor
    assert plan.memory == plan_merge(recipe(triple)).memory + 8 * 64 * 64
    assert "similarity" not in plan_as_text(plan).splitlines()[7]  # of the base to itself
    settings = tmp_path / "lora" / "adapter_config.json"
    edit(settings, base_model_name_or_path="meta-llama/Llama-2-7b-hf")
    assert "states that it was made for meta-llama/Llama-2-7b-hf" in plan_merge(pair).warnings[0]
    edit(settings, fan_in_fan_out=True)
    told = "it needs the whole model on this disk: its adapter_config.json sets fan_in_fan_out"
    assert told in plan_as_text(plan_merge(pair))
    assert plan_merge(pair).disk > 2 * 2 * 139_584  # the pair is made before it is merged
    edit(settings, peft_type="LOHA")
    assert "is an adapter of type 'LOHA', expected LORA" in only_error(plan_merge(pair))
    settings.unlink()
    assert "is not an adapter" in only_error(plan_merge(pair))


def test_a_disk_that_is_too_small(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Needed, free, and where. The disk's size cannot be made small for real."""
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    plan = plan_merge(recipe(triple), out=tmp_path / "out")

    assert isinstance(plan.errors[0], OutputError)
    assert only_error(plan) == (f"the merged model needs 0.3 MB, {str(tmp_path)!r} has 1.0 kB free")


# Models on the Hub


@pytest.mark.usefixtures("on_hub")
def test_on_the_hub_no_weights_are_downloaded(api: HfApi, own_cache: Path) -> None:
    """Small files come into the cache, and what they cost is said; weight files do not."""
    plan = plan_merge(make_config("bo", HUB), api=api)

    assert plan.errors == ()
    shas = [api.model_info(f"me/{role}").sha for role in ("base", "ct", "sft")]
    assert [m.commits for m in plan.models] == [(sha,) for sha in shas]
    assert plan.download == sum(m.bytes for m in plan.models) > 800_000
    assert [m.likeness is not None for m in plan.models] == [False, True, True]
    cached = {path.suffix for path in own_cache.rglob("snapshots/*/*")}
    assert ".json" in cached
    assert not cached & {".safetensors", ".bin"}


def test_a_card_that_names_the_base_spares_the_weights(
    api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """Of weight files on the Hub only headers are read then: the server's log proves it."""
    big = {role: tmp_path / "big" / role for role in ("base", "ct")}
    for seed, folder in enumerate(big.values()):
        model = llama(hidden=256, seed=seed).bfloat16()
        model.save_pretrained(folder)
    upload(api, "me/base", big["base"])
    upload(api, "me/ct", big["ct"], card="---\nbase_model: me/base\nlicense: mit\n---\n")
    upload(api, "me/sft", big["ct"], card="---\nbase_model:\n- me/base\n---\n")
    hub.hub.sent.clear()

    plan = plan_merge(make_config("bo", HUB), api=api)

    assert plan.errors == ()
    assert [m.parents for m in plan.models] == [(), ("me/base",), ("me/base",)]
    assert "made from me/base, as its card says" in plan_as_text(plan)
    assert plan.models[1].license == "mit"
    weights = (big["base"] / "model.safetensors").stat().st_size
    header = int.from_bytes((big["base"] / "model.safetensors").read_bytes()[:8], "little")
    sent = hub.hub.sent["model.safetensors"]  # of all three
    assert header < sent < 3 * (header + 170_000) < weights


def test_a_chain_of_cards_leads_to_the_base(api: HfApi, hub: Server, tmp_path: Path) -> None:
    """A model of a model of the base; one whose chain ends elsewhere is looked into."""
    model = llama(hidden=256).bfloat16()
    model.save_pretrained(tmp_path / "model")
    for name, parent in (("base", ""), ("middle", "me/base"), ("ct", "me/middle"), ("sft", "a/b")):
        card = f"---\nbase_model: {parent}\n---\n" if parent else ""
        upload(api, f"me/{name}", tmp_path / "model", card=card)
    hub.hub.sent.clear()

    plan = plan_merge(make_config("bo", HUB), api=api)

    assert plan.errors == ()
    assert [m.likeness is not None for m in plan.models] == [False, False, True]
    assert "sft: no difference from the base in" in plan.warnings[0]


@pytest.mark.usefixtures("on_hub")
def test_unrelated_models_on_the_hub(api: HfApi, tmp_path: Path) -> None:
    """Found by a ranged read of a few entries."""
    upload(api, "me/stranger", save_bin(llama(seed=4).half(), tmp_path / "x"))

    plan = plan_merge(make_config("bo", replace(HUB, ct="me/stranger")), api=api)

    assert "have nothing in common with the base" in only_error(plan)


@pytest.mark.usefixtures("on_hub")
def test_gated_and_missing_repositories(api: HfApi, hub: Server) -> None:
    """Each is an error of its own, with its own next step, before anything large."""
    token = hub.hub.tokens["hf_writer"]
    hub.hub.save("me/base", {**hub.hub.repo("me/base", token), "gated": "manual"})
    reader = HfApi(endpoint=hub.url, token="hf_reader")

    plan = plan_merge(make_config("bo", replace(HUB, ct="me/none")), api=reader)

    assert [type(error) for error in plan.errors] == [GatedError, NotOnHubError]
    assert "me/base' (no folder of that name here): the owner has not given access" in str(
        plan.errors[0]
    )
    assert f"ask for access on {hub.url}/me/base, then run" in plan.errors[0].hint
    assert "me/none' (no folder of that name here): not found" in str(plan.errors[1])
    allowed = plan_merge(make_config("bo", HUB), api=api)
    assert allowed.errors == ()
    assert "gated, and you have access" in plan_as_text(allowed)


@pytest.mark.usefixtures("own_cache")
def test_a_gated_model_of_the_catalogue(hub: Server) -> None:
    """The plan names an entry of the same language whose models have no known gate."""
    base = find_triple("mn-Mong").base.id
    owner = hub.hub.tokens["hf_owner"] = Token(base.partition("/")[0])
    theirs = HfApi(endpoint=hub.url, token="hf_owner")
    theirs.create_repo(base, private=False)
    theirs.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=base)
    hub.hub.save(base, {**hub.hub.repo(base, owner), "gated": "manual"})
    hub.hub.tokens["hf_other"] = Token("other")

    plan = plan_merge(make_config("mn-Mong"), api=HfApi(endpoint=hub.url, token="hf_other"))

    (gated,) = [error for error in plan.errors if isinstance(error, GatedError)]
    other = "mn-Mong-qwen2.5-1.5b"
    assert str(gated).endswith(f"; for models without a known gate: slack-ties config {other}")


@pytest.mark.usefixtures("on_hub")
@pytest.mark.parametrize(
    ("role", "known"), [("base", "Chat"), ("ct", "Chat"), ("sft", "")], ids=("base", "ct", "sft")
)
def test_what_one_missing_model_leaves_open(api: HfApi, role: str, known: str) -> None:
    """A row that depends on the model is not known, in the text and in JSON."""
    models = replace(HUB, dtype="", **{role: "me/none"})

    plan = plan_merge(make_config("bo", models), api=api)

    assert "me/none" in only_error(plan)
    text = plan_as_text(plan)
    rows = {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()}
    why = "not known: me/none cannot be read"
    for row in ("Vocabulary", "Chat", "Licence", "Download", "Disk", "Memory"):
        assert (rows[row] == why) is (row != known), text
    assert rows["Result"] in (why, f"bfloat16; the size is {why}")
    data = json.loads(json.dumps(plan.as_json()))
    for key in ("parameters", "license", "download", "disk", "memory", "vocabulary"):
        assert data[key] is None
        assert data["unknown"][key] == "me/none cannot be read"
    assert len(data["models"]) == 2


def test_a_model_whose_weights_cannot_be_read(copies: Folders) -> None:
    """Its row has what is known, without gaps; its licence and its download are known."""
    damage(copies, "no weights")

    text = plan_as_text(plan_merge(recipe(copies)))

    assert ", ," not in text
    assert f"CT    {copies.ct}\n      mit\n" in text
    assert "Licence:    mit" in text
    assert f"Disk:       not known: {copies.ct} cannot be read" in text


@pytest.mark.usefixtures("on_hub")
def test_pinned_to_the_commits_that_were_looked_at(api: HfApi) -> None:
    """And later it is said that the branch moved on."""
    pinned = plan_merge(make_config("bo", HUB), api=api).pinned()
    old = api.model_info("me/ct").sha
    api.upload_file(path_or_fileobj=b"new", path_in_repo="NEWS.md", repo_id="me/ct")

    plan = plan_merge(pinned, api=api)

    new = api.model_info("me/ct").sha
    assert pinned.models[1] == f"me/ct@{old}"
    assert plan.models[1].commits == (old,)
    assert plan.warnings == (
        f"me/ct is pinned at {old[:7]}, but its main branch is now at {new[:7]}: "
        "check on the Hub what changed",
    )


def test_other_versions_are_said(triple: Folders) -> None:
    """A config that was made with another torch may give other bytes here."""
    pinned = plan_merge(recipe(triple)).pinned()
    old = pinned.text.replace(f"torch: {used_versions()['torch']}", "torch: 1.0.0")

    plan = plan_merge(parse_recipe(old, where="bo.yml"))

    assert plan.warnings == (
        f"this config was made with torch 1.0.0 (here {used_versions()['torch']}): the bytes may "
        "differ",
    )


def test_a_merge_of_hub_models_is_pinned(
    on_hub: Server, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The config that is stored names commits; without the Hub it plans and merges again."""
    with caplog.at_level(logging.INFO, "slack_ties"):
        record = merge_models(make_config("bo", HUB), tmp_path / "out", options=QUIET, api=api)
    stored = (tmp_path / "out" / "mergekit_config.yml").read_text("utf-8")
    on_hub.stop()

    shas = {p.model.partition("@")[0]: p.commits[0] for p in record.parents}
    assert all(f"{name}@{sha}" in stored for name, sha in shas.items())
    again = parse_recipe(stored, where="x.yml")
    assert plan_merge(again, api=api).errors == ()
    merge_models(again, tmp_path / "again", options=QUIET, api=api)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert files[0] == files[1]


def test_a_plan_has_no_pins_while_it_has_errors(copies: Folders) -> None:
    """Half a pinned config would look whole."""
    damage(copies, "not there")

    with pytest.raises(SlackTiesError, match="does not exist"):
        plan_merge(recipe(copies)).pinned()


def test_the_template_is_the_sft_models(triple: Folders, tmp_path: Path) -> None:
    """Unless the config names one."""
    named = parse_recipe(f"chat_template: chatml\n{recipe(triple).text}", where="x.yml")

    assert plan_merge(named).chat == "the template that the config names"
    merge_models(named, tmp_path / "named", options=QUIET)
    merge_models(recipe(triple), tmp_path / "plain", options=QUIET)
    texts = [
        (tmp_path / name / "chat_template.jinja").read_text("utf-8") for name in ("named", "plain")
    ]
    assert "im_start" in texts[0]
    assert texts[1] == CHAT


def trained(base: Path, folder: Path, **settings: object) -> None:
    """Save an adapter for a model: as it begins, unless told otherwise."""
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj", "v_proj"], **settings})
    get_peft_model(model, config).save_pretrained(folder)


def test_how_much_an_adapter_changes(copies: Folders, tmp_path: Path) -> None:
    """A line of the plan; and one that changes nothing is refused."""
    trained(copies.base, tmp_path / "good", init_lora_weights=False)
    trained(copies.base, tmp_path / "idle")

    plans = [
        plan_merge(recipe(copies, sft=f"{copies.base}+{tmp_path / name}"))
        for name in ("good", "idle")
    ]

    assert plans[0].errors == ()
    assert "adapter: LoRA of rank 2 on 4 of 21 tensors (9 % of the parameters)" in plan_as_text(
        plans[0]
    )
    (error,) = plans[1].errors
    assert "the adapter changes nothing: all its 4 lora_B are zero" in str(error)


def test_half_an_adapter(copies: Folders, tmp_path: Path) -> None:
    """The file is named."""
    trained(copies.base, tmp_path / "half", init_lora_weights=False)
    path = tmp_path / "half" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])

    (error,) = plan_merge(recipe(copies, sft=f"{copies.base}+{tmp_path / 'half'}")).errors

    assert "adapter_model.safetensors cannot be read" in str(error)


@pytest.mark.parametrize(
    ("name", "role"), [("chat_template.jinja", "sft"), ("tokenizer_config.json", "base")]
)
def test_texts_that_git_lfs_left_behind(name: str, role: str, copies: Folders) -> None:
    """Not only weights: a pointer for a chat template would become the template."""
    (copies.base.parent / role / name).write_text("version https://git-lfs.github.com/spec/v1\n")

    (error,) = plan_merge(recipe(copies)).errors

    assert f"{name} is a git-lfs pointer" in str(error)


def test_tokens_without_a_row_are_told(copies: Folders) -> None:
    """An end-of-turn token that the embedding has no row for would be lost without a word."""
    edit(copies.sft / "tokenizer_config.json", eos_token="<|end|>")
    words = json.loads((copies.sft / "tokenizer.json").read_text("utf-8"))
    new = {**words["added_tokens"][0], "id": 512, "content": "<|end|>"}
    words["added_tokens"].append(new)
    (copies.sft / "tokenizer.json").write_text(json.dumps(words), "utf-8")

    plan = plan_merge(recipe(copies))

    assert any(
        "its eos_token '<|end|>', but the embedding has no row for it" in w for w in plan.warnings
    )


def test_an_unrelated_model_in_an_old_file(copies: Folders) -> None:
    """Looked into like any other."""
    weights = llama(seed=9).half().state_dict()
    path = copies.ct / "pytorch_model.bin"
    torch.save(weights, path, _use_new_zipfile_serialization=False)

    (error,) = plan_merge(recipe(copies)).errors

    assert "have nothing in common with the base" in str(error)


def test_shards_without_an_index(copies: Folders) -> None:
    """What lies there is named, and what is missing."""
    (copies.base / "model.safetensors.index.json").unlink()

    error = plan_merge(recipe(copies)).errors[0]

    assert "found model-00001-of-" in str(error)
    assert "no index names them" in str(error)


def test_a_class_that_transformers_does_not_have(copies: Folders) -> None:
    """Merged by name alone, and the plan says that loading is not proved."""
    for folder in (copies.base, copies.ct, copies.sft):
        edit(folder / "config.json", architectures=["OwnForCausalLM"], model_type="own")

    plan = plan_merge(recipe(copies))

    assert plan.errors == ()
    assert any("no class OwnForCausalLM" in warning for warning in plan.warnings)
