"""Read a merge config from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from slack_ties.errors import RecipeError
from slack_ties.recipe.check import FACTS_KEYS, check_keys, check_recipe
from slack_ties.recipe.missing import instead_of
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION, Facts, Recipe, reference
from slack_ties.recipe.yaml_text import keys_given_twice, read_text, values_of

__all__ = ["parse_recipe", "read_recipe"]


def read_recipe(path: str | Path) -> Recipe:
    """Read and check the merge config at `path`.

    Raises:
        RecipeError: It does not exist, is not YAML, or asks for something impossible.

    """
    path = Path(path)
    try:
        text = read_text(path)
    except FileNotFoundError:
        msg = f"no config file {str(path)!r}"
        raise RecipeError(msg, hint=instead_of(path)) from None
    return parse_recipe(text, where=str(path))


# The next step for a text that is not YAML.
NOT_YAML = "correct that place, or write a new config: slack-ties config LANG"


def parse_recipe(text: str, *, where: str) -> Recipe:
    """Check a merge config in a text; messages call it `where`.

    Raises:
        RecipeError: It is not YAML, or asks for something impossible.

    """
    try:
        data = values_of(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or error
        if problem == "but found another document":
            msg = (
                f"{where}: several configs in one file, as mergekit-multi takes them, expected one"
            )
            hint = "write each part between two --- lines into a file of its own"
            raise RecipeError(msg, hint=hint) from None
        msg = f"{where}:{line} not valid YAML: {problem}"
        raise RecipeError(msg, hint=NOT_YAML) from None
    except (ValueError, RecursionError) as error:  # 2024-13-45, or thousands of brackets
        msg = f"{where}: not valid YAML: {error}"
        raise RecipeError(msg, hint=NOT_YAML) from None
    try:
        check_recipe(data, where)
        if data["merge_method"] == "slack_ties":
            for number, key in keys_given_twice(text):
                msg = f"{where}: line {number}: {key!r} is given twice in the same place"
                raise RecipeError(msg, hint="remove one of the two: YAML would use the last one")
        return Recipe(where, text, data, _facts(data, where))
    except RecursionError:  # an anchor that contains itself
        msg = f"{where}: expected a mergekit config, got YAML that contains itself"
    except ValueError:  # an integer of thousands of digits
        msg = f"{where}: a number is too long"
    raise RecipeError(msg) from None


def _facts(data: Mapping[str, Any], where: str) -> Facts:
    facts = data.get(FACTS_KEY) or {}
    if not isinstance(facts, Mapping):
        msg = f"{where}: {FACTS_KEY}: expected keys and values, got {facts!r}"
        raise RecipeError(msg)
    if facts and facts.get("recipe") != RECIPE_VERSION:
        msg = f"{where}: {FACTS_KEY}.recipe: expected {RECIPE_VERSION}, got {facts.get('recipe')!r}"
        raise RecipeError(msg, hint="pip install --upgrade slack-ties")
    check_keys(f"{where}: {FACTS_KEY}", facts, FACTS_KEYS)

    def table(name: str, value: object) -> dict[str, str]:
        if not isinstance(value, Mapping):
            msg = f"{where}: {FACTS_KEY}.{name}: expected keys and values, got {value!r}"
            raise RecipeError(msg)
        return {str(k): str(v) for k, v in value.items()}

    def several(name: str, value: object) -> list[Any]:
        if not isinstance(value, list):
            msg = f"{where}: {FACTS_KEY}.{name}: expected a list, got {value!r}"
            raise RecipeError(msg)
        return value

    language = facts.get("language") or []
    languages = language if isinstance(language, list) else [language]
    roles = facts.get("roles") or {}
    table("roles", roles)
    options = facts.get("options") or {}
    table("options", options)
    return Facts(
        languages=tuple(table("language", one) for one in languages),
        family=str(facts.get("family") or ""),
        roles={
            str(role): tuple(map(reference, names if isinstance(names, list) else [names]))
            for role, names in roles.items()
        },
        licenses=table("licenses", facts.get("licenses") or {}),
        sft_languages=tuple(map(str, several("sft_languages", facts.get("sft_languages") or []))),
        versions=table("versions", facts.get("versions") or {}),
        options=dict(options),
    )
