"""What a tensor of a checkpoint becomes in a model, and what comes of loading a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from slack_ties.models.header import Header

__all__ = ["Known", "Origin", "Proof"]


class Origin(NamedTuple):
    """What a tensor of a checkpoint becomes: the same in two checkpoints is the same tensor."""

    target: str  # transformers' name for what it becomes, or becomes a part of
    pattern: str = ""  # of the conversion that it goes through; empty if it is only renamed
    number: int = 0  # among those that go through it together, for example of an expert


@dataclass(frozen=True)
class Proof:
    """What comes out if transformers loads a checkpoint."""

    missing: tuple[str, ...] = ()  # transformers would make these up, with random numbers
    unexpected: tuple[str, ...] = ()  # transformers would not read these
    wrong: str = ""  # why it cannot be loaded at all; empty if it can


class Known(Protocol):
    """A model as transformers knows it from its config: `PlainModel`, or `Skeleton`."""

    @property
    def state(self) -> Mapping[str, object]:
        """Every weight and stored buffer, by transformers' name for it, in its order."""

    @property
    def parameters(self) -> frozenset[str]:
        """The names of those that are trained, and no buffers."""

    @property
    def tied(self) -> tuple[frozenset[str], ...]:
        """Groups of names that are one tensor, as the config says."""

    @property
    def vocabulary(self) -> frozenset[str]:
        """The names of tensors whose rows are tokens."""

    @property
    def heads(self) -> frozenset[str]:
        """Of these, the matrices that give the next token."""

    def prove(self, headers: Mapping[str, Header]) -> Proof:
        """Say what transformers makes of a checkpoint of these tensors."""

    def origins(self, names: Collection[str]) -> dict[str, Origin]:
        """Return what each tensor of a checkpoint becomes; without those that become nothing."""
