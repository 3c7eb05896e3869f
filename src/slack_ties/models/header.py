"""The header of a tensor: its shape and type, without its values."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENTRY_BYTES",
    "FLOATS",
    "PER_TOKEN",
    "Header",
    "check_shapes",
    "is_computed",
    "main_type",
]

# safetensors' names for the floating-point types -> transformers' names.
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}

ENTRY_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

# transformers' names for the matrices with a row for each token.
PER_TOKEN = ("embed_tokens.weight", "lm_head.weight", "wte.weight", "word_embeddings.weight")

# Buffers that a model computes when it is created, and that old versions of transformers saved:
# rotary frequencies, position ids, and causal masks (1 x 1 x positions x positions).
COMPUTED = re.compile(
    r"rotary_emb\.inv_freq$|rotary_pos_emb\.inv_freq$|(^|\.)position_ids$|(^|\.)token_type_ids$"
)

MASK = re.compile(r"(^|\.)(attn|attention|self_attention)\.(bias|masked_bias|causal_mask)$")


@dataclass(frozen=True)
class Header:
    """The shape and type of a tensor, and the file that holds it."""

    shape: tuple[int, ...]
    dtype: str  # float16, ...; for other types the name in the file
    file: str = field(default="", compare=False)  # the weight file that holds it

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


def is_computed(tensor: str, header: Header) -> bool:
    """Say whether a tensor is a buffer that the model computes itself, so it is not merged."""
    if MASK.search(tensor):
        return header.size <= 1 or header.shape[:2] == (1, 1)
    return bool(COMPUTED.search(tensor))


def main_type(headers: Mapping[str, Header], stated: str = "") -> str:
    """Return the type of a model's weights: the type of most entries.

    Some models keep a few tensors in a wider type, which does not count.

    Args:
        headers: The headers of the weights.
        stated: The config's type, which is chosen if two types have equally many entries.

    """
    entries: Counter[str] = Counter()
    for header in headers.values():
        if header.dtype in ENTRY_BYTES:
            entries[header.dtype] += header.size
    return max(sorted(entries), key=lambda one: (entries[one], one == stated), default="float32")


def check_shapes(
    models: Mapping[str, Mapping[str, Header]],
    *,
    vocabulary_may_differ: bool = False,
    per_token: Mapping[str, int] | None = None,
) -> None:
    """Refuse models if a tensor's shape differs from the first model's.

    Args:
        models: The headers of each model by its name, the base first; at least one.
        vocabulary_may_differ: The config tells mergekit to align matrices with a row per token:
            then only their other dimensions must be equal.
        per_token: The matrices with a row per token, and the dimension of the tokens in each. If
            not given, the ends of the names tell.

    Raises:
        CheckpointError: Two shapes differ.

    """
    (first, expected), *others = models.items()
    for name, headers in others:
        for tensor, header in headers.items():
            if tensor not in expected or header.shape == expected[tensor].shape:
                continue
            axis = 0 if per_token is None else per_token.get(tensor, 0)
            shapes = {_without(one.shape, axis) for one in (header, expected[tensor])}
            rows = tensor.endswith(PER_TOKEN) if per_token is None else tensor in per_token
            if not (vocabulary_may_differ and rows and len(shapes) == 1):
                msg = (
                    f"shape mismatch: {tensor} is {_shape(header)} in {name!r}, "
                    f"expected {_shape(expected[tensor])} as in {first!r}"
                )
                hint = "choose models that come from the same base; if only the vocabulary was "
                hint += "extended, add a mergekit tokenizer section: tokenizer: {source: CT_MODEL}"
                raise CheckpointError(msg, hint=hint)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _shape(header: Header) -> str:
    return "x".join(map(str, header.shape)) or "a scalar"
