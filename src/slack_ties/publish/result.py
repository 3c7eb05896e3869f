"""The result of a run: the folder, what was merged, the card, and where it was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import visible
from slack_ties.notebook import Shown, html_lines

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.publish.publish import Published
    from slack_ties.record import MergeRecord

__all__ = ["Result"]


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The result of a run."""

    folder: Path
    record: MergeRecord
    card: Path
    published: Published | None = None

    def summary(self) -> str:
        """Return the folder, what was merged, and the address if it was published."""
        where = f"; {self.published.summary()}" if self.published else ""
        return f"{self.folder}: {self.record.summary()}{where}"

    def as_text(self) -> str:
        """Return what the command prints: what was merged, the card, and the address."""
        done = f"{self.folder}: {self.record.parameters:,} parameters, {self.record.dtype}"
        lines = [visible(done), visible(f"Card:      {self.card}")]
        return "\n".join(lines + [f"Published: {one.as_text()}" for one in [self.published] if one])

    def as_html(self) -> str:
        """Return the record, the path of the card, and the address if it was published."""
        there = self.published.as_html() if self.published else ""
        return self.record.as_html() + html_lines([f"Card: {self.card}"]) + there
