"""Say which adapters are not applied tensor by tensor.

`adapted.Adapted` applies an adapter to one tensor at a time. Its tests compare the bytes with those
of mergekit's merged model. An adapter that uses anything else than these tests is merged as
mergekit does it: with the whole model on this disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slack_ties.adapter.modules import HEAD, PREFIX
from slack_ties.adapter.shapes import Shapes
from slack_ties.models.header import ENTRY_BYTES, PER_TOKEN, Header, is_computed

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

__all__ = ["unproven"]

# Keys of adapter_config.json that the tests set, and keys that say nothing about the result.
PROVEN = {
    *("r", "lora_alpha", "target_modules", "exclude_modules", "use_rslora", "use_dora"),
    *("rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern"),
    *("modules_to_save", "init_lora_weights", "bias", "task_type", "peft_type", "lora_dropout"),
    *("inference_mode", "base_model_name_or_path", "revision", "auto_mapping", "peft_version"),
    *("megatron_core", "qalora_group_size"),  # without effect if the options beside them are unset
}
# Values other than these are not proven.
VALUES: Mapping[str, tuple[object, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian"),  # others read the model's weights, or set them
    "task_type": ("CAUSAL_LM", None),  # others save a head that is not the model's
}
# PEFT's names of the matrices for a linear module, and for an embedding.
TWO = ("lora_A.weight", "lora_B.weight")
TWO_OF_TOKENS = ("lora_embedding_A", "lora_embedding_B")
EMBEDDING = "model.embed_tokens"
TYPES = ("float16", "bfloat16", "float32")

WRONG = (re.error, TypeError, AttributeError, ValueError, LookupError)


def unproven(  # noqa: PLR0913 - all by name
    *,
    config: Mapping[str, Any],
    headers: Mapping[str, Header],
    model_config: Mapping[str, Any],
    model: Mapping[str, Header],
    plain: bool,
    tied: bool,
    options: MergeOptions | None = None,
) -> str:
    """Return why an adapter is not applied tensor by tensor; "" if it is.

    Args:
        config: The adapter's adapter_config.json.
        headers: The headers of the adapter's weight file.
        model_config: The model's config.json.
        model: The headers of the model that the adapter is applied to.
        plain: Whether the model is a plain decoder (tensors/plain_models.py).
        tied: Whether the model's head is its embedding.
        options: mergekit's options.

    """
    model = {name: header for name, header in model.items() if not is_computed(name, header)}
    types = {header.dtype for header in model.values()}
    odd = sorted({*types, *(header.dtype for header in headers.values())} - {*TYPES})
    merge_dtype = options.lora_merge_dtype if options else None
    stated = merge_dtype or model_config.get("dtype") or model_config.get("torch_dtype")
    reasons = {
        "the model is not one of Llama, Mistral, Qwen2, Qwen3, Gemma and Gemma 2": not plain,
        "the model brings its own code": "auto_map" in model_config,
        f"the model stores {HEAD}, and its config.json ties it": tied and HEAD in model,
        "the model has weights of several types, and its config.json names none": not stated
        and len(types) > 1,
        "--lora-merge-cache keeps the merged model": options and options.lora_merge_cache,
        f"--lora-merge-dtype {merge_dtype} is not a type of weights": merge_dtype
        and merge_dtype not in ENTRY_BYTES,
        f"it or the model has weights of type {min(odd, default='')}": odd,
    }
    if reason := next((text for text, found in reasons.items() if found), ""):
        return reason
    try:
        return _odd_setting(config) or _odd_tensor(config, headers, model, tied=tied)
    except WRONG as error:
        return f"it cannot be read: {error}"


def _odd_setting(config: Mapping[str, Any]) -> str:
    """Name a setting of adapter_config.json that the tests do not set."""
    for key, value in config.items():
        known = value in VALUES[key] if key in VALUES else key in PROVEN or not value
        if not known:
            return f"its adapter_config.json sets {key}"
    targets = config.get("target_modules")
    if not targets or str(targets).lower() == "all-linear":
        return "its adapter_config.json does not list target_modules"
    return ""


def _odd_tensor(
    config: Mapping[str, Any],
    headers: Mapping[str, Header],
    model: Mapping[str, Header],
    *,
    tied: bool,
) -> str:
    """Name a tensor that the adapter has and should not have, or lacks."""
    reading = Shapes("", config, headers, model, None, tied=False)
    saved = config.get("modules_to_save") or []
    lost = f"{HEAD} is the embedding, and the adapter changes one of them alone"
    if tied and (reading.is_target("lm_head", HEAD) or any(map(EMBEDDING.endswith, saved))):
        return lost
    if tied and any(map("lm_head".endswith, saved)):
        return lost
    expected: set[str] = set()
    optional: set[str] = set()
    known: set[str] = set()
    for tensor, header in model.items():
        module, _, kind = tensor.rpartition(".")
        known |= {module.rpartition(".")[2]}
        if any(map(module.endswith, saved)):
            expected.add(f"{PREFIX}{tensor}")
        elif kind == "weight" and reading.is_target(module, tensor):
            if len(header.shape) < 2:  # noqa: PLR2004 - no matrix
                return f"its target_modules name {module}"
            per_token = tensor.endswith(PER_TOKEN)
            names: tuple[str, ...] = TWO_OF_TOKENS if module == EMBEDDING else TWO
            names += ("lora_magnitude_vector",) if config.get("use_dora") else ()
            expected |= {f"{PREFIX}{module}.{name}" for name in names}
            # PEFT saves an embedding below its matrices.
            optional |= {f"{PREFIX}{module}.base_layer.weight"} if per_token else set()
    if blocks := sorted({*saved} - known):
        return f"its modules_to_save names {blocks[0]}"
    if odd := sorted((expected ^ {*headers}) - optional):
        return f"it {'contains' if odd[0] in headers else 'lacks'} {odd[0]}"
    return ""
