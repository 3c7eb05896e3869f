"""Choose mergekit's tokenizer section for the merged model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.tokenizer.vocabulary import MOST_ADDED, Vocabulary
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Section", "choose_section"]


@dataclass(frozen=True)
class Section:
    """A tokenizer section for mergekit, and the reason for people."""

    data: Mapping[str, Any]  # the config's `tokenizer:`
    why: str
    warning: str = ""


def choose_section(
    vocabularies: Mapping[str, Vocabulary | None], roles: Mapping[str, str]
) -> Section | None:
    """Return mergekit's tokenizer section for these models; None if they need none.

    Args:
        vocabularies: The vocabulary of each model by its name in the config, the base first. A
            model without a tokenizer counts as having the base's, as in mergekit.
        roles: base, ct or sft by the model's name; a name may be missing.

    """
    known = {name: vocabulary for name, vocabulary in vocabularies.items() if vocabulary}
    base_name = next(iter(vocabularies), "")
    if base_name not in known or len(known) == 1:
        return None
    base = known[base_name]
    if all(vocabulary.is_same(base) for vocabulary in known.values()):
        return None
    everything: set[str] = set().union(*(vocabulary.tokens for vocabulary in known.values()))
    # Prefer the CT model, which knows the language; but if the base has all tokens, use the base.
    order = sorted(known, key=lambda name: ("ct", "sft", "base", "").index(roles.get(name, "")))
    for name in [base_name, *order]:
        if known[name].tokens.keys() >= everything:
            source = "base" if name == base_name else name
            return Section({"source": source}, _why(name, base_name, known))
    extended = [name for name in order if roles.get(name) == "ct" and known[name].added_to(base)]
    if len(extended) == 1:
        (name,) = extended
        missing = {
            token: {"source": other}
            for other in order
            for token in sorted(known[other].tokens, key=known[other].tokens.__getitem__)
            if token not in known[name].tokens
        }
        if len(missing) <= MOST_ADDED:
            more = counted(len(missing), "token")
            why = f"{_why(name, base_name, known)}, and {more} of the others"
            return Section({"source": name, "tokens": missing}, why)
    warning = (
        "several models bring tokens of their own: in the union of all vocabularies each stays a "
        "token, but text is not always cut as by the model that it comes from"
    )
    return Section({"source": "union"}, f"all {len(everything):,} tokens of all models", warning)


def _why(name: str, base_name: str, known: Mapping[str, Vocabulary]) -> str:
    vocabulary, base = known[name], known[base_name]
    if name == base_name:
        return f"the base's {len(base.tokens):,} tokens"
    return (
        f"the {len(vocabulary.tokens):,} tokens of {name}, "
        f"{vocabulary.added_to(base):,} more than the base has"
    )
