"""Refuse a merge config with unknown keys or impossible values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slack_ties.errors import RecipeError, nearest
from slack_ties.recipe.keys import TOKEN_SOURCE_KEYS, unknown_keys
from slack_ties.recipe.recipe import inputs_of, reference
from slack_ties.rule.parameters import PARAMETERS

__all__ = ["DTYPES", "FACTS_KEYS", "check_keys", "check_recipe", "settings_of"]

# Ours, under FACTS_KEY.
FACTS_KEYS = frozenset(
    {"recipe", "language", "family", "roles", "licenses", "sft_languages", "versions", "options"}
)

# The floating-point types that mergekit's dtype_from_name knows.
DTYPES = ("bfloat16", "float16", "float32", "float64")

# Parameters of stock `ties` that we ignore: int8_mask only saves memory there, and
# `rescale: false` is its default. `rescale: true` is an error: slack_ties does not rescale.
IGNORED_PARAMETERS = ("int8_mask", "rescale")


def check_recipe(data: object, where: str) -> None:
    """Refuse what would make mergekit fail late, and keys and parameters that we do not know.

    Keys that mergekit ignores are refused only with our own method: other recipes with such keys
    run with mergekit too.
    """
    if not isinstance(data, Mapping):
        got = "nothing" if data is None else "a list" if isinstance(data, list) else "a text"
        msg = f"{where}: expected a mergekit config (keys and values), got {got}"
        raise RecipeError(msg, hint="slack-ties config LANG  # writes one")
    if "experts" in data:
        msg = f"{where}: a config of mergekit-moe, which makes a mixture of experts, expected one "
        msg += "of mergekit-yaml"
        raise RecipeError(msg, hint="to make the mixture: mergekit-moe CONFIG OUT")
    if data.get("merge_method") in (None, "", "slack_ties"):
        for place, key, known in unknown_keys(where, data):
            raise _unknown_key(place, key, known)
    _check_top(where, data)
    _check_parts(where, data)
    _check_tokenizer(where, data)
    if data.get("base_model"):
        _check_reference(f"{where}: base_model", data["base_model"])
    if not any(True for _ in inputs_of(data)):
        msg = f"{where}: expected at least one model to merge"
        raise RecipeError(msg)
    if data["merge_method"] == "slack_ties":
        _check_slack_ties(where, data)


def _check_top(where: str, data: Mapping[str, Any]) -> None:
    """Check the method, the inputs and the types."""
    if not data.get("merge_method"):
        msg = f"{where}: merge_method is missing"
        raise RecipeError(msg, hint="add: merge_method: slack_ties")
    if sum(bool(data.get(key)) for key in ("models", "slices", "modules")) != 1:
        msg = f"{where}: expected exactly one of models, slices and modules"
        raise RecipeError(msg)
    for key in ("dtype", "out_dtype"):
        name = data.get(key)
        if name is not None and str(name).removeprefix("torch.") not in DTYPES:
            msg = f"{where}: {key}: unknown type {name!r}.{nearest(str(name), list(DTYPES))}"
            raise RecipeError(msg, hint=f"known: {', '.join(DTYPES)}")


def _check_parts(where: str, data: Mapping[str, Any]) -> None:
    """Check the shape of models, slices and modules, at every depth."""
    modules = data.get("modules") or {}
    if not isinstance(modules, Mapping):
        msg = f"{where}: modules: expected names and modules, got {modules!r}"
        raise RecipeError(msg)
    for name, module in modules.items():
        _check_mapping(f"{where}: modules.{name}", module)
        _check_parts(f"{where}: modules.{name}", module)
    for name in ("models", "slices", "sources"):
        parts = data.get(name) or []
        if not isinstance(parts, list):
            msg = f"{where}: {name}: expected a list, got {parts!r}"
            raise RecipeError(msg)
        for i, part in enumerate(parts):
            key = f"{where}: {name}[{i}]"
            _check_mapping(key, part)
            if name != "slices" and not part.get("model"):
                msg = f"{key}: model is missing"
                raise RecipeError(msg)
            if "model" in part:
                _check_reference(f"{key}.model", part["model"])
            if part.get("base_model"):
                _check_reference(f"{key}.base_model", part["base_model"])
            _check_parts(key, part)
        if name == "models":
            _check_twice(where, parts)


def _check_twice(where: str, parts: list[Mapping[str, Any]]) -> None:
    names = [reference(part["model"]) for part in parts if "model" in part]
    for name in names:
        if names.count(name) > 1:
            msg = f"{where}: models lists {name!r} twice"
            raise RecipeError(msg, hint="list it once, with the sum of the weights")


def _check_reference(where: str, value: object) -> None:
    """Check the shape of a model's name: one line, or mergekit's long form."""
    if isinstance(value, Mapping):
        if "path" in value and "model" not in value:
            return
        if not value.get("model"):
            msg = f"{where}: model is missing"
            raise RecipeError(msg)
        for key in ("model", "lora"):
            if value.get(key):
                _check_reference(f"{where}.{key}", value[key])
    elif not isinstance(value, str):
        msg = f"{where}: expected a folder or a Hub id, got {value!r}"
        raise RecipeError(msg, hint="put quotes around a name that is a number")


def _check_tokenizer(where: str, data: Mapping[str, Any]) -> None:
    """Check the shape of the tokenizer section, and of what else concerns the tokenizer."""
    if data.get("tokenizer_source"):
        _check_reference(f"{where}: tokenizer_source", data["tokenizer_source"])
    template = data.get("chat_template")
    if template is not None and not isinstance(template, str):
        msg = f"{where}: chat_template: expected a text, got {template!r}"
        raise RecipeError(msg)
    section = data.get("tokenizer")
    if section is None:
        return
    _check_mapping(f"{where}: tokenizer", section)
    if data.get("tokenizer_source"):
        msg = f"{where}: expected tokenizer or tokenizer_source, got both"
        raise RecipeError(msg)
    if section.get("source"):
        _check_reference(f"{where}: tokenizer.source", section["source"])
    padding = section.get("pad_to_multiple_of")
    if padding is not None and (not isinstance(padding, int) or padding < 0):
        msg = f"{where}: tokenizer.pad_to_multiple_of: expected a whole number, got {padding!r}"
        raise RecipeError(msg)
    _check_tokens(where, section.get("tokens") or {})


def _check_tokens(where: str, tokens: object) -> None:
    if not isinstance(tokens, Mapping):
        msg = f"{where}: tokenizer.tokens: expected tokens and sources, got {tokens!r}"
        raise RecipeError(msg)
    for token, how in tokens.items():
        key = f"{where}: tokenizer.tokens.{token}"
        _check_mapping(key, how)
        source = how.get("source")
        if isinstance(source, Mapping) and "kind" in source:
            check_keys(f"{key}.source", source, TOKEN_SOURCE_KEYS)
            source = source.get("model")
        if source:
            _check_reference(f"{key}.source", source)


def check_keys(where: str, part: object, known: frozenset[str]) -> None:
    """Refuse a part that is not a mapping, or that has an unknown key."""
    _check_mapping(where, part)
    for key in part:  # type: ignore[attr-defined]  # a mapping, as checked
        if key not in known:
            raise _unknown_key(where, str(key), known)


def _check_mapping(where: str, part: object) -> None:
    if not isinstance(part, Mapping):
        msg = f"{where}: expected keys and values, got {part!r}"
        raise RecipeError(msg)


def _unknown_key(where: str, key: str, known: frozenset[str]) -> RecipeError:
    names = sorted(known)
    msg = f"{where}: unknown key {key!r}.{nearest(key, names)}"
    return RecipeError(msg, hint=f"known here: {', '.join(names)}")


def settings_of(
    where: str, data: Mapping[str, Any], *, models: bool = True
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield every `parameters` of a config: its name, its values, whether it is for one model."""
    found = [(f"{where}: parameters", data.get("parameters"), False)]
    for i, part in enumerate(data.get("slices") or ()):
        found.append((f"{where}: slices[{i}].parameters", part.get("parameters"), False))
    if models:
        for key, part in inputs_of(data):
            name = reference(part["model"])
            found.append((f"{where}: {key} ({name})", part.get("parameters"), True))
    for key, settings, per_model in found:
        if isinstance(settings, Mapping):
            yield key, settings, per_model
        elif settings is not None:
            msg = f"{key}: expected parameters and values, got {settings!r}"
            raise RecipeError(msg)
    for name, module in (data.get("modules") or {}).items():
        yield from settings_of(f"{where}: modules.{name}", module, models=False)


