"""Say what a search has shown: is the best trial better than the config as it is?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.tuning.means import Means
    from slack_ties.tuning.study import Study, TrialResult

__all__ = [
    "Verdict",
    "all_equal",
    "gap",
    "in_percent",
    "in_words",
    "number",
    "verdict_of",
    "with_error",
]

NOTHING = "nothing is decided"

AS_IT_IS_ALONE = "the config as it is"


@dataclass(frozen=True)
class Verdict:
    """What a search has shown, in sentences."""

    decided: bool | None  # None: the metric has no items that were held out
    lines: tuple[str, ...] = ()
    held_out: tuple[TrialResult, ...] = ()  # the config as it is, and the best trial
    guessing: bool = False  # nothing can be chosen by these tasks

    @property
    def speaks_for_best(self) -> bool:
        """Whether nothing speaks against a merge of the best trial."""
        return self.decided is not False and not self.guessing


def all_equal(results: Sequence[TrialResult]) -> bool:
    """Say whether several trials cannot be told apart: not by their scores, and by no item."""
    first, *others = results
    return bool(others) and all(
        (one.score, one.items) == (first.score, first.items) for one in others
    )


def with_error(result: TrialResult, part: str = "") -> str:
    """Return a score, or one of its parts, with its standard error if there is one.

    Scores of tasks are in percent, if they are shares.
    """
    value, error = result.parts[part] if part else result.score, result.errors.get(part)
    if not result.items:
        return f"{value:.4f}"
    share = in_percent(result)
    shown = number(value, share=share)
    return shown if error is None else f"{shown} ±{number(error, share=share)}"


def in_words(result: TrialResult) -> str:
    """Return a score in a sentence: with its standard error, and with % if it is in percent."""
    return with_error(result) + (" %" if result.items and in_percent(result) else "")


def in_percent(result: TrialResult) -> bool:
    """Say whether all scores of items are from 0 to 1."""
    return all(0 <= one <= 1 for values in result.items.values() for one in values)


def gap(result: TrialResult, other: TrialResult, means: Means) -> str:
    """Return the difference of two trials on the same items, and its 95 % interval."""
    found = means.difference(result, other)
    if found is None:
        return ""
    share = in_percent(result) and in_percent(other)
    mean, low, high = (number(one, share=share) for one in (found.mean, found.low, found.high))
    plus = "+" if found.mean > 0 else ""
    return f"{plus}{mean} ({low} to {high})"


def number(value: float, *, share: bool) -> str:
    """Return a score as text: in percent if it is a share."""
    return f"{100 * value:.1f}" if share else f"{value:.4g}"


def verdict_of(
    results: Sequence[TrialResult],
    held_out: Sequence[TrialResult],
    study: Study,
    means: Means,
) -> Verdict:
    """Return what the trials and their scores on held-out items show.

    Args:
        results: All trials, the config as it is first.
        held_out: On held-out items: the config as it is, and the best one unless it is the same;
            nothing for a metric without items.
        study: It knows who else was scored on held-out items.
        means: How tasks count in the score.

    """
    found = _compared(results, held_out, study, means)
    guessing, lines = _guessing(results, held_out, means)
    return replace(found, lines=(*lines, *found.lines), guessing=guessing)


def _guessing(
    results: Sequence[TrialResult], held_out: Sequence[TrialResult], means: Means
) -> tuple[bool, list[str]]:
    """Say whether no trial, or not the best one, is better than guessing; and on which tasks."""
    who = AS_IT_IS_ALONE if len(results) == 1 else ""
    if said := means.guessing(results, who=who):
        return True, [f"{said}: do not choose by these tasks"]
    names = [*means.groups] or [task.name for task in means.tasks]
    single = len(means.tasks) == 1  # then the score is all
    said_of = {name: means.guessing(results, name, who) for name in ([] if single else names)}
    rest = "" if all(said_of.values()) else ", so only the other tasks tell trials apart"
    lines = [f"{name}: {said}{rest}" for name, said in said_of.items() if said]
    best = "the best trial" if len(held_out) > 1 else AS_IT_IS_ALONE
    said = means.guessing(held_out[-1:], who=best) if held_out else ""
    if said:
        lines.append(f"held-out: {said}: do not choose by these tasks")
    return bool(said), lines


def _compared(
    results: Sequence[TrialResult],
    held_out: Sequence[TrialResult],
    study: Study,
    means: Means,
) -> Verdict:
    """Return what comparisons of the trials show; see `verdict_of`."""
    trials = counted(len(results), "trial")
    if all_equal(results):
        how = "answer every item alike" if held_out else "have the same score"
        line = f"{NOTHING}: all {trials} {how}, so the config stays as it is"
        return Verdict(False, (line, *_on_held_out(held_out)), tuple(held_out))
    if not held_out:
        return Verdict(None)
    if len(held_out) == 1:
        line = f"{NOTHING}: of {trials}, none scores higher than the config as it is"
        if len(results) == 1:
            line = f"{NOTHING}: only the config as it is was tried"
        return Verdict(False, (line, *_on_held_out(held_out)), tuple(held_out))
    before, after = held_out
    found = means.difference(after, before)
    if found is None:
        return Verdict(None)
    numbers = f"best trial {with_error(after)}, config as it is {with_error(before)}"
    items = counted(found.items, "held-out item")
    if found.decided and found.mean > 0:
        said = f"decided: the best of {trials} is better than the config as it is on {items}, "
        said += "which no trial was chosen by"
    elif found.decided:
        said = f"the choice did not hold: on {items}, the best of {trials} is worse than the "
        said += "config as it is"
    else:
        said = f"{NOTHING}: on {items}, the best of {trials} does not differ from the config as "
        said += "it is by more than chance"
    lines = [said, f"held-out: {numbers}; difference {gap(after, before, means)}"]
    before_this = len(study.held_out.keys() - {before.key, after.key})
    if before_this:
        lines.append(
            f"the held-out items were used for {counted(before_this, 'other choice')} before: the "
            "more often, the less they prove; --seed N holds out others"
        )
    return Verdict(found.decided and found.mean > 0, tuple(lines), tuple(held_out))


def _on_held_out(held_out: Sequence[TrialResult]) -> list[str]:
    return [f"held-out: config as it is {with_error(one)}" for one in held_out[:1]]
