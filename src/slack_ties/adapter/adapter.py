"""The changes that a LoRA adapter makes to a model: the value that `read_adapter` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Adapter"]


@dataclass(frozen=True)
class Adapter:
    """The changes that an adapter makes to a model."""

    rank: int  # the largest; 0 if it has no LoRA matrices
    changes: Mapping[str, int]  # the model's tensor -> how many of its entries change
    whole: tuple[str, ...]  # the changed tensors that it replaces, in full or some rows
    tensors: int  # the number of the model's tensors
    parameters: int  # the number of their entries
    warnings: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The part of the model's entries that change."""
        return sum(self.changes.values()) / self.parameters if self.parameters else 0.0

    def as_text(self) -> str:
        """Return the sentence of `plan` about the adapter."""
        added, parts = len(self.changes) - len(self.whole), []
        of = f"of {self.tensors} tensors"
        if added:
            parts.append(f"LoRA of rank {self.rank} on {added} {of}")
        if self.whole:
            parts.append(f"{len(self.whole)} {'more' if added else of} replaced as a whole")
        percent = f"{100 * self.share:.0f} %" if self.share >= 0.01 else "under 1 %"  # noqa: PLR2004
        return f"{', '.join(parts)} ({percent} of the parameters)"
