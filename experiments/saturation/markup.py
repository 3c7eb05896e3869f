"""Scores as Markdown text."""

from __future__ import annotations

from intervals import Effect, Scores

__all__ = ["accuracy_of", "perplexity_of"]


def accuracy_of(scores: Scores, effect: Effect) -> str:
    """Return an accuracy; nothing where rows are missing."""
    return f"{scores.mean_accuracy(effect):.3f}" if scores.can(effect) else ""


def perplexity_of(scores: Scores, effect: Effect) -> str:
    """Return a perplexity, or a ratio of two; nothing where rows are missing."""
    return f"{scores.perplexity(effect).value:.2f}" if scores.can(effect) else ""