def _check_slack_ties(where: str, data: Mapping[str, Any]) -> None:
    """Check every parameter of our method: its name, its position and its values."""
    if not data.get("base_model"):
        msg = f"{where}: slack_ties needs a base_model, to take deltas from it"
        raise RecipeError(msg, hint="add: base_model: PATH_OR_HUB_ID")
    table = {p.name: p for p in PARAMETERS}
    for key, settings, per_model in settings_of(where, data):
        for name, value in settings.items():
            if name in IGNORED_PARAMETERS and (name, value) != ("rescale", True):
                continue
            if name not in table:
                raise _unknown_parameter(key, name, list(table), "slack_ties")
            if per_model and not table[name].per_model:
                msg = (
                    f"{key}: {name} is for the whole merge, expected it in the top-level parameters"
                )
                raise RecipeError(msg, hint=f"move {name} to the top-level parameters")
            for scalar in _scalars(f"{key}: {name}", value):
                try:
                    table[name].check(scalar)
                except ValueError as error:
                    msg = f"{key}: {error}"
                    raise RecipeError(msg) from None
    _check_required(where, data, [p.name for p in PARAMETERS if p.default is None])


def _check_required(where: str, data: Mapping[str, Any], required: list[str]) -> None:
    """Refuse a model without a parameter that has no default."""
    for i, part in enumerate(data.get("models") or ()):
        name = reference(part["model"])
        given = {**(data.get("parameters") or {}), **(part.get("parameters") or {})}
        for parameter in required:
            if name != reference(data["base_model"]) and parameter not in given:
                msg = f"{where}: models[{i}] ({name}): {parameter} is missing"
                raise RecipeError(msg, hint=f"add under its parameters: {parameter}: 1.0")


def _unknown_parameter(where: str, name: object, known: list[str], method: str) -> RecipeError:
    msg = f"{where}: unknown parameter {name!r}.{nearest(str(name), known)}"
    return RecipeError(msg, hint=f"{method} knows: {', '.join(known) or 'none'}")


def _scalars(where: str, setting: object) -> Iterator[object]:
    """Yield every scalar of a mergekit setting: a value, a gradient, or values by filter."""
    if isinstance(setting, list):
        if not setting:
            msg = f"{where}: expected a value or a list of values, got an empty list"
            raise RecipeError(msg)
        for item in setting:
            yield from _scalars(where, item)
    elif isinstance(setting, Mapping):
        check_keys(where, setting, frozenset({"value", "filter"}))
        if "value" not in setting:
            msg = f"{where}: value is missing"
            raise RecipeError(msg)
        yield from _scalars(where, setting["value"])
    else:
        yield setting
