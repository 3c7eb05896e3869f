"""What PEFT makes of an adapter, told from headers and compared with what PEFT does."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial, reduce
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from slack_ties.adapter.adapter import Adapter
from slack_ties.adapter.read import read_adapter
from slack_ties.errors import CheckpointError
from slack_ties.models.header import Header
from slack_ties.models.headers import read_headers, read_headers_of_file
from slack_ties.models.model_config import model_config

PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"
TEXT: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
SIGHT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
SIGHT |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 10000.0}
QWEN_SIGHT = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2}
GPT2 = {"vocab_size": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
GPT2 |= {"bos_token_id": 1, "eos_token_id": 2}
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", TEXT),
    "biased": ("Llama", TEXT | {"attention_bias": True}),
    "tied": ("Llama", TEXT | {"tie_word_embeddings": True}),
    "gpt2": ("GPT2", GPT2),
    "bare gpt2": ("GPT2", GPT2),  # as openai-community/gpt2: no `transformer.` before the names
    "mixtral": ("Mixtral", TEXT | {"num_local_experts": 4}),
    "qwen3 moe": (
        "Qwen3Moe",
        TEXT | {"num_experts": 4, "moe_intermediate_size": 8, "head_dim": 4},
    ),
    "llava": (
        "Llava",
        {
            "text_config": {"model_type": "llama", **TEXT},
            "vision_config": {"model_type": "clip_vision_model", **SIGHT},
            "image_token_id": 5,
            "tie_word_embeddings": False,
        },
    ),
    "qwen2 vl": (
        "Qwen2VL",
        {
            "text_config": TEXT | {"rope_parameters": ROPE},
            "vision_config": QWEN_SIGHT | {"patch_size": 4},
            "tie_word_embeddings": False,
        },
    ),
}
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make each of the small models once; the folders are not to be changed."""
    root = tmp_path_factory.mktemp("bases")
    return cache(partial(make_base, root))


