"""Compare the evaluations of two merged models, task by task."""

from __future__ import annotations

import logging
import shlex
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.evaluation.differences import at_chance, difference_on, main_score
from slack_ties.evaluation.file import EVALUATION_FILE, is_of, read_evaluation
from slack_ties.evaluation.scores import Score
from slack_ties.evaluation.table import GUESS, SUBJECTS, number, with_error
from slack_ties.evaluation.table import LEGEND as MARKS
from slack_ties.files import read_json
from slack_ties.notebook import html_lines, html_table
from slack_ties.record import RECORD_FILE, read_record
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.evaluation.scores import Evaluation, Task

__all__ = [
    "ComparedTask",
    "compare_scores",
    "evaluation_at",
    "is_evaluation",
    "scores_as_html",
    "scores_as_text",
]

LOG = logging.getLogger("slack_ties")

NOT_DECIDED, BETTER = "not decided", "{} is better"

WIDTH, COLUMNS = 16, 79  # characters of a column, and of the screen

LEGEND = (
    "± is one standard error. The difference is the first less the second, on the same items, with "
    "its 95 % interval; shares are in percent. A model is called better only if the difference is "
    "larger than chance."
)

# What of a task must be equal, or the models did not answer the same; and how we say that.
SAME = {
    "docs": "other items",
    "metric": "another metric",
    "version": "another version",
    "fewshot": "other examples",
}


@dataclass(frozen=True)
class ComparedTask:
    """What two merged models scored on a task; None if one was not scored on it."""

    task: str
    metric: str
    one: float | None
    other: float | None
    stderr_one: float | None = None
    stderr_other: float | None = None
    # The first less the second, with its 95 % interval; None if they cannot be compared by item.
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    items: tuple[int, ...] = ()  # scored, in the first and in the second evaluation
    of: tuple[int, ...] = ()  # that the task has
    chance: float | None = None
    guesses: tuple[bool, bool] = (False, False)  # not better than guessing, as far as items show
    said: str = ""  # "0 is better" is the first, "1 is better" the second; or why nothing is said
    is_share: bool = False

    def texts(self) -> tuple[str, str, str]:
        """Return both scores and the difference for people, scores with their errors and marks."""
        one = self._score(self.one, self.stderr_one) + f" {GUESS}" * self.guesses[0]
        other = self._score(self.other, self.stderr_other) + f" {GUESS}" * self.guesses[1]
        if self.difference is None or self.low is None or self.high is None:
            return one, other, "-"
        signs = [self._signed(value) for value in (self.difference, self.low, self.high)]
        return one, other, f"{signs[0]} ({signs[1]} to {signs[2]})"

    def about(self) -> str:
        """Return how many items were scored, and chance."""
        each = dict.fromkeys(zip(self.items, self.of, strict=True))
        texts = [
            f"the first {items:,} of {counted(of, 'item')}" if items < of else counted(of, "item")
            for items, of in each
        ]
        chance = [] if self.chance is None else [f"chance {self._number(self.chance)}"]
        return ", ".join([*filter(None, [" and ".join(texts)]), *chance])

    def _number(self, value: float) -> str:
        return number(value, share=self.is_share)

    def _score(self, value: float | None, error: float | None) -> str:
        return "-" if value is None else with_error(Score(value, error), share=self.is_share)

    def _signed(self, value: float) -> str:
        return ("+" if value > 0 else "") + self._number(value)


def is_evaluation(path: Path) -> bool:
    """Say whether a file seems to be an evaluation, not a report."""
    return path.suffix == ".json" and "evaluation" in read_json(path)


def evaluation_at(path: Path) -> Evaluation | None:
    """Return the evaluation of a merge; None if there is none of these weights.

    Args:
        path: A merged folder, a merge config, or the file of an evaluation.

    Raises:
        OutputError: `path` is the file of an evaluation, and it is damaged.

    """
    if is_evaluation(path):
        return read_evaluation(path)
    if not (path / EVALUATION_FILE).is_file():
        return None
    why = "is not of these weights"
    again = f"slack-ties evaluate {shlex.quote(str(path))}"
    try:
        evaluation = read_evaluation(path)
        if not (path / RECORD_FILE).is_file() or is_of(evaluation, read_record(path)):
            return evaluation
    except OutputError as error:
        LOG.warning("  left out: %s. Next: %s", error, error.hint)
        return None
    LOG.warning("  left out: %s %s. Next: %s", path / EVALUATION_FILE, why, again)
    return None


def compare_scores(one: Evaluation, other: Evaluation) -> tuple[ComparedTask, ...]:
    """Return the comparison of the merged models of two evaluations, task by task."""
    order = [*SUBJECTS]
    tasks = sorted((*one.tasks, *other.tasks), key=lambda task: order.index(task.about))
    names = dict.fromkeys(task.name for task in tasks)
    return tuple(_compared(name, one, other) for name in names)


