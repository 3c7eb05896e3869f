"""The parameters of `slack_ties`: names, scopes, defaults and ranges, in one place.

The merge method, the check of a config and the documentation all read this table.
This module does not import torch or mergekit: so a wrong config is refused at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["PARAMETERS", "Parameter"]

LARGEST = 3.4028234663852886e38  # float32's largest number: deltas are multiplied in float32


@dataclass(frozen=True)
class Parameter:
    """One parameter of the merge method."""

    name: str
    per_model: bool  # set for each model, or once for the merge
    kind: type  # float or bool
    default: float | bool | None  # None: required
    unit_interval: bool  # must be in [0, 1]
    meaning: str

    def check(self, value: object) -> float | bool:
        """Return `value` as this parameter's type.

        Raises:
            ValueError: The value has another type, is not finite or is out of range.

        """
        if self.kind is bool:
            if isinstance(value, bool) or (isinstance(value, (int, float)) and value in (0, 1)):
                return bool(value)
            msg = f"{self.name} must be true or false, got {value!r}"
            raise ValueError(msg)
        expected = "a number in [0, 1]" if self.unit_interval else "a finite number"
        msg = f"{self.name} must be {expected}, got {value!r}"
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(msg)  # noqa: TRY004 - pydantic lets a TypeError through
        try:
            number = float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            raise ValueError(msg) from None
        if not math.isfinite(number) or (self.unit_interval and not 0 <= number <= 1):
            raise ValueError(msg)
        if abs(number) > LARGEST:
            msg = f"{self.name} must be a number that float32 can hold, got {value!r}"
            raise ValueError(msg)
        return number


# The defaults are those of mergekit's `ties`: changing only the method's name in a config
# does not change the result, because slack 0 protects nothing.
PARAMETERS = (
    Parameter(
        "weight",
        per_model=True,
        kind=float,
        default=None,
        unit_interval=False,
        meaning="factor of the model's delta",
    ),
    Parameter(
        "density",
        per_model=True,
        kind=float,
        default=1.0,
        unit_interval=True,
        meaning="share of each tensor's entries that trimming keeps, the largest first",
    ),
    Parameter(
        "slack",
        per_model=True,
        kind=float,
        default=0.0,
        unit_interval=True,
        meaning="share of each tensor's entries, the largest first, that vote on the sign "
        "before all others",
    ),
    Parameter(
        "normalize",
        per_model=False,
        kind=bool,
        default=True,
        unit_interval=False,
        meaning="divide the merged delta by the sum of the weights that were added",
    ),
    Parameter(
        "lambda",
        per_model=False,
        kind=float,
        default=1.0,
        unit_interval=False,
        meaning="factor of the merged delta",
    ),
)
