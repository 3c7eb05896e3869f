"""Two dials beside each other: what a method has right more than another at the same bits per byte.

A dial is a method with several values of one parameter: a curve of bits per byte and items right.
Between two neighbours of a curve both are taken to be straight, so a point between them is a mean
of the two vectors of items: its interval is made as that of any difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from real.methods import DIAL, SLACKS
from real.scores import ALL, Part, Point, Scores, Vectors, joined

__all__ = [
    "Beside",
    "above_curve",
    "at_same_bits",
    "beside_curve",
    "ct_dial",
    "slack_dial",
    "weight_of",
]


@dataclass(frozen=True)
class Beside:
    """A method minus a curve at the same bits per byte; and the seeds that this was not possible.

    Attributes:
        difference: By seed, of the seeds whose point lies within the curve.
        outside: By seed, the point's bits per byte and the nearer end of the curve.

    """

    difference: Vectors
    outside: Mapping[tuple[str, int], tuple[float, float]] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """Say which seeds lie outside the curve, and on which side."""
        sides = {
            "fewer": sum(bits < end for bits, end in self.outside.values()),
            "more": sum(bits > end for bits, end in self.outside.values()),
        }
        found = [f"{many} with {side} bits" for side, many in sides.items() if many]
        return f"outside the curve: {', '.join(found)}" if found else ""


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


def beside_curve(
    own: Mapping[int, Point], curve: Sequence[Mapping[int, Point]], language: str = ""
) -> Beside:
    """Return points minus a curve at the same bits per byte, by seed; the curve in its order."""
    difference: dict[int, NDArray[np.float64]] = {}
    outside: dict[tuple[str, int], tuple[float, float]] = {}
    for seed, (bits, right) in sorted(own.items()):
        if len(curve) < 2 or not all(seed in points for points in curve):  # noqa: PLR2004
            continue
        line = [points[seed] for points in curve]
        ends = min(point[0] for point in line), max(point[0] for point in line)
        if not ends[0] <= bits <= ends[1]:
            outside[language, seed] = bits, ends[0] if bits < ends[0] else ends[1]
            continue
        difference[seed] = right - _between(line, bits)
    return Beside(difference, outside)


def _between(line: Sequence[Point], bits: float) -> NDArray[np.float64]:
    """Return the items right of a point of a curve: a mean of its two neighbours.

    A curve may turn back: a CT model that weighs more does not always give fewer bits. Of several
    points with the same bits the last one counts, which is that of the lightest CT model.
    """
    spans = [
        (one, other)
        for one, other in pairwise(line)
        if min(one[0], other[0]) <= bits <= max(one[0], other[0])
    ]
    (low, one), (high, other) = spans[-1]
    share = (bits - low) / (high - low) if high != low else 1.0
    found: NDArray[np.float64] = (1 - share) * one + share * other
    return found
