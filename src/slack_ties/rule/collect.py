"""Collect the tallies of a merge's tensors, while mergekit merges them one by one.

mergekit calls a merge method without a word about what else is wanted. So whoever wants a report
says so here, around the merge, and the method looks here.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from slack_ties.rule.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

__all__ = ["Collector", "Trial", "collected", "collecting"]


class Trial:
    """The same merge with other values, made of the same tensors while they are there.

    `slack` and `weight` are of the models that are varied, `density` of all.
    """

    def __init__(self, values: Mapping[str, float], *, keep: bool) -> None:
        """Know what to change, and whether to keep the merged tensors."""
        self.values = dict(values)
        self.keep = keep
        self.tallies: dict[str, Tally] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def change(self, name: str, found: Sequence[float], varied: Sequence[bool]) -> list[float]:
        """Return a parameter of the models of a tensor as this trial has it."""
        if name not in self.values:
            return list(found)
        all_of_them = name == "density"
        return [
            self.values[name] if all_of_them or one else old
            for old, one in zip(found, varied, strict=True)
        ]


class Collector:
    """Takes the tally of every tensor of one merge."""

    def __init__(
        self,
        models: Mapping[tuple[str, ...], str],
        varied: Sequence[str],
        trials: Sequence[Trial] = (),
    ) -> None:
        """Know the models of a merge, but for its base.

        Args:
            models: What the config calls each model, by its folder, and its adapter's if any.
            varied: Those whose slack is varied.
            trials: What else to make of the same tensors.

        """
        self.trials = tuple(trials)
        self.models = tuple(models.values())
        self.varied = tuple(name in varied for name in self.models)
        self.tensors: dict[str, Tally] = {}
        self._places = {folders: place for place, folders in enumerate(models)}

    def knows(self, folders: Sequence[tuple[str, ...]]) -> bool:
        """Say whether these models are those of the merge that is counted."""
        return all(one in self._places for one in folders)

    def begin(self, folders: Sequence[tuple[str, ...]]) -> Tally:
        """Return the tally that a tensor of these models is to fill in."""
        return Tally.empty([self.varied[self._places[one]] for one in folders])

    def take(self, name: str, folders: Sequence[tuple[str, ...]], tally: Tally) -> None:
        """Keep the tally of a tensor that is merged."""
        self.tensors[name] = self._wide(folders, tally)

    def take_trial(
        self,
        trial: Trial,
        name: str,
        folders: Sequence[tuple[str, ...]],
        tally: Tally,
        merged: torch.Tensor,
    ) -> None:
        """Keep what a trial made of a tensor."""
        trial.tallies[name] = self._wide(folders, tally)
        if trial.keep:
            trial.tensors[name] = merged

    def _wide(self, folders: Sequence[tuple[str, ...]], tally: Tally) -> Tally:
        return tally.of_models([self._places[one] for one in folders], self.varied)


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
    """Return who collects at present."""
    return _COLLECTORS[-1] if _COLLECTORS else None
