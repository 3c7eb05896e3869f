"""Which tensors the merged model has, and where in each model each of them is."""

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
    """One model that goes into a merge."""

    name: str  # as the config calls it
    config: Mapping[str, Any]  # its config.json
    headers: Mapping[str, Header]
    known: Known | None  # None if transformers has no class for it
    # Says whether two of its tensors have the same first entries.
    same: Callable[[str, str], bool] = lambda _, __: True


@dataclass(frozen=True)
class Part:
    """How a tensor of the result is read from a model."""

    model: str  # whose files: the model's own, or the base's
    tensors: Mapping[str, Origin]  # of that model's names; several are joined
    joined: str = ""  # transformers' name for what they are joined to
    cut: Origin | None = None  # which piece of it; None for all of it


@dataclass
class Layout:
    """The tensors of the result, and where they come from."""

    tensors: dict[str, Header] = field(default_factory=dict)  # as the base has them, in its order
    parts: dict[str, dict[str, Part]] = field(default_factory=dict)  # model -> tensor -> part
    copies: dict[str, str] = field(default_factory=dict)  # of tied tensors: name -> the one merged
    # Tensors that have a row for each token, and along which dimension.
    vocabulary: dict[str, int] = field(default_factory=dict)
    kept: tuple[str, ...] = ()  # whole numbers and truth values: the base's, as they are
    last: frozenset[str] = frozenset()  # tensors that stand behind the last layer
    computed: tuple[str, ...] = ()  # buffers of the base that are left out: models compute them
    unread: tuple[str, ...] = ()  # tensors of the base that transformers does not read
    untied: bool = False  # the result has a head of its own, and the base's is its embedding
    equal: list[tuple[str, str, str]] = field(default_factory=list)  # model, and two tied tensors
    notes: list[str] = field(default_factory=list)
    errors: list[CheckpointError] = field(default_factory=list)
    kinds: dict[str, Known | None] = field(default_factory=dict)
    # Model -> tensor -> its header there, as it would be read.
    found: dict[str, dict[str, Header]] = field(default_factory=dict)


def without_adapter(name: str) -> str:
    """Return what to call a model whose adapter is left out."""
    return f"{name} (without its adapter)"
