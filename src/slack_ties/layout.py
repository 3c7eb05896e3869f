"""Which tensors the merged model has, and where in each model each of them is found.

The result has the tensors of the base, under the base's names and in the base's layout, so that
whatever could load the base can load it. Nothing of the base is left out but what this says.
Models of other names or layouts (with a prefix or without, experts in one tensor or in many) are
read as transformers would read them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slack_ties.checkpoint import ENTRY_BYTES, PER_TOKEN, Header, is_computed
from slack_ties.errors import CheckpointError
from slack_ties.layers import layer_place
from slack_ties.origin import Known, Origin
from slack_ties.plain_models import plain_model

__all__ = ["Layout", "Part", "Source", "convert", "know", "make_layout", "without_adapter"]

CRIMES = "--allow-crimes"
SAME_BASE = "are all models of the same base?"
# What training frameworks put before every name when a wrapped model is saved as it is.
WRAPPERS = ("module.", "base_model.model.", "_forward_module.")
# ... and what they put anywhere in it.
INNER_WRAPPERS = (
    *("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."),
    *(".module.", ".base_layer."),
)
UNMERGED = re.compile(r"\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)\b")
# How quantized weights are called, if transformers does not know them.
QUANTIZED = ("weight", "weight_packed", "qzeros", "absmax", "_blocks", "_scales")
LOGITS_BIAS = "final_logits_bias"  # 1 x tokens, in BART and its kin
PREFIXES = ("model.", "transformer.")  # where transformers has no class to say it


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


def make_layout(sources: Iterable[Source], *, allow_crimes: bool = False) -> Layout:
    """Return which tensors the merge of these models has, and everything that does not fit.

    Args:
        sources: The models, the base first.
        allow_crimes: Merge models of which one ties its head to its embedding and another does
            not, and leave out tensors that only other models than the base have.

    """
    base, *others = (_without_computed(source) for source in sources)
    layout = Layout()
    layout.kinds = {source.name: source.known for source, _ in (base, *others)}
    layout.computed = tuple(base[1])
    becomes = {
        source.name: source.known.origins(source.headers) if source.known else {}
        for source, _ in (base, *others)
    }
    for source, _ in (base, *others):
        _check_types(layout, source, becomes[source.name])
    if layout.errors:
        return layout
    for source, _ in (base, *others):
        _check_loads(layout, source)
    if layout.errors:
        return layout
    rest = [source for source, _ in others]
    _Fit(layout, base[0], rest, becomes, allow_crimes=allow_crimes).fill()
    return layout


def without_adapter(name: str) -> str:
    """Return what to call a model whose adapter is left out."""
    return f"{name} (without its adapter)"


def know(name: str, config: Mapping[str, Any], headers: Mapping[str, Header]) -> Known | None:
    """Return what transformers knows of a model; None if it has no class for it.

    For plain decoders that takes no time, for others transformers is imported.

    Args:
        name: What to call the model in errors.
        config: Its config.json.
        headers: Of its weights.

    Raises:
        CheckpointError: transformers does not take the config.

    """
    if not config.get("model_type") and "auto_map" not in config:
        msg = f"model {name!r}: config.json names no model_type, so that nothing can load it"
        raise CheckpointError(msg, hint="is it of this model? Get its config.json again")
    if plain := plain_model(config, headers):
        return plain
    from slack_ties.loading import skeleton_of  # noqa: PLC0415 - seconds to import

    try:
        return skeleton_of(config)
    except CheckpointError as error:
        msg = f"model {name!r}: {error}"
        raise CheckpointError(msg, hint=error.hint) from None


def _without_computed(source: Source) -> tuple[Source, list[str]]:
    """Return a model without the buffers that it computes, and their names."""
    state = source.known.state if source.known else ()
    computed = [
        name
        for name, header in source.headers.items()
        if is_computed(name, header) and name not in state
    ]
    if source.known and computed:
        becomes = source.known.origins(source.headers)
        computed = [name for name in computed if name not in becomes]
    kept = {name: header for name, header in source.headers.items() if name not in computed}
    return replace(source, headers=kept), computed


def _check_types(layout: Layout, source: Source, becomes: Mapping[str, Origin]) -> None:
    """Refuse weights that are no floating-point numbers of 16 bits or more."""
    inner = [one for key, one in source.config.items() if key.endswith("_config")]
    stated = any("quantization_config" in one for one in (source.config, *inner) if one)
    for name, header in source.headers.items():
        if header.dtype in ENTRY_BYTES:
            continue
        if source.known and name in becomes:
            quantized = becomes[name].target in source.known.parameters
        else:
            quantized = bool(stated) or name.endswith(QUANTIZED)
        if quantized:
            why = ", and its config.json has a quantization_config" if stated else ""
            msg = f"model {source.name!r} is quantized: {name} is stored as {header.dtype}{why}; "
            msg += "expected floating-point weights of 16 or 32 bits"
            hint = "use the model that it was made from, before quantization"
            layout.errors.append(CheckpointError(msg, hint=hint))
            return
    if stated:
        layout.notes.append(
            f"{source.name}: config.json has a quantization_config, but all weights are "
            "floating-point: it is left over from training, and has no effect"
        )


def _check_loads(layout: Layout, source: Source) -> None:
    """Refuse a model that transformers would load with made-up weights, or not at all."""
    names = source.headers
    if lora := next((name for name in names if UNMERGED.search(name)), ""):
        msg = f"model {source.name!r} holds {lora}: its weights were saved beside a LoRA adapter "
        msg += "that is not merged into them"
        hint = "merge it in with PEFT (merge_and_unload), and save the model again"
        layout.errors.append(CheckpointError(msg, hint=hint))
        return
    before = next((w for w in WRAPPERS if names and all(n.startswith(w) for n in names)), "")
    wrapper = before or next((w for w in INNER_WRAPPERS if any(w in n for n in names)), "")
    if wrapper and not _fits_as_it_is(source):
        where = "the names of all tensors begin with" if before else "names of tensors hold"
        msg = f"model {source.name!r}: {where} {wrapper!r}: it was saved "
        msg += "from inside a wrapper (DDP, FSDP, torch.compile or PEFT)"
        hint = "load it where it was trained, take it out of the wrapper, and save it again; or "
        hint += f"rename every tensor without {wrapper!r}"
        layout.errors.append(CheckpointError(msg, hint=hint))
        return
    if source.known is None:
        return
    proof = source.known.prove(source.headers)
    if proof.wrong:
        msg = f"model {source.name!r} does not fit its config.json: {proof.wrong}"
        hint = "is config.json of this model? If it came from the Hub: hf download ID "
        layout.errors.append(CheckpointError(msg, hint=f"{hint}--force-download"))
    elif proof.missing:
        layout.errors.append(_lacking(source, proof.missing))


def _fits_as_it_is(source: Source) -> bool:
    return source.known is not None and not source.known.prove(source.headers).missing


def _lacking(source: Source, missing: tuple[str, ...]) -> CheckpointError:
    head = [name for name in missing if source.known and name in source.known.heads]
    if head and len(head) == len(missing):
        msg = f"model {source.name!r} lacks {head[0]}, and its config.json does not tie it to the "
        msg += "embedding: transformers would make the head up, with random numbers"
        hint = "if the head is the embedding, write in its config.json: "
        hint += '"tie_word_embeddings": true; otherwise get the whole model'
        return CheckpointError(msg, hint=hint)
    msg = f"model {source.name!r} lacks {_some(missing)}, which its config.json asks for: "
    msg += "transformers would make it up, with random numbers"
    hint = "is it complete? If it came from the Hub: hf download ID --force-download"
    return CheckpointError(msg, hint=hint)


class _Fit:
    """Finds every tensor of the base in the other models."""

    def __init__(
        self,
        layout: Layout,
        base: Source,
        others: list[Source],
        becomes: dict[str, dict[str, Origin]],
        *,
        allow_crimes: bool,
    ) -> None:
        self.layout, self.base, self.others = layout, base, others
        self.allow_crimes = allow_crimes
        # Of what was joined: the shapes of its pieces, or of the whole.
        self.shapes: dict[tuple[str, str, bool], dict[Origin | None, tuple[int, ...]]] = {}
        self.becomes = becomes

    def fill(self) -> None:
        """Fill in the layout."""
        if self._stored_twice():
            return
        layout, base = self.layout, self.base
        groups = {source.name: self._tied(source) for source in (base, *self.others)}
        layout.tensors = dict(base.headers)
        self._untie(groups)
        if layout.errors:
            return
        becomes = self.becomes[base.name]
        layout.copies = self._copies(groups)
        known = base.known
        layout.unread = tuple(name for name in base.headers if known and name not in becomes)
        if layout.unread:
            layout.notes.append(
                f"{base.name}: transformers does not read {_some(layout.unread)}; they are merged "
                "all the same. Is its config.json right?"
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
        """Refuse a model that has one tensor under two names: which is read is chance."""
        for source in (self.base, *self.others):
            by_target: dict[str, list[str]] = {}
            becomes = self.becomes[source.name]
            for name, origin in becomes.items():
                by_target.setdefault(origin.target, []).append(name)
            for names in by_target.values():
                whole = [name for name in names if not becomes[name].pattern]
                if whole and len(names) > 1:
                    other = next(name for name in names if name != whole[0])
                    msg = f"model {source.name!r} holds {whole[0]} and {other}, which are the same "
                    msg += "tensor under two names"
                    hint = "save the model again with save_pretrained"
                    self.layout.errors.append(CheckpointError(msg, hint=hint))
                    return True
        return False

    def _tied(self, source: Source) -> list[list[str]]:
        """Return the groups of a model's tensors, as it stores them, that are one tensor.

        transformers takes two stored tensors that differ for two, whatever the config says.
        """
        named = {origin: name for name, origin in self.becomes[source.name].items()}
        found = []
        for group in source.known.tied if source.known else ():
            stored = [named[Origin(target)] for target in group if Origin(target) in named]
            order = list(source.headers)
            becomes, heads = self.becomes[source.name], source.known.heads if source.known else ()
            # The embedding before the head: whichever of them differs from it is a head of its own.
            stored.sort(key=lambda name: (becomes[name].target in heads, order.index(name)))
            alike = [stored[0]] if stored else []
            for name in stored[1:]:
                one, other = source.headers[stored[0]], source.headers[name]
                if one.shape == other.shape and source.same(stored[0], name):
                    alike.append(name)
                    self.layout.equal.append((source.name, stored[0], name))
            found.append(alike)
        return found

    def _untie(self, groups: Mapping[str, list[list[str]]]) -> None:
        """Add a head of its own to the result where another model has one, or refuse that."""
        base, layout = self.base, self.layout
        ours = self._own_heads(base, groups)
        stored = {origin.target: name for name, origin in self.becomes[base.name].items()}
        for source in self.others:
            for target, name in self._own_heads(source, groups).items():
                tied = self._tied_to(base, target, groups)
                if target in ours or not tied:  # a head that the base lacks: see `_check_rest`
                    continue
                if not self.allow_crimes:
                    layout.errors.append(self._mixed(source.name, name, base.name))
                    return
                new = stored.get(target, name)
                layout.tensors[new] = replace(base.headers[tied[0]], file="")
                self.becomes[base.name][new] = Origin(target)
                layout.untied = True
            for target, name in ours.items():
                tied = self._tied_to(source, target, groups)
                own = target in self._own_heads(source, groups)
                if tied and not own and not self.allow_crimes:
                    layout.errors.append(self._mixed(base.name, name, source.name))
                    return
        if any(self._tied_to(base, target, groups) for target in ours):
            layout.untied = True  # transformers does not tie what is stored twice and differs

    def _own_heads(self, source: Source, groups: Mapping[str, list[list[str]]]) -> dict[str, str]:
        """Return the heads that a model stores and that are not its embedding."""
        return {
            origin.target: name
            for name, origin in self.becomes[source.name].items()
            if source.known
            and origin.target in source.known.heads
            and name in source.headers
            and name not in self._tied_to(source, origin.target, groups)
        }

    def _tied_to(
        self, source: Source, target: str, groups: Mapping[str, list[list[str]]]
    ) -> list[str]:
        """Return the stored tensors that one of transformers' is tied to."""
        if source.known is None:
            return []
        for group, stored in zip(source.known.tied, groups[source.name], strict=True):
            if target in group:
                return stored
        return []

    def _mixed(self, owner: str, name: str, other: str) -> CheckpointError:
        msg = f"{owner!r} has a head of its own ({name}), and {other!r} ties its head to its "
        msg += "embedding"
        hint = f"to merge them all the same, with a head of its own: {CRIMES}"
        return CheckpointError(msg, hint=hint)

    def _copies(self, groups: Mapping[str, list[list[str]]]) -> dict[str, str]:
        """Return tied tensors that the base stores more than once: merged once, and copied."""
        if self.layout.untied:
            return {}
        return {name: group[0] for group in groups[self.base.name] for name in group[1:]}

    def _vocabulary(self) -> dict[str, int]:
        known, becomes = self.base.known, self.becomes[self.base.name]
        names = [name for name in self.layout.tensors if name.endswith(PER_TOKEN)]
        if known is not None:
            names = [n for n, origin in becomes.items() if origin.target in known.vocabulary]
        return {name: 1 if name.endswith(LOGITS_BIAS) else 0 for name in names}

    def _last(self) -> frozenset[str]:
        """Return the tensors behind the last layer: of these, mergekit asks the last slice."""
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
        """Return where each tensor of the result is in a model, and what of it is used."""
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
            if header.dtype not in ENTRY_BYTES:  # whole numbers, truth values: nothing to merge
                part = Part(self.base.name, {name: Origin(name)})
            elif origin is None:
                part = self._by_name(source, name)
            else:
                tied = self._tied_to(source, origin.target, groups)
                part = self._by_origin(source, origin, by_target.get(origin.target, {}), tied)
            if part is None:
                missing.append(name)
            else:
                parts[name] = part
        used = {n for p in parts.values() if p.model == source.name for n in p.tensors}
        self._take_from_base(source, missing, parts)
        return parts, used

    def _by_origin(
        self, source: Source, wanted: Origin, there: Mapping[str, Origin], tied: list[str]
    ) -> Part | None:
        """Find a tensor by what it becomes in transformers' model."""
        for name, origin in there.items():
            if origin == wanted:
                return Part(source.name, {name: origin})
        if there:  # the same in another layout
            cut = wanted if wanted.pattern else None
            return Part(source.name, dict(there), joined=wanted.target, cut=cut)
        if tied:
            return Part(source.name, {tied[0]: self.becomes[source.name][tied[0]]})
        return None

    def _take_from_base(self, source: Source, missing: list[str], parts: dict[str, Part]) -> None:
        """Refuse a model that lacks tensors, but for those that transformers does not read."""
        if gone := [name for name in missing if name not in self.layout.unread]:
            msg = f"{source.name!r} lacks {_some(gone)}, which the base {self.base.name!r} has"
            hint = "is it complete, and of the same base? If it came from the Hub: hf download ID "
            self.layout.errors.append(CheckpointError(msg, hint=f"{hint}--force-download"))
        elif missing:
            parts |= {name: Part(self.base.name, {name: Origin(name)}) for name in missing}
            self.layout.notes.append(
                f"{source.name} has no {_some(missing)}, which transformers does not read: the "
                "base's is kept as it is"
            )

    def _by_name(self, source: Source, name: str) -> Part | None:
        """Find a tensor that transformers knows nothing of, by its name alone."""
        names = [name, *(f"{p}{name}" for p in PREFIXES)]
        names += [name.removeprefix(p) for p in PREFIXES if name.startswith(p)]
        found = [one for one in names if one in source.headers]
        return Part(source.name, {found[0]: Origin(name)}) if found else None

    def _check_rest(self, source: Source, used: set[str], groups: list[list[str]]) -> None:
        """Refuse what a model has beyond the base, unless it is nothing that is read."""
        rest = [name for name in source.headers if name not in used]
        rest = [name for name in rest if not any(name in group for group in groups)]
        rest = [name for name in rest if source.headers[name].dtype in ENTRY_BYTES]
        if not rest:
            return
        read = [name for name in rest if source.known is None or name in self.becomes[source.name]]
        if read and not self.allow_crimes:
            msg = (
                f"{source.name!r} has {_some(read)}, which the base {self.base.name!r} lacks: the "
            )
            msg += "merged model would be without it"
            hint = f"{SAME_BASE} To leave it out all the same: {CRIMES}"
            self.layout.errors.append(CheckpointError(msg, hint=hint))
            return
        self.layout.notes.append(f"{source.name}: {_some(rest)} is not in the base and is left out")

    def _check_shapes(self) -> None:
        """Note the shape of every tensor as each model has it, and refuse types that differ."""
        for source in (self.base, *self.others):
            found: dict[str, Header] = {}
            for name, part in self.layout.parts[source.name].items():
                owner = source if part.model == source.name else self.base
                header = self._header(owner, part)
                if header is None:
                    msg = f"{source.name!r}: {_some(list(part.tensors))} cannot be brought to the "
                    msg += f"layout of {name} in the base"
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
            self.shapes[key] = _converted_shapes(self.base.known, part, source.headers)
        shape = self.shapes[key].get(part.cut)
        return replace(first, shape=shape) if shape is not None else None


