"""Say what a merge makes of heads: the matrix that predicts the next token, often the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.models.header import ENTRY_BYTES
from slack_ties.plan.tokens import result_rows
from slack_ties.wording import join_names, parameter_count, size

if TYPE_CHECKING:
    from slack_ties.plan.draft import Draft
    from slack_ties.tokenizer.section import Section

__all__ = ["copied_entries", "say_what_heads_become"]


def copied_entries(draft: Draft, name: str) -> int:
    """Return how many entries a model stores as copies of other tensors, which are not merged."""
    headers, layout = draft.headers.get(name, {}), draft.layout
    copies = [copy for model, _, copy in layout.equal if model == name] if layout else []
    return sum(headers[copy].size for copy in copies if copy in headers)


def say_what_heads_become(draft: Draft, section: Section | None, dtype: str) -> None:
    """Warn if the merged model has a head of its own, or ties one that a config does not tie.

    Args:
        draft: What we found out about the models.
        section: mergekit's section for the tokenizer.
        dtype: The type of the result.

    """
    layout = draft.layout
    if layout is None:
        return
    draft.warnings += [
        f"{name}: its config.json does not tie the head that it stores, but the head begins as the "
        "embedding. So it is merged as the others, which tie theirs, and the merged model stores "
        "no head; the merge first checks that the two are equal to the end"
        for name in layout.retied
    ]
    known = layout.kinds.get(draft.first)
    if layout.ties is not False or known is None:
        return
    becomes = known.origins(layout.tensors)
    heads = [name for name, origin in becomes.items() if origin.target in known.heads]
    rows = result_rows(draft, section)
    entries = sum(
        header.size // header.shape[0] * rows if rows else header.size
        for header in map(layout.tensors.__getitem__, heads)
    )
    larger = size(entries * ENTRY_BYTES.get(dtype, 2))
    tied = [name for name in draft.recipe.models if name not in layout.owners]
    embeddings = f" For {join_names(tied)} the embedding counts as head." if tied else ""
    have = "has" if len(layout.owners) == 1 else "have"
    draft.warnings.append(
        f"the merged model gets a head of its own ({', '.join(heads)}), because "
        f"{join_names(layout.owners)} {have} one: {parameter_count(entries)} parameters and "
        f"{larger} more than with a tied head.{embeddings} To keep the head tied, choose models "
        "that tie theirs"
    )
