"""Adapters that are applied to one tensor at a time: the same bytes as mergekit's merged model."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import HfApi
from mergekit.common import ModelPath, ModelReference
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from hub_server import Server
from slack_ties.adapter.adapted import TYPES, Adapted
from slack_ties.adapter.unproven import unproven
from slack_ties.errors import CheckpointError
from slack_ties.files import sha256
from slack_ties.merge.merge import merge_models
from slack_ties.merge.options import DEFAULTS
from slack_ties.merge.prepare import _files
from slack_ties.merge.reader import WeightFiles, same_bits
from slack_ties.models.cached import Snapshot
from slack_ties.models.headers import read_headers, read_headers_of_shard
from slack_ties.models.model_config import model_config
from slack_ties.plan.make import plan_merge
from slack_ties.plan.text import plan_as_text
from slack_ties.tensors.plain_models import plain_model
from triple import Folders

SIZES: dict[str, Any] = {
    "vocab_size": 37,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
TIED = SIZES | {"tie_word_embeddings": True}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SIZES),
    "tied": ("Llama", TIED),
    "mistral": ("Mistral", SIZES),
    "qwen2": ("Qwen2", SIZES),  # with biases
    "qwen3": ("Qwen3", SIZES | {"head_dim": 8}),
    "gemma": ("Gemma", TIED | {"head_dim": 8}),
    "gemma2": ("Gemma2", TIED | {"head_dim": 8}),
    "mixtral": ("Mixtral", SIZES | {"num_local_experts": 2}),
}
WEIGHTS = "adapter_model.safetensors"
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EMBEDDINGS = ["q_proj", "embed_tokens", "lm_head"]
Make = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make each small model once; the folders are not to be changed."""
    return cache(partial(make_base, tmp_path_factory.mktemp("bases")))


def make_base(root: Path, kind: str, dtype: str) -> Path:
    """Save a model with random weights, in several files."""
    name, settings = KINDS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings)
    made = AutoModelForCausalLM.from_config(config, dtype=TYPES[dtype])
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    made.save_pretrained(root / f"{kind}-{dtype}", max_shard_size="20KB")
    return root / f"{kind}-{dtype}"


def train(base: Path, out: Path, *, dtype: str = "", **settings: Any) -> Path:
    """Save an adapter with random values as PEFT does, or in another type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = {"r": 4, "task_type": "CAUSAL_LM", "target_modules": LINEAR, **settings}
        made = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**told))
        torch.manual_seed(1)
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
        made.save_pretrained(out)
    if dtype:
        tensors = {
            name: tensor.to(TYPES[dtype]) for name, tensor in load_file(out / WEIGHTS).items()
        }
        save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    return out


def files_of(folder: Path, name: str) -> WeightFiles:
    """Open the weight files of a model."""
    return WeightFiles(name, folder, read_headers(folder))


def adapter_files(folder: Path) -> WeightFiles:
    """Open the weight file of an adapter."""
    (file,) = folder.glob("adapter_model.*")
    return WeightFiles("adapter", folder, read_headers_of_shard(file, "adapter"))


def adapted(base: Path, adapter: Path, dtype: str | None = None) -> Adapted:
    """Return a model with its adapter, merged tensor by tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Adapted(
            "both",
            files_of(base, "model"),
            adapter_files(adapter),
            config=model_config(base),
            adapter_folder=adapter,
            merge_dtype=TYPES[dtype] if dtype else None,
        )


def why(base: Path, adapter: Path, merging: str | None = None, **model: Any) -> str:
    """Return what `unproven` says."""
    config, headers = model_config(base) | model, read_headers(base)
    return unproven(
        config=json.loads((adapter / "adapter_config.json").read_text("utf-8")),
        headers=adapter_files(adapter).headers,
        model_config=config,
        model=headers,
        plain=plain_model(config, headers) is not None,
        tied=bool(config["tie_word_embeddings"]),
        options=MergeOptions(lora_merge_dtype=merging),
    )


