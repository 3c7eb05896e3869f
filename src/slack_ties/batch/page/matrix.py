"""Languages by settings: the score of each task of a batch beside the best score of its row.

A score is called worse than the best one only if that is decided on the same items; see
`evaluation/statistics.py`. If the best one cannot be told from guessing, nothing is compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from slack_ties.batch.page.rows import language_names, shown_setting
from slack_ties.evaluation.differences import (
    at_chance,
    comparable,
    difference_on,
    main_score,
    mean_at_chance,
    mean_difference,
    mean_score,
)
from slack_ties.evaluation.table import SUBJECTS, number, with_error
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slack_ties.batch.page.rows import LanguageNames, Row
    from slack_ties.evaluation.differences import Difference
    from slack_ties.evaluation.scores import Evaluation, Score, Task
    from slack_ties.evaluation.statistics import Paired

__all__ = [
    "BEST",
    "NOT_DECIDED",
    "WORSE",
    "Matrix",
    "MatrixCell",
    "MatrixRow",
    "matrix_of",
    "shown_difference",
]

BEST, WORSE, NOT_DECIDED = "best score", "worse", "not decided"

MOST_SINGLE = 3  # tasks of a subject with a row of their own


@dataclass(frozen=True)
class MatrixCell:
    """One task of the batch in the table."""

    task: int  # its position in the batch
    state: str
    score: str = ""  # with its standard error; "" if there is none
    guess: bool = False  # it cannot be told from guessing
    said: str = ""  # BEST, WORSE or NOT_DECIDED
    difference: str = ""  # from the best score, with its 95 % interval


@dataclass(frozen=True)
class MatrixRow:
    """The scores of one language, or of one config, on one task or in the mean of several."""

    key: str  # the language as it was given; "" for a config
    language: LanguageNames
    run: str  # what else tells it from other rows of this language; "" if it is alone
    on: str = ""  # "belebele_bod_Tibt", "mean of 3 tasks"; "" without scores
    about: str = ""  # "in the target language"
    chance: str = ""
    cells: tuple[MatrixCell | None, ...] = ()  # one for each column
    span: int = 1  # the rows from this one on that are of the same run; 0 after the first


@dataclass(frozen=True)
class Matrix:
    """The table."""

    columns: tuple[str, ...]  # "slack 0.1, density 0.4"
    rows: tuple[MatrixRow, ...]


class _Measure(NamedTuple):
    """What one row of the table shows: one task, or the mean of several."""

    about: str
    tasks: tuple[Task, ...]

    @property
    def is_mean(self) -> bool:
        return len(self.tasks) > 1

    @property
    def name(self) -> str:
        return f"mean of {counted(len(self.tasks), 'task')}" if self.is_mean else self.tasks[0].name

    def score(self, evaluation: Evaluation) -> tuple[Score | None, float | None, bool]:
        """Return the score of the merged model, chance, and whether it cannot be told from it."""
        merged = evaluation.models[0]
        if self.is_mean:
            mean = mean_score(merged, self.tasks)
            if mean is None:
                return None, None, False
            return mean.score, mean.chance, mean_at_chance(mean, self.tasks)
        (task,) = self.tasks
        score = main_score(merged, task) if _same(evaluation, task) else None
        return score, task.chance, score is not None and at_chance(task, score)

    def difference(self, one: Evaluation, other: Evaluation) -> Difference | None:
        """Return the merged model of the first less that of the second; None if not known."""
        pair = (one.models[0], other.models[0])
        if not all(task.docs for task in self.tasks):
            return None  # whether the items are the same is not known
        if self.is_mean:
            return mean_difference(*pair, self.tasks)
        return difference_on(self.tasks[0], *pair)


def matrix_of(rows: Sequence[Row]) -> Matrix | None:
    """Return the table; None if nothing is varied."""
    columns = list(dict.fromkeys(_settings(row) for row in rows))
    if len(columns) < 2:  # noqa: PLR2004 - one column is no comparison
        return None
    runs: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        runs.setdefault((row.language, row.run), []).append(i)
    languages = [language for language, _ in runs]
    found: list[MatrixRow] = []
    for (language, run), numbers in runs.items():
        names = language_names(language)
        alone = bool(language) and languages.count(language) == 1
        head = MatrixRow(language, names, "" if alone else run)
        found += _rows_of(head, columns, {i: rows[i] for i in numbers})
    return Matrix(tuple(one or "as it is" for one in columns), tuple(found))


def _settings(row: Row) -> str:
    return ", ".join(f"{key} {shown_setting(value)}" for key, value in row.settings.items())


def _rows_of(
    head: MatrixRow, columns: Sequence[str], numbered: dict[int, Row]
) -> Iterator[MatrixRow]:
    """Yield the rows of one run: one for each measure, or one of states only."""
    at = {_settings(row): i for i, row in numbered.items()}
    evaluations = {i: row.evaluation for i, row in numbered.items() if row.evaluation}
    plain = {i: MatrixCell(i, row.state) for i, row in numbered.items()}
    measures = [*_measures([*evaluations.values()])]
    for measure in measures:
        cells, chance = _cells(measure, evaluations, plain)
        about = SUBJECTS[measure.about] if measure.about else ""
        placed = tuple(cells[at[one]] if one in at else None for one in columns)
        span = len(measures) if measure is measures[0] else 0
        yield replace(head, on=measure.name, about=about, chance=chance, cells=placed, span=span)
    if not measures:
        placed = tuple(plain[at[one]] if one in at else None for one in columns)
        yield replace(head, cells=placed)


def _measures(evaluations: Sequence[Evaluation]) -> Iterator[_Measure]:
    """Yield what all these evaluations are compared by: means if they have them, or tasks."""
    seen: dict[str, Task] = {}
    for evaluation in evaluations:
        for task in evaluation.tasks:
            seen.setdefault(task.name, task)
    for about in SUBJECTS:
        tasks = [task for task in seen.values() if task.about == about]
        shared = [
            {task.name for task in comparable(one, about) if _same(one, seen[task.name])}
            for one in evaluations
        ]
        several = set.intersection(*shared) if shared and about else set()
        if len(several) > 1:
            yield _Measure(about, tuple(task for task in tasks if task.name in several))
            tasks = [task for task in tasks if task.name not in several]
        for task in tasks[:MOST_SINGLE]:
            yield _Measure(about, (task,))


def _same(evaluation: Evaluation, task: Task) -> bool:
    """Say whether an evaluation has a task with the same items, asked in the same way."""
    found = next((one for one in evaluation.tasks if one.name == task.name), None)
    return found is not None and all(
        getattr(found, key) == getattr(task, key)
        for key in ("docs", "items", "metric", "version", "fewshot", "more_is_better")
    )


def _cells(
    measure: _Measure, evaluations: dict[int, Evaluation], plain: dict[int, MatrixCell]
) -> tuple[dict[int, MatrixCell], str]:
    """Return the cells by the position of their task, and chance as text."""
    scores, chance, guesses = {}, None, set()
    for i, evaluation in evaluations.items():
        score, by_chance, guess = measure.score(evaluation)
        if score is None:
            continue
        scores[i], chance = score, by_chance
        guesses |= {i} if guess else set()
    more = measure.tasks[0].more_is_better
    share = more and all(0 <= one.value <= 1 for one in scores.values())
    cells = dict(plain)
    for i, score in scores.items():
        shown = with_error(score, share=share)
        cells[i] = replace(cells[i], score=shown, guess=i in guesses)
    values = {i: one.value for i, one in scores.items()}
    best = (max if more else min)(values, key=values.__getitem__) if len(values) > 1 else None
    if best is not None and best not in guesses:
        for i, value in values.items():
            if value == values[best]:
                cells[i] = replace(cells[i], said=BEST)
            elif found := measure.difference(evaluations[i], evaluations[best]):
                said = WORSE if found.sign < 0 else NOT_DECIDED
                shown = shown_difference(found.paired, share=share)
                cells[i] = replace(cells[i], said=said, difference=shown)
    return cells, "" if chance is None else number(chance, share=share)


def shown_difference(found: Paired, *, share: bool) -> str:
    """Return a difference with its 95 % interval as text: in percent if it is one of shares."""
    mean, low, high = (
        ("+" if value > 0 else "") + number(value, share=share)
        for value in (found.mean, found.low, found.high)
    )
    return f"{mean} ({low} to {high})"
