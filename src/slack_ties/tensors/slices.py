"""Whether models fit each other, their configs and the slices of a recipe, without any weights."""

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
    """Return why a recipe's slices cannot be merged.

    Args:
        recipe: With `slices`, at the top or in modules.
        layout: The tensors of its base.
        check_inputs: The method's own check of the models of a group, its base and its name; the
            base has to be among them if it is not given.
        modules: The stack of layers that each module of the recipe is.

    """
    stacks = stacks_of(layout)
    errors: list[RecipeError] = []
    ends: dict[str, int] = {}  # of each stack: how many layers of the result stand before
    if recipe.data.get("slices") and len(stacks) != 1:
        msg = f"{recipe.where}: slices: the base has {len(stacks)} stacks of layers "
        msg += f"({', '.join(stacks)}), and slices do not say which is meant"
        return [RecipeError(msg, hint="use models: in place of slices:")]
    counts = {len(part.get("sources") or ()) for part in recipe.data.get("slices") or ()}
    if len(counts) > 1:
        msg = f"{recipe.where}: slices: all need the same number of sources, got {sorted(counts)}: "
        msg += "tensors before and behind the layers are merged of those of the first and the last"
        return [RecipeError(msg, hint="list every model in every slice, with weight 0 if need be")]
    for place, stack, part in slices_of(recipe, stacks, modules or {}):
        layers = stacks.get(stack, {})
        error = _check_slice(recipe, place, part, layers, check_inputs)
        error = error or _check_places(recipe, place, part, layers, ends.get(stack, 0))
        if error:
            errors.append(error)
            break
        first, end = part["sources"][0]["layer_range"]
        ends[stack] = ends.get(stack, 0) + end - first
    return errors


def slices_of(
    recipe: Recipe, stacks: Mapping[str, Any], modules: Mapping[str, str]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield each slice of a recipe: where it stands, its stack of layers, and what it says."""
    for i, part in enumerate(recipe.data.get("slices") or ()):
        yield f"slices[{i}]", next(iter(stacks), ""), part
    named = recipe.data.get("modules") or {}
    for name, module in named.items():
        for i, part in enumerate(module.get("slices") or ()):
            yield f"modules.{name}.slices[{i}]", modules.get(name, name), part


def _check_slice(
    recipe: Recipe,
    place: str,
    part: Mapping[str, Any],
    layers: Mapping[int, set[str]],
    check_inputs: Callable[[list[str], str, str], None] | None,
) -> RecipeError | None:
    where = f"{recipe.where}: {place}"
    sources = part.get("sources") or []
    ranges = [source.get("layer_range") for source in sources]
    for source, ends in zip(sources, ranges, strict=True):
        plain = isinstance(ends, list) and [type(one) for one in ends] == [int, int]
        if not plain or not 0 <= ends[0] < ends[1] <= (max(layers, default=-1) + 1 or ends[1]):
            msg = f"{where}: layer_range of {reference(source['model'])!r} is {ends!r}, expected "
            msg += f"[FIRST, END] within [0, {max(layers, default=-1) + 1}], END after FIRST"
            return RecipeError(msg, hint="END is the number of the first layer that is left out")
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
            check_inputs(names, base, place)
        elif base not in names:
            msg = f"{where}: the base {base!r} is not among its sources: deltas are taken from it"
            ends = ranges[0] if ranges else [0, 0]
            hint = f"add to its sources: - {{model: {base}, layer_range: {ends}}}"
            return RecipeError(msg, hint=hint)
    except ValueError as error:
        ends = ranges[0] if ranges else [0, 0]
        hint = ""
        if base and base not in names:
            hint = f"add to its sources: - {{model: {base}, layer_range: {ends}}}"
        return RecipeError(f"{where}: {error}", hint=hint)
    return None


def _check_places(
    recipe: Recipe, place: str, part: Mapping[str, Any], layers: Mapping[int, set[str]], before: int
) -> RecipeError | None:
    """Refuse a layer in the place of one that has other tensors: their names would not be right."""
    for source in part.get("sources") or []:
        for number, layer in enumerate(range(*source["layer_range"]), before):
            stands_for = layers.get(number, layers.get(0, set()))
            if layers.get(layer, stands_for) != stands_for:
                msg = f"{recipe.where}: {place}: layer {layer} cannot stand in the place of layer "
                msg += f"{number}: they do not have the same tensors"
                return RecipeError(msg, hint="use models: in place of slices:")
    return None