def by_mergekit(base: Path, adapter: Path, out: Path, dtype: str | None = None) -> Path:
    """Merge an adapter into its model as mergekit does."""
    both = (ModelPath(path=str(folder)) for folder in (base, adapter))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = ModelReference(**dict(zip(("model", "lora"), both, strict=True)))
        merged = told.merged(cache_dir=str(out), lora_merge_dtype=dtype)
    return Path(merged.model.path)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {}) for kind in KINDS if kind != "mixtral"),
        ("qwen2", {"use_dora": True}),
        ("llama", {"use_rslora": True, "lora_alpha": 3, "r": 7}),
        ("llama", {"target_modules": r".*\.1\..*\.(q|up)_proj"}),
        ("llama", {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 32}}),
        ("llama", {"layers_to_transform": [1], "layers_pattern": "layers"}),
        ("llama", {"layers_to_transform": 0}),
        ("llama", {"exclude_modules": ["layers.0.self_attn.q_proj"]}),
        ("llama", {"init_lora_weights": "gaussian", "lora_dropout": 0.1}),
        ("llama", {"target_modules": EMBEDDINGS}),
        ("llama", {"target_modules": EMBEDDINGS, "use_dora": True, "use_rslora": True}),
        ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("llama", {"target_modules": EMBEDDINGS, "modules_to_save": ["lm_head"]}),
        ("qwen2", {"modules_to_save": ["norm", "k_proj"]}),
        ("tied", {"target_modules": EMBEDDINGS[:2]}),
        ("gemma", {"target_modules": EMBEDDINGS[:2], "use_dora": True}),
    ],
    ids=str,
)
def test_the_same_bytes(kind: str, settings: dict[str, Any], base: Make, tmp_path: Path) -> None:
    """Tensors, headers, their order and the config are those of mergekit's merged model."""
    folder = base(kind, "bfloat16")
    check(folder, train(folder, tmp_path / "lora", **settings), tmp_path)


ALL = ("float16", "bfloat16", "float32")
OTHER = {"float16": "bfloat16", "bfloat16": "float32", "float32": "float16"}


@pytest.mark.parametrize(
    ("model", "adapter", "merging"),
    [
        *((model, adapter, None) for model in ALL for adapter in ALL),
        *((model, OTHER[model], merging) for model in ALL for merging in (*ALL, "float64")),
    ],
)
def test_the_same_bytes_in_every_type(
    model: str, adapter: str, merging: str | None, base: Make, tmp_path: Path
) -> None:
    """Whatever the types of model, adapter and merge are; with DoRA, which rounds more often."""
    targets = ["q_proj", "embed_tokens"]
    folder = base("llama", model)
    lora = train(folder, tmp_path / "lora", dtype=adapter, target_modules=targets, use_dora=True)
    check(folder, lora, tmp_path, merging)


def test_a_model_as_old_tools_saved_it(base: Make, tmp_path: Path) -> None:
    """A .bin model of mixed types with buffers, and a .bin adapter that has no task."""
    folder, lora = tmp_path / "model", train(base("llama", "bfloat16"), tmp_path / "lora")
    shutil.copytree(base("llama", "bfloat16"), folder)
    tensors = tensors_of(folder)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float() + 1e-4
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    for path in folder.glob("model*"):
        path.unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    torch.save(load_file(lora / WEIGHTS), lora / "adapter_model.bin")
    (lora / WEIGHTS).unlink()
    edited(lora, task_type=None, auto_mapping={"base_model_class": "LlamaForCausalLM"})

    check(folder, lora, tmp_path)


