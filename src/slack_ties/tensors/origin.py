"""What a tensor of a checkpoint becomes in a model, and the result of loading a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from slack_ties.models.header import Header

__all__ = ["Known", "Origin", "Proof"]


class Origin(NamedTuple):
    """What a tensor of a checkpoint becomes; tensors with equal origins are the same tensor."""

    target: str  # transformers' name of the tensor that it becomes, or becomes a part of
    pattern: str = ""  # of transformers' conversion; empty if the tensor is only renamed
    number: int = 0  # among the tensors of one conversion, for example the number of an expert


@dataclass(frozen=True)
class Proof:
    """The result of loading a checkpoint with transformers."""

    missing: tuple[str, ...] = ()  # transformers would fill these with random numbers
    unexpected: tuple[str, ...] = ()  # transformers would not read these
    wrong: str = ""  # why it cannot be loaded at all; empty if it can


class Known(Protocol):
    """A model as transformers makes it from its config: `PlainModel` or `Skeleton`."""

    @property
    def state(self) -> Mapping[str, object]:
        """Every weight and stored buffer, by transformers' name, in its order."""

    @property
    def parameters(self) -> frozenset[str]:
        """The names of the trained weights, without buffers."""

    @property
    def tied(self) -> tuple[frozenset[str], ...]:
        """Groups of names that the config ties to one tensor."""

    @property
    def vocabulary(self) -> frozenset[str]:
        """The names of tensors whose rows are tokens."""

    @property
    def heads(self) -> frozenset[str]:
        """The matrices of `vocabulary` that predict the next token."""

    def prove(self, headers: Mapping[str, Header]) -> Proof:
        """Return the result of loading a checkpoint with these headers."""

    def origins(self, names: Collection[str]) -> dict[str, Origin]:
        """Return what each tensor of a checkpoint becomes; unread tensors are left out."""