def _converted_shapes(
    known: Any, part: Part, headers: Mapping[str, Header]
) -> dict[Origin | None, tuple[int, ...]]:
    """Return the shapes of tensors in another layout; nothing if they cannot be converted."""
    import torch  # noqa: PLC0415 - whoever has such a layout has imported transformers

    tensors = {name: torch.empty(headers[name].shape, device="meta") for name in part.tensors}
    try:
        return {cut: tuple(one.shape) for cut, one in convert(known, part, tensors).items()}
    except CheckpointError:
        return {}


def convert(known: Any, part: Part, tensors: Mapping[str, Any]) -> dict[Origin | None, Any]:
    """Return what is made of the tensors in which a model has one that the base has otherwise.

    Args:
        known: The base, as transformers knows it.
        part: Which tensors, and what they are joined to.
        tensors: The tensors by their names.

    Returns:
        The joined tensor under None; or, if the base has it in pieces, the pieces.

    Raises:
        CheckpointError: transformers has no conversion for it.

    """
    whole = {origin: tensors[name] for name, origin in part.tensors.items()}
    made = whole.get(Origin(part.joined))
    if made is None and hasattr(known, "join"):
        made = known.join(part.joined, whole)
    if made is None or (part.cut and not hasattr(known, "split")):
        msg = f"transformers has no conversion for {part.joined}"
        raise CheckpointError(msg)
    return {None: made} if part.cut is None else known.split(part.joined, made)


def _some(names: Iterable[str]) -> str:
    first, *more = names
    return f"{first!r} and {len(more):,} more" if more else f"{first!r}"
