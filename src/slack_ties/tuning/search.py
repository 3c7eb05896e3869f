"""The candidates of `tune`: a grid of values, or a number of trials by Optuna."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError
from slack_ties.rule.collect import CT_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["MOST_SLACK", "SLACKS", "WEIGHTS", "Search", "check_optuna"]

SLACKS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)

WEIGHTS = (0.5, 1.0, 1.5)  # of the SFT models, for methods without slack

MOST_SLACK = 0.5  # upper limit for Optuna: above it, the SFT model decides almost everything


@dataclass(frozen=True)
class Search:
    """What to try: a grid of values, or a number of trials within their range."""

    slack: tuple[float, ...] = SLACKS
    density: tuple[float, ...] = ()  # if empty, as in the config
    weight: tuple[float, ...] = ()  # of the SFT models; if empty, as in the config
    ct_weight: tuple[float, ...] = ()  # of the CT models; if empty, as in the config
    trials: int = 0  # by Optuna, instead of the grid
    methods: tuple[str, ...] = ()  # merge methods to compare; if empty, that of the config

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            SlackTiesError: A value is out of range; the message names the parameter.

        """
        for name, values in (("slack", self.slack), ("density", self.density)):
            for value in values:
                if not 0 <= value <= 1:
                    msg = f"{name} must be in [0, 1], got {value:g}"
                    raise SlackTiesError(msg)

    def grid(self, parameters: Collection[str] = ("slack",)) -> list[dict[str, float]]:
        """Return every combination of values; the config as it is comes first, if there are any.

        Args:
            parameters: Those that the merge method has for each model. A method without slack is
                tried with a few weights.

        """
        named = self.ranges(parameters)
        values = (dict.fromkeys(one) for one in named.values())
        every = [dict(zip(named, one, strict=True)) for one in itertools.product(*values)]
        return [{}, *every] if named else [{}]

    def ranges(self, parameters: Collection[str]) -> dict[str, tuple[float, ...]]:
        """Return the values to try of each parameter of a merge method; see `grid`."""
        weight = self.weight or (() if "slack" in parameters else WEIGHTS)
        named = {"slack": self.slack, "density": self.density, "weight": weight}
        if "weight" in parameters:
            named[CT_WEIGHT] = self.ct_weight
        has = {*parameters, CT_WEIGHT}
        # All methods that trim have a density and a weight; slack_ties has slack too.
        return {name: values for name, values in named.items() if values and name in has}


def check_optuna() -> None:
    """Refuse `--trials` if Optuna is not installed."""
    try:
        import optuna  # noqa: F401, PLC0415 - an extra
    except ImportError:
        msg = "--trials needs Optuna, which is not installed"
        hint = 'pip install "slack-ties[tune]"  # or omit --trials: a grid does not need it'
        raise SlackTiesError(msg, hint=hint) from None
