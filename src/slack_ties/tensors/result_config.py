"""The merged model's config.json: the base's, with what the merge changed.

transformers 5 writes a config in its own words, in which version 4, and much that builds on it,
finds neither `rope_theta` nor `torch_dtype`. So nothing is written anew: whatever could read the
base's config can read this one, and finds the same.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.files import json_text, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Changes", "changed_config", "write_config"]

# What the number of layers is called, and what has an entry for each of them.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")

PER_LAYER = ("layer_types", "layers_block_type", "mlp_layer_types", "no_rope_layers")

ROWS = ("vocab_size", "vocab_size_per_layer_input")

TIED = "tie_word_embeddings"


@dataclass(frozen=True)
class Changes:
    """How the merged model differs from the base, as far as a config says it."""

    dtype: str  # of the merged weights
    rows: tuple[int, int] | None = None  # of the embedding: the base's, and the merged model's
    layers: Sequence[int] = ()  # for each layer of the result its number in the base; empty: same
    untied: bool = False  # the head is no longer the embedding


def write_config(base: Mapping[str, Any], changes: Changes, folder: Path) -> None:
    """Write config.json into `folder`; arguments as for `changed_config`."""
    write_whole(folder / "config.json", json_text(changed_config(base, changes)))


def changed_config(base: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Return the merged model's config.

    Args:
        base: The base's config.json.
        changes: What differs.

    """
    config = deepcopy(dict(base))
    # Both of transformers' names for it: version 4 knows the first, version 5 the second.
    config["torch_dtype"] = config["dtype"] = changes.dtype
    for part in _parts(config):
        part.pop("quantization_config", None)  # left over from training: the weights are not
        for key in ("torch_dtype", "dtype"):
            if part is not config and isinstance(part.get(key), str):
                part[key] = changes.dtype
        for key in ROWS if changes.rows else ():
            if changes.rows and part.get(key) == changes.rows[0]:
                part[key] = changes.rows[1]
        if changes.untied and (part is config or TIED in part):
            part[TIED] = False
    if changes.layers:
        _set_layers(config, changes.layers)
    return config


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the config, and those of the models that it is made of."""
    inner = [value for key, value in config.items() if key.endswith("_config")]
    return [config, *(value for value in inner if isinstance(value, dict))]


def _set_layers(config: dict[str, Any], layers: Sequence[int]) -> None:
    for part in _parts(config):
        keys = [key for key in LAYERS if isinstance(part.get(key), int)]
        for key in keys[:1]:
            before = part[key]
            part[key] = len(layers)
            for name in PER_LAYER:
                values = part.get(name)
                if isinstance(values, list) and len(values) == before:
                    part[name] = [values[number] for number in layers]
        if keys:
            return
