"""Collect the tallies of a merge's tensors, while mergekit merges them one by one.

mergekit cannot tell a merge method that a report is wanted. So the code that wants a report
registers a collector here around the merge, and the method looks for it here.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from slack_ties.rule.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

__all__ = ["CT_WEIGHT", "Collector", "Trial", "collected", "collecting"]

CT_WEIGHT = "ct weight"  # among a trial's values: `weight` of the models that are not varied


class Trial:
    """The same merge with other values, made from the same tensors while they are in memory.

    `slack` and `weight` apply to the varied models, `CT_WEIGHT` to the others, `density` to all.
    """

    def __init__(self, values: Mapping[str, float], *, keep: bool) -> None:
        """Store the values to change, and whether to keep the merged tensors."""
        self.values = dict(values)
        self.keep = keep
        self.tallies: dict[str, Tally] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def change(self, name: str, found: Sequence[float], varied: Sequence[bool]) -> list[float]:
        """Return this trial's values of a parameter for the models of a tensor."""
        own, others = self.values.get(name), None
        if name == "density":
            others = own
        elif name == "weight":
            others = self.values.get(CT_WEIGHT)
        news = [own if one else others for one in varied]
        return [old if new is None else new for old, new in zip(found, news, strict=True)]


class Collector:
    """Takes the tally of every tensor of one merge."""

    def __init__(
        self,
        models: Mapping[tuple[str, ...], str],
        varied: Sequence[str],
        trials: Sequence[Trial] = (),
    ) -> None:
        """Store the models of a merge, without its base.

        Args:
            models: Maps the folders of each model and its adapter to the config's name for it.
            varied: The names of the models whose slack is varied.
            trials: Further merges to make of the same tensors.

        """
        self.trials = tuple(trials)
        self.models = tuple(models.values())
        self.varied = tuple(name in varied for name in self.models)
        self.tensors: dict[str, Tally] = {}
        self._positions = {folders: position for position, folders in enumerate(models)}

    def knows(self, folders: Sequence[tuple[str, ...]]) -> bool:
        """Say whether these models belong to the merge that is counted."""
        return all(one in self._positions for one in folders)

    def begin(self, folders: Sequence[tuple[str, ...]]) -> Tally:
        """Return an empty tally for a tensor of these models."""
        return Tally.empty([self.varied[self._positions[one]] for one in folders])

    def take(self, name: str, folders: Sequence[tuple[str, ...]], tally: Tally) -> None:
        """Store the tally of a merged tensor."""
        self.tensors[name] = self._wide(folders, tally)

    def take_trial(
        self,
        trial: Trial,
        name: str,
        folders: Sequence[tuple[str, ...]],
        tally: Tally,
        merged: torch.Tensor,
    ) -> None:
        """Store a trial's tally of a tensor, and its merged tensor if the trial keeps it."""
        trial.tallies[name] = self._wide(folders, tally)
        if trial.keep:
            trial.tensors[name] = merged

    def _wide(self, folders: Sequence[tuple[str, ...]], tally: Tally) -> Tally:
        return tally.of_models([self._positions[one] for one in folders], self.varied)


_COLLECTORS: list[Collector] = []


@contextmanager
def collecting(collector: Collector) -> Iterator[None]:
    """Let `slack_ties` count for `collector` within this block, in every thread of this process."""
    _COLLECTORS.append(collector)
    try:
        yield
    finally:
        _COLLECTORS.remove(collector)


def collected() -> Collector | None:
    """Return the collector that is registered now, or None."""
    return _COLLECTORS[-1] if _COLLECTORS else None
