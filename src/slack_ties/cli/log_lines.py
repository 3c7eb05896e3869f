"""Print log lines above the line that shows progress, without tokens."""

from __future__ import annotations

import logging

from slack_ties.cli.program import as_typed
from slack_ties.errors import masked
from slack_ties.progress import without_progress

__all__ = ["Lines", "Masked"]


class Lines(logging.StreamHandler):  # type: ignore[type-arg]  # generic for type checkers only
    """Prints log lines to stderr, above the line that shows progress."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        with without_progress():
            super().emit(record)


class Masked(logging.Formatter):
    """A formatter that hides tokens in messages and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line to print."""
        return as_typed(masked(super().format(record)))