def scores_as_html(names: tuple[str, str], tasks: Sequence[ComparedTask]) -> str:
    """Return the scores of two merges as HTML; "" if there are none."""
    if not tasks:
        return ""
    rows = [
        [name, task.about(), *rest]
        for task, (name, *rest) in zip(tasks, _rows(names, tasks), strict=True)
    ]
    table = html_table(["", "", *names, "difference", ""], rows)
    return table + html_lines(_legend(tasks))


def scores_as_text(names: tuple[str, str], tasks: Sequence[ComparedTask]) -> list[str]:
    """Return the lines of the scores of two merges; none if there are none."""
    if not tasks:
        return []
    one, other = (f"{name:>{WIDTH}}" for name in _short(names))
    lines = ["scores of the merged models", f"  {'':4}{one}{other}  difference"]
    marks = any(any(task.guesses) for task in tasks)
    for task, (name, *scores, difference, said) in zip(tasks, _rows(names, tasks), strict=True):
        pad = [score if score.endswith(GUESS) else f"{score}{'  ' * marks}" for score in scores]
        one, other = (f"{score:>{WIDTH}}" for score in pad)
        about = f": {task.about()}" if task.about() else ""
        lines += [f"  {name}{about}", f"  {'':4}{one}{other}  {difference}  {said}"]
    return [*lines, "", *(line for text in _legend(tasks) for line in textwrap.wrap(text, COLUMNS))]


def _legend(tasks: Sequence[ComparedTask]) -> list[str]:
    return [LEGEND, *([MARKS[GUESS]] if any(any(task.guesses) for task in tasks) else [])]


def _rows(names: tuple[str, str], tasks: Sequence[ComparedTask]) -> list[list[str]]:
    """Return for each task its name, both scores, the difference, and what it says."""
    said = {BETTER.format(i): BETTER.format(name) for i, name in enumerate(_short(names))}
    return [[task.task, *task.texts(), said.get(task.said, task.said)] for task in tasks]


def _short(names: tuple[str, str]) -> list[str]:
    """Return the last part of two names; A and B if they do not differ in it."""
    parts = [[one for one in Path(name).parts if not one.endswith(".json")] for name in names]
    last = [(one or [name])[-1] for one, name in zip(parts, names, strict=True)]
    if last[0] == last[1] or max(map(len, last)) > WIDTH - 2:
        return ["A", "B"]
    return last


def _compared(name: str, one: Evaluation, other: Evaluation) -> ComparedTask:
    pair = [_task_of(evaluation, name) for evaluation in (one, other)]
    scores = [
        main_score(evaluation.models[0], task) if task else None
        for evaluation, task in zip((one, other), pair, strict=True)
    ]
    first, second = pair
    values = [score.value if score else None for score in scores]
    errors = [score.stderr if score else None for score in scores]
    there = [task for task in pair if task]
    task = there[0] if there else None
    guesses = [
        bool(task and score and at_chance(task, score))
        for task, score in zip(pair, scores, strict=True)
    ]
    compared = ComparedTask(
        task=name,
        metric=task.metric if task else "",
        one=values[0],
        other=values[1],
        stderr_one=errors[0],
        stderr_other=errors[1],
        items=tuple(task.items for task in there),
        of=tuple(task.of for task in there),
        chance=task.chance if task else None,
        guesses=(guesses[0], guesses[1]),
        is_share=_is_share(pair, scores),
    )
    if not (first and second and all(scores)):
        return compared
    if why := _why_not(first, second):
        return replace(compared, said=why)
    found = difference_on(first, one.models[0], other.models[0])
    if found is None:
        return replace(compared, said="no values of items")
    said = {1: BETTER.format(0), -1: BETTER.format(1), 0: NOT_DECIDED}[found.sign]
    interval = found.paired
    return replace(
        compared, difference=interval.mean, low=interval.low, high=interval.high, said=said
    )


def _task_of(evaluation: Evaluation, name: str) -> Task | None:
    return next((task for task in evaluation.tasks if task.name == name), None)


def _is_share(pair: Sequence[Task | None], scores: Sequence[Score | None]) -> bool:
    return all(0 <= score.value <= 1 for score in scores if score) and all(
        task.more_is_better for task in pair if task
    )


def _why_not(one: Task, other: Task) -> str:
    """Return what the models did not have in common; "" if they answered the same."""
    if not (one.docs and other.docs):
        return SAME["docs"]
    return next((why for key, why in SAME.items() if getattr(one, key) != getattr(other, key)), "")
