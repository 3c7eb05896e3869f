"""The facts that we collect while we make a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slack_ties.errors import SlackTiesError
    from slack_ties.models.ancestry import Likeness
    from slack_ties.models.header import Header
    from slack_ties.models.look import Look
    from slack_ties.models.places import FilePlaces
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import Settings
    from slack_ties.tensors.layout import Layout
    from slack_ties.tensors.origin import Known
    from slack_ties.tokenizer.vocabulary import Vocabulary

__all__ = ["Draft"]


@dataclass
class Draft:
    """The facts that we collect while we make a plan."""

    recipe: Recipe
    settings: Settings
    looks: dict[str, list[Look]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    headers: dict[str, dict[str, Header]] = field(default_factory=dict)
    # By model and file: where its tensors lie in the weight files that are not on this disk, and
    # why files cannot be read tensor by tensor.
    places: dict[str, dict[str, FilePlaces]] = field(default_factory=dict)
    unreadable: dict[str, dict[str, str]] = field(default_factory=dict)
    no_ranges: str = ""  # why the Hub's server cannot send parts of files, if that was seen
    vocabularies: dict[str, Vocabulary | None] = field(default_factory=dict)
    # By model: its config and its headers, without its adapter.
    plain: dict[str, tuple[dict[str, Any], dict[str, Header]]] = field(default_factory=dict)
    known: dict[str, Known | None] = field(default_factory=dict)  # what transformers knows
    adapters: dict[str, str] = field(default_factory=dict)  # what each adapter changes, for people
    # By model: why its adapter needs the whole model on this disk; or the bytes of memory in which
    # it is merged into the largest tensor that it changes.
    whole: dict[str, str] = field(default_factory=dict)
    merging: dict[str, int] = field(default_factory=dict)
    layout: Layout | None = None  # None if it is not known
    incomplete: bool = False  # whether headers are missing: not all files can be read remotely
    likeness: dict[str, Likeness] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[SlackTiesError] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The model that the others must fit: the base, or the first model if there is no base."""
        return self.recipe.base or self.recipe.models[0]
