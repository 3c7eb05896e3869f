"""The parameters of a merge, as a plan shows them: what holds for each model and for the merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slack_ties.recipe.recipe import Recipe, reference
from slack_ties.rule.parameters import PARAMETERS

__all__ = ["merge_settings", "model_settings", "odd_settings", "settings_text"]

PER_MODEL = {p.name: p.default for p in PARAMETERS if p.per_model}

PER_MERGE = {p.name: p.default for p in PARAMETERS if not p.per_model}


def model_settings(recipe: Recipe, model: str) -> tuple[dict[str, Any], ...]:
    """Return the parameters of a model; several if it is listed with different ones.

    For `slack_ties` these are the values that the merge uses, defaults included. For another
    method they are the values that the config states for the model.
    """
    found: list[dict[str, Any]] = []
    for name, stated in _stated(recipe.data, {}):
        if name != model:
            continue
        one = dict(stated["own"])
        if recipe.method == "slack_ties":
            both = {**PER_MODEL, **stated["above"], **stated["own"]}
            one = {key: both[key] for key in PER_MODEL if both[key] is not None}
        if one and one not in found:
            found.append(one)
    return tuple(found)


def _stated(
    data: Mapping[str, Any], above: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Mapping[str, Any]]]]:
    """Yield each input model with its own parameters, and with those that hold around it."""
    above = {**above, **(data.get("parameters") or {})}
    for key in ("models", "sources"):
        for part in data.get(key) or ():
            own = part.get("parameters") or {}
            yield reference(part["model"]), {"own": own, "above": above}
    for part in (*(data.get("slices") or ()), *(data.get("modules") or {}).values()):
        yield from _stated(part, above)


def merge_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the parameters of the whole merge, and the types that the config states."""
    stated = {**(recipe.data.get("parameters") or {})}
    if recipe.method == "slack_ties":
        stated = {**PER_MERGE, **{key: stated[key] for key in PER_MERGE if key in stated}}
    types = {key: recipe.data[key] for key in ("dtype", "out_dtype") if recipe.data.get(key)}
    return {**stated, **types}


def odd_settings(recipe: Recipe) -> list[str]:
    """Return a warning for each parameter that is allowed, and seldom meant."""
    found: list[str] = []
    ours = recipe.method == "slack_ties"
    for model in recipe.models:
        for one in model_settings(recipe, model):
            numbers = {name: list(_numbers(value)) for name, value in one.items()}
            negative = [number for number in numbers.get("weight", ()) if number < 0]
            if negative:
                found.append(
                    f"{model}: weight {_text(negative[0])} is below 0: the merge takes away what "
                    "training added to this model"
                )
            if ours and model != recipe.base and 0 in numbers["density"]:
                found.append(
                    f"{model}: density 0 keeps only the largest entry of each tensor: the model "
                    "adds almost nothing"
                )
            slack = max(numbers.get("slack", ()), default=0)
            if ours and slack > 0 and recipe.role(model) == "ct":
                found.append(
                    f"{model}: slack {_text(slack)} protects entries of a CT model, and slack is "
                    "for the SFT model"
                )
    return list(dict.fromkeys(found))


def _numbers(value: object) -> Iterator[float]:
    """Yield all numbers in a value: mergekit also takes lists, and values for some tensors."""
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, Mapping):
        yield from _numbers(value.get("value"))
    elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            yield float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            return


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return parameters and their values as text."""
    return ", ".join(f"{name} {_text(value)}" for name, value in settings.items())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:.12g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        where = f" in {value['filter']}" if value.get("filter") else " elsewhere"
        return f"{_text(value.get('value'))}{where}"
    return str(value)