def make_base(root: Path, kind: str) -> Path:
    """Save a model with random weights as transformers does."""
    name, settings = BASES[kind]
    folder = root / kind.replace(" ", "-")
    config = getattr(transformers, f"{name}Config")(**settings)
    torch.manual_seed(0)
    kinds = AutoModelForCausalLM, transformers.AutoModelForImageTextToText
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds["vision_config" in settings].from_config(config).save_pretrained(folder)
    if kind == "bare gpt2":
        tensors = {k.removeprefix("transformer."): v for k, v in tensors_of(folder).items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def load(folder: Path) -> Any:
    """Load a model as mergekit does, by its architecture."""
    architecture = model_config(folder)["architectures"][0]
    return getattr(transformers, architecture).from_pretrained(folder)


def train(base: Path, out: Path, *, trained: bool = True, **settings: Any) -> Path:
    """Save an adapter for a model as PEFT does, with random values in all that is trainable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {"r": 4, "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], **settings}
        adapter = get_peft_model(load(base), LoraConfig(**settings))
        torch.manual_seed(1)
        for parameter in adapter.parameters():
            if parameter.requires_grad and trained:
                parameter.data += torch.randn_like(parameter) / 5
        adapter.save_pretrained(out)
    return out


def edit(
    adapter: Path,
    *,
    rename: Callable[[str], str] = str,
    drop: str = "",
    add: Tensors | None = None,
    **config: Any,
) -> Path:
    """Change names, tensors and settings of an adapter."""
    tensors = {rename(k): v for k, v in tensors_of(adapter).items() if not drop or drop not in k}
    save_file({**tensors, **(add or {})}, adapter / WEIGHTS, metadata={"format": "pt"})
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return adapter


def tensors_of(folder: Path) -> Tensors:
    """Return all tensors of a folder."""
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


def merge(base: Path, adapter: Path, out: Path) -> Tensors:
    """Merge as mergekit does (`ModelReference.merged`), and return what is saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(load(base), str(adapter), is_trainable=False)
        model.merge_and_unload().save_pretrained(out)
    return tensors_of(out)


def changes(base: Path, merged: Tensors) -> set[str]:
    """Return the names of the tensors of the base that are others after merging."""
    before = tensors_of(base)
    after = {k if k in before else k.removeprefix("transformer."): v for k, v in merged.items()}
    if "lm_head.weight" in after and "lm_head.weight" not in before:  # it was tied
        before["lm_head.weight"] = before["model.embed_tokens.weight"]
    assert before.keys() - after.keys() <= {"lm_head.weight"}
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def read(base: Path, adapter: Path, **settings: Any) -> Adapter:
    """Read an adapter in a folder, with all that is known of it there."""
    tensors = tensors_of(adapter)
    with (adapter / WEIGHTS).open("rb") as file:
        headers = read_headers_of_file(file, WEIGHTS, "lora")
    return read_adapter(
        "base+lora",
        config=json.loads((adapter / "adapter_config.json").read_text()),
        headers=headers,
        model=read_headers(base),
        zeros=lambda names: {name for name in names if not tensors[name].any()},
        tied=bool(model_config(base).get("tie_word_embeddings")),
        **settings,
    )


EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("llama", {"target_modules": "all-linear"}),
        ("llama", {"use_rslora": True, "lora_alpha": 1}),
        ("llama", {"use_dora": True}),
        ("llama", {"use_dora": True, "target_modules": ["q_proj", "embed_tokens"]}),
        ("llama", {"init_lora_weights": "pissa"}),
        ("llama", {"init_lora_weights": "mica"}),
        ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("llama", {"modules_to_save": ["norm"]}),  # by the end of the name: all three norms
        ("llama", {"modules_to_save": ["mlp"]}),
        ("llama", {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"]}),
        ("llama", {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
        ("llama", {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 2}}),
        ("llama", {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]}),
        ("llama", {"layers_to_transform": 1, "layers_pattern": "layers"}),
        ("llama", {"target_modules": ["q_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]}),
        ("llama", {"target_modules": r"model\.layers\.0\..*\.(q|v)_proj"}),
        ("llama", {"target_modules": None}),  # PEFT's own for Llama: q_proj and v_proj
        ("llama", {"trainable_token_indices": [3, 5]}),
        ("llama", {"trainable_token_indices": {"embed_tokens": [3], "lm_head": [4, 5]}}),
        ("llama", {"target_modules": [], "target_parameters": ["q_proj.weight"]}),
        ("biased", {"bias": "lora_only"}),
        ("biased", {"bias": "all"}),
        ("biased", {"lora_bias": True}),
        ("tied", {"target_modules": "all-linear"}),
        ("tied", {"modules_to_save": ["lm_head"]}),
        ("tied", {"modules_to_save": ["embed_tokens"]}),
        ("tied", {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
        ("tied", {"target_modules": ["q_proj", "embed_tokens"]}),
        ("tied", {"target_modules": ["q_proj", "lm_head"]}),
        ("tied", {"target_modules": ["embed_tokens"], "ensure_weight_tying": True}),
        ("tied", {"trainable_token_indices": [3, 5]}),
        ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
        ("gpt2", {"target_modules": ["c_attn", "wte", "wpe"], "bias": "all"}),
        ("bare gpt2", {"target_modules": ["c_attn"], "modules_to_save": ["ln_f"]}),
        ("mixtral", {"target_modules": "all-linear"}),
        ("mixtral", {"target_parameters": EXPERTS}),
        ("mixtral", {"target_modules": [], "target_parameters": EXPERTS[1:]}),
        ("mixtral", {"target_parameters": EXPERTS[:1], "rank_pattern": {"gate_up_proj": 2}}),
        ("mixtral", {"target_parameters": ["mlp.gate.weight"]}),
        ("qwen3 moe", {"target_modules": "all-linear"}),
        ("qwen3 moe", {"target_parameters": EXPERTS}),
        ("llava", {"modules_to_save": ["lm_head", "multi_modal_projector"]}),
        ("llava", {"target_modules": ["patch_embedding", "fc1", "lm_head"]}),
        ("qwen2 vl", {"target_modules": ["q_proj", "qkv"], "modules_to_save": ["embed_tokens"]}),
    ],
)
def test_changes_are_those_of_peft(
    base: Callable[[str], Path], tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    """Exactly the tensors that differ after PEFT has merged the adapter, whatever it trained."""
    adapter = train(base(kind), tmp_path / "lora", **settings)

    found = read(base(kind), adapter)

    assert set(found.changes) == changes(base(kind), merge(base(kind), adapter, tmp_path / "out"))
    assert set(found.whole) <= set(found.changes)
    assert read(base(kind), adapter, modules=load(base(kind)).state_dict().keys()) == found


def swap(*pairs: str) -> Callable[[str], str]:
    """Return what replaces the first text of each pair by the second in a name."""
    return lambda name: reduce(lambda n, two: n.replace(*two.split(" > ")), pairs, name)


@pytest.mark.parametrize(
    ("kind", "rename"),
    [
        ("llama", swap("lora_A. > lora_A.default.", "lora_B. > lora_B.default.")),
        ("llama", swap("embedding_A > embedding_A.default", "embedding_B > embedding_B.default")),
        ("llava", swap("model.model.language_model. > model.language_model.model.")),
        ("llava", swap("vision_tower. > vision_tower.vision_model.")),
        ("llava", swap("model.vision_tower. > vision_tower.vision_model.")),
    ],
)
def test_names_that_peft_translates(
    base: Callable[[str], Path], tmp_path: Path, kind: str, rename: Callable[[str], str]
) -> None:
    """Other spellings, and those of older versions, change the same."""
    adapter = train(base(kind), tmp_path / "lora", target_modules=["q_proj", "fc1", "embed_tokens"])
    expected = read(base(kind), adapter).changes

    edit(adapter, rename=rename)

    modules = load(base(kind)).state_dict().keys()
    assert changes(base(kind), merge(base(kind), adapter, tmp_path / "out")) == set(expected)
    assert read(base(kind), adapter, modules=modules).changes == expected
    assert read(base(kind), adapter).changes == expected


def test_one_lora_for_each_expert(base: Callable[[str], Path], tmp_path: Path) -> None:
    """As transformers 4 had them: PEFT fuses them."""
    folder = base("mixtral")
    adapter = train(folder, tmp_path / "lora")
    shapes = {"w1": (24, 16), "w2": (16, 24), "w3": (24, 16)}
    torch.manual_seed(2)
    old = {
        f"{PREFIX}model.layers.{i}.block_sparse_moe.experts.{e}.{w}.lora_{s}.weight": torch.randn(
            (4, columns) if s == "A" else (rows, 4)
        )
        for i in range(2)
        for e in range(4)
        for w, (rows, columns) in shapes.items()
        for s in "AB"
    }
    edit(adapter, add=old, target_modules=["q_proj", "w1", "w2", "w3"])

    found = read(folder, adapter)

    assert set(found.changes) == changes(folder, merge(folder, adapter, tmp_path / "out"))
    assert len(found.changes) == 2 + 2 * 4 * 3
    assert read(folder, adapter, modules=load(folder).state_dict().keys()) == found


@pytest.mark.parametrize(
    ("kind", "settings", "changed"),
    [
        ("llama", {}, {"rename": swap("base_model.model. > ")}),
        ("llama", {}, {"rename": swap("base_model.model. > base_model.model.base_model.model.")}),
        ("llama", {}, {"rename": lambda name: f"module.{name}"}),
        ("llama", {}, {"rename": swap("base_model.model. > base_model.model._orig_mod.")}),
        ("llama", {}, {"rename": swap("lora_A. > lora_A.mine.", "lora_B. > lora_B.mine.")}),
        ("llama", {}, {"rename": swap("lm_head. > lm_head.modules_to_save.default.")}),
        ("llama", {}, {"rename": swap("model.model. > model.model.language_model.")}),
        ("llama", {}, {"drop": "lm_head"}),
        ("llama", {}, {"drop": "layers.0.self_attn.q_proj.lora_B"}),
        ("llama", {}, {"target_modules": ["q_proj"]}),
        ("llama", {}, {"target_modules": ".*q_proj"}),
        ("llama", {}, {"exclude_modules": ["v_proj"]}),
        ("llama", {}, {"exclude_modules": ".*v_proj"}),
        ("llama", {}, {"layers_to_transform": [1]}),
        ("llama", {}, {"layers_to_transform": [0, 1], "layers_pattern": ["blocks"]}),
        ("llama", {}, {"modules_to_save": ["lm_head", "q_proj"]}),
        ("llama", {}, {"r": 8}),
        ("llama", {}, {"rank_pattern": {"v_proj": 2}}),
        ("llama", {}, {"lora_alpha": 0}),
        ("llama", {}, {"alora_invocation_tokens": [1, 2]}),
        ("llama", {}, {"arrow_config": {"top_k": 1}}),
        ("llama", {}, {"layer_replication": [[0, 2], [1, 2]]}),
        ("llama", {}, {"megatron_config": {"tensor_model_parallel_size": 1}}),
        ("llama", {}, {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}),
        ("llama", {}, {"target_modules": "(q_proj"}),
        ("llama", {}, {"add": {f"{PREFIX}lm_head.weight": torch.ones(34, 16)}}),
        ("llama", {}, {"add": {f"{PREFIX}model.norm.weight": torch.ones(8)}}),
        ("llama", {"use_dora": True}, {"use_dora": False}),
        ("llama", {"use_dora": True}, {"drop": "magnitude"}),
        ("llama", {"trainable_token_indices": [3]}, {"trainable_token_indices": None}),
        ("llama", {"trainable_token_indices": [3]}, {"trainable_token_indices": [3, 4]}),
        ("llama", {"trainable_token_indices": [3]}, {"trainable_token_indices": [32]}),
        ("llama", {"trainable_token_indices": [3]}, {"drop": "trainable_tokens"}),
        ("biased", {"lora_bias": True}, {"lora_bias": False}),
        ("biased", {"bias": "lora_only"}, {"rename": swap("base_layer. > ")}),
        ("llava", {}, {"rename": swap("model.lm_head > model.language_model.lm_head")}),
        ("qwen2 vl", {}, {"rename": swap("model.model.language_model. > model.model.")}),
    ],
)
def test_what_is_refused_is_not_merged_in_full(
    base: Callable[[str], Path],
    tmp_path: Path,
    kind: str,
    settings: dict[str, Any],
    changed: dict[str, Any],
) -> None:
    """PEFT fails, or merges another model than that of the adapter before it was damaged."""
    settings = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["lm_head"], **settings}
    adapter = train(base(kind), tmp_path / "lora", **settings)
    whole = merge(base(kind), adapter, tmp_path / "whole")

    edit(adapter, **changed)

    modules = load(base(kind)).state_dict().keys()
    with pytest.raises(CheckpointError, match="base"):
        read(base(kind), adapter, modules=modules)
    if kind != "qwen2 vl":  # nothing but transformers' own names says how they are nested
        with pytest.raises(CheckpointError, match="base"):
            read(base(kind), adapter)
    try:
        merged = merge(base(kind), adapter, tmp_path / "merged")
    except Exception:  # noqa: BLE001, S110 - of any type
        pass
    else:
        same = [torch.equal(v, whole[k]) for k, v in merged.items() if v.shape == whole[k].shape]
        assert not all(same)


# Without PEFT: what is said


def matrices(*names: str, rank: int = 4, rows: int = 16, columns: int = 16) -> dict[str, Header]:
    """Return the headers of pairs of LoRA matrices."""
    shapes = {"A": (rank, columns), "B": (rows, rank)}
    return {
        f"{PREFIX}{name}.lora_{side}.weight": Header(shape, "float32")
        for name in names
        for side, shape in shapes.items()
    }


Q, V = (f"model.layers.0.self_attn.{letter}_proj" for letter in "qv")
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "v_proj"]}
CONFIG |= {"base_model_name_or_path": "org/base"}
MODEL = {
    "model.embed_tokens.weight": Header((32, 16), "float32"),
    f"{Q}.weight": Header((16, 16), "float32"),
    f"{V}.weight": Header((16, 16), "float32"),
    "model.norm.weight": Header((16,), "float32"),
    "lm_head.weight": Header((32, 16), "float32"),
}
FOR_ANOTHER = "use it with the model that it was made for; it says: org/base"
INCOMPLETE = "take a complete file. If it came from the Hub: hf download ID --force-download"
MERGE_ONCE = (
    "merge it in transformers, and write that FOLDER into the config: model = "
    "AutoModelForCausalLM.from_pretrained('base'); model.resize_token_embeddings(34); model = "
    "PeftModel.from_pretrained(model, 'lora').merge_and_unload(); model.save_pretrained(FOLDER); "
    "AutoTokenizer.from_pretrained('lora').save_pretrained(FOLDER)"
)


def told(
    headers: dict[str, Header], config: dict[str, Any] | None = None, **settings: Any
) -> Adapter:
    """Read what was made up."""
    config = CONFIG | (config or {})
    return read_adapter("base+lora", config=config, headers=headers, model=MODEL, **settings)


def whole(name: str, *shape: int) -> dict[str, Header]:
    """Return the header of one tensor."""
    return {f"{PREFIX}{name}": Header(shape, "float32")}


@pytest.mark.parametrize(
    ("headers", "config", "message", "hint"),
    [
        (
            {},
            {"peft_type": "LOHA"},
            "'lora' is an adapter of type 'LOHA', expected LORA",
            "",
        ),
        (
            matrices(Q),
            {"layer_replication": [[0, 1], [0, 1]]},
            "the adapter uses layer_replication, expected one that PEFT can merge",
            "name a whole model, or an adapter that was trained without it",
        ),
        (
            matrices(Q),
            {"init_lora_weights": "loftq"},
            "the adapter uses init_lora_weights: loftq, expected one that PEFT can merge",
            "name a whole model, or an adapter that was trained without it",
        ),
        (
            matrices(Q),
            {"lora_alpha": 0},
            "lora_alpha is 0 in its adapter_config.json, so the adapter changes nothing",
            "write the lora_alpha of its training into that file",
        ),
        (
            {},
            {},
            "the adapter's file contains no LoRA matrices, expected lora_A and lora_B",
            INCOMPLETE,
        ),
        (
            whole("lm_head.original_module.weight", 32, 16),
            {},
            "the adapter's file contains no LoRA matrices, expected lora_A and lora_B",
            INCOMPLETE,
        ),
        (
            matrices("model.language_model.layers.0.self_attn.q_proj"),
            {},
            "2 of the adapter's 2 tensors fit no module, and PEFT would ignore them. One is "
            "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight: "
            "the model has model.layers.0.self_attn.q_proj",
            FOR_ANOTHER,
        ),
        (
            matrices(Q, "model.layers.7.self_attn.q_proj"),
            {},
            "2 of the adapter's 4 tensors fit no module, and PEFT would ignore them. One is "
            "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight: "
            "the model has model.layers.0.self_attn.q_proj",
            FOR_ANOTHER,
        ),
        (
            matrices(Q) | whole("score.weight", 2, 16),
            {},
            "1 of the adapter's 3 tensors fit no module, and PEFT would ignore them. One is "
            "base_model.model.score.weight: the model has no score",
            FOR_ANOTHER,
        ),
        (
            {f"module.{name}": header for name, header in matrices(Q).items()},
            {},
            "2 of the adapter's 2 tensors fit no module, and PEFT would ignore them. One is "
            f"module.base_model.model.{Q}.lora_A.weight: it contains 'module', which "
            "DistributedDataParallel and DeepSpeed put into names",
            "save the adapter again with save_pretrained of the model inside the wrapper",
        ),
        (
            matrices(f"_orig_mod.{Q}"),
            {},
            "2 of the adapter's 2 tensors fit no module, and PEFT would ignore them. One is "
            f"base_model.model._orig_mod.{Q}.lora_A.weight: it contains '_orig_mod', which "
            "torch.compile puts into names",
            "save the adapter again with save_pretrained of the model inside the wrapper",
        ),
        (
            {name.removeprefix(PREFIX): header for name, header in matrices(Q).items()},
            {},
            "2 of the adapter's 2 tensors fit no module, and PEFT would ignore them. One is "
            f"{Q}.lora_A.weight: expected one 'base_model.model.' at its beginning",
            "save the adapter again with save_pretrained of PEFT, or rename all tensors",
        ),
        (
            matrices(Q) | whole(f"{Q}.lora_magnitude_vector", 16),
            {},
            "1 of the adapter's 3 tensors fit no module, and PEFT would ignore them. One is "
            f"base_model.model.{Q}.lora_magnitude_vector: the model has the module, but "
            "PEFT expects no such tensor for it",
            "does adapter_config.json have the options of its training (use_dora, lora_bias and "
            "trainable_token_indices)? If not, add them; otherwise save the adapter "
            "again with save_pretrained of PEFT",
        ),
        (
            matrices(Q, V),
            {"target_modules": ["q_proj"]},
            "1 of the adapter's 2 LoRA pairs are for modules that its adapter_config.json does not "
            f"name, and PEFT would ignore them. One is {V}",
            "in that file correct target_modules, exclude_modules or layers_to_transform",
        ),
        (
            dict(list(matrices(Q).items())[:1]),
            {},
            f"the adapter has no lora_B for {Q}, expected lora_B beside the others",
            INCOMPLETE,
        ),
        (
            matrices(Q),
            {"use_dora": True},
            f"the adapter has no lora_magnitude_vector for {Q}, expected lora_magnitude_vector "
            "beside the others",
            INCOMPLETE,
        ),
        (
            matrices(Q) | whole(f"{Q}.lora_B.weight", 16, 8),
            {},
            f"lora_A and lora_B of {Q} are 4x16 and 16x8, expected the same rank in both",
            INCOMPLETE,
        ),
        (
            matrices(Q) | whole(f"{Q}.lora_B.weight", 0),
            {},
            f"lora_A and lora_B of {Q} are 4x16 and 0, expected matrices",
            "DeepSpeed ZeRO-3 can cause this: save the adapter again, with "
            "stage3_gather_16bit_weights_on_model_save",
        ),
        (
            matrices(Q),
            {"r": 8},
            f"lora_A and lora_B of {Q} have rank 4, expected 8 as its adapter_config.json says",
            "correct r or rank_pattern in that file",
        ),
        (
            matrices(Q, rows=24),
            {},
            f"lora_B x lora_A of {Q} is 24x16, expected 16x16 as in the model",
            FOR_ANOTHER,
        ),
        (
            matrices(Q) | whole(f"{Q}.lora_B.bias", 16),
            {"lora_bias": True},
            f"the adapter has a bias for {Q}, expected a model that has one",
            FOR_ANOTHER,
        ),
        (
            matrices(Q) | whole("lm_head.weight", 34, 16),
            {"modules_to_save": ["lm_head"]},
            "the adapter's lm_head.weight has 34 rows, expected 32 as in the model: it was "
            "trained with another vocabulary",
            MERGE_ONCE,
        ),
        (
            matrices(Q) | matrices("lm_head", rows=34),
            {"target_modules": ["q_proj", "lm_head"]},
            "the adapter's lm_head.weight has 34 rows, expected 32 as in the model: it was "
            "trained with another vocabulary",
            MERGE_ONCE,
        ),
        (
            matrices(Q)
            | whole("model.embed_tokens.base_layer.weight", 34, 16)
            | whole("model.embed_tokens.lora_embedding_A", 4, 34)
            | whole("model.embed_tokens.lora_embedding_B", 16, 4),
            {"target_modules": ["q_proj", "embed_tokens"]},
            "the adapter's model.embed_tokens.weight has 34 rows, expected 32 as in the model: it "
            "was trained with another vocabulary",
            MERGE_ONCE,
        ),
        (
            matrices(Q) | whole("model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16),
            {"trainable_token_indices": [32, 33]},
            "the adapter's model.embed_tokens.weight has 34 rows, expected 32 as in the model: it "
            "was trained with another vocabulary",
            MERGE_ONCE,
        ),
        (
            matrices(Q) | whole("model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 16),
            {"trainable_token_indices": [3]},
            "the adapter has 2 rows for tokens of model.embed_tokens, expected 1 as "
            "trainable_token_indices in its adapter_config.json",
            FOR_ANOTHER,
        ),
        (
            matrices(Q),
            {"trainable_token_indices": [3]},
            "its adapter_config.json sets trainable_token_indices, but the adapter's file contains "
            "no trainable_tokens_delta",
            INCOMPLETE,
        ),
        (
            matrices(Q) | whole("model.norm.weight", 8),
            {},
            "the adapter's model.norm.weight is 8, expected 16",
            FOR_ANOTHER,
        ),
        (
            matrices(Q),
            {"modules_to_save": ["lm_head"]},
            "modules_to_save in its adapter_config.json contains 'lm_head', but the adapter's "
            "file does not contain base_model.model.lm_head.weight",
            "take a complete file. If this part was never trained, remove 'lm_head' from "
            "modules_to_save",
        ),
        (
            matrices(Q),
            {"target_modules": "(q_proj"},
            "its adapter cannot be read: missing ), unterminated subpattern at position 0",
            INCOMPLETE,
        ),
    ],
)
def test_refusals(
    headers: dict[str, Header], config: dict[str, Any], message: str, hint: str
) -> None:
    """What is wrong, where, what was expected; and what to do next."""
    with pytest.raises(CheckpointError) as caught:
        told(headers, config)

    assert (str(caught.value), caught.value.hint) == (f"model 'base+lora': {message}", hint)


def test_an_adapter_that_was_not_trained(base: Callable[[str], Path], tmp_path: Path) -> None:
    """PEFT begins with zeros in every lora_B, and merging changes nothing."""
    adapter = train(base("llama"), tmp_path / "lora", trained=False)

    assert not changes(base("llama"), merge(base("llama"), adapter, tmp_path / "out"))
    with pytest.raises(CheckpointError) as caught:
        read(base("llama"), adapter)

    message = "model 'base+lora': the adapter changes nothing: all its 2 lora_B are zero"
    hint = "was it trained? If so, use a later checkpoint of the training"
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_mica_begins_with_the_other_matrix(base: Callable[[str], Path], tmp_path: Path) -> None:
    """There lora_A is zero before training."""
    adapter = train(base("llama"), tmp_path / "lora", trained=False, init_lora_weights="mica")

    with pytest.raises(CheckpointError, match="all its 2 lora_A are zero"):
        read(base("llama"), adapter)


def test_some_pairs_are_zero() -> None:
    """They change nothing, and are counted as such."""
    found = told(matrices(Q, V), zeros=lambda _: {f"{PREFIX}{V}.lora_B.weight"})

    assert found.changes == {f"{Q}.weight": 256}
    assert found.warnings == (
        f"1 of the adapter's 2 LoRA pairs are zero and change nothing, such as that of {V}",
    )


def test_what_the_config_names_and_the_file_lacks(
    base: Callable[[str], Path], tmp_path: Path
) -> None:
    """Said where PEFT says it, which leaves those matrices as they are."""
    adapter = train(base("llama"), tmp_path / "lora", target_modules=["q_proj", "v_proj"])
    assert read(base("llama"), adapter).warnings == ()

    edit(adapter, drop="layers.1.self_attn.v_proj", target_modules=["q_proj", "v_proj", "k_proj"])
    found = read(base("llama"), adapter)

    assert found.warnings == (
        "the adapter contains nothing for 3 matrices that its adapter_config.json names, such as "
        "model.layers.0.self_attn.k_proj.weight: they do not change",
    )
    assert set(found.changes) == changes(
        base("llama"), merge(base("llama"), adapter, tmp_path / "out")
    )
    with pytest.warns(UserWarning, match="Found missing adapter keys") as said:
        PeftModel.from_pretrained(load(base("llama")), str(adapter))
    messages = [str(one.message) for one in said]
    assert [m.count(".lora_B.") for m in messages if "missing adapter keys" in m] == [3]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"modules_to_save": ["lm_head"]},
            "the adapter replaces its head or its embedding, which the model ties: merged, they "
            "differ, and config.json needs tie_word_embeddings: false",
        ),
        (
            {"target_modules": ["embed_tokens"]},
            "the adapter has LoRA matrices for its head or its embedding, which the model ties: "
            "merging them changes both, unlike the training",
        ),
        ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, ""),
        ({"trainable_token_indices": [3, 5]}, ""),
    ],
)
def test_a_tied_head(
    base: Callable[[str], Path], tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    """PEFT unties what was replaced, and merges LoRA matrices into both."""
    adapter = train(base("tied"), tmp_path / "lora", **settings)
    tokens = torch.arange(9)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = PeftModel.from_pretrained(load(base("tied")), str(adapter)).eval()(tokens)
        merge(base("tied"), adapter, tmp_path / "out")
        merged = load(tmp_path / "out")

    assert read(base("tied"), adapter).warnings == ((expected,) if expected else ())
    assert merged.config.tie_word_embeddings is ("differ" not in expected)
    same = torch.allclose(merged(tokens).logits, trained.logits, atol=1e-5)
    assert same is ("unlike the training" not in expected)


def test_the_next_step_for_added_tokens(
    base: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Done as it is written, it gives a model with the trained rows."""
    shutil.copytree(base("llama"), tmp_path / "base")
    trained = torch.full((34, 16), 0.5)
    adapter = train(tmp_path / "base", tmp_path / "lora", modules_to_save=["lm_head"])
    edit(adapter, add={f"{PREFIX}lm_head.weight": trained})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path / "base", adapter)

    steps = caught.value.hint.partition("config: ")[2].split("; ")
    scope = {"FOLDER": "out", "PeftModel": PeftModel, "AutoModelForCausalLM": AutoModelForCausalLM}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec("; ".join(steps[:4]), scope)  # noqa: S102 - the tokenizer is missing here

    tensors = tensors_of(tmp_path / "out")
    assert torch.equal(tensors["lm_head.weight"], trained)
    assert tensors["model.embed_tokens.weight"].shape == (34, 16)


@pytest.mark.parametrize("value", [5, -1.5, "x", "(", [1], [None], {"a": 1}, {"a": [3]}, [[]]])
@pytest.mark.parametrize(
    "option",
    [
        *("r", "lora_alpha", "target_modules", "exclude_modules", "modules_to_save"),
        *("layers_to_transform", "layers_pattern", "rank_pattern", "target_parameters"),
        *("trainable_token_indices", "base_model_name_or_path", "init_lora_weights", "peft_type"),
    ],
)
def test_a_config_from_anywhere(option: str, value: object) -> None:
    """Whatever stands in it, there is an answer or a refusal in one line."""
    tokens = whole("model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 16)
    for headers in (matrices(Q, V), matrices(Q) | tokens):
        with suppress(CheckpointError):
            assert told(headers, {"layers_to_transform": [0]} | {option: value}).changes


@pytest.mark.parametrize("shape", [(), (0,), (4,), (0, 0), (4, 0), (4, 16, 1), (2, 2, 2, 2)])
@pytest.mark.parametrize(
    "name",
    [
        *(f"{Q}.lora_A.weight", f"{Q}.lora_B.weight", f"{Q}.base_layer.weight", "lm_head.weight"),
        "model.embed_tokens.token_adapter.trainable_tokens_delta",
    ],
)
def test_shapes_from_anywhere(name: str, shape: tuple[int, ...]) -> None:
    """Tensors of other dimensions are refused."""
    config = {"trainable_token_indices": [3]} if "token_adapter" in name else {}

    with pytest.raises(CheckpointError):
        told(matrices(Q) | whole(name, *shape), config)


def test_text_for_plan() -> None:
    """How much changes, in one line."""
    head, norm = whole("lm_head.weight", 32, 16), whole("model.norm.weight", 16)

    assert [
        told(headers).as_text() for headers in (matrices(Q, V), matrices(Q) | head, head, norm)
    ] == [
        "LoRA of rank 4 on 2 of 5 tensors (33 % of the parameters)",
        "LoRA of rank 4 on 1 of 5 tensors, 1 more replaced as a whole (49 % of the parameters)",
        "1 of 5 tensors replaced as a whole (33 % of the parameters)",
        "1 of 5 tensors replaced as a whole (1 % of the parameters)",
    ]
    assert told(norm).share == 16 / (2 * 32 * 16 + 2 * 16 * 16 + 16)


def test_modules_decide_where_a_checkpoint_leaves_out_the_root() -> None:
    """GPT-2 on the Hub has no `transformer.` in its names, PEFT needs it in an adapter's."""
    model = {"h.0.attn.c_attn.weight": Header((16, 48), "float32")}
    read = partial(read_adapter, "base+lora", config=CONFIG | {"target_modules": ["c_attn"]})
    modules = ["transformer.h.0.attn.c_attn.weight"]
    right = matrices("transformer.h.0.attn.c_attn", rows=48)

    found = read(headers=right, model=model, modules=modules)

    assert found == read(headers=right, model=model)
    assert found.changes == {"h.0.attn.c_attn.weight": 768}
    with pytest.raises(CheckpointError, match="the model has transformer"):
        read(headers=matrices("h.0.attn.c_attn", rows=48), model=model, modules=modules)


def test_what_peft_saves_more_than_once_of_a_resized_matrix() -> None:
    """Beside lm_head.weight also .modules_to_save.weight and .original_module.weight: copies."""
    prefix = "base_model.model."
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    config["modules_to_save"] = ["lm_head"]
    rows = Header((66, 8), "float32")
    headers = {
        f"{prefix}model.layers.0.self_attn.q_proj.lora_A.weight": Header((2, 8), "float32"),
        f"{prefix}model.layers.0.self_attn.q_proj.lora_B.weight": Header((8, 2), "float32"),
        **{
            f"{prefix}lm_head.{name}weight": rows
            for name in ("", "modules_to_save.", "original_module.")
        },
    }
    model = {
        "model.embed_tokens.weight": rows,
        "model.layers.0.self_attn.q_proj.weight": Header((8, 8), "float32"),
        "lm_head.weight": rows,
    }

    found = read_adapter("base+lora", config=config, headers=headers, model=model)

    assert found.whole == ("lm_head.weight",)
