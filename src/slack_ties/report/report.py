"""The report of a merge. `file.py` writes it as report.json; docs/report.md has the schema.

Counts are per tensor. Layers, kinds and the total are sums of tensors: report.json also contains
the sums, but only for people and programs that read the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from slack_ties.report.anatomy import KINDS, layer_of, module_kind
from slack_ties.rule.tally import KEPT, Tally
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["REPORT_VERSION", "Report", "ReportedModel"]

REPORT_VERSION = 1  # raised when the meaning of a field changes

# The kinds that `Report.inner` leaves out. A quarter of a small model's entries are in its
# embedding. The rows of tokens that a text has change much, and the others not at all.
APART = ("embedding", "head")

K = TypeVar("K")


@dataclass(frozen=True)
class ReportedModel:
    """One model of a report, which is merged into the base."""

    model: str  # as the config names it
    role: str = ""  # ct, sft or not known
    varied: bool = False  # whether the grid varies its slack
    settings: Mapping[str, Any] = field(default_factory=dict)  # weight, density, slack: as YAML

    @property
    def label(self) -> str:
        """The model's name in pictures."""
        name = self.model.partition("@")[0].rstrip("/").rpartition("/")[2] or self.model
        return f"{self.role.upper()} ({name})" if self.role else name

    def setting(self, name: str, default: float) -> float | None:
        """Return a setting if it is one number; None if it differs between tensors."""
        value = self.settings.get(name, default)
        return float(value) if isinstance(value, (int, float)) else None


@dataclass(frozen=True)
class Report:
    """The figures of a merge."""

    config: str  # the config's file name
    method: str  # of the config: slack_ties or ties
    models: tuple[ReportedModel, ...]
    tensors: Mapping[str, Tally]
    settings: Mapping[str, Any] = field(default_factory=dict)  # normalize and lambda
    versions: Mapping[str, str] = field(default_factory=dict)
    report: int = REPORT_VERSION

    @cached_property
    def total(self) -> Tally:
        """The tally of all tensors."""
        return self._sum(lambda _: True)[True]

    @cached_property
    def inner(self) -> Tally:
        """The tally of all tensors but the embedding and the head.

        It is the total if there are no other tensors, or if nothing of a model is kept in them.
        """
        sums = self._sum(lambda name: module_kind(name) in APART)
        found = sums.get(False, self.total)
        nothing = (found.counts[:, KEPT] == 0) & (self.total.counts[:, KEPT] > 0)
        return self.total if nothing.any() else found

    @property
    def outer(self) -> str:
        """What `inner` leaves out, in words; empty if nothing."""
        if self.inner.positions[0] == self.total.positions[0]:
            return ""
        return join_names([f"the {kind}" for kind in APART if kind in self.kinds])

    @cached_property
    def layers(self) -> dict[int, Tally]:
        """The tallies of the layers, in order."""
        sums = self._sum(layer_of)
        return {key: sums[key] for key in sorted(k for k in sums if k is not None)}

    @cached_property
    def kinds(self) -> dict[str, Tally]:
        """The tallies of the kinds of modules in the model, in the order of `KINDS`."""
        sums = self._sum(module_kind)
        return {kind: sums[kind] for kind in KINDS if kind in sums}

    @cached_property
    def cells(self) -> dict[tuple[int | None, str], Tally]:
        """The tallies by layer and kind; the layer is None for tensors without one."""
        return self._sum(lambda name: (layer_of(name), module_kind(name)))

    def _sum(self, key: Callable[[str], K]) -> dict[K, Tally]:
        sums: dict[K, Tally] = {}
        for name, tally in self.tensors.items():
            one = key(name)
            sums[one] = sums[one] + tally if one in sums else tally
        return sums or {key(""): Tally.empty([model.varied for model in self.models])}

    @cached_property
    def headings(self) -> list[str]:
        """A short name for each model, for the head of a table: its role, or its number."""
        roles = [model.role.upper() or "model" for model in self.models]
        return [
            f"{role} {roles[: t + 1].count(role)}" if roles.count(role) > 1 else role
            for t, role in enumerate(roles)
        ]

    def of_role(self, role: str) -> list[int]:
        """Return the positions of the models with a role."""
        return [position for position, model in enumerate(self.models) if model.role == role]
