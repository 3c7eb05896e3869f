"""The candidates of `tune`: a grid of values, or a number of trials by Optuna."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from slack_ties.errors import SlackTiesError

__all__ = ["SLACKS", "Search", "check_optuna"]

SLACKS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)


@dataclass(frozen=True)
class Search:
    """What to try: a grid of values, or a number of trials within their range."""

    slack: tuple[float, ...] = SLACKS
    density: tuple[float, ...] = ()  # if empty, as in the config
    weight: tuple[float, ...] = ()  # of the SFT models; if empty, as in the config
    trials: int = 0  # by Optuna, instead of the grid

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

    def grid(self) -> list[dict[str, float]]:
        """Return the config as it is, and then every combination."""
        names = [name for name in ("slack", "density", "weight") if getattr(self, name)]
        values = (dict.fromkeys(getattr(self, name)) for name in names)
        every = [dict(zip(names, one, strict=True)) for one in itertools.product(*values)]
        return [{}, *every] if names else [{}]


def check_optuna() -> None:
    """Refuse `--trials` if Optuna is not installed."""
    try:
        import optuna  # noqa: F401, PLC0415 - an extra
    except ImportError:
        msg = "--trials needs Optuna, which is not installed"
        hint = "pip install 'slack-ties[tune]'  # or omit --trials: a grid does not need it"
        raise SlackTiesError(msg, hint=hint) from None
