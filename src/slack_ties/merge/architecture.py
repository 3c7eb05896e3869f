"""Describe a model to mergekit: all tensors that its files hold.

mergekit plans a merge from an architecture: a list of the tensors and of the layer of each.
mergekit's own architecture files list the tensors that their authors knew; other tensors would be
lost. So we make the architecture from the base's own tensors. Each stack of layers is a module, as
in mergekit's files for models of several parts: a gradient runs from its first layer to its last.
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

NO_LAYER = "default"  # the module of the tensors that belong to no layer


class _Stack(ModuleArchitecture, BaseModel, frozen=True):
    """One stack of layers, and the tensors before and after it."""

    first: tuple[WeightInfo, ...] = ()
    layers: tuple[tuple[WeightInfo, ...], ...] = ()
    last: tuple[WeightInfo, ...] = ()

    def pre_weights(self, config: PretrainedConfig) -> list[WeightInfo]:  # noqa: ARG002 - mergekit's
        """Return the tensors before the first layer."""
        return list(self.first)

    def post_weights(self, config: PretrainedConfig) -> list[WeightInfo]:  # noqa: ARG002
        """Return the tensors after the last layer."""
        return list(self.last)

    def layer_weights(self, index: int, config: PretrainedConfig) -> list[WeightInfo]:  # noqa: ARG002
        """Return the tensors of a layer; a layer that the base lacks is like its first one."""
        if index < len(self.layers):
            return list(self.layers[index])
        return [_in_layer(weight, index) for weight in self.layers[0]]

    def num_layers_config_key(self) -> str:
        """Return no key: the tensors tell the number of layers."""
        return ""

    def num_layers(self, config: PretrainedConfig) -> int:  # noqa: ARG002
        """Return the number of layers."""
        return len(self.layers)


def architecture_of(layout: Layout, modules: Mapping[str, str] | None = None) -> ModelArchitecture:
    """Return the architecture whose weights are the tensors of the result.

    Args:
        layout: The tensors.
        modules: The config's names for the stacks of layers: name -> stack. A tensor that is in no
            layer then belongs to the module whose stack shares the most name parts with it.

    """
    stacks: dict[str, dict[int, list[WeightInfo]]] = {}
    without_layer: list[WeightInfo] = []
    for name in layout.tensors:
        if name in layout.copies or name in layout.kept:
            continue
        axis = layout.vocabulary.get(name)
        weight, place = WeightInfo(name=name, vocabulary_axis=axis), layer_place(name)
        if place is None:
            without_layer.append(weight)
        else:
            stacks.setdefault(place.stack, {}).setdefault(place.number, []).append(weight)
    names = modules or {stack: stack for stack in stacks}
    if not modules and len(stacks) == 1:
        names = {NO_LAYER: next(iter(stacks))}
    by_module: dict[str, list[WeightInfo]] = {name: [] for name in names}
    for weight in without_layer:
        module = NO_LAYER
        if modules:
            module = max(names, key=lambda name: _in_common(names[name], weight.name))
        by_module.setdefault(module, []).append(weight)
    return ModelArchitecture(
        modules={
            name: ModuleDefinition(
                architecture=_Stack(
                    first=tuple(w for w in weights if w.name not in layout.last),
                    layers=_in_order(stacks.get(names.get(name, ""), {})),
                    last=tuple(w for w in weights if w.name in layout.last),
                )
            )
            for name, weights in by_module.items()
        },
        architectures=[],
        model_type="",
    )


def _in_common(stack: str, name: str) -> int:
    """Return how many parts of two dotted names are equal, counted from the left."""
    pairs = zip(stack.split("."), name.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _in_order(layers: Mapping[int, list[WeightInfo]]) -> tuple[tuple[WeightInfo, ...], ...]:
    """Return the layers sorted by number; a layer without tensors is empty."""
    # Sort the tensors of a layer by name: then two equal layers list them in the same order.
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
