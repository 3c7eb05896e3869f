"""What mergekit is told of a model's tensors: those that are in its files, all of them.

mergekit plans a merge along an architecture: which tensors there are, and which of them belong to
which layer. Its own files list what its authors knew of; what they lack would be lost. So here the
architecture is made of the base's own tensors. Each stack of layers is a module, as in mergekit's
files for models of several parts, so that gradients run from the first layer of each to its last.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from pydantic import BaseModel

from slack_ties.private.mergekit import (
    ModelArchitecture,
    ModuleArchitecture,
    ModuleDefinition,
    WeightInfo,
)
from slack_ties.tensors.layers import layer_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PretrainedConfig

    from slack_ties.tensors.layout import Layout

__all__ = ["architecture_of"]

LOOSE = "default"  # the module of tensors that are in no layer


class _Stack(ModuleArchitecture, BaseModel, frozen=True):
    """One stack of layers, and the tensors before and behind it."""

    first: tuple[WeightInfo, ...] = ()
    layers: tuple[tuple[WeightInfo, ...], ...] = ()
    last: tuple[WeightInfo, ...] = ()

    def pre_weights(self, config: PretrainedConfig) -> list[WeightInfo]:  # noqa: ARG002 - mergekit's
        """Return the tensors before the first layer."""
        return list(self.first)

    def post_weights(self, config: PretrainedConfig) -> list[WeightInfo]:  # noqa: ARG002
        """Return the tensors behind the last layer."""
        return list(self.last)

    def layer_weights(self, index: int, config: PretrainedConfig) -> list[WeightInfo]:  # noqa: ARG002
        """Return the tensors of a layer; of one that only the result has, as of the first one."""
        if index < len(self.layers):
            return list(self.layers[index])
        return [_in_layer(weight, index) for weight in self.layers[0]]

    def num_layers_config_key(self) -> str:
        """Return a name that no config has: the number of layers is known from the tensors."""
        return ""

    def num_layers(self, config: PretrainedConfig) -> int:  # noqa: ARG002
        """Return the number of layers."""
        return len(self.layers)


def architecture_of(layout: Layout, modules: Mapping[str, str] | None = None) -> ModelArchitecture:
    """Return the architecture whose weights are the tensors of the result.

    Args:
        layout: The tensors.
        modules: What a config calls the stacks of layers: name -> stack. A tensor that is in no
            layer then belongs to the module whose stack has the most of its name.

    """
    stacks: dict[str, dict[int, list[WeightInfo]]] = {}
    loose: list[WeightInfo] = []
    for name in layout.tensors:
        if name in layout.copies or name in layout.kept:
            continue
        axis = layout.vocabulary.get(name)
        weight, place = WeightInfo(name=name, vocabulary_axis=axis), layer_place(name)
        if place is None:
            loose.append(weight)
        else:
            stacks.setdefault(place.stack, {}).setdefault(place.number, []).append(weight)
    names = modules or {stack: stack for stack in stacks}
    if not modules and len(stacks) == 1:
        names = {LOOSE: next(iter(stacks))}
    homes: dict[str, list[WeightInfo]] = {name: [] for name in names}
    for weight in loose:
        home = LOOSE
        if modules:
            home = max(names, key=lambda name: _in_common(names[name], weight.name))
        homes.setdefault(home, []).append(weight)
    return ModelArchitecture(
        modules={
            name: ModuleDefinition(
                architecture=_Stack(
                    first=tuple(w for w in weights if w.name not in layout.last),
                    layers=_in_order(stacks.get(names.get(name, ""), {})),
                    last=tuple(w for w in weights if w.name in layout.last),
                )
            )
            for name, weights in homes.items()
        },
        architectures=[],
        model_type="",
    )


def _in_common(stack: str, name: str) -> int:
    """Return how many steps of two names are the same from the left."""
    pairs = zip(stack.split("."), name.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _in_order(layers: Mapping[int, list[WeightInfo]]) -> tuple[tuple[WeightInfo, ...], ...]:
    """Return the layers by their number; one without tensors is empty."""
    # Within a layer by name: two layers that are alike list their tensors in one order.
    return tuple(
        tuple(sorted(layers.get(number, []), key=_rest))
        for number in range(max(layers, default=-1) + 1)
    )


def _rest(weight: WeightInfo) -> str:
    place = layer_place(weight.name)
    return place.rest if place else weight.name


def _in_layer(weight: WeightInfo, number: int) -> WeightInfo:
    place = layer_place(weight.name)
    return weight.model_copy(update={"name": place.name(number)}) if place else weight
