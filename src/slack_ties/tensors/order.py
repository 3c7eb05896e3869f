"""The order in which mergekit reads the tensors of a merge, without mergekit.

mergekit reads by name: a tensor of every model, then the next name in the alphabet. `plan` needs
that order to say what waits in memory if weights are read from the Hub as they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from slack_ties.recipe.recipe import reference
from slack_ties.tensors.layers import layer_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slack_ties.recipe.recipe import Recipe
    from slack_ties.tensors.layout import Layout

__all__ = ["Module", "expected_reads", "modules_of", "order_of_loads"]

NO_LAYER = "default"  # the module of the tensors that belong to no layer


@dataclass(frozen=True)
class Module:
    """One stack of layers, and the tensors before and after it: names of tensors of the base."""

    first: tuple[str, ...] = ()
    layers: tuple[tuple[str, ...], ...] = ()
    last: tuple[str, ...] = ()

    def layer(self, number: int) -> tuple[str, ...]:
        """Return the tensors of a layer; a layer that the base lacks is like its first one."""
        if number < len(self.layers):
            return self.layers[number]
        places = [(name, layer_place(name)) for name in self.layers[0]]
        return tuple(place.name(number) if place else name for name, place in places)


def modules_of(layout: Layout, modules: Mapping[str, str] | None = None) -> dict[str, Module]:
    """Return the modules of the base whose tensors are merged.

    Args:
        layout: The tensors.
        modules: The config's names for the stacks of layers: name -> stack. A tensor that is in no
            layer then belongs to the module whose stack shares the most name parts with it.

    """
    stacks: dict[str, dict[int, list[str]]] = {}
    without_layer: list[str] = []
    for name in layout.tensors:
        if name in layout.copies or name in layout.kept:
            continue
        place = layer_place(name)
        if place is None:
            without_layer.append(name)
        else:
            stacks.setdefault(place.stack, {}).setdefault(place.number, []).append(name)
    names = modules or {stack: stack for stack in stacks}
    if not modules and len(stacks) == 1:
        names = {NO_LAYER: next(iter(stacks))}
    by_module: dict[str, list[str]] = {name: [] for name in names}
    for tensor in without_layer:
        module = NO_LAYER
        if modules:
            module = max(names, key=lambda name: _in_common(names[name], tensor))
        by_module.setdefault(module, []).append(tensor)
    return {
        name: Module(
            first=tuple(one for one in tensors if one not in layout.last),
            layers=_in_order(stacks.get(names.get(name, ""), {})),
            last=tuple(one for one in tensors if one in layout.last),
        )
        for name, tensors in by_module.items()
    }


def order_of_loads(
    recipe: Recipe, layout: Layout, modules: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """Return (model, tensor) in the order in which mergekit asks for them, each once.

    The tensors have the names that they have in the base. mergekit has no order among the models
    for one tensor, nor among tensors that are not merged; here it is that of the config and of the
    base. Arguments are those of `modules_of`, and the merge config.
    """
    # A tensor that is not merged depends on nothing, and has no name that mergekit sorts by.
    base = recipe.base or recipe.models[0]
    kept = [(base, name) for name in layout.kept]
    found: dict[tuple[str, str], None] = {}
    for name, module in modules_of(layout, modules).items():
        found |= dict.fromkeys(_loads_of(recipe, name, module))
    numbers = {model: number for number, model in enumerate(recipe.models)}
    return [*kept, *sorted(found, key=lambda load: (load[1], numbers.get(load[0], -1)))]


def expected_reads(layout: Layout, loads: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what is read for these loads: (model, tensor in its files), in order.

    Tensors that are stored twice and treated as one are compared first. Tensors that are joined are
    read for the first piece only: the others wait in memory until mergekit asks for them.
    """
    reads = [(model, name) for model, *both in layout.equal for name in both]
    joined: set[tuple[str, str]] = set()
    for model, tensor in loads:
        part = layout.parts[model][tensor]
        if not part.joined:
            reads.append((part.model, next(iter(part.tensors))))
        elif (model, part.joined) not in joined:
            joined.add((model, part.joined))
            reads += [(part.model, name) for name in part.tensors]
    return reads


def _loads_of(recipe: Recipe, name: str, module: Module) -> Iterator[tuple[str, str]]:
    """Yield (model, tensor) of one module."""
    data = (recipe.data.get("modules") or {}).get(name) or recipe.data
    if "slices" not in data:
        models = [reference(one["model"]) for one in data.get("models") or ()]
        models += [recipe.base] if recipe.base and recipe.base not in models else []
        every = [*module.first, *(one for layer in module.layers for one in layer), *module.last]
        yield from ((model, tensor) for tensor in every for model in models)
        return
    slices: Sequence[Mapping[str, Any]] = data["slices"]
    for tensors, part in ((module.first, slices[0]), (module.last, slices[-1])):
        models = [reference(source["model"]) for source in part["sources"]]
        yield from ((model, tensor) for tensor in tensors for model in models)
    for part in slices:
        for source in part["sources"]:
            for number in range(*map(int, source["layer_range"])):
                for tensor in module.layer(number):
                    yield reference(source["model"]), tensor


def _in_common(stack: str, name: str) -> int:
    """Return how many parts of two dotted names are equal, counted from the left."""
    pairs = zip(stack.split("."), name.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _in_order(layers: Mapping[int, list[str]]) -> tuple[tuple[str, ...], ...]:
    """Return the layers sorted by number; a layer without tensors is empty."""
    # Sort the tensors of a layer by name: then two equal layers list them in the same order.
    return tuple(
        tuple(sorted(layers.get(number, []), key=_rest))
        for number in range(max(layers, default=-1) + 1)
    )


def _rest(tensor: str) -> str:
    place = layer_place(tensor)
    return place.rest if place else tensor
