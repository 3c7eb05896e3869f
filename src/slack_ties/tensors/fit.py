"""Find every tensor of the base in the other models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.models.header import ENTRY_BYTES, PER_TOKEN, Header
from slack_ties.tensors.convert import converted_shapes
from slack_ties.tensors.layers import layer_place
from slack_ties.tensors.layout import Part, Source
from slack_ties.tensors.origin import Origin
from slack_ties.tensors.ties import CRIMES, Ties
from slack_ties.wording import first_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fit"]


SAME_BASE = "choose models that come from the same base."

LOGITS_BIAS = "final_logits_bias"  # 1 x tokens, in BART and similar models

PREFIXES = ("model.", "transformer.")  # to try if transformers has no class for a model


class Fit(Ties):
    """Finds every tensor of the base in the other models."""

    def fill(self) -> None:
        """Fill in the layout."""
        if self._stored_twice():
            return
        layout, base = self.layout, self.base
        groups = {source.name: self.tied_groups(source) for source in (base, *self.others)}
        layout.tensors = dict(base.headers)
        self.untie(groups)
        if layout.errors:
            return
        becomes = self.becomes[base.name]
        layout.copies = self.copies_of_tied(groups)
        self.drop_heads()
        known = base.known
        layout.unread = tuple(name for name in layout.tensors if known and name not in becomes)
        if layout.unread:
            layout.notes.append(
                f"{base.name}: transformers does not read {first_of(layout.unread)}; they are "
                "merged anyway. Is its config.json right?"
            )
        layout.vocabulary = self._vocabulary()
        layout.kept = tuple(
            name for name, header in layout.tensors.items() if header.dtype not in ENTRY_BYTES
        )
        layout.last = self._last()
        for source in (base, *self.others):
            parts, used = self._parts(source, groups)
            layout.parts[source.name] = parts
            if source is not base:
                self._check_rest(source, used, groups[source.name])
        if not layout.errors:
            self._check_shapes()

    def _stored_twice(self) -> bool:
        """Refuse a model that stores one tensor under two names: either could be read."""
        for source in (self.base, *self.others):
            by_target: dict[str, list[str]] = {}
            becomes = self.becomes[source.name]
            for name, origin in becomes.items():
                by_target.setdefault(origin.target, []).append(name)
            for names in by_target.values():
                whole = [name for name in names if not becomes[name].pattern]
                if whole and len(names) > 1:
                    other = next(name for name in names if name != whole[0])
                    msg = (
                        f"model {source.name!r} contains {whole[0]} and {other}: they are the same "
                    )
                    msg += "tensor under two names"
                    hint = "save the model again with save_pretrained"
                    self.layout.errors.append(CheckpointError(msg, hint=hint))
                    return True
        return False

    def _vocabulary(self) -> dict[str, int]:
        known, becomes = self.base.known, self.becomes[self.base.name]
        names = [name for name in self.layout.tensors if name.endswith(PER_TOKEN)]
        if known is not None:
            names = [n for n, origin in becomes.items() if origin.target in known.vocabulary]
        return {name: 1 if name.endswith(LOGITS_BIAS) else 0 for name in names}

    def _last(self) -> frozenset[str]:
        """Return the tensors after the last layer: mergekit merges them as in the last slice."""
        known = self.base.known
        if known is None:
            return frozenset(
                name
                for name in self.layout.tensors
                if layer_place(name) is None
                and ("norm" in name or "head" in name or "ln_f" in name)
            )
        order = {name: number for number, name in enumerate(known.state)}
        first = min((order[name] for name in order if layer_place(name)), default=len(order))
        return frozenset(
            name
            for name, origin in self.becomes[self.base.name].items()
            if layer_place(name) is None and order.get(origin.target, 0) > first
        )

    def _parts(
        self, source: Source, groups: Mapping[str, list[list[str]]]
    ) -> tuple[dict[str, Part], set[str]]:
        """Return a model's part for each tensor of the result, and the tensors in these parts."""
        theirs = {n: o for n, o in self.becomes[source.name].items() if n in source.headers}
        by_target: dict[str, dict[str, Origin]] = {}
        for name, becomes in theirs.items():
            by_target.setdefault(becomes.target, {})[name] = becomes
        parts: dict[str, Part] = {}
        missing: list[str] = []
        for name, header in self.layout.tensors.items():
            if name in self.layout.copies:
                continue
            origin = self.becomes[self.base.name].get(name)
            part: Part | None
            if header.dtype not in ENTRY_BYTES:  # integers and booleans are not merged
                part = Part(self.base.name, {name: Origin(name)})
            elif origin is None:
                part = self._by_name(source, name)
            else:
                tied = self.tied_to(source, origin.target, groups)
                part = self._by_origin(source, origin, by_target.get(origin.target, {}), tied)
            if part is None:
                missing.append(name)
            else:
                parts[name] = part
        used = {n for p in parts.values() if p.model == source.name for n in p.tensors}
        self._take_from_base(source, missing, parts)
        return parts, used

    def _by_origin(
        self, source: Source, wanted: Origin, found: Mapping[str, Origin], tied: list[str]
    ) -> Part | None:
        """Find a tensor by its origin: what it becomes in transformers' model."""
        for name, origin in found.items():
            if origin == wanted:
                return Part(source.name, {name: origin})
        if found:  # the same tensor in another layout
            cut = wanted if wanted.pattern else None
            return Part(source.name, dict(found), joined=wanted.target, cut=cut)
        if tied:
            return Part(source.name, {tied[0]: self.becomes[source.name][tied[0]]})
        return None

    def _take_from_base(self, source: Source, missing: list[str], parts: dict[str, Part]) -> None:
        """Refuse a model that lacks tensors; take tensors that transformers does not read."""
        if gone := [name for name in missing if name not in self.layout.unread]:
            msg = f"{source.name!r} lacks {first_of(gone)}, which the base {self.base.name!r} has"
            hint = "choose a model of the same base, or download it again: hf download "
            self.layout.errors.append(CheckpointError(msg, hint=f"{hint}ID --force-download"))
        elif missing:
            parts |= {name: Part(self.base.name, {name: Origin(name)}) for name in missing}
            self.layout.notes.append(
                f"{source.name} has no {first_of(missing)}, which transformers does not read: the "
                "merged model gets the base's values"
            )

    def _by_name(self, source: Source, name: str) -> Part | None:
        """Find a tensor by its name only: transformers does not know it."""
        names = [name, *(f"{p}{name}" for p in PREFIXES)]
        names += [name.removeprefix(p) for p in PREFIXES if name.startswith(p)]
        found = [one for one in names if one in source.headers]
        return Part(source.name, {found[0]: Origin(name)}) if found else None

    def _check_rest(self, source: Source, used: set[str], groups: list[list[str]]) -> None:
        """Refuse tensors that the base lacks, unless transformers does not read them."""
        rest = [name for name in source.headers if name not in used]
        rest = [name for name in rest if not any(name in group for group in groups)]
        rest = [name for name in rest if source.headers[name].dtype in ENTRY_BYTES]
        if not rest:
            return
        read = [name for name in rest if source.known is None or name in self.becomes[source.name]]
        if read and not self.allow_crimes:
            msg = f"{source.name!r} has {first_of(read)}, which the base {self.base.name!r} lacks: "
            msg += "the merged model would be without it"
            hint = f"{SAME_BASE} To leave it out anyway: {CRIMES}"
            self.layout.errors.append(CheckpointError(msg, hint=hint))
            return
        self.layout.notes.append(
            f"{source.name}: {first_of(rest)} is not in the base and is left out"
        )

    def _check_shapes(self) -> None:
        """Store the shape of every tensor in each model's part; refuse what cannot be converted."""
        for source in (self.base, *self.others):
            found: dict[str, Header] = {}
            for name, part in self.layout.parts[source.name].items():
                owner = source if part.model == source.name else self.base
                header = self._header(owner, part)
                if header is None:
                    msg = f"{source.name!r}: {first_of(list(part.tensors))} cannot be converted to "
                    msg += f"the layout of {name} in the base"
                    hint = "load it with transformers, and save it again with save_pretrained"
                    self.layout.errors.append(CheckpointError(msg, hint=hint))
                    return
                found[name] = header
            self.layout.found[source.name] = found

    def _header(self, source: Source, part: Part) -> Header | None:
        first = source.headers[next(iter(part.tensors))]
        if not part.joined:
            return first
        key = (source.name, part.joined, part.cut is None)
        if key not in self.shapes:
            self.shapes[key] = converted_shapes(self.base.known, part, source.headers)
        shape = self.shapes[key].get(part.cut)
        return replace(first, shape=shape) if shape is not None else None
