"""The layout of a merge: the tensors of the merged model, and each of them in each model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slack_ties.errors import CheckpointError
    from slack_ties.models.header import Header
    from slack_ties.tensors.origin import Known, Origin

__all__ = ["Layout", "Part", "Source", "without_adapter"]


@dataclass(frozen=True)
class Source:
    """One model of a merge."""

    name: str  # as the config calls it
    config: Mapping[str, Any]  # its config.json
    headers: Mapping[str, Header]
    known: Known | None  # None if transformers has no class for it
    # Tells whether two of its tensors have the same first entries.
    same: Callable[[str, str], bool] = lambda _, __: True
    adapted: bool = False  # it has an adapter, which may change its tensors


@dataclass(frozen=True)
class Part:
    """How to read a tensor of the result from a model."""

    model: str  # whose files to read: the model's, or the base's
    tensors: Mapping[str, Origin]  # the names in that model; several tensors are joined
    joined: str = ""  # transformers' name of the joined tensor
    cut: Origin | None = None  # the piece to cut from it; None for the whole


@dataclass
class Layout:
    """The tensors of the result, and their sources."""

    tensors: dict[str, Header] = field(default_factory=dict)  # the base's headers, in its order
    parts: dict[str, dict[str, Part]] = field(default_factory=dict)  # model -> tensor -> part
    copies: dict[str, str] = field(default_factory=dict)  # tied tensor -> the merged one to copy
    # Tensors with a row for each token -> the dimension of the tokens.
    vocabulary: dict[str, int] = field(default_factory=dict)
    kept: tuple[str, ...] = ()  # integers and booleans: copied from the base
    last: frozenset[str] = frozenset()  # tensors after the last layer
    computed: tuple[str, ...] = ()  # buffers of the base that are left out: models compute them
    dropped: tuple[str, ...] = ()  # heads of the base that are left out: they are its embedding
    unread: tuple[str, ...] = ()  # tensors of the base that transformers does not read
    # Whether the result's head is its embedding; None: as the base's config says.
    ties: bool | None = None
    owners: tuple[str, ...] = ()  # the models with a head of their own, if `ties` is False
    retied: list[str] = field(default_factory=list)  # tied here, although their config unties them
    equal: list[tuple[str, str, str]] = field(default_factory=list)  # model, and two tied tensors
    notes: list[str] = field(default_factory=list)
    errors: list[CheckpointError] = field(default_factory=list)
    kinds: dict[str, Known | None] = field(default_factory=dict)
    # Model -> tensor -> its header after conversion.
    found: dict[str, dict[str, Header]] = field(default_factory=dict)


def without_adapter(name: str) -> str:
    """Return the name in errors of a model without its adapter."""
    return f"{name} (without its adapter)"
