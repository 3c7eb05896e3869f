"""Points beside a curve: what a model has right more than a method's dial at the same bits.

A dial is a method with several values of one parameter: a curve of bits (per byte, or per word) and
items right. Between two neighbours of a curve both are taken to be straight, so a point between
them is a mean of the two vectors of items: its interval is made as that of any difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Beside", "Point", "Vectors", "beside_curve"]

# By seed: an array of what the seeds have in common, such as (items,) 1.0 for each right one.
Vectors = Mapping[int, NDArray[np.float64]]

Point = tuple[float, NDArray[np.float64]]  # bits, items right


@dataclass(frozen=True)
class Beside:
    """A method minus a curve at the same bits; and the seeds that this was not possible.

    Attributes:
        difference: By seed, of the seeds whose point lies within the curve.
        outside: By seed, the point's bits and the nearer end of the curve.

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
