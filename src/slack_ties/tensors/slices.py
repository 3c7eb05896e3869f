"""Check the slices of a recipe, without any weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import RecipeError
from slack_ties.recipe.recipe import Recipe, reference
from slack_ties.tensors.layers import stacks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from slack_ties.tensors.layout import Layout

__all__ = ["check_slices", "slices_of"]


def check_slices(
    recipe: Recipe,
    layout: Layout,
    check_inputs: Callable[[list[str], str, str], None] | None = None,
    *,
    modules: Mapping[str, str] | None = None,
) -> list[RecipeError]:
    """Return the reasons why a recipe's slices cannot be merged.

    Args:
        recipe: A recipe with `slices`, at the top or in modules.
        layout: The tensors of the base.
        check_inputs: The method's own check, called with the models of a slice, its base and its
            key path. If not given, the base must be among the models.
        modules: The stack of layers of each module of the recipe.

    """
    stacks = stacks_of(layout)
    errors: list[RecipeError] = []
    ends: dict[str, int] = {}  # stack -> how many layers the result has from earlier slices
    if recipe.data.get("slices") and len(stacks) != 1:
        msg = f"{recipe.where}: slices: the base has {len(stacks)} stacks of layers "
        msg += f"({', '.join(stacks)}), and slices do not name one of them"
        return [RecipeError(msg, hint="use models: instead of slices:")]
    counts = {len(part.get("sources") or ()) for part in recipe.data.get("slices") or ()}
    if len(counts) > 1:
        msg = f"{recipe.where}: slices: all need the same number of sources, got {sorted(counts)}: "
        msg += (
            "mergekit merges the tensors before and after the layers from the first and last slice"
        )
        return [RecipeError(msg, hint="list every model in every slice, with weight 0 if need be")]
    for key_path, stack, part in slices_of(recipe, stacks, modules or {}):
        layers = stacks.get(stack, {})
        error = _check_slice(recipe, key_path, part, layers, check_inputs)
        error = error or _check_layers(recipe, key_path, part, layers, ends.get(stack, 0))
        if error:
            errors.append(error)
            break
        first, end = part["sources"][0]["layer_range"]
        ends[stack] = ends.get(stack, 0) + end - first
    return errors


def slices_of(
    recipe: Recipe, stacks: Mapping[str, Any], modules: Mapping[str, str]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the key path, the stack of layers and the content of each slice of a recipe."""
    for i, part in enumerate(recipe.data.get("slices") or ()):
        yield f"slices[{i}]", next(iter(stacks), ""), part
    named = recipe.data.get("modules") or {}
    for name, module in named.items():
        for i, part in enumerate(module.get("slices") or ()):
            yield f"modules.{name}.slices[{i}]", modules.get(name, name), part


def _check_slice(
    recipe: Recipe,
    key_path: str,
    part: Mapping[str, Any],
    layers: Mapping[int, set[str]],
    check_inputs: Callable[[list[str], str, str], None] | None,
) -> RecipeError | None:
    where = f"{recipe.where}: {key_path}"
    sources = part.get("sources") or []
    ranges = [source.get("layer_range") for source in sources]
    for source, ends in zip(sources, ranges, strict=True):
        plain = isinstance(ends, list) and [type(one) for one in ends] == [int, int]
        if not plain or not 0 <= ends[0] < ends[1] <= (max(layers, default=-1) + 1 or ends[1]):
            msg = f"{where}: layer_range of {reference(source['model'])!r} is {ends!r}, expected "
            msg += f"[FIRST, END] within [0, {max(layers, default=-1) + 1}], END after FIRST"
            return RecipeError(msg, hint="END is the number of the last layer, plus one")
    if len({ends[1] - ends[0] for ends in ranges}) > 1:
        msg = f"{where}: all sources need the same number of layers, got {ranges}"
        return RecipeError(msg)
    names = [reference(source["model"]) for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        msg = f"{where} lists {twice[0]!r} twice"
        return RecipeError(msg, hint="list it once, with the sum of the weights")
    base = reference(part.get("base_model") or recipe.data.get("base_model") or "")
    try:
        if check_inputs:
            check_inputs(names, base, key_path)
        elif base not in names:
            msg = f"{where}: the base {base!r} is not among the sources: deltas need the base"
            ends = ranges[0] if ranges else [0, 0]
            hint = f"add to the sources: - {{model: {base}, layer_range: {ends}}}"
            return RecipeError(msg, hint=hint)
    except ValueError as error:
        ends = ranges[0] if ranges else [0, 0]
        hint = ""
        if base and base not in names:
            hint = f"add to the sources: - {{model: {base}, layer_range: {ends}}}"
        return RecipeError(f"{where}: {error}", hint=hint)
    return None


def _check_layers(
    recipe: Recipe,
    key_path: str,
    part: Mapping[str, Any],
    layers: Mapping[int, set[str]],
    before: int,
) -> RecipeError | None:
    """Refuse a layer that replaces a layer with other tensors: the names would be wrong."""
    for source in part.get("sources") or []:
        for number, layer in enumerate(range(*source["layer_range"]), before):
            replaced = layers.get(number, layers.get(0, set()))
            if layers.get(layer, replaced) != replaced:
                msg = f"{recipe.where}: {key_path}: layer {layer} cannot replace layer {number}: "
                msg += "they do not have the same tensors"
                return RecipeError(msg, hint="use models: instead of slices:")
    return None
