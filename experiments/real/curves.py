"""Two dials beside each other: what a method has right more than another at the same bits per byte.

A dial is a method with several values of one parameter: a curve of bits per byte and items right.
Between two neighbours of a curve both are taken to be straight, so a point between them is a mean
of the two vectors of items: its interval is made as that of any difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from real.methods import DIAL, SLACKS
from real.scores import ALL, NEW, Part, Scores, Vectors, joined

__all__ = ["Beside", "at_same_bits", "beside_curve", "ct_dial", "slack_dial"]

Point = tuple[float, NDArray[np.float64]]  # bits per byte, items right


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

    def points(of: Part) -> dict[int, Point]:
        right = scores.right(language, of, split=split, asked=NEW, skill=skill)
        bits = scores.bits(language, of, split=split)
        return {seed: (float(np.exp(bits[seed][0])), right[seed]) for seed in right if seed in bits}

    return beside_curve(points(part), [points(of) for of in dial], language)


def beside_curve(
    own: Mapping[int, Point], curve: Sequence[Mapping[int, Point]], language: str = ""
) -> Beside:
    """Return points minus a curve at the same bits per byte, by seed."""
    difference: dict[int, NDArray[np.float64]] = {}
    outside: dict[tuple[str, int], tuple[float, float]] = {}
    for seed, (bits, right) in sorted(own.items()):
        if len(curve) < 2 or not all(seed in points for points in curve):  # noqa: PLR2004
            continue
        line = sorted((points[seed] for points in curve), key=lambda point: point[0])
        ends = (line[0][0], line[-1][0])
        if not ends[0] <= bits <= ends[1]:
            outside[language, seed] = bits, ends[0] if bits < ends[0] else ends[1]
            continue
        difference[seed] = right - _between(line, bits)
    return Beside(difference, outside)


def _between(line: Sequence[Point], bits: float) -> NDArray[np.float64]:
    """Return the items right of a point of a curve: a mean of its two neighbours."""
    after = next(place for place, point in enumerate(line) if point[0] >= bits)
    (low, one), (high, other) = line[max(after - 1, 0)], line[after]
    share = (bits - low) / (high - low) if high > low else 0.0
    found: NDArray[np.float64] = (1 - share) * one + share * other
    return found
