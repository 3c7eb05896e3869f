"""Say whether a difference between two models is larger than chance: intervals and tests.

Two models that answer the same items are compared item by item. A difference is decided only if
both of these say so, each with an error rate of 5 %:

1. The 95 % interval of the mean difference excludes 0. It is Student's interval of the differences
   after two items were added: one that the first model wins by the whole range of the values, and
   one that it loses by that. So it has a width although all differences are equal, as they often
   are for few items. For values of 0 and 1 that is the interval of Bonett and Price (2012, Journal
   of Educational and Behavioral Statistics 37, 479-488), with Student's t in place of the normal
   quantile.
2. The exact sign test (McNemar's exact test for values of 0 and 1) of the items whose values
   differ. It needs at least six of them. For other values it would compare medians, so there only
   the six items are required: with fewer, no test of random signs can give 5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ERROR",
    "Paired",
    "Z",
    "binomial_tail",
    "mean_of",
    "mean_of_pairs",
    "paired",
    "sign_test",
    "standard_error",
    "students_t",
]

NEGLIGIBLE = 1e-20  # of the largest term of a sum

ERROR = 0.05  # how often a test may say that equal models differ

Z = 1.959963984540054  # the normal distribution has 97.5 % below it

FEWEST = 6  # items that must differ: 2 * 0.5**6 is the first below 5 %


@dataclass(frozen=True)
class Paired:
    """The difference of two models on the same items: the first less the second."""

    mean: float  # in the unit of the metric
    stderr: float | None  # of the mean, as for independent items; None for one item
    low: float  # the 95 % interval, which is never empty
    high: float
    items: int
    wins: int  # items with a larger value of the first model
    losses: int
    binary: bool  # all values are 0 or 1

    @property
    def decided(self) -> bool:
        """Whether the difference is larger than chance; see the module."""
        if self.low <= 0 <= self.high or self.wins + self.losses < FEWEST:
            return False
        if not self.binary:
            return True
        agrees = (self.wins > self.losses) == (self.low > 0)
        return agrees and sign_test(self.wins, self.losses) <= ERROR


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Return the difference of two models, from their values of the same items in the same order.

    Raises:
        ValueError: The numbers of items differ, or there are none.

    """
    if len(first) != len(second) or not first:
        msg = f"expected values of the same items, got {len(first)} and {len(second)}"
        raise ValueError(msg)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    values = {*first, *second}
    binary = values <= {0.0, 1.0}
    most, least = max(values), min(values)
    whole = 1.0 if binary else (most - least) or abs(most) or 1.0
    with_two = [*differences, whole, -whole]
    center = mean_of(with_two)
    half = students_t(len(with_two) - 1) * (standard_error(with_two) or 0.0)
    low, high = center - half, center + half
    if binary:
        low, high = max(low, -1.0), min(high, 1.0)
    return Paired(
        mean=mean_of(differences),
        stderr=standard_error(differences),
        low=low,
        high=high,
        items=len(differences),
        wins=sum(one > 0 for one in differences),
        losses=sum(one < 0 for one in differences),
        binary=binary,
    )


def mean_of_pairs(pairs: Sequence[Paired]) -> Paired:
    """Return the mean of the differences on several tasks, which count alike.

    The tasks have different items, so their errors are independent. The sign test is of all items.

    Raises:
        ValueError: There are no tasks.

    """
    if not pairs:
        msg = "expected at least one task, got none"
        raise ValueError(msg)
    number = len(pairs)
    center = mean_of([(one.low + one.high) / 2 for one in pairs])
    half = math.hypot(*((one.high - one.low) / 2 for one in pairs)) / number
    errors = [one.stderr for one in pairs if one.stderr is not None]
    return Paired(
        mean=mean_of([one.mean for one in pairs]),
        stderr=math.hypot(*errors) / number if len(errors) == number else None,
        low=center - half,
        high=center + half,
        items=sum(one.items for one in pairs),
        wins=sum(one.wins for one in pairs),
        losses=sum(one.losses for one in pairs),
        binary=all(one.binary for one in pairs),
    )


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of values; at least one."""
    return math.fsum(values) / len(values)


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean: the sample's deviation by the root of the number."""
    if len(values) < 2:  # noqa: PLR2004 - one value has no deviation
        return None
    mean, number = mean_of(values), len(values)
    return math.hypot(*(one - mean for one in values)) / math.sqrt((number - 1) * number)


def students_t(freedom: int) -> float:
    """Return what 97.5 % of Student's distribution are below, by degrees of freedom.

    The expansion of Abramowitz and Stegun, 26.7.5: the error is 0.8 % for 2 degrees of freedom,
    and below 0.01 % from 8 on.
    """
    z, v = Z, freedom
    terms = (
        (z**3 + z) / (4 * v),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3),
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4),
    )
    return z + math.fsum(terms)


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p-value: so many wins or losses if both are equally likely."""
    number = wins + losses
    return min(1.0, 2 * binomial_tail(max(wins, losses), number, 0.5))


def binomial_tail(least: int, number: int, share: float) -> float:
    """Return how likely at least `least` of `number` are, if each of them has probability `share`.

    Args:
        least: From 0 to `number`.
        number: At least 0.
        share: From 0 to 1.

    """
    if least <= 0:
        return 1.0
    if not 0 < share < 1:
        return float(share >= 1 and least <= number)
    log, log_not, of_all = math.log(share), math.log1p(-share), math.lgamma(number + 1)
    # From the nearer end of the sum, terms only become smaller: the rest does not count.
    above = least > share * number
    terms: list[float] = []
    for i in range(least, number + 1) if above else range(least - 1, -1, -1):
        ways = of_all - math.lgamma(i + 1) - math.lgamma(number - i + 1)
        terms.append(math.exp(ways + i * log + (number - i) * log_not))
        if terms[-1] <= terms[0] * NEGLIGIBLE:
            break
    return min(1.0, math.fsum(terms) if above else 1 - math.fsum(terms))
