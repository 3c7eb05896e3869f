"""What a check of the installation found, and all of them as text, JSON and HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import SlackTiesError, masked, visible
from slack_ties.notebook import Shown, html_table
from slack_ties.wording import join_names

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BROKEN", "NOTE", "OK", "UNKNOWN", "Diagnosis", "Finding"]

OK = "ok"
NOTE = "note"  # something is not in place, and merges run without it
BROKEN = "broken"  # a merge needs it, and it is not in place
UNKNOWN = "unknown"  # it could not be looked at

NAMES = 16  # columns of the longest name, and two spaces
STATES = 9  # columns of the longest state, and two spaces


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    state: str  # OK, NOTE, BROKEN or UNKNOWN
    text: str
    hint: str = ""  # what to type or change, if something is not in place
    facts: Mapping[str, Any] = field(default_factory=dict)  # for scripts; sizes in bytes

    def __post_init__(self) -> None:
        """Put each text on one line, without tokens: an answer of the Hub or of a library."""
        for name in ("text", "hint"):
            line = visible(masked(" ".join(getattr(self, name).split())))
            object.__setattr__(self, name, line)

    def as_text(self) -> str:
        """Return a line, and one for the next step."""
        line = f"{self.name:{NAMES}}{self.state:{STATES}}{self.text}".rstrip()
        return f"{line}\n{'':{NAMES + STATES}}Next: {self.hint}" if self.hint else line

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        said = {"name": self.name, "state": self.state, "text": self.text, "hint": self.hint}
        return {**said, **self.facts}


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> list[Finding]:
        """What a merge needs and does not have."""
        return [one for one in self.findings if one.state == BROKEN]

    def check(self) -> None:
        """Refuse an installation that cannot merge.

        Raises:
            SlackTiesError: A merge needs something that is not in place; the hint is its next step.

        """
        if self.broken:
            raise SlackTiesError(self.summary(), hint=self.broken[0].hint)

    def summary(self) -> str:
        """Return whether a merge has all that it needs."""
        if not self.broken:
            return "all that a merge needs is in place"
        names = join_names([one.name for one in self.broken])
        return f"a merge needs what is not in place: {names}"

    def as_text(self) -> str:
        """Return all findings, and the summary."""
        return "\n".join([*(one.as_text() for one in self.findings), "", self.summary()])

    def as_html(self) -> str:
        """Return a table."""
        rows = [(one.name, one.state, one.text, one.hint) for one in self.findings]
        return html_table(("", "", "", "NEXT"), rows)

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "ok": not self.broken,
            "broken": [one.name for one in self.broken],
            "checks": [one.as_json() for one in self.findings],
        }
