"""Cells and notes of tables about real models, as Markdown text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.intervals import FEW
from common.markup import MISSING, plain, signed
from real.scores import ALL, Found, Part, Scores, added, measured, ratio_of

__all__ = [
    "difference",
    "name_of",
    "noted",
    "of_skill",
    "shown",
    "shown_signed",
    "value_of",
    "with_bits",
]

FEW_SEEDS = (
    "\n\nWith one or two seeds an interval is over items alone: it is of these models, not of "
    "others trained in the same way."
)
LANGUAGES = {ALL: "all languages"}


def difference(scores: Scores, language: str, one: Part, other: Part) -> str:
    """Return how much better one model is than another."""
    difference = added((1, scores.right(language, one)), (-1, scores.right(language, other)))
    return shown_signed(measured(difference))


def of_skill(scores: Scores, language: str, part: Part, skill: str) -> str:
    """Return two shares, as "0.57 / 0.82"; an empty text without rows."""
    found = [scores.right(language, part, asked=asked, skill=skill) for asked in ("new", "en")]
    shares = [
        f"{np.mean([right.mean() for right in one.values()]):.2f}"
        for one in found
        if one and all(len(right) for right in one.values())
    ]
    return " / ".join(shares)


def with_bits(scores: Scores, language: str, part: Part) -> str:
    """Return the share of items right, and behind it bits per byte and seeds."""
    right = measured(scores.right(language, part))
    bits = ratio_of(scores.bits(language, part))
    return f"{shown(right)} ({value_of(bits)}; seeds: {right.seeds})" if right else ""


def name_of(language: str) -> str:
    """Return how tables name a language."""
    return LANGUAGES.get(language, language)


def shown(found: Found | None) -> str:
    """Return a share with its interval; nothing without rows."""
    return plain(found.interval) if found else ""


def shown_signed(found: Found | None) -> str:
    """Return a difference with its interval; nothing without rows."""
    return signed(found.interval) if found else ""


def value_of(found: Found | None) -> str:
    """Return a value without its interval; nothing without rows."""
    return f"{found.interval.value:.3f}" if found else ""


def noted(text: str, seeds: Sequence[int]) -> str:
    """Say below a table what its intervals are of, if some are of few seeds."""
    return text + (FEW_SEEDS if text != MISSING and min(seeds, default=FEW) < FEW else "")
