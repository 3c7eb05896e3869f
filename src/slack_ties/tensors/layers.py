"""Layers: which stack of layers a tensor is in, by its name, and the number of its layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from slack_ties.tensors.layout import Layout

__all__ = ["LayerPlace", "layer_place", "stacks_of"]

FIRST_NUMBER = re.compile(r"\.(\d+)\.")


class LayerPlace(NamedTuple):
    """Where in a model a tensor stands: `stack.number.rest`."""

    stack: str  # for example model.layers, or encoder.block; empty if names begin with a number
    number: int
    rest: str

    def name(self, number: int) -> str:
        """Return the name of the same tensor in another layer."""
        return f"{self.stack}.{number}.{self.rest}"


def layer_place(name: str) -> LayerPlace | None:
    """Return the layer that a tensor is in, by the first number in its name; None if in none."""
    found = FIRST_NUMBER.search(name)
    if found is None:
        return None
    return LayerPlace(name[: found.start()], int(found[1]), name[found.end() :])


def stacks_of(layout: Layout) -> dict[str, dict[int, set[str]]]:
    """Return of each stack of layers the layers, and of each layer its tensors."""
    found: dict[str, dict[int, set[str]]] = {}
    for name in layout.tensors:
        if place := layer_place(name):
            found.setdefault(place.stack, {}).setdefault(place.number, set()).add(place.rest)
    return found
