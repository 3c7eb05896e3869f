"""Write an evaluation as a table: a row for each task, a column for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slack_ties.evaluation.differences import (
    at_chance,
    comparable,
    differences_of,
    main_score,
    mean_at_chance,
    mean_difference,
    mean_score,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slack_ties.evaluation.differences import Difference
    from slack_ties.evaluation.scores import Evaluated, Evaluation, Score, Task

__all__ = [
    "GUESS",
    "LEGEND",
    "SUBJECTS",
    "Cell",
    "Row",
    "is_share",
    "legend_of",
    "number",
    "role_names",
    "rows_of",
    "with_error",
]

# What tasks are about, in the order of the table, and the heading of each part.
SUBJECTS = {
    "language": "in the target language",
    "english": "in English",
    "": "other tasks",
}

BETTER, WORSE, GUESS = "+", "-", "~"  # the marks of a cell

LEGEND = {
    BETTER: "+ the merged model is better than this one, by more than the uncertainty",
    WORSE: "- the merged model is worse than this one, by more than the uncertainty",
    GUESS: "~ not better than guessing, as far as the items show",
}


class Cell(NamedTuple):
    """What one model scored on a task."""

    score: str = "-"  # with its standard error
    marks: str = ""

    @property
    def text(self) -> str:
        """The score and its marks."""
        return f"{self.score} {self.marks}".rstrip()


class Row(NamedTuple):
    """A task, or the mean of several."""

    about: str  # Task.about
    name: str
    metric: str
    cells: tuple[Cell, ...]  # one for each model, in their order
    chance: str
    items: str  # that were scored
    fewshot: str


def role_names(models: Sequence[Evaluated]) -> list[str]:
    """Return a short name for each model: its role, numbered if several models have it."""
    names = [one.role.upper() if one.role in {"ct", "sft"} else one.role for one in models]
    return [
        f"{name} {names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def rows_of(evaluation: Evaluation) -> list[Row]:
    """Return the rows: the tasks of each subject, and their mean if there are several."""
    differences = differences_of(evaluation)
    rows = []
    for about in SUBJECTS:
        tasks = [task for task in evaluation.tasks if task.about == about]
        rows += [_row(evaluation, task, differences) for task in tasks]
        several = comparable(evaluation, about) if about else ()
        if len(several) > 1:
            rows.append(_mean_row(evaluation, about, several))
    return rows


def _row(evaluation: Evaluation, task: Task, differences: dict[tuple[str, int], Difference]) -> Row:
    share = is_share(evaluation, task)
    cells = []
    for i, model in enumerate(evaluation.models):
        score = main_score(model, task)
        if score is None:
            cells.append(Cell())
            continue
        marks = _sign(differences.get((task.name, i)))
        marks += GUESS if at_chance(task, score) else ""
        cells.append(Cell(with_error(score, share=share), marks))
    return Row(
        task.about,
        task.name,
        task.metric,
        tuple(cells),
        "-" if task.chance is None else number(task.chance, share=share),
        f"{task.items:,}",
        str(task.fewshot),
    )


def _mean_row(evaluation: Evaluation, about: str, tasks: Sequence[Task]) -> Row:
    merged = evaluation.models[0]
    cells, chance = [], None
    for model in evaluation.models:
        mean = mean_score(model, tasks)
        if mean is None:
            cells.append(Cell())
            continue
        chance = mean.chance
        marks = "" if model is merged else _sign(mean_difference(merged, model, tasks))
        marks += GUESS if mean_at_chance(mean, tasks) else ""
        cells.append(Cell(with_error(mean.score, share=True), marks))
    shown = "-" if chance is None else number(chance, share=True)
    return Row(about, f"mean of {len(tasks)} tasks", "", tuple(cells), shown, "", "")


def _sign(difference: Difference | None) -> str:
    sign = difference.sign if difference else 0
    return BETTER if sign > 0 else WORSE if sign < 0 else ""


def is_share(evaluation: Evaluation, task: Task) -> bool:
    """Say whether a task's scores are shares of its items, to show as percentages."""
    scores = [main_score(model, task) for model in evaluation.models]
    return task.more_is_better and all(0 <= one.value <= 1 for one in scores if one)


def with_error(score: Score, *, share: bool) -> str:
    """Return a score with its standard error as text: in percent if it is a share."""
    shown = number(score.value, share=share)
    if score.stderr is None:
        return shown
    return f"{shown} ±{number(score.stderr, share=True) if share else f'{score.stderr:.2g}'}"


def number(value: float, *, share: bool) -> str:
    """Return a score as text: in percent if it is a share."""
    return f"{100 * value:.1f}" if share else f"{value:.4g}"


def legend_of(evaluation: Evaluation, rows: Sequence[Row]) -> Iterator[str]:
    """Yield what the marks and numbers of a table mean, each once and only if it is there."""
    marks = {mark for row in rows for cell in row.cells for mark in cell.marks}
    if any("±" in cell.score for row in rows for cell in row.cells):
        yield "± one standard error"
    shares = [is_share(evaluation, task) for task in evaluation.tasks]
    if all(shares):
        yield "scores in percent"
    elif any(shares):
        others = [t.name for t, share in zip(evaluation.tasks, shares, strict=True) if not share]
        yield f"scores in percent, except of {', '.join(others)}"
    yield "shots: examples before each item"
    yield from (text for mark, text in LEGEND.items() if mark in marks)
    compared = sum(cell.score != Cell().score for row in rows for cell in row.cells[1:])
    if marks & {BETTER, WORSE}:
        yield f"chance alone can give 5 % of comparisons a + or -; here are {compared}"
    if len(evaluation.models) > 1 and not marks & {BETTER, WORSE}:
        yield "no + and no -: nothing is decided between the merged model and the others"
    less = [task.name for task in evaluation.tasks if not task.more_is_better]
    if less:
        yield f"less is better in {', '.join(less)}"
