"""Two dials beside each other: what a method has right more than another at the same bits per byte.

A dial is a method with several values of one parameter: a curve of bits per byte and items right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.curves import Beside, Vectors, beside_curve
from real.methods import DIAL, SLACKS
from real.scores import ALL, Part, Scores, joined

__all__ = [
    "Beside",
    "above_curve",
    "at_same_bits",
    "beside_curve",
    "ct_dial",
    "slack_dial",
    "weight_of",
]


def ct_dial(scores: Scores, method: str = "task_arithmetic") -> list[Part]:
    """Return a method at its defaults and at the other weights of the CT model."""
    _, *others = scores.part(method).values.split()
    values = (" ".join([f"ct_weight={weight:g}", *others]) for weight in (1.0, *DIAL))
    return [scores.part(method, text) for text in values]


def weight_of(part: Part) -> str:
    """Return how a point of `ct_dial` is named: `CT weight 0.7`."""
    return f"CT weight {part.values.split()[0].removeprefix('ct_weight=')}"


def above_curve(scores: Scores, language: str, method: str) -> Vectors:
    """Return what a method has right more than task arithmetic at the same bits per byte.

    By seed it is the mean over the method's weights of the CT model whose points lie within the
    curve of task arithmetic.
    """
    dial = ct_dial(scores)
    points = [at_same_bits(scores, language, part, dial) for part in ct_dial(scores, method)]
    seeds = set.intersection(
        *({*point.difference} | {seed for _, seed in point.outside} for point in points)
    )
    found = {
        seed: [point.difference[seed] for point in points if seed in point.difference]
        for seed in sorted(seeds)
    }
    return {seed: np.mean(some, axis=0) for seed, some in found.items() if some}


def slack_dial(scores: Scores) -> dict[float, Part]:
    """Return slack_ties by slack, other values at their defaults; slack 0 is plain TIES."""
    default = scores.part("slack_ties")
    slacks = sorted({*SLACKS, float(default.values.split("slack=")[1])})
    values = {slack: f"{default.values.split(' slack=')[0]} slack={slack:g}" for slack in slacks}
    dial = {slack: scores.part("slack_ties", text) for slack, text in values.items()}
    return {0.0: scores.part("ties_sum"), **dial}


def at_same_bits(
    scores: Scores,
    language: str,
    part: Part,
    dial: Sequence[Part],
    *,
    split: str = "test",
    skill: str = "",
) -> Beside:
    """Return what a model has right more than a dial at the same bits per byte.

    Args:
        scores: All.
        language: One, or "all".
        part: The model.
        dial: The models of the curve. Seeds that lack one of them do not count.
        split: "test" or "validation".
        skill: Only its items.

    """
    if language == ALL:
        every = [
            at_same_bits(scores, one, part, dial, split=split, skill=skill)
            for one in scores.languages
            if one != ALL
        ]
        outside = {key: ends for each in every for key, ends in each.outside.items()}
        return Beside(joined([each.difference for each in every]), outside)

    own = scores.points(language, part, split=split, skill=skill)
    curve = [scores.points(language, of, split=split, skill=skill) for of in dial]
    return beside_curve(own, curve, language)
