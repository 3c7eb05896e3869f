"""The result of `tune`: its trials in a table, and what the table means."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.notebook import Shown, html_lines, html_table
from slack_ties.tuning.means import Means
from slack_ties.tuning.study import TrialResult, row_of
from slack_ties.tuning.verdict import Verdict, gap, in_percent, number, with_error
from slack_ties.wording import counted, in_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["RESULT", "Tuned", "tuned_as_json"]

ELSEWHERE = "`report` asks what the SFT model needs, so it may suggest another slack"

GUESS = "~"  # the mark of a score
GUESSES = f"{GUESS} not better than guessing, as far as the items show"

RESULT = "result: "  # begins a line that says what the search has shown

MOST_PARTS = 4  # columns that fit on a terminal beside the others


@dataclass(frozen=True, repr=False)
class Tuned(Shown):
    """The result of a search."""

    metric: str  # what the score is called
    results: tuple[TrialResult, ...]  # in the order of the trials
    best: TrialResult
    config: Path  # the best one
    study: Path
    page: Path
    as_it_is: Mapping[str, float] = field(default_factory=dict)  # values of the config itself
    method: str = ""  # of the config, if trials have several methods
    more_is_better: bool = True
    columns: Mapping[str, str] = field(default_factory=dict)  # what the score and its parts are
    asks: str = ""  # the question that the score answers
    verdict: Verdict = field(default_factory=lambda: Verdict(None))
    notes: tuple[str, ...] = ()  # what weakens the result
    means: Means = field(default_factory=Means)  # how tasks count in the score
    by: str = ""  # the metric as the user named it; empty: as `metric`

    @property
    def title(self) -> str:
        """What the search is by."""
        return self.by or self.metric

    def summary(self) -> str:
        """Return the best trial, and why it is not to be merged, if that is so."""
        name = self.name_of(self.best)
        but = "" if self.verdict.speaks_for_best else f"; {self.verdict.lines[0]}"
        return f"the best of {counted(len(self.results), 'trial')} is {name}{but}: {self.config}"

    def name_of(self, result: TrialResult) -> str:
        """Return the name of a trial for a table."""
        return row_of(result, self.as_it_is, self.method)

    def parts(self, *, every: bool = False) -> list[str]:
        """Return the names of the parts to show; if there are many, only means of several."""
        names = list(self.best.parts)
        if every or len(names) <= MOST_PARTS:
            return names
        return [name for name in names if name not in self.best.items]

    def rows(self, *, every: bool = False) -> list[list[str]]:
        """Return the head of the table, and a row for each trial; * marks the best one.

        Args:
            every: Show all parts, if there are many too.

        """
        parts, first = self.parts(every=every), self.results[0]
        held_out = {one.key: one for one in self.verdict.held_out}
        # Names of tasks are written as they are: lm-eval tells large letters from small ones.
        named = [name if name in first.items else name.upper() for name in (self.metric, *parts)]
        rows = [["TRIAL", *named, *(["DIFFERENCE", "HELD-OUT"] if first.items else [])]]
        for result in self.results:
            mark = "* " if result is self.best else ""
            row = [mark + self.name_of(result), self._cell(result)]
            row += [self._cell(result, part) for part in parts]
            if first.items:
                row.append("" if result is first else gap(result, first, self.means))
                row.append(self._cell(held_out[result.key]) if result.key in held_out else "")
            rows.append(row)
        return [*rows, *self._guessing(parts)]

    def _cell(self, result: TrialResult, part: str = "") -> str:
        mark = f" {GUESS}" if self.means.is_guess(result, part) else ""
        return with_error(result, part) + mark

    def _guessing(self, parts: Sequence[str]) -> list[list[str]]:
        """Return a row with what guessing scores, if it is known of a task."""
        chances = [self.means.chance(name) for name in ("", *parts)]
        if all(one is None for one in chances):
            return []
        share = all(map(in_percent, self.results))
        shown = ["" if one is None else number(one, share=share) for one in chances]
        return [["guessing", *shown, "", shown[0]]]

    def as_text(self) -> str:
        """Return the results as a table for people."""
        rows = [[name if "* " in name[:2] else f"  {name}", *rest] for name, *rest in self.rows()]
        lines = [line.rstrip() for line in in_columns(rows)]
        return "\n".join([*lines, "", *self.legend()])

    def as_html(self) -> str:
        """Return the same as HTML."""
        head, *rows = self.rows()
        return html_table(head, rows) + html_lines(self.legend())

    def legend(self, *, every: bool = False) -> list[str]:
        """Return what the table means: what is better, what * says, and what each column is.

        Args:
            every: As for `rows`.

        """
        more = "More" if self.more_is_better else "Less"
        equal = sum(one.score == self.best.score for one in self.results) - 1
        also = f" ({equal} more with the same score)" if equal else ""
        lines = [f"{more} is better. * is the best trial{also}: its values are in {self.config}"]
        lines += [f"{RESULT}{line}" for line in self.verdict.lines]
        lines += [f"note: {line}" for line in self.notes]
        shown = dict.fromkeys((self.metric, *self.parts(every=every)))
        lines += [f"{name}: {self.columns[name]}" for name in shown]
        if self.results[0].items:
            percent = all(map(in_percent, self.results))
            lines.append(f"{'scores in percent; ' if percent else ''}± is one standard error")
            if any(GUESS in cell for row in self.rows(every=every) for cell in row):
                lines.append(GUESSES)
            lines += [
                "difference: to the config as it is, on the same items (its 95 % interval)",
                "held-out: score on the other half of the items, which no trial was chosen by",
            ]
            if len(self.results) > 1:
                lines.append("the best of several trials is lucky too: only held-out items decide")
        return [*lines, f"question: {self.asks}; {ELSEWHERE}"]


def tuned_as_json(found: Tuned) -> dict[str, Any]:
    """Return a result for `--json`: without the values of single items, which the study has."""
    data = asdict(found)
    rows = [*found.results, found.best, *found.verdict.held_out]
    for one, result in zip(
        (*data["results"], data["best"], *data["verdict"]["held_out"]), rows, strict=True
    ):
        del one["items"]
        if result.items:
            one["guess"] = found.means.is_guess(result)
    parts = {name: found.means.chance(name) for name in ("", *found.best.parts)}
    data["chance"] = {name or "score": chance for name, chance in parts.items()}
    del data["means"]
    pairs = [found.means.difference(one, found.results[0]) for one in found.results]
    for row, pair in zip(data["results"], pairs, strict=True):
        if pair:
            row["difference"] = asdict(pair)
    return data
