"""A report that prints as `slack-ties report` prints it, and that a notebook shows."""

from __future__ import annotations

from dataclasses import dataclass

from slack_ties.notebook import Shown, html_lines, html_table
from slack_ties.report.figures import Figures
from slack_ties.report.report import Report
from slack_ties.report.rows import NO_SHARE, ROWS
from slack_ties.report.sentences import read_figures
from slack_ties.report.slacks import slacks_of
from slack_ties.report.tables import slack_rows, slacks_title
from slack_ties.report.terminal import summarise

__all__ = ["ShownReport"]


@dataclass(frozen=True, repr=False)
class ShownReport(Shown, Report):
    """The report of a merge, as functions return it."""

    def summary(self) -> str:
        """Return what was counted, and the suggestion."""
        slack = read_figures(self).slack
        said = "no slack is suggested" if slack is None else f"suggested slack {slack:g}"
        return f"{self.config}, {len(self.models)} models, {len(self.tensors)} tensors: {said}"

    def as_text(self) -> str:
        """Return what `slack-ties report` prints."""
        return summarise(self)

    def as_html(self) -> str:
        """Return its sentences, the table of figures, and the table of slacks."""
        models = range(len(self.models))
        rows = [
            [row.name, *(row.text(Figures(self.total, t)) for t in models), row.meaning]
            for row in ROWS
        ]
        missing = [NO_SHARE] if any("-" in row[1:-1] for row in rows) else []
        table = html_table(["", *(model.label for model in self.models), "meaning"], rows)
        entries = f"{int(self.total.positions[0]):,} entries in {len(self.tensors)} tensors"
        return "".join(
            (
                html_lines([f"{self.config}: {entries}"]),
                html_lines(read_figures(self).sentences),
                table,
                html_lines(missing),
                self._slacks(),
            )
        )

    def _slacks(self) -> str:
        found = slacks_of(self)
        if found is None:
            return ""
        rows = [[name, *cells] for name, cells in slack_rows(self, found)]
        return html_lines([slacks_title(self, found)]) + html_table((), rows)
