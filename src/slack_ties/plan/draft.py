"""What is known so far, while a plan is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slack_ties.errors import SlackTiesError
    from slack_ties.models.ancestry import Likeness
    from slack_ties.models.header import Header
    from slack_ties.models.look import Look
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.settings import Settings
    from slack_ties.tensors.layout import Layout
    from slack_ties.tensors.origin import Known
    from slack_ties.tokenizer.vocabulary import Vocabulary

__all__ = ["Draft"]


@dataclass
class Draft:
    """What is known so far, while a plan is made."""

    recipe: Recipe
    settings: Settings
    looks: dict[str, list[Look]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    headers: dict[str, dict[str, Header]] = field(default_factory=dict)
    words: dict[str, Vocabulary | None] = field(default_factory=dict)
    # Of each model without its adapter: its config and its headers.
    plain: dict[str, tuple[dict[str, Any], dict[str, Header]]] = field(default_factory=dict)
    kinds: dict[str, Known | None] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)  # what they change, for people
    layout: Layout | None = None  # None if it is not known
    dark: bool = False  # a weight file cannot be looked into before it is downloaded
    likeness: dict[str, Likeness] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[SlackTiesError] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The model that the others must fit: the base, or the first where there is none."""
        return self.recipe.base or self.recipe.models[0]
