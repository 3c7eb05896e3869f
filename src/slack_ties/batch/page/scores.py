"""The scores of a batch: each merged model beside the models that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slack_ties.batch.page.matrix import shown_difference
from slack_ties.evaluation.differences import comparable
from slack_ties.evaluation.sentences import notes_of
from slack_ties.evaluation.statistics import mean_of_pairs
from slack_ties.evaluation.table import (
    BETTER,
    GUESS,
    LEGEND,
    SUBJECTS,
    WORSE,
    is_share,
    role_names,
    rows_of,
)
from slack_ties.wording import counted, join_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slack_ties.batch.page.rows import Row
    from slack_ties.evaluation.differences import Difference
    from slack_ties.evaluation.scores import Evaluation
    from slack_ties.evaluation.table import Cell
    from slack_ties.evaluation.table import Row as TableRow

    _Differences = Mapping[tuple[str, int], Difference]

__all__ = ["ScoreCell", "ScoreLine", "ScoredTask", "columns_of", "legend_of", "scores_of"]


class ScoreCell(NamedTuple):
    """The score of one model on a task."""

    score: str  # with its standard error
    better: bool = False  # the merged model is decidedly better than this one
    worse: bool = False
    guess: bool = False  # it cannot be told from guessing
    difference: str = ""  # the merged model less this one, with its 95 % interval


class ScoreLine(NamedTuple):
    """One task of lm-eval, or the mean of several."""

    on: str
    about: str  # "in the target language"
    cells: tuple[ScoreCell | None, ...]  # one for each column
    chance: str
    items: str
    shots: str


class ScoredTask(NamedTuple):
    """The scores of one task of the batch."""

    task: int  # its position
    lines: tuple[ScoreLine, ...]


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the models of all evaluations by their roles, the merged one first."""
    names = [role_names(row.evaluation.models) for row in rows if row.evaluation]
    return list(dict.fromkeys(name for several in names for name in several))


def scores_of(rows: Sequence[Row], columns: Sequence[str]) -> list[ScoredTask]:
    """Return the scores of all tasks of the batch that are evaluated."""
    return [
        ScoredTask(i, tuple(_lines(row.evaluation, row.differences, columns)))
        for i, row in enumerate(rows)
        if row.evaluation
    ]


def _lines(
    evaluation: Evaluation, every: _Differences, columns: Sequence[str]
) -> Iterator[ScoreLine]:
    names = role_names(evaluation.models)
    for line in rows_of(evaluation):
        shown = _differences(evaluation, line, every)
        cells = {
            name: _cell(cell, shown.get(i, ""))
            for i, (name, cell) in enumerate(zip(names, line.cells, strict=True))
        }
        yield ScoreLine(
            line.name,
            SUBJECTS[line.about] if line.about else "",
            tuple(cells.get(name) for name in columns),
            line.chance,
            line.items,
            line.fewshot,
        )


def _cell(cell: Cell, difference: str) -> ScoreCell:
    marks = cell.marks
    return ScoreCell(cell.score, BETTER in marks, WORSE in marks, GUESS in marks, difference)


def _differences(evaluation: Evaluation, line: TableRow, every: _Differences) -> dict[int, str]:
    """Return the differences on a task, or in the mean, by the position of the other model."""
    task = next((one for one in evaluation.tasks if one.name == line.name), None)
    tasks = [task] if task else comparable(evaluation, line.about)
    share = is_share(evaluation, task) if task else True
    shown = {}
    for i in range(1, len(evaluation.models)):
        found = [every[one.name, i].paired for one in tasks if (one.name, i) in every]
        if found and len(found) == len(tasks):
            shown[i] = shown_difference(mean_of_pairs(found), share=share)
    return shown


def legend_of(rows: Sequence[Row], scored: Sequence[ScoredTask]) -> Iterator[str]:
    """Yield what the marks and numbers mean, and what weakens the scores, in sentences."""
    cells = [cell for one in scored for line in one.lines for cell in line.cells if cell]
    evaluations = {row.name: row.evaluation for row in rows if row.evaluation}
    if not cells:
        return
    yield "± is one standard error. Scores that are shares are in percent."
    if any(cell.difference for cell in cells):
        compared = counted(sum(bool(cell.difference) for cell in cells), "comparison")
        yield (
            "Below the score of another model is what the merged model scores more than it, on the "
            "same items, with the 95 % interval. A + or - beside a score says that this difference "
            f"is larger than chance. Chance alone can give that in 5 % of comparisons; here: "
            f"{compared}."
        )
    present = {
        BETTER: any(cell.better for cell in cells),
        WORSE: any(cell.worse for cell in cells),
        GUESS: any(cell.guess for cell in cells),
    }
    yield from (f"{LEGEND[mark]}." for mark, there in present.items() if there)
    notes: dict[str, list[str]] = {}
    for name, evaluation in evaluations.items():
        for note in notes_of(evaluation):
            notes.setdefault(note, []).append(name)
    for note, names in notes.items():
        every = len(names) == len(evaluations) and len(names) > 1
        yield f"{'All' if every else join_names(names)}: {note}"
    less = dict.fromkeys(
        task.name for one in evaluations.values() for task in one.tasks if not task.more_is_better
    )
    if less:
        yield f"Less is better in {join_names([*less])}."
