"""Find the tensors and shapes of the result, with slices and a new vocabulary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.tensors.layers import layer_place, stacks_of
from slack_ties.tensors.slices import slices_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.header import Header
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.tensors.layout import Layout

__all__ = ["layers_of_result", "result_headers"]


def layers_of_result(recipe: Recipe) -> list[int]:
    """Return the number in the base of each layer of the result; [] if the numbers are equal."""
    found: list[int] = []
    for part in recipe.data.get("slices") or ():
        first, end = part["sources"][0]["layer_range"]
        found += range(int(first), int(end))
    return found


def result_headers(
    recipe: Recipe, layout: Layout, rows: int, *, modules: Mapping[str, str]
) -> dict[str, Header]:
    """Return the names and shapes of the result's tensors.

    Args:
        recipe: The merge config.
        layout: The tensors of the base.
        rows: The number of rows of the result's embedding; 0 for the base's number.
        modules: The stack of layers of each module of the recipe.

    """
    stacks = stacks_of(layout)
    layers: dict[str, list[int]] = {}
    for _, stack, part in slices_of(recipe, stacks, modules):
        first, end = part["sources"][0]["layer_range"]
        layers.setdefault(stack, []).extend(range(first, end))
    found: dict[str, Header] = {}
    for name, old in layout.tensors.items():
        header, axis, place = old, layout.vocabulary.get(name), layer_place(name)
        if rows and axis is not None:
            header = replace(old, shape=(*old.shape[:axis], rows, *old.shape[axis + 1 :]))
        if place is None or place.stack not in layers:
            found[name] = header
            continue
        for number, layer in enumerate(layers[place.stack]):
            if layer == place.number:
                found[place.name(number)] = header
    return found
