"""Make the layout of a merge: the tensors of the merged model, and each of them in each model.

The result has the tensors of the base, under the base's names and in the base's layout: a program
that can load the base can load the result. `Layout.computed` and `Layout.dropped` list the only
tensors of the base that are left out. A model with other names or another layout (with a prefix or
without, experts in one tensor or in many) is read as transformers would read it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.models.header import ENTRY_BYTES, is_computed
from slack_ties.models.weight_index import DOWNLOAD_AGAIN
from slack_ties.tensors.equal_heads import tie_equal_heads
from slack_ties.tensors.fit import Fit
from slack_ties.tensors.layout import Layout, Source
from slack_ties.wording import first_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slack_ties.tensors.origin import Origin

__all__ = ["make_layout"]

# What training frameworks put before every name when they save a model in its wrapper.
WRAPPERS = ("module.", "base_model.model.", "_forward_module.")

# ... and what they put inside a name.
INNER_WRAPPERS = (
    *("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."),
    *(".module.", ".base_layer."),
)

UNMERGED = re.compile(r"\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)\b")

# Names of quantized weights, for models that transformers does not know.
QUANTIZED = ("weight", "weight_packed", "qzeros", "absmax", "_blocks", "_scales")


def make_layout(sources: Iterable[Source], *, allow_crimes: bool = False) -> Layout:
    """Return the layout of a merge of these models, with an error for each model that does not fit.

    Args:
        sources: The models, the base first.
        allow_crimes: Also merge a model that ties its head to its embedding with one that does
            not, and leave out tensors that the base lacks.

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
    first, *rest = tie_equal_heads(
        layout, [source for source, _ in (base, *others)], allow_crimes=allow_crimes
    )
    Fit(layout, first, rest, becomes, allow_crimes=allow_crimes).fill()
    return layout


def _without_computed(source: Source) -> tuple[Source, list[str]]:
    """Return a model without the buffers that it computes, and the names of these buffers."""
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
    """Refuse weights that are not floating-point numbers of 16 bits or more."""
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
            hint = "use the original model, before quantization"
            layout.errors.append(CheckpointError(msg, hint=hint))
            return
    if stated:
        layout.notes.append(
            f"{source.name}: config.json has a quantization_config, but all weights are "
            "floating-point: it was left by training, and has no effect"
        )


def _check_loads(layout: Layout, source: Source) -> None:
    """Refuse a model that transformers would load with random weights, or not at all."""
    names = source.headers
    if lora := next((name for name in names if UNMERGED.search(name)), ""):
        msg = (
            f"model {source.name!r} contains {lora}: its weights were saved beside a LoRA adapter "
        )
        msg += "that is not merged into them"
        hint = "merge the adapter with PEFT (merge_and_unload), and save the model again"
        layout.errors.append(CheckpointError(msg, hint=hint))
        return
    before = next((w for w in WRAPPERS if names and all(n.startswith(w) for n in names)), "")
    wrapper = before or next((w for w in INNER_WRAPPERS if any(w in n for n in names)), "")
    if wrapper and not _fits_as_it_is(source):
        where = "the names of all tensors begin with" if before else "names of tensors contain"
        msg = f"model {source.name!r}: {where} {wrapper!r}: it was saved "
        msg += "from inside a wrapper (DDP, FSDP, torch.compile or PEFT)"
        hint = "load it with the training code, take it out of the wrapper, and save it again; or "
        hint += f"remove {wrapper!r} from the name of every tensor"
        layout.errors.append(CheckpointError(msg, hint=hint))
        return
    if source.known is None:
        return
    proof = source.known.prove(source.headers)
    if proof.wrong:
        msg = f"model {source.name!r} does not fit its config.json: {proof.wrong}"
        hint = "take the config.json of this model. If it came from the Hub: hf download ID "
        layout.errors.append(CheckpointError(msg, hint=f"{hint}--force-download"))
    elif proof.missing:
        layout.errors.append(_lacking(source, proof.missing))


def _fits_as_it_is(source: Source) -> bool:
    return source.known is not None and not source.known.prove(source.headers).missing


def _lacking(source: Source, missing: tuple[str, ...]) -> CheckpointError:
    head = [name for name in missing if source.known and name in source.known.heads]
    if head and len(head) == len(missing):
        msg = f"model {source.name!r} lacks {head[0]}, and its config.json does not tie it to the "
        msg += "embedding: transformers would fill the head with random numbers"
        hint = "if the head is the embedding, write in its config.json: "
        hint += '"tie_word_embeddings": true; otherwise download the whole model'
        return CheckpointError(msg, hint=hint)
    msg = f"model {source.name!r} lacks {first_of(missing)}, which its config.json requires: "
    msg += "transformers would fill it with random numbers"
    return CheckpointError(msg, hint=DOWNLOAD_AGAIN)
