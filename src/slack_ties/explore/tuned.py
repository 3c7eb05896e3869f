"""The result of `tune`: its trials in a table, and what the table means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slack_ties.explore.metrics import METRICS
from slack_ties.explore.study import TrialResult, row_of
from slack_ties.notebook import Shown, html_lines, html_table
from slack_ties.wording import counted, in_columns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Tuned"]

ELSEWHERE = "`report` asks what the SFT model needs, so it may suggest another slack"


@dataclass(frozen=True, repr=False)
class Tuned(Shown):
    """The result of a search."""

    metric: str
    results: tuple[TrialResult, ...]  # in the order of the trials
    best: TrialResult
    config: Path  # the best one
    study: Path
    page: Path
    as_it_is: Mapping[str, float] = field(default_factory=dict)  # values of the config itself

    def summary(self) -> str:
        """Return the best trial."""
        name = row_of(self.best.values, self.as_it_is)
        return f"the best of {counted(len(self.results), 'trial')} is {name}: {self.config}"

    def rows(self) -> list[list[str]]:
        """Return the head of the table, and a row for each trial; * marks the best one."""
        parts = list(self.best.parts)
        rows = [["TRIAL", self.metric.upper(), *(part.upper() for part in parts)]]
        for result in self.results:
            mark = "* " if result is self.best else ""
            numbers = [f"{result.score:.4f}", *(f"{result.parts[part]:.4f}" for part in parts)]
            rows.append([mark + row_of(result.values, self.as_it_is), *numbers])
        return rows

    def as_text(self) -> str:
        """Return the results as a table for people."""
        rows = [[name if "* " in name[:2] else f"  {name}", *rest] for name, *rest in self.rows()]
        return "\n".join([*in_columns(rows), "", *self.legend()])

    def as_html(self) -> str:
        """Return the same as HTML."""
        head, *rows = self.rows()
        return html_table(head, rows) + html_lines(self.legend())

    def legend(self) -> list[str]:
        """Return what the table means: what is better, what * says, and what each column is."""
        metric = METRICS[self.metric]
        more = "More" if metric.more_is_better else "Less"
        equal = sum(one.score == self.best.score for one in self.results) - 1
        also = f" ({equal} more with the same score)" if equal else ""
        shown = (self.metric, *self.best.parts)
        return [
            f"{more} is better. * is the best trial{also}: its values are in {self.config}",
            *(f"{name}: {metric.legend[name]}" for name in dict.fromkeys(shown)),
            f"question: {metric.asks}; {ELSEWHERE}",
        ]
