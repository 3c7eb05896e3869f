"""Find the stack of layers of each module of a recipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slack_ties.errors import RecipeError
from slack_ties.private.mergekit import data_folder
from slack_ties.tensors.layers import stacks_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.recipe.recipe import Recipe
    from slack_ties.tensors.layout import Layout

__all__ = ["stacks_of_modules"]


def stacks_of_modules(
    recipe: Recipe, config: Mapping[str, Any], layout: Layout
) -> tuple[dict[str, str], list[RecipeError]]:
    """Return the stack of layers of each module of a recipe, and the errors in the modules.

    A module is named as in mergekit's architecture files, or by its stack.
    """
    modules = recipe.data.get("modules") or {}
    stacks = stacks_of(layout)
    # mergekit 0.1.5 lacks a dot in the names of Whisper's decoder.
    plain = {stack.replace(".", ""): stack for stack in stacks}
    theirs = _mergekit_modules(config) or {"default": next(iter(stacks), "")}
    named = {name: plain.get(stack.replace(".", "")) for name, stack in theirs.items()}
    known = {stack: stack for stack in stacks}
    known |= {name: stack for name, stack in named.items() if stack is not None}
    found = {name: known[name] for name in modules if known.get(name) in stacks}
    errors = []
    for name in modules:
        if name not in found:
            msg = f"{recipe.where}: modules.{name}: the base has no such module"
            errors.append(RecipeError(msg, hint=f"known: {', '.join(sorted(known))}"))
    left = [stack for stack in stacks if stack not in found.values()]
    if modules and left and not errors:
        names = [name for name, stack in known.items() if stack in left]
        msg = f"{recipe.where}: modules: no module names {left[0]}, which the base has: the "
        msg += "merged model would lack it"
        errors.append(RecipeError(msg, hint=f"add a module: {names[0]}, or use models:"))
    return found, errors


def _mergekit_modules(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the modules of an architecture with several parts, from mergekit's files."""
    kind = (config.get("architectures") or [""])[0]
    for path in sorted(data_folder("architectures").glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if kind in data.get("architectures", ()) and data.get("kind") == "modular":
            return {name: _stack_of(module) for name, module in data["modules"].items()}
    return {}


def _stack_of(module: Mapping[str, Any]) -> str:
    weights = module["architecture"]["layer_templates"]["weights"]
    first = str(weights[0]["name"]) if weights else ""
    return f"{module.get('weight_prefix') or ''}{first.partition('.${layer_index}')[0]}"
