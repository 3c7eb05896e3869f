"""Read from a tensor's name its layer and the kind of its module.

The names are those of the model's architecture. A module of an unknown kind is `other`.
"""

from __future__ import annotations

import re

__all__ = ["KINDS", "layer_of", "module_kind"]

KINDS = ("embedding", "q", "k", "v", "qkv", "o", "MLP", "norm", "head", "other")

# The first pattern that matches a name decides. The names are those of transformers' models.
PATTERNS = (
    ("norm", r"norm|(^|[._])ln(_?\w)?[._]|\bln\w*\."),
    ("head", r"lm_head|embed_out|score\."),
    ("embedding", r"embed|\bwte\b|\bwpe\b"),
    ("MLP", r"mlp|ffn|feed_forward|experts|\bfc\d?\b|router"),
    ("qkv", r"qkv|query_key_value|c_attn|Wqkv"),
    ("q", r"q_proj|\bquery\b|\bq(_\w+)?_proj|\bwq\b"),
    ("k", r"k_proj|\bkey\b|\bwk\b"),
    ("v", r"v_proj|\bvalue\b|\bwv\b"),
    ("o", r"o_proj|out_proj|attn.*(c_proj|dense|output)|\bwo\b|attention\.dense"),
)

LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """Return the number of a tensor's layer; None if it has no layer."""
    found = LAYER.search(name)
    return int(found[1]) if found else None


def module_kind(name: str) -> str:
    """Return one of `KINDS`."""
    return next((kind for kind, pattern in PATTERNS if re.search(pattern, name)), "other")
