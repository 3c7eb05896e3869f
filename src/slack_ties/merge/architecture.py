"""Describe a model to mergekit: all tensors that its files hold.

mergekit plans a merge from an architecture: a list of the tensors and of the layer of each.
mergekit's own architecture files list the tensors that their authors knew; other tensors would be
lost. So we make the architecture from the base's own tensors. Each stack of layers is a module, as
in mergekit's files for models of several parts: a gradient runs from its first layer to its last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from slack_ties.private.mergekit import (
    ModelArchitecture,
    ModuleArchitecture,
    ModuleDefinition,
    WeightInfo,
)
from slack_ties.tensors.layers import layer_place
from slack_ties.tensors.order import modules_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from transformers import PretrainedConfig

    from slack_ties.tensors.layout import Layout

__all__ = ["architecture_of"]


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

    Arguments are those of `modules_of`.
    """

    def weights(names: Iterable[str]) -> tuple[WeightInfo, ...]:
        return tuple(
            WeightInfo(name=name, vocabulary_axis=layout.vocabulary.get(name)) for name in names
        )

    return ModelArchitecture(
        modules={
            name: ModuleDefinition(
                architecture=_Stack(
                    first=weights(module.first),
                    layers=tuple(map(weights, module.layers)),
                    last=weights(module.last),
                )
            )
            for name, module in modules_of(layout, modules).items()
        },
        architectures=[],
        model_type="",
    )


def _in_layer(weight: WeightInfo, number: int) -> WeightInfo:
    place = layer_place(weight.name)
    return weight.model_copy(update={"name": place.name(number)}) if place else weight
