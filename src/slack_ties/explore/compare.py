"""Compare two merges: their settings, the figures of their reports, and their scores.

`slack-ties compare` calls this. If a merge has a report.json, we read it. If not, we make the
report in memory and do not write it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError, RecipeError, visible
from slack_ties.explore.compare_rows import rows_of
from slack_ties.explore.compare_scores import (
    compare_scores,
    evaluation_at,
    is_evaluation,
    scores_as_html,
    scores_as_text,
)
from slack_ties.files import expanded
from slack_ties.notebook import Shown, html_lines, html_table
from slack_ties.recipe.missing import no_merge
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE
from slack_ties.report.describe import describe_settings, has_figures
from slack_ties.report.file import REPORT_FILE, read_report
from slack_ties.settings import Settings
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from slack_ties.explore.compare_rows import Row
    from slack_ties.explore.compare_scores import ComparedTask
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.report.report import Report
    from slack_ties.settings import SettingsByName

__all__ = ["Comparison", "compare_merges"]

LOG = logging.getLogger("slack_ties")

WIDTH = 26  # characters of a value or a heading

LEGEND = "* differs; - is none, or there is nothing to take a share of"


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Two merges, row by row."""

    names: tuple[str, str]
    rows: tuple[Row, ...]
    note: str = ""  # why there are no figures
    tasks: tuple[ComparedTask, ...] = ()  # of their evaluations

    def summary(self) -> str:
        """Return how much differs."""
        number = sum(row.differs for row in self.rows)
        said = f"{number} of {len(self.rows)} rows differ"
        if not self.rows:
            said = f"scores on {counted(len(self.tasks), 'task')}"
        return f"{self.names[0]} and {self.names[1]}: {said}"

    def as_html(self) -> str:
        """Return the same as HTML."""
        rows = [
            ["*" if row.differs else "", row.about, row.name, *row.texts(), row.meaning]
            for row in self.rows
        ]
        table = html_table(["", "", "", *self.names, "meaning"], rows)
        table += html_lines([LEGEND, *filter(None, [self.note])])
        return (table if self.rows else "") + scores_as_html(self.names, self.tasks)

    def as_text(self) -> str:
        """Return a table, and below it the meaning of its rows; then the scores."""
        lines = [*self._rows_as_text(), ""] if self.rows else []
        lines += scores_as_text(self.names, self.tasks)
        return "\n".join(visible(line.rstrip()) for line in lines).rstrip("\n")

    def _rows_as_text(self) -> list[str]:
        lines = [f"  {'':22}{_cut(self.names[0])}  {_cut(self.names[1])}"]
        about = ""
        for row in self.rows:
            if row.about != about:
                about = row.about
                lines.append(about)
            mark = "*" if row.differs else " "
            lines.append(f"{mark} {row.name:22}" + "  ".join(map(_cut, row.texts())))
        lines += ["", LEGEND, *filter(None, [self.note])]
        return lines + [f"  {name:22}{meaning}" for name, meaning in self.meanings().items()]

    def meanings(self) -> dict[str, str]:
        """Return what the rows say, by their names, each once."""
        return {row.name: row.meaning for row in self.rows if row.meaning}


def compare_merges(
    one: str | Path,
    other: str | Path,
    **settings: Unpack[SettingsByName],
) -> Comparison:
    """Return the comparison of two merges.

    Args:
        one: A merge config, a merged folder, a report.json, or an evaluation.json.
        other: The second merge, in one of the same forms.
        settings: All of `Settings`, by name; used if we must make a report.

    Raises:
        SlackTiesError: A merge cannot be read, or we cannot make its report.

    """
    shared = Settings(**settings)
    paths = [expanded(path) for path in (one, other)]
    names, (first, second) = (str(one), str(other)), map(evaluation_at, paths)
    tasks = compare_scores(first, second) if first and second else ()
    recipes = _recipes(paths, scored=bool(tasks))
    if recipes is None:
        return Comparison(names, (), tasks=tasks)
    without = [recipe.method for recipe in recipes if recipe and not has_figures(recipe)]
    reports = [
        describe_settings(recipe) if recipe and without else _report_of(path, shared)
        for path, recipe in zip(paths, recipes, strict=True)
    ]
    note = f"only settings, no figures: {without[0]} has no report" if without else ""
    return Comparison(names, tuple(rows_of(*reports)), note, tasks)


def _recipes(paths: Sequence[Path], *, scored: bool) -> list[Recipe | None] | None:
    """Read the configs of both merges, before we read the models of the first for minutes.

    Args:
        paths: Both merges.
        scored: Both have evaluations: then these can be compared without configs.

    Returns:
        The config of each merge, None for one that has a report; or None if there is nothing to
        compare but scores.

    Raises:
        SlackTiesError: A merge cannot be read, or has no evaluation to compare.

    """
    recipes: list[Recipe | None] = []
    for path in paths:
        if is_evaluation(path):
            if scored:
                return None
            msg = f"{str(path)!r} is an evaluation, expected two of them, or reports of both merges"
            raise OutputError(msg, hint="slack-ties evaluate OUT  # for the other merge too")
        try:
            recipes.append(None if _report_at(path) else read_recipe(_config_at(path)))
        except (RecipeError, OutputError) as error:
            if not scored:
                raise
            LOG.warning("  only the scores are compared: %s", error)
            return None
    return recipes


def _report_at(path: Path) -> Path | None:
    """Return the existing report of a merge; None if there is none."""
    if path.suffix == ".json":
        return path
    return path / REPORT_FILE if (path / REPORT_FILE).is_file() else None


def _config_at(path: Path) -> Path:
    if not path.suffix and not os.path.lexists(path):
        raise no_merge(path, "a merged folder, a merge config, a report.json or an evaluation.json")
    if not path.is_dir():
        return path
    if not (path / CONFIG_FILE).is_file():
        msg = f"{str(path)!r} has neither {REPORT_FILE} nor {CONFIG_FILE}"
        raise OutputError(msg, hint="slack-ties report CONFIG")
    return path / CONFIG_FILE


def _report_of(path: Path, settings: Settings) -> Report:
    if report := _report_at(path):
        return read_report(report)
    from slack_ties.merge.in_memory import merge_in_memory  # noqa: PLC0415 - heavy

    return merge_in_memory(_config_at(path), path, settings=settings)


def _cut(text: str) -> str:
    """Return the end of a long text: the end of a path tells it from other paths."""
    return (text if len(text) <= WIDTH else f"...{text[3 - WIDTH :]}").ljust(WIDTH)
