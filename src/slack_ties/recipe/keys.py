"""The keys of a merge config, and those in a config that mergekit does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slack_ties.recipe.recipe import FACTS_KEY

__all__ = ["KEYS", "PATH_KEYS", "TOKEN_SOURCE_KEYS", "Keys", "unknown_keys"]

Keys = Mapping[str, frozenset[str]]  # the kind of a part of a config -> its keys

# mergekit 0.1.5: the fields of MergeConfiguration and of its parts. A test compares them with
# mergekit's.
KEYS: Keys = {
    "": frozenset(
        {"modules", "slices", "models", "merge_method", "base_model", "dtype", "tokenizer_source"}
        | {"tokenizer", "chat_template", "out_dtype", "parameters"}
    ),
    "models": frozenset({"model", "parameters"}),
    "slices": frozenset({"sources", "base_model", "residual_weight", "parameters"}),
    "sources": frozenset({"model", "layer_range", "parameters"}),
    "modules": frozenset({"slices", "models", "parameters"}),
    "tokenizer": frozenset({"source", "tokens", "pad_to_multiple_of"}),
    "token": frozenset({"source", "force"}),
    "reference": frozenset({"model", "lora", "override_architecture"}),  # a model's long form
}

PATH_KEYS = frozenset({"path", "revision"})

TOKEN_SOURCE_KEYS = frozenset({"kind", "model", "token_id", "token"})

NOT_MERGEKITS = frozenset({FACTS_KEY, "name"})  # ours, and mergekit-multi's


def unknown_keys(
    where: str, part: object, keys: Keys = KEYS, *, kind: str = ""
) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield each key that mergekit does not have: its place, its name, the keys known there.

    Parts of a wrong type are left out: `check_recipe` refuses them.
    """
    if not isinstance(part, Mapping):
        return
    known = keys[kind] | (frozenset() if kind else NOT_MERGEKITS)
    yield from ((where, str(key), known) for key in part if key not in known)
    for name in ("base_model", "model", "tokenizer_source", "source"):
        of_token = kind == "token" and "kind" in (part.get(name) or ())  # `check_recipe` checks it
        if name in known and not of_token:
            yield from _of_model(f"{where}: {name}", part.get(name), keys)
    for name in ("models", "slices", "sources"):
        several = part.get(name) if name in known else None
        for i, one in enumerate(several if isinstance(several, list) else ()):
            yield from unknown_keys(f"{where}: {name}[{i}]", one, keys, kind=name)
    for name, inner in (("modules", "modules"), ("tokens", "token")):
        for key, one in _items(part.get(name) if name in known else None):
            yield from unknown_keys(f"{where}: {name}.{key}", one, keys, kind=inner)
    if "tokenizer" in known:
        yield from unknown_keys(
            f"{where}: tokenizer", part.get("tokenizer"), keys, kind="tokenizer"
        )


def _of_model(where: str, value: object, keys: Keys) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield the unknown keys of a model's name in mergekit's long form."""
    if not isinstance(value, Mapping):
        return
    known = PATH_KEYS if "path" in value else keys["reference"]
    yield from ((where, str(key), known) for key in value if key not in known)
    for name in ("model", "lora"):
        yield from _of_model(f"{where}.{name}", value.get(name), keys)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    yield from value.items() if isinstance(value, Mapping) else ()