def check(base: Path, adapter: Path, out: Path, dtype: str | None = None) -> None:
    """Compare both ways; read every tensor twice."""
    assert why(base, adapter, dtype) == ""
    folder = by_mergekit(base, adapter, out / "cache", dtype)
    expected, found = files_of(folder, "merged"), adapted(base, adapter, dtype)

    assert list(found.headers.items()) == list(expected.headers.items())
    assert found.config == model_config(folder)
    for _ in "twice":
        for name in expected.headers:
            assert found.read(name).is_contiguous()
            assert same_bits(found.read(name), expected.read(name))
    plain = files_of(base, "model")
    assert not all(same_bits(found.read(name), plain.read(name)) for name in found.headers)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("mixtral", {"target_modules": ["q_proj"]}, "not one of Llama"),
        ("qwen2", {"bias": "all"}, "sets bias"),
        ("qwen2", {"lora_bias": True, "target_modules": ["q_proj"]}, "sets lora_bias"),
        ("qwen2", {"init_lora_weights": "pissa"}, "sets init_lora_weights"),
        ("qwen2", {"init_lora_weights": "mica"}, "sets init_lora_weights"),
        ("qwen2", {"trainable_token_indices": [1, 2]}, "sets trainable_token_indices"),
        ("qwen2", {"target_modules": LINEAR[:1], "modules_to_save": ["mlp"]}, "names mlp"),
        ("tied", {"target_modules": ["q_proj", "lm_head"]}, "the adapter changes one of them"),
        ("tied", {"modules_to_save": ["lm_head"]}, "the adapter changes one of them"),
        ("tied", {"modules_to_save": ["embed_tokens"]}, "the adapter changes one of them"),
    ],
    ids=str,
)
def test_adapters_that_are_not_proven(
    kind: str, settings: dict[str, Any], reason: str, base: Make, tmp_path: Path
) -> None:
    """The reason names what it is."""
    folder = base(kind, "float32")
    assert reason in why(folder, train(folder, tmp_path, **settings))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"task_type": "SEQ_CLS"}, "sets task_type"),
        ({"fan_in_fan_out": True}, "sets fan_in_fan_out"),
        ({"a_setting_of_tomorrow": 1}, "sets a_setting_of_tomorrow"),
        ({"target_modules": "all-linear"}, "does not list target_modules"),
        ({"target_modules": None}, "does not list target_modules"),
        ({"target_modules": ["q_proj", "norm"]}, "target_modules name model.norm"),
        ({"target_modules": ["q_proj", "v_proj"]}, "it lacks base_model.model.model.layers.0"),
        ({"target_modules": ["v_proj"]}, "it contains base_model.model.model.layers.0"),
        ({"target_modules": "("}, "it cannot be read: "),
        ({"use_dora": True}, "it lacks base_model.model.model.layers.0.self_attn.q_proj.lora_m"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_file(
    settings: dict[str, Any], reason: str, base: Make, tmp_path: Path
) -> None:
    """PEFT would leave a part at its random start, or ignore it: the reason names it."""
    folder = base("llama", "float32")
    assert reason in why(
        folder, edited(train(folder, tmp_path, target_modules=["q_proj"]), **settings)
    )


@pytest.mark.parametrize(
    ("model", "merging", "reason"),
    [
        ({"auto_map": {"AutoModel": "code.Model"}}, None, "its own code"),
        ({}, "int64", "--lora-merge-dtype int64"),
        ({"tie_word_embeddings": True}, None, "stores lm_head.weight, and its config.json ties it"),
    ],
    ids=str,
)
def test_models_that_are_not_proven(
    model: dict[str, Any], merging: str, reason: str, base: Make, tmp_path: Path
) -> None:
    """Its own code, a head that is stored and tied, and a type that is none of weights."""
    folder = base("llama", "float32")
    lora = train(folder, tmp_path, target_modules=["q_proj"])
    assert reason in why(folder, lora, merging, **model)


def test_types_that_are_not_proven(base: Make, tmp_path: Path) -> None:
    """64 bits, and a model of several types whose config names none."""
    folder = base("llama", "float32")
    lora = train(folder, tmp_path / "lora", target_modules=["q_proj"], dtype="float64")
    assert why(folder, lora) == "it or the model has weights of type float64"

    lora = train(folder, tmp_path / "lora", target_modules=["q_proj"])
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    tensors = tensors_of(mixed)
    for path in mixed.glob("model*"):
        path.unlink()
    tensors["model.norm.weight"] = tensors["model.norm.weight"].half()
    save_file(tensors, mixed / "model.safetensors", metadata={"format": "pt"})
    assert why(mixed, lora) == ""
    assert "several types" in why(mixed, lora, dtype=None)


def test_a_file_that_differs_from_what_peft_expects(base: Make, tmp_path: Path) -> None:
    """It is refused when the model is prepared, with the name of a tensor."""
    folder = base("llama", "float32")
    lora = edited(train(folder, tmp_path, target_modules=["q_proj"]), target_modules=["v_proj"])
    with pytest.raises(CheckpointError, match="file and PEFT differ about model"):
        adapted(folder, lora)


def test_only_the_wanted_tensors_are_read(base: Make, tmp_path: Path) -> None:
    """To prepare reads no weights; a tensor that is read reads no other tensor of the model."""
    folder = base("llama", "float32")
    lora = train(folder, tmp_path, target_modules=["q_proj"])
    model = _Counted("model", folder, read_headers(folder))
    made = Adapted(
        "both",
        model,
        adapter_files(lora),
        config=model_config(folder),
        adapter_folder=lora,
    )
    assert model.seen == []
    made.read("model.layers.1.self_attn.q_proj.weight")
    assert model.seen == ["model.layers.1.self_attn.q_proj.weight"]


class _Counted(WeightFiles):
    """Weight files that note what was read from them."""

    def read(self, tensor: str) -> torch.Tensor:
        """Note the name, and return the tensor."""
        self.seen.append(tensor)
        return super().read(tensor)

    def __init__(self, *args: Any) -> None:
        """Begin with an empty list."""
        super().__init__(*args)
        self.seen: list[str] = []


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a folder."""
    return {k: v for path in folder.glob("model*.safetensors") for k, v in load_file(path).items()}


def edited(adapter: Path, **settings: Any) -> Path:
    """Change the settings of an adapter."""
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | settings), "utf-8")
    return adapter


def merged(config: Path, out: Path, api: HfApi, *, download: bool = True) -> dict[str, str]:
    """Merge; return the checksum of each weight file, and of config.json."""
    told = {**DEFAULTS, "quiet": True, "transformers_cache": str(out.parent / "cache")}
    merge_models(config, out, options=MergeOptions(**told), api=api, download=download)
    return {path.name: sha256(path) for path in [*out.glob("model*"), out / "config.json"]}


def weights_sent(hub: Server) -> int:
    """Return the bytes of weight files that were sent."""
    return sum(count for name, count in hub.hub.sent.items() if name.endswith(".safetensors"))


def config_of(path: Path, base: str, *others: str) -> Path:
    """Write a config of a merge."""
    models = [{"model": one, "parameters": {"weight": 0.6, "density": 0.5}} for one in others]
    data = {"merge_method": "ties", "base_model": base, "models": models, "dtype": "float32"}
    path.write_text(json.dumps(data), "utf-8")
    return path


def test_a_merge_without_a_copy_of_the_model(
    triple: Folders, api: HfApi, hub: Server, tmp_path: Path
) -> None:
    """The result is that of models merged by mergekit; every byte is read once, and not kept."""
    ids, whole, with_adapter = {}, [], []
    for name, folder in (("base", triple.base), ("sft", triple.sft)):
        lora = train(
            folder, tmp_path / f"lora-{name}", target_modules=[*LINEAR[:2], "embed_tokens"]
        )
        for what, path in ((name, folder), (f"lora-{name}", lora)):
            ids[what] = f"me/{what}"
            api.create_repo(ids[what])
            api.upload_folder(repo_id=ids[what], folder_path=path, ignore_patterns="*.md")
        whole.append(str(by_mergekit(folder, lora, tmp_path / "whole")))
        with_adapter.append(f"{ids[name]}+{ids[f'lora-{name}']}")
    whole.append(str(triple.ct))
    with_adapter.append(str(triple.ct))

    expected = merged(config_of(tmp_path / "w.yml", *whole), tmp_path / "w", api)
    config = config_of(tmp_path / "a.yml", *with_adapter)
    hub.hub.sent.clear()
    plan = plan_merge(config, api=api, download=False)
    headers = weights_sent(hub)
    hub.hub.sent.clear()
    without = merged(config, tmp_path / "a" / "out", api, download=False)
    assert plan.download <= weights_sent(hub) <= plan.download + 2 * headers
    with_download = merged(config, tmp_path / "b" / "out", api)

    weights = {name: one for name, one in expected.items() if name != "config.json"}
    assert weights.items() <= without.items()
    assert without == with_download
    kept = {path.name for path in (tmp_path / "a").rglob("*.safetensors")}
    assert kept == {*weights, WEIGHTS} - {"model.safetensors.index.json"}
    loras = [tmp_path / f"lora-{name}" / WEIGHTS for name in ("base", "sft")]
    assert plan.without_download["cache"] == sum(path.stat().st_size for path in loras)
    assert plan.without_download["disk"] < 1.1 * sum(
        (tmp_path / "w" / n).stat().st_size for n in weights
    )


def test_an_adapter_that_needs_the_whole_model(
    triple: Folders, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its model is downloaded, a line says why, and the result is the same."""
    lora = edited(train(triple.sft, tmp_path / "lora"), fan_in_fan_out=True)
    api.create_repo("me/sft")
    api.upload_folder(repo_id="me/sft", folder_path=triple.sft)
    config = config_of(tmp_path / "c.yml", str(triple.base), f"me/sft+{lora}")

    with caplog.at_level("INFO"):
        without = merged(config, tmp_path / "a" / "out", api, download=False)

    line = "me/sft is downloaded: its adapter needs the whole model: its adapter_config.json sets "
    assert f"{line}fan_in_fan_out" in caplog.text
    assert without == merged(config, tmp_path / "b" / "out", api)
    plan = plan_merge(config, api=api, download=False)
    size = sum(path.stat().st_size for path in triple.sft.glob("model*.safetensors"))
    assert (plan.download, plan.without_download) == (size, {})
    assert plan.disk == plan.parameters * 4 + size


def test_a_model_that_cannot_be_read_in_parts(
    triple: Folders, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is downloaded for its adapter, and the plan has said so."""
    folder, lora = tmp_path / "old", train(triple.sft, tmp_path / "lora")
    shutil.copytree(triple.sft, folder)
    tensors = tensors_of(folder)
    for path in folder.glob("model*"):
        path.unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    api.create_repo("me/old")
    api.upload_folder(repo_id="me/old", folder_path=folder)
    config = config_of(tmp_path / "c.yml", str(triple.base), f"me/old+{lora}")

    text = plan_as_text(plan_merge(config, api=api, download=False))
    with caplog.at_level("INFO"):
        merged(config, tmp_path / "a" / "out", api, download=False)

    assert "the whole model on this disk: pytorch_model.bin can be read only as a whole" in text
    assert "me/old is downloaded: its adapter needs the whole model: " in caplog.text


def test_another_version_of_peft(
    base: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If PEFT expects other tensors than `unproven` knows of, mergekit merges the model here."""
    folder = base("qwen2", "float32")
    lora = train(folder, tmp_path / "lora", bias="all")
    monkeypatch.setattr("slack_ties.merge.prepare.needs_whole", lambda *_: "")
    parts = [Snapshot(folder), Snapshot(lora)]

    files = _files("both", parts, MergeOptions(**DEFAULTS), tmp_path, None)

    merged = tensors_of(by_mergekit(folder, lora, tmp_path / "cache"))
    assert files.folder.parent == tmp_path
    assert all(same_bits(files.read(name), tensor) for name, tensor in merged.items())
