"""Write the merged model's config.json: the base's config with the changes of the merge.

A config that transformers 5 writes lacks keys such as `rope_theta` and `torch_dtype`, which version
4 and many programs need. So we copy the base's config: a program that can read the base's config
can read this one.
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

# Keys of the number of layers, and keys of lists with an entry for each layer.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")

PER_LAYER = ("layer_types", "layers_block_type", "mlp_layer_types", "no_rope_layers")

ROWS = ("vocab_size", "vocab_size_per_layer_input")

TIE_KEY = "tie_word_embeddings"


@dataclass(frozen=True)
class Changes:
    """The changes from the base to the merged model that a config shows."""

    dtype: str  # of the merged weights
    rows: tuple[int, int] | None = None  # of the embedding: the base's, and the merged model's
    layers: Sequence[int] = ()  # each layer's number in the base; empty if the numbers are equal
    ties: bool | None = None  # whether the head is the embedding; None: as in the base


def write_config(base: Mapping[str, Any], changes: Changes, folder: Path) -> None:
    """Write config.json into `folder`; see `changed_config` for the arguments."""
    write_whole(folder / "config.json", json_text(changed_config(base, changes)))


def changed_config(base: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Return the merged model's config.

    Args:
        base: The base's config.json.
        changes: The changes of the merge.

    """
    config = deepcopy(dict(base))
    # transformers 4 reads the first key, transformers 5 the second.
    config["torch_dtype"] = config["dtype"] = changes.dtype
    for part in _parts(config):
        part.pop("quantization_config", None)  # left by training: the weights are not quantized
        for key in ("torch_dtype", "dtype"):
            if part is not config and isinstance(part.get(key), str):
                part[key] = changes.dtype
        for key in ROWS if changes.rows else ():
            if changes.rows and part.get(key) == changes.rows[0]:
                part[key] = changes.rows[1]
        if changes.ties is not None and (part is config or TIE_KEY in part):
            part[TIE_KEY] = changes.ties
    if changes.layers:
        _set_layers(config, changes.layers)
    return config


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the config, and the configs of its parts, such as text_config."""
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
