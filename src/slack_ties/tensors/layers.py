"""Read from a tensor's name its stack of layers and the number of its layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from slack_ties.tensors.layout import Layout

__all__ = ["LayerPlace", "layer_place", "stacks_of"]

FIRST_NUMBER = re.compile(r"\.(\d+)\.")


class LayerPlace(NamedTuple):
    """The parts of the name of a tensor in a layer: `stack.number.rest`."""

    stack: str  # for example model.layers, or encoder.block; empty if names begin with a number
    number: int
    rest: str

    def name(self, number: int) -> str:
        """Return the name of the same tensor in another layer."""
        return f"{self.stack}.{number}.{self.rest}"


def layer_place(name: str) -> LayerPlace | None:
    """Return a tensor's layer, from the first number in its name; None if it has no layer."""
    found = FIRST_NUMBER.search(name)
    if found is None:
        return None
    return LayerPlace(name[: found.start()], int(found[1]), name[found.end() :])


def stacks_of(layout: Layout) -> dict[str, dict[int, set[str]]]:
    """Return the stacks of layers: stack -> number of a layer -> its tensors."""
    found: dict[str, dict[int, set[str]]] = {}
    for name in layout.tensors:
        if place := layer_place(name):
            found.setdefault(place.stack, {}).setdefault(place.number, set()).add(place.rest)
    return found
