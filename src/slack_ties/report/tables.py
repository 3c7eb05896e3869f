"""The table of slacks, for the terminal and for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.report.rows import percent

if TYPE_CHECKING:
    from slack_ties.report.report import Report
    from slack_ties.report.slacks import Slacks

__all__ = ["slack_rows", "slacks_title"]

SLACKS_TITLE = (
    "With another slack for {sft} (0 is plain TIES){apart}. Cost: what {ct} loses more, of its "
    "kept entries and of its energy."
)


def slacks_title(report: Report, slacks: Slacks) -> str:
    """Return a line that explains the table."""
    sft, ct = (report.headings[t] for t in (slacks.sft, slacks.ct))
    apart = f", without {report.outer}" if report.outer else ""
    return SLACKS_TITLE.format(sft=sft, ct=ct, apart=apart)


def slack_rows(report: Report, slacks: Slacks) -> list[tuple[str, list[str]]]:
    """Return the rows of the table: a name, and a text for each step."""
    sft, ct = (report.headings[t] for t in (slacks.sft, slacks.ct))
    steps = slacks.steps
    effects = [step.in_effect for step in steps]
    return [
        ("slack", [f"{step.slack:g}" for step in steps]),
        ("slack in effect", ["-" if one is None else f"{one:.2f}" for one in effects]),
        (f"{sft} top 20 % lost", [percent(step.top_lost[-1]) for step in steps]),
        (f"cost to {ct}", [percent(step.cost) for step in steps]),
        (f"{ct} energy cost", [percent(step.energy_cost) for step in steps]),
    ]
