"""Treat a head as tied if a model stores it apart from its embedding and both are the same.

Some programs save such a model, with `tie_word_embeddings: false` in its config. If the other
models of a merge tie theirs, it is one of them, and the merged model needs no head of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.tensors.plain_models import EMBEDDING, HEAD, PlainModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slack_ties.tensors.layout import Layout, Source

__all__ = ["tie_equal_heads"]


def tie_equal_heads(
    layout: Layout, sources: Iterable[Source], *, allow_crimes: bool = False
) -> list[Source]:
    """Return the models; one whose head begins as its embedding is tied, if another model is.

    Only for plain decoders: T5 also scales its output if its config ties the head. `Layout.equal`
    lists the two tensors then, and the merge compares them in full.

    Args:
        layout: Takes notes on what was tied.
        sources: The models, the base first.
        allow_crimes: Tie nothing: the user wants a head where a model has one.

    """
    base, *others = sources
    models = [base, *others]
    if allow_crimes or not any(_is_tied(source) for source in models):
        return models
    found = []
    for source in models:
        known, stores = source.known, HEAD in source.headers
        apart = isinstance(known, PlainModel) and not known.ties and stores and not source.adapted
        if not isinstance(known, PlainModel) or not apart or not source.same(EMBEDDING, HEAD):
            found.append(source)
            continue
        found.append(replace(source, known=replace(known, ties=True)))
        layout.retied.append(source.name)
        if source is base:
            layout.ties = True
    return found


def _is_tied(source: Source) -> bool:
    """Say whether the head of a plain decoder is its embedding, by its config and its tensors."""
    if not isinstance(source.known, PlainModel) or not source.known.ties:
        return False
    return HEAD not in source.headers or source.same(EMBEDDING, HEAD)
