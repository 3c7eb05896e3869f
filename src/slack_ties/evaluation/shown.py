"""An evaluation that prints as `slack-ties evaluate` prints it, and that a notebook shows."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import visible
from slack_ties.evaluation.scores import Evaluation
from slack_ties.evaluation.sentences import notes_of, sentences_of
from slack_ties.evaluation.table import SUBJECTS, legend_of, role_names, rows_of
from slack_ties.notebook import Shown, html_lines, html_table
from slack_ties.wording import counted, in_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slack_ties.evaluation.table import Row

__all__ = ["ShownEvaluation"]

COLUMNS = 79  # of the screen

HEAD_END = ("chance", "items", "shots")


@dataclass(frozen=True, repr=False)
class ShownEvaluation(Shown, Evaluation):
    """The scores of models on tasks, as functions return them."""

    def summary(self) -> str:
        """Return the name of the merged model, and the number of tasks and of models."""
        tasks, models = counted(len(self.tasks), "task"), counted(len(self.models), "model")
        return f"{self.models[0].name}: {tasks}, {models}"

    def as_text(self) -> str:
        """Return what `slack-ties evaluate` prints: models, table, legend, sentences."""
        rows = rows_of(self)
        names = role_names(self.models)
        wide = max(map(len, names)) + 2
        lines = [f"{name:{wide}}{self._model(i)}" for i, name in enumerate(names)]
        lines += ["", *_table(["", *names, *HEAD_END], rows), ""]
        for text in [*legend_of(self, rows), *notes_of(self)]:
            lines += _wrapped(text, indent="  ")
        lines.append("")
        for text in sentences_of(self):
            lines += _wrapped(text)
        return "\n".join(visible(line.rstrip()) for line in lines)

    def as_html(self) -> str:
        """Return the same as HTML."""
        rows = rows_of(self)
        names = role_names(self.models)
        models = [(name, self._model(i)) for i, name in enumerate(names)]
        cells = [
            [row.name, *(cell.text for cell in row.cells), row.chance, row.items, row.fewshot]
            for row in rows
        ]
        return "".join(
            (
                html_table((), models),
                html_table(["", *names, *HEAD_END], cells),
                html_lines([*legend_of(self, rows), *notes_of(self)]),
                html_lines(sentences_of(self)),
            )
        )

    def _model(self, number: int) -> str:
        model = self.models[number]
        name = model.name
        if model.commit and "@" not in name:
            name += f" at commit {model.commit[:7]}"
        return f"{name}, {model.dtype}" if model.dtype else name


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Return the lines of a text; a number stays beside its percent sign."""
    whole = text.replace(" %", "\xa0%")
    lines = textwrap.wrap(whole, COLUMNS, subsequent_indent=indent)
    return [line.replace("\xa0%", " %") for line in lines]


def _table(head: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the lines; a task's name has a line of its own if they were too long otherwise."""
    marks = [max(len(row.cells[i].marks) for row in rows) for i in range(len(head) - 4)]
    cells = [
        [f"{cell.score} {cell.marks:{most}}" if most else cell.score for cell, most in pairs]
        for row in rows
        for pairs in [list(zip(row.cells, marks, strict=True))]
    ]
    # The head of a column stands above the numbers, not above the marks.
    heads = [name + " " * (most + bool(most)) for name, most in zip(head[1:-3], marks, strict=True)]
    table = [
        ["", *heads, *head[-3:]],
        *(
            [f"  {row.name}", *of_row, row.chance, row.items, row.fewshot]
            for row, of_row in zip(rows, cells, strict=True)
        ),
    ]
    lines = in_columns(table)
    if max(map(len, lines)) > COLUMNS:
        narrow = in_columns([["    ", *line[1:]] for line in table])
        lines = [narrow[0]]
        for row, line in zip(rows, narrow[1:], strict=True):
            lines += [f"  {row.name}", line]
        return [*_with_subjects(lines, rows, each=2)]
    return [*_with_subjects(lines, rows, each=1)]


def _with_subjects(lines: Sequence[str], rows: Sequence[Row], *, each: int) -> Iterator[str]:
    """Yield the lines of a table with a heading where the subject of the tasks changes."""
    yield lines[0]
    several = len({row.about for row in rows} - {""}) > 0
    about = None
    for i, row in enumerate(rows):
        if several and row.about != about:
            about = row.about
            yield SUBJECTS[about]
        yield from lines[1 + each * i : 1 + each * (i + 1)]
