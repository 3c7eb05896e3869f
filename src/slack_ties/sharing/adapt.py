"""Change a published recipe for another language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.catalogue.languages import (
    Language,
    find_triple,
    language_of_model,
    unlisted_language,
)
from slack_ties.config.defaults import RECOMMENDED
from slack_ties.config.make import finished, needed_section
from slack_ties.config.methods import config_name
from slack_ties.errors import CatalogueError, RecipeError
from slack_ties.recipe.keys import unknown_keys
from slack_ties.recipe.pin import add_section
from slack_ties.recipe.read import read_recipe
from slack_ties.recipe.recipe import FACTS_KEY, Recipe, places, put, reference
from slack_ties.rule.parameters import PARAMETERS

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["adapt_recipe", "language_of", "to_slack_ties", "with_tokens"]

# Parameters of other methods, and why slack_ties does not have them.
WHY_REMOVED = {
    "int8_mask": "it only saves memory, which slack_ties does not need",
    "rescale": "slack_ties does not rescale",
    "gamma": "slack_ties keeps the largest changes",
    "epsilon": "slack_ties chooses nothing at random",
    "t": "slack_ties adds changes, it does not interpolate",
}


def to_slack_ties(recipe: Recipe) -> list[str]:
    """Return the changes that turn a config of another method into one of slack_ties."""
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
        f"remove {name}: {WHY_REMOVED.get(name, 'slack_ties has no such parameter')}"
        for name in sorted(given - ours)
    ]
    changes += [
        f"remove {place.removeprefix(f'{recipe.where}: ')}: {key}, which has no effect"
        if place != recipe.where
        else f"remove {key}: it has no effect"
        for place, key, _ in unknown_keys(recipe.where, recipe.data)
    ]
    if recipe.base and any(
        reference(part.get("model")) == recipe.base for part in recipe.data.get("models") or ()
    ):
        changes.append(f"remove {recipe.base} from models: the base adds nothing")
    if "weight" not in given:
        changes.append("add weight to each model's parameters, for example 1.0")
    if recipe.method.startswith(("dare", "della")):
        changes.append("density keeps the largest changes, not random ones: try 0.5")
    elif "density" not in given:
        changes.append("add density to each model's parameters, for example 0.5")
    changes.append(f"add slack: {RECOMMENDED['slack']} to the parameters of the SFT model")
    if recipe.method in ("linear", "slerp", "nuslerp", "multislerp", "karcher"):
        changes.append(
            f"weights of {recipe.method} are for whole models, weights of slack_ties for changes"
        )
    return changes


def adapt_recipe(  # noqa: PLR0913 - all by name
    recipe: Recipe | str | Path,
    *,
    language: str,
    ct: str,
    instead_of: str | None = None,
    language_name: str | None = None,
    file: str = "",
) -> Recipe:
    """Return the recipe for another language: replace its CT model and language facts.

    Args:
        recipe: The recipe, or the path of its config. It must state the roles of its models, or
            give `instead_of`.
        language: A language of the catalogue, or an ISO 639 code.
        ct: The CT model of that language, made from the same base.
        instead_of: The model of the recipe to replace. If not given: its CT model.
        language_name: The English name of a language outside the catalogue.
        file: The name of the recipe's file, if not LANG.yml or LANG-METHOD.yml.

    Raises:
        CatalogueError: `language` is not a language.
        RecipeError: It is not known which model to replace, or the config cannot be read.

    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    target = language_of_model(language, ct)
    if language_name:
        target = replace(target, name=language_name)
    old = instead_of or ""
    if not old:
        cts = recipe.models_of("ct")
        if len(cts) != 1:
            found = f"it has {len(cts)} CT models" if cts else "it does not name its CT model"
            msg = f"{recipe.where}: {found}, expected one to replace"
            others = " or ".join(model for model in recipe.models if model != recipe.base)
            raise RecipeError(msg, hint=f"name the model to replace: --instead-of {others}")
        (old,) = cts
    if old not in recipe.models:
        msg = f"{recipe.where}: there is no model {old!r} to replace"
        raise RecipeError(msg, hint=f"its models: {', '.join(recipe.models)}")
    data: dict[str, Any] = deepcopy(dict(recipe.data))
    for key_path, value in places(recipe.data):
        if reference(value) == old and key_path[0] in ("tokenizer", "tokenizer_source"):
            data[key_path[0]] = None  # `with_tokens` finds out whether the new model needs one
        elif reference(value) == old:
            put(data, key_path, ct)
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
        data,
        file or config_name(target.tag, recipe.method),
        ", ".join(filter(None, [title, recipe.facts.family])),
    )


def with_tokens(recipe: Recipe, api: HfApi | None = None) -> tuple[Recipe, str]:
    """Return a recipe with the tokenizer section that its models need, and what the section does.

    Reads small files of the models, as `config` does. A recipe with such a section stays as it is.

    Raises:
        SlackTiesError: A model is missing or cannot be downloaded.

    """
    data = recipe.data
    if "models" not in data or data.get("tokenizer") or data.get("tokenizer_source"):
        return recipe, ""
    section, _ = needed_section({name: recipe.role(name) for name in recipe.models}, api)
    return (add_section(recipe, section.data), section.why) if section else (recipe, "")


def _parameters(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every `parameters` mapping of a config."""
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
    """Return a language of the catalogue, or a language outside it by its ISO 639 code."""
    try:
        return find_triple(name).language
    except CatalogueError:
        return unlisted_language(name)
