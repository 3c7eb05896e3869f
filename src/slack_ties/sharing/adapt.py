"""Make a recipe for another language from somebody's recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

from slack_ties.catalogue.languages import Language, find_triple, unlisted_language
from slack_ties.config.defaults import RECOMMENDED
from slack_ties.config.make import finished
from slack_ties.errors import CatalogueError, RecipeError
from slack_ties.recipe.recipe import FACTS_KEY, Recipe, places, put, reference
from slack_ties.rule.parameters import PARAMETERS

__all__ = ["adapt_recipe", "language_of", "to_slack_ties"]

# Parameters of other methods, and why slack_ties has none of them.
WITHOUT = {
    "int8_mask": "it only saves memory, which slack_ties does not need",
    "rescale": "slack_ties does not rescale",
    "gamma": "slack_ties keeps the largest changes",
    "epsilon": "slack_ties chooses nothing at random",
    "t": "slack_ties adds changes, it does not interpolate",
}


def to_slack_ties(recipe: Recipe) -> list[str]:
    """Return what would have to change to make a config of another method slack_ties."""
    if recipe.method == "slack_ties":
        return []
    ours = {parameter.name for parameter in PARAMETERS}
    changes = [f"merge_method: slack_ties  (now {recipe.method})"]
    if not recipe.base:
        changes.append("add base_model: slack_ties adds changes to a base")
    given: set[str] = set()
    for settings in _parameters(recipe.data):
        given |= settings.keys()
    changes += [
        f"remove {name}: {WITHOUT.get(name, 'slack_ties has no such parameter')}"
        for name in sorted(given - ours)
    ]
    if recipe.base and any(
        reference(part.get("model")) == recipe.base for part in recipe.data.get("models") or ()
    ):
        changes.append(f"remove {recipe.base} from models: the base has no change to add")
    if "weight" not in given:
        changes.append("add weight to each model's parameters, 1.0 to begin with")
    if recipe.method.startswith(("dare", "della")):
        changes.append("density means the largest changes there, not random ones: begin with 0.5")
    elif "density" not in given:
        changes.append("add density to each model's parameters, 0.5 to begin with")
    changes.append(f"add slack: {RECOMMENDED['slack']} to the parameters of the SFT model")
    if recipe.method in ("linear", "slerp", "nuslerp", "multislerp", "karcher"):
        changes.append(f"weights of {recipe.method} are shares of whole models, here of changes")
    return changes


def adapt_recipe(
    recipe: Recipe,
    *,
    language: str,
    ct: str,
    instead_of: str | None = None,
    language_name: str | None = None,
) -> Recipe:
    """Return the recipe for another language: its CT model and language facts replaced.

    Args:
        recipe: With roles under our key, or with `instead_of`.
        language: A language of the catalogue, or an ISO 639 code.
        ct: The CT model of that language, of the same base.
        instead_of: The model of the recipe that it replaces; its CT model if not given.
        language_name: In English, for a language outside the catalogue.

    Raises:
        CatalogueError: `language` is no language.
        RecipeError: Which model to replace is not known.

    """
    target = language_of(language)
    if language_name and not target.name:
        target = replace(target, name=language_name)
    old = instead_of or ""
    if not old:
        cts = recipe.models_of("ct")
        if len(cts) != 1:
            found = f"{len(cts)} CT models" if cts else "no word of which model is the CT model"
            msg = f"{recipe.where}: {found}, expected one to replace"
            others = " or ".join(model for model in recipe.models if model != recipe.base)
            raise RecipeError(msg, hint=f"say which one it is: --instead-of {others}")
        (old,) = cts
    if old not in recipe.models:
        msg = f"{recipe.where}: there is no model {old!r} to replace"
        raise RecipeError(msg, hint=f"its models: {', '.join(recipe.models)}")
    data: dict[str, Any] = deepcopy(dict(recipe.data))
    for place, value in places(recipe.data):
        if reference(value) == old:
            put(data, place, ct)
            if place[0] in ("tokenizer", "tokenizer_source"):
                # Whether the new model has tokens of its own, `plan` finds out.
                data[place[0]] = None
                break
    data = {name: value for name, value in data.items() if value is not None}
    facts = dict(data.pop(FACTS_KEY, None) or {"recipe": 1})
    for name in ("versions", "options"):
        facts.pop(name, None)
    known = ("tag", "name", "endonym", "script", "iso_639_1", "iso_639_3")
    facts["language"] = {
        name: value for name, value in asdict(target).items() if value and name in known
    }
    facts["roles"] = facts.get("roles") or {"base": recipe.base, "ct": ct}
    facts["licenses"] = {k: v for k, v in (facts.get("licenses") or {}).items() if k != old}
    data[FACTS_KEY] = {name: value for name, value in facts.items() if value}
    name = target.name or target.tag
    title = f"{name}, {target.endonym}" if target.endonym else name
    return finished(
        data, f"{target.tag}.yml", ", ".join(filter(None, [title, recipe.facts.family]))
    )


def _parameters(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every `parameters` of a config."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == "parameters" and isinstance(item, Mapping):
                yield item
            elif name != FACTS_KEY:
                yield from _parameters(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parameters(item)


def language_of(name: str) -> Language:
    """Return a language of the catalogue, or one by its ISO 639 code."""
    try:
        return find_triple(name).language
    except CatalogueError:
        return unlisted_language(name)
