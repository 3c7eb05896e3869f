"""Find the tied tensors of each model, and decide whether the result has its own head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.tensors.origin import Origin
from slack_ties.wording import parameter_count

if TYPE_CHECKING:
    from slack_ties.tensors.layout import Layout, Source

__all__ = ["CRIMES", "Ties"]

CRIMES = "--allow-crimes"


class Ties:
    """The tied tensors of the models of a merge."""

    def __init__(
        self,
        layout: Layout,
        base: Source,
        others: list[Source],
        becomes: dict[str, dict[str, Origin]],
        *,
        allow_crimes: bool,
    ) -> None:
        """Take the models of a merge, the base first."""
        self.layout, self.base, self.others = layout, base, others
        self.allow_crimes = allow_crimes
        # For joined tensors: the shapes of the pieces, or of the whole.
        self.shapes: dict[tuple[str, str, bool], dict[Origin | None, tuple[int, ...]]] = {}
        self.becomes = becomes

    def tied_groups(self, source: Source) -> list[list[str]]:
        """Return the groups of a model's stored tensors that are tied to one tensor.

        If two stored tensors differ, transformers does not tie them, even if the config says so.
        """
        named = {origin: name for name, origin in self.becomes[source.name].items()}
        found = []
        for group in source.known.tied if source.known else ():
            stored = [named[Origin(target)] for target in group if Origin(target) in named]
            order = list(source.headers)
            becomes, heads = self.becomes[source.name], source.known.heads if source.known else ()
            # The embedding first: a tensor that differs from it is a head of its own.
            stored.sort(key=lambda name: (becomes[name].target in heads, order.index(name)))
            alike = [stored[0]] if stored else []
            for name in stored[1:]:
                one, other = source.headers[stored[0]], source.headers[name]
                if one.shape == other.shape and source.same(stored[0], name):
                    alike.append(name)
                    self.layout.equal.append((source.name, stored[0], name))
            found.append(alike)
        return found

    def untie(self, groups: Mapping[str, list[list[str]]]) -> None:
        """Give the result its own head if a model has its own head, or refuse the mix."""
        base, layout = self.base, self.layout
        ours = self._own_heads(base, groups)
        layout.owners = tuple(
            source.name for source in (base, *self.others) if self._own_heads(source, groups)
        )
        stored = {origin.target: name for name, origin in self.becomes[base.name].items()}
        for source in self.others:
            for target, name in self._own_heads(source, groups).items():
                tied = self.tied_to(base, target, groups)
                if target in ours or not tied:  # a head that the base lacks: see `_check_rest`
                    continue
                if not self.allow_crimes:
                    layout.errors.append(self._mixed(source, name, base, groups))
                    return
                new = stored.get(target, name)
                layout.tensors[new] = replace(base.headers[tied[0]], file="")
                self.becomes[base.name][new] = Origin(target)
                layout.ties = False
            for target, name in ours.items():
                tied = self.tied_to(source, target, groups)
                own = target in self._own_heads(source, groups)
                if tied and not own and not self.allow_crimes:
                    layout.errors.append(self._mixed(base, name, source, groups))
                    return
        if any(self.tied_to(base, target, groups) for target in ours):
            layout.ties = False  # transformers does not tie two stored tensors that differ

    def _own_heads(self, source: Source, groups: Mapping[str, list[list[str]]]) -> dict[str, str]:
        """Return the heads that a model stores apart from its embedding."""
        return {
            origin.target: name
            for name, origin in self.becomes[source.name].items()
            if source.known
            and origin.target in source.known.heads
            and name in source.headers
            and name not in self.tied_to(source, origin.target, groups)
        }

    def tied_to(
        self, source: Source, target: str, groups: Mapping[str, list[list[str]]]
    ) -> list[str]:
        """Return the stored tensors that a tensor of transformers' model is tied to."""
        if source.known is None:
            return []
        for group, stored in zip(source.known.tied, groups[source.name], strict=True):
            if target in group:
                return stored
        return []

    def _mixed(
        self, owner: Source, name: str, other: Source, groups: Mapping[str, list[list[str]]]
    ) -> CheckpointError:
        tied = self.tied_to(owner, self.becomes[owner.name][name].target, groups)
        msg = f"{owner.name!r} has its own head ({name}), but {other.name!r} ties its head to its "
        msg += "embedding"
        if tied:
            msg += f"; config.json of {owner.name!r} ties it too, but the stored tensors differ"
        more = parameter_count(owner.headers[name].size)
        hint = f"to merge them anyway, into a model with its own head, {more} parameters larger: "
        return CheckpointError(msg, hint=hint + CRIMES)

    def copies_of_tied(self, groups: Mapping[str, list[list[str]]]) -> dict[str, str]:
        """Return the base's second copies of tied tensors: only the first copy is merged."""
        if self.layout.ties is False:
            return {}
        return {name: group[0] for group in groups[self.base.name] for name in group[1:]}

    def drop_heads(self) -> None:
        """Leave out the base's heads that are copies of its embedding: the config ties them.

        A model that transformers saves has none either. Other copies stay: transformers 4 ties the
        embeddings of a T5 to one of them only.
        """
        known, becomes = self.base.known, self.becomes[self.base.name]
        copies = self.layout.copies
        heads = [name for name in copies if known and becomes[name].target in known.heads]
        for name in heads:
            del self.layout.tensors[name], becomes[name], copies[name]
        self.layout.dropped = tuple(heads)
