"""Look at several models at the same time: if the Hub does not answer, we wait only once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from slack_ties.hub.side_by_side import side_by_side
from slack_ties.models.look import look_at_model
from slack_ties.models.names import split_reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huggingface_hub import HfApi

    from slack_ties.hub.side_by_side import Answer
    from slack_ties.models.look import Look

__all__ = ["look_at_models"]


def look_at_models(
    names: Iterable[str], *, api: HfApi | None = None, cache: str | None = None
) -> dict[str, list[Answer[Look]]]:
    """Return for each name, as a config has it, the answers about the model and its adapter."""
    parts = [(name, part) for name in dict.fromkeys(names) for part in split_reference(name)]
    look = partial(look_at_model, api=api, cache=cache)
    found: dict[str, list[Answer[Look]]] = {name: [] for name, _ in parts}
    answers = side_by_side([partial(look, *part) for _, part in parts])
    for (name, _), answer in zip(parts, answers, strict=True):
        found[name].append(answer)
    return found
