"""A plan that prints as `slack-ties plan` prints it, and that a notebook shows."""

from __future__ import annotations

from dataclasses import dataclass

from slack_ties.notebook import Shown, html_text
from slack_ties.plan.plan import Plan
from slack_ties.plan.text import plan_as_text
from slack_ties.wording import counted, parameter_count

__all__ = ["ShownPlan"]


@dataclass(frozen=True, repr=False)
class ShownPlan(Shown, Plan):
    """The result of `plan_merge`."""

    def summary(self) -> str:
        """Return what would be merged, and how much is wrong."""
        size = f", {parameter_count(self.parameters)} parameters" if self.parameters else ""
        found = f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        return (
            f"{self.config}: {self.method} of {counted(len(self.models), 'model')}{size}; {found}"
        )

    def as_text(self) -> str:
        """Return the plan as text, with the next step of each error."""
        hints = [f"Next: {error.hint}" for error in self.errors if error.hint]
        return "\n".join([plan_as_text(self), *hints])

    def as_html(self) -> str:
        """Return the same as HTML: errors and warnings first."""
        marks = [("Errors", len(self.errors)), ("Warnings", len(self.warnings))]
        first = ", ".join(f"{name}: {number}" for name, number in marks)
        return f"<p><b>{first}</b></p>{html_text(self.as_text())}"
