"""What is known of a tensor without reading it: its name, shape and type."""

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

# safetensors' names for the floating-point types, in transformers' words.
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}

ENTRY_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

# What transformers calls the matrices with a row for each token.
PER_TOKEN = ("embed_tokens.weight", "lm_head.weight", "wte.weight", "word_embeddings.weight")

# Buffers that models compute when they are made, and that old versions of transformers saved:
# rotary frequencies, numbers of positions, and causal masks (1 x 1 x positions x positions).
COMPUTED = re.compile(
    r"rotary_emb\.inv_freq$|rotary_pos_emb\.inv_freq$|(^|\.)position_ids$|(^|\.)token_type_ids$"
)

MASK = re.compile(r"(^|\.)(attn|attention|self_attention)\.(bias|masked_bias|causal_mask)$")


@dataclass(frozen=True)
class Header:
    """What is known of a tensor without reading it."""

    shape: tuple[int, ...]
    dtype: str  # float16, ... or another type's name as the file has it
    file: str = field(default="", compare=False)  # the weight file that holds it

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


def is_computed(tensor: str, header: Header) -> bool:
    """Say whether a tensor is a buffer that the model computes itself: no weight to merge."""
    if MASK.search(tensor):
        return header.size <= 1 or header.shape[:2] == (1, 1)
    return bool(COMPUTED.search(tensor))


def main_type(headers: Mapping[str, Header], stated: str = "") -> str:
    """Return the type of a model's weights: that of most of their entries.

    Some models keep a few tensors in a wider type; that does not make the model one of that type.

    Args:
        headers: Of the weights.
        stated: The type that the config says, which wins between equally many.

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
    """Refuse models whose tensors of one name differ in shape from the first model's.

    Args:
        models: The headers of each model by its name, the base first; at least one.
        vocabulary_may_differ: mergekit was told to align the rows of matrices that have one
            for each token: then only their other dimensions must agree.
        per_token: Those matrices, and which of their dimensions has the tokens; known by the end
            of their names if not given.

    Raises:
        CheckpointError: Names the tensor, both models and both shapes.

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
                hint = "are all models of the same base? If only the vocabulary was extended, "
                hint += "add a mergekit tokenizer section: tokenizer: {source: CT_MODEL}"
                raise CheckpointError(msg, hint=hint)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _shape(header: Header) -> str:
    return "x".join(map(str, header.shape)) or "a scalar"
