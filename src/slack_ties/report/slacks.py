"""What each slack of the grid would do: the steps that table, chart, sentences and JSON all show.

The embedding and the head are left out: the layers are what slack is for.

Many deltas of 16-bit weights are equal. Equal deltas are protected together, so the share of
entries that a slack protects (the slack in effect) can be larger than the slack in the config. It
is smaller if trimming keeps fewer entries. Slacks with the same effect give the same merge.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from slack_ties.report.figures import Figures
from slack_ties.rule.tally import FIRST_OF_GRID, GRID, TIES, TOPS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from slack_ties.report.report import Report
    from slack_ties.rule.tally import Tally

__all__ = ["ALIKE", "COST", "LITTLE", "PROTECTED_TOP", "Slacks", "Step", "chosen", "slacks_of"]

PROTECTED_TOP = TOPS.index(0.2)  # the top that a suggested slack must keep: see docs/method.md

LITTLE = 0.01  # a loss up to this share needs no slack

# A slack is suggested only if the CT model loses at most this share more than at slack 0, of its
# kept entries and of its energy. Both are counted. Deltas that know nothing of each other have
# opposite signs in half of the entries, so a share in effect costs about half of itself. A smaller
# limit, 0.125, was tried: it suggested slacks that kept too little (docs/evidence.md).
COST = 0.2

JUMP = 0.05  # if the share in effect rises by so much more than the slack, it jumps

ALIKE = 0.01  # slacks whose effects differ by less give nearly the same merge


@dataclass(frozen=True)
class Step:
    """One slack of the SFT models, and what it does; a share is None if its whole is 0."""

    slack: float  # as in a config
    in_effect: float | None  # the share of the SFT model's entries that vote first
    top_lost: tuple[float | None, ...]  # for each of TOPS, the share that loses the election
    cost: float | None  # the share of the CT model's kept entries that is lost more than at slack 0
    energy_cost: float | None  # the same, of the energy of its delta
    ct_top_lost: tuple[float | None, ...]  # as top_lost, of the CT model

    def is_like(self, other: Step) -> bool:
        """Return whether both slacks protect nearly the same entries."""
        return abs((self.in_effect or 0.0) - (other.in_effect or 0.0)) < ALIKE

    @property
    def lost(self) -> float:
        """The lost share of the top that a suggested slack must keep."""
        return self.top_lost[PROTECTED_TOP] or 0.0

    @property
    def most_cost(self) -> float:
        """The larger of the two costs."""
        return max(self.cost or 0.0, self.energy_cost or 0.0)

    def as_json(self) -> dict[str, Any]:
        """Return what report.json holds of it."""
        return {
            "slack": self.slack,
            "in_effect": self.in_effect,
            "sft_top_lost": list(self.top_lost),
            "ct_cost": self.cost,
            "ct_energy_cost": self.energy_cost,
            "ct_top_lost": list(self.ct_top_lost),
        }


@dataclass(frozen=True)
class Slacks:
    """The steps, from plain TIES (slack 0 for all models) on, for one SFT and one CT model."""

    sft: int  # the position of the SFT model with the largest delta
    ct: int  # of the CT model with the largest delta
    steps: tuple[Step, ...]

    def suggested(self) -> Step | None:
        """Return the step that docs/report.md suggests; None if the first one costs too much."""
        payable = [step for step in self.steps if step.most_cost <= COST]
        enough = [step for step in payable if step.lost <= LITTLE]
        found = enough[0] if enough else payable[-1]
        if found.slack == 0:
            return found if enough else None
        # Of slacks that give nearly the same merge, the one that says best what it does.
        alike = [step for step in enough or payable if step.is_like(found)]
        return min(alike, key=lambda step: abs(step.slack - (step.in_effect or 0.0)))

    def jumps(self) -> list[tuple[Step, Step]]:
        """Return the neighbours between which the share in effect rises more than the slack."""
        return [pair for pair in pairwise(self.steps) if _excess(pair) > JUMP]

    def groups(self) -> list[list[Step]]:
        """Return the steps in groups that give nearly the same merge, in their order."""
        found: list[list[Step]] = []
        for step in self.steps:
            if found and step.is_like(found[-1][0]):
                found[-1].append(step)
            else:
                found.append([step])
        return found


def _excess(pair: tuple[Step, Step]) -> float:
    """Return by how much more the share in effect rises than the slack."""
    one, other = pair
    return (other.in_effect or 0.0) - (one.in_effect or 0.0) - (other.slack - one.slack)


def slacks_of(report: Report, tally: Tally | None = None) -> Slacks | None:
    """Return the steps of a report; None if no slack is varied, or nobody would pay for it.

    Args:
        report: Any.
        tally: What to count; if not given, all tensors but the embedding and the head.

    """
    counted = report.inner if tally is None else tally
    varied = [t for t, model in enumerate(report.models) if model.varied]
    others = [t for t, model in enumerate(report.models) if not model.varied]
    of_ct = [t for t in report.of_role("ct") if t in others]
    sft, ct = chosen(report, varied), chosen(report, of_ct or others)
    if sft is None or ct is None:
        return None
    figures, other = Figures(counted, sft), Figures(counted, ct)
    levels = {0.0: TIES} | {slack: FIRST_OF_GRID + i for i, slack in enumerate(GRID)}
    steps = (
        Step(
            slack,
            figures.slack_at(level),
            tuple(figures.top_lost(top, level) for top in range(len(TOPS))),
            other.cost(level),
            other.energy_cost(level),
            tuple(other.top_lost(top, level) for top in range(len(TOPS))),
        )
        for slack, level in levels.items()
    )
    return Slacks(sft, ct, tuple(steps))


def chosen(report: Report, positions: Iterable[int]) -> int | None:
    """Return the position of the model with the largest delta; None if there is none."""
    return max(positions, key=lambda t: Figures(report.inner, t).norm, default=None)
