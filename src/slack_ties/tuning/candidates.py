"""The candidates of `tune`: methods and values as merge configs, and the text of the best one."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.config.methods import METHODS, find_method
from slack_ties.files import sha256_of
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION, Recipe, reference
from slack_ties.rule.collect import CT_WEIGHT
from slack_ties.rule.parameters import PARAMETERS
from slack_ties.tuning.study import TrialResult, key_of
from slack_ties.tuning.verdict import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "IN_ONE_PASS",
    "Candidate",
    "as_method",
    "changed_recipe",
    "config_values",
    "is_unedited",
    "parameters_of",
    "with_values",
]

IN_ONE_PASS = ("slack_ties", "ties")  # methods whose candidates we merge from the same tensors

# The line after the comments at the top of a tuned config: by the checksum we see whether somebody
# edited it.
SEAL = "# slack-ties tune replaces this file only if all other lines have the checksum "


@dataclass(frozen=True)
class Candidate:
    """What to try: values, and a merge method if it is not that of the config."""

    method: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the study."""
        return key_of(self.values, self.method)


def parameters_of(method: str) -> tuple[str, ...]:
    """Return the parameters that a method has for each model, of those that `tune` changes."""
    known = METHODS.get(method)
    return tuple(known.per_model) if known else ("weight",)


def config_values(recipe: Recipe) -> dict[str, float]:
    """Return the values that a config has now, of what `tune` changes.

    A value is left out if it is no plain number, or differs among the models that `tune` changes.
    """
    shared = recipe.data.get("parameters") or {}
    sft = recipe.models_of("sft")
    has = None if recipe.method in IN_ONE_PASS else parameters_of(recipe.method)
    found: dict[str, set[float]] = {}
    for parameter in PARAMETERS:
        if not parameter.per_model or (has is not None and parameter.name not in has):
            continue
        for part in recipe.data["models"]:
            model = reference(part["model"])
            name = _changed_by(parameter.name, of_sft=model in sft)
            if model == recipe.base or not name:
                continue
            own = {**shared, **(part.get("parameters") or {})}
            try:
                value = float(parameter.check(own.get(parameter.name, parameter.default)))
            except ValueError:  # for example a gradient
                value = math.nan
            found.setdefault(name, set()).add(value)
    one = {name: values.pop() for name, values in found.items() if len(values) == 1}
    return {name: value for name, value in one.items() if math.isfinite(value)}


def _changed_by(parameter: str, *, of_sft: bool) -> str:
    """Return the name of the value that changes a model's parameter; empty if none does."""
    if of_sft or parameter == "density":
        return parameter
    return CT_WEIGHT if parameter == "weight" else ""


def as_method(recipe: Recipe, name: str) -> Recipe:
    """Return the merge of the same models by another method, as `config --method` writes it.

    Raises:
        RecipeError: There is no such method.

    """
    method = find_method(name)
    sft, models = recipe.models_of("sft"), []
    for part in recipe.data["models"]:
        model = reference(part["model"])
        if model == recipe.base:
            continue
        parameters = {
            parameter: value
            for parameter in method.per_model
            if (value := method.value(parameter, "sft" if model in sft else "ct"))
            or parameter != "slack"
        }
        models.append(
            {"model": part["model"], **({"parameters": parameters} if parameters else {})}
        )
    data = {**recipe.data, "merge_method": method.name, "models": models}
    data["parameters"] = dict(method.shared)
    data[FACTS_KEY] = _facts(recipe, has_base=method.has_base)
    if not method.has_base:  # then it takes no part
        del data["base_model"]
    return _parsed(data, recipe)


def changed_recipe(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    """Return a config with other values: density of all models, weight and slack of the SFT's.

    `CT_WEIGHT` is the weight of all other models.

    Raises:
        RecipeError: The config would not be one that can be read.

    """
    data: dict[str, Any] = deepcopy(dict(recipe.data))
    sft = recipe.models_of("sft")
    for part in data["models"]:
        name = reference(part["model"])
        if name == recipe.base:
            continue
        parameters = part.setdefault("parameters", {})
        for key in ("slack", "density", "weight"):
            value = values.get(_changed_by(key, of_sft=name in sft))
            if value is not None:
                parameters[key] = value
    if "slack" in values:
        data["merge_method"] = "slack_ties"
    data[FACTS_KEY] = _facts(recipe, has_base=bool(recipe.base))
    return _parsed(data, recipe)


def _facts(recipe: Recipe, *, has_base: bool) -> dict[str, Any]:
    """Return our facts with the role of each model: without slack, nothing else would tell it."""
    facts = dict(recipe.data.get(FACTS_KEY) or {"recipe": RECIPE_VERSION})
    roles = {role: list(names) for role, names in recipe.facts.roles.items()} or {
        role: list(recipe.models_of(role)) for role in ("ct", "sft")
    }
    facts["roles"] = {k: v for k, v in roles.items() if v and (has_base or k != "base")}
    return facts


def _parsed(data: Mapping[str, Any], recipe: Recipe) -> Recipe:
    import yaml  # noqa: PLC0415

    text = yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True)
    return parse_recipe(text, where=recipe.where)


def with_values(recipe: Recipe, best: TrialResult, metric: str, notes: Sequence[str] = ()) -> str:
    """Return the text of a config with the method and the values of a trial, and its roles.

    Args:
        recipe: The config that was tuned.
        best: The trial.
        metric: What the search is by.
        notes: Further lines for the top of the config.

    """
    made = as_method(recipe, best.method) if best.method else recipe
    lines = [f"The best of `slack-ties tune` by {metric}: {best.key} ({in_words(best)})", *notes]
    head = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return _sealed(head, changed_recipe(made, best.values).text)


def _sealed(head: str, body: str) -> str:
    """Return the text of a tuned config: the head, a line with a checksum, and the body."""
    return f"{head}{SEAL}{sha256_of(head + body)}\n{body}"


def is_unedited(path: Path) -> bool:
    """Return whether `tune` wrote a file, and nobody edited it since."""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError):
        return False
    head, _, rest = text.partition(SEAL)
    return text == _sealed(head, rest.partition("\n")[2])
