"""Tell which trials of a search are one merge, or nearly: their slacks have the same effect."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from slack_ties.report.in_effect import protected_share
from slack_ties.report.slacks import ALIKE
from slack_ties.rule.collect import CT_WEIGHT
from slack_ties.rule.tally import KEPT, PROTECTED
from slack_ties.tuning.study import TrialResult, key_of
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slack_ties.tuning.candidates import Candidate
    from slack_ties.tuning.metrics import Made, Measured

__all__ = ["mark_of", "result_of", "say_alike"]


def mark_of(candidate: Candidate, made: Made, as_it_is: Mapping[str, float]) -> str:
    """Return a mark that two candidates share only if they are one merge.

    The kept and the protected entries of a tensor are its largest, so their numbers tell them.

    Args:
        candidate: What was merged.
        made: Its merge.
        as_it_is: The values of the config.

    Returns:
        Empty if nothing was counted, or if a weight is no plain number.

    """
    own: Mapping[str, float] = {} if candidate.method else as_it_is
    weights = [{**own, **candidate.values}.get(name) for name in ("weight", CT_WEIGHT)]
    if made.report is None or None in weights:
        return ""
    mark = hashlib.sha256(repr((candidate.method, *weights)).encode())
    for name, tally in sorted(made.report.tensors.items()):
        mark.update(name.encode() + tally.counts[:, [KEPT, PROTECTED]].tobytes())
    return mark.hexdigest()


def result_of(candidate: Candidate, measured: Measured, made: Made) -> TrialResult:
    """Return the result of a candidate that was measured."""
    return TrialResult(
        candidate.values,
        measured.score,
        measured.parts,
        candidate.method,
        measured.errors,
        measured.items,
        protected_share(made.report) if made.report else None,
    )


def say_alike(results: Sequence[TrialResult], as_it_is: Mapping[str, float]) -> list[str]:
    """Name the slacks that protect nearly the same entries, with equal other values.

    Args:
        results: The trials; of those without a share in effect nothing is said.
        as_it_is: The values of the config.

    """
    groups: dict[str, dict[float, float]] = {}  # slack -> its share in effect
    for result in results:
        own: Mapping[str, float] = {} if result.method else as_it_is
        values = {**own, **result.values}
        slack = values.pop("slack", None)
        if slack is not None and result.in_effect is not None:
            groups.setdefault(key_of(values, result.method), {})[slack] = result.in_effect
    lines = []
    for name, effects in groups.items():
        beside = f" (with {name})" if len(groups) > 1 else ""
        for alike in _runs(effects):
            slacks = join_names([f"{slack:g}" for slack in alike])
            lines.append(
                f"slack {slacks} give nearly the same merge{beside}: in effect each is "
                f"{effects[alike[-1]]:.2f}, so do not choose between them by their scores"
            )
    return lines


def _runs(effects: Mapping[float, float]) -> Iterator[list[float]]:
    """Yield slacks in order, several at a time, whose effects differ by less than `ALIKE`."""
    run: list[float] = []
    for slack in sorted(effects):
        if run and abs(effects[slack] - effects[run[0]]) < ALIKE:
            run.append(slack)
            continue
        if len(run) > 1:
            yield run
        run = [slack]
    if len(run) > 1:
        yield run
