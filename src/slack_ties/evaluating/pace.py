"""How long a model takes to answer, and from that about how long the other models take."""

from __future__ import annotations

import time

from slack_ties.wording import duration

__all__ = ["Pace"]

LEAST = 0.1  # share of the requests; the time of fewer answers says little about that of all

MINUTE = 60.0  # seconds


class Pace:
    """The time of one model, with and without the answers that an earlier run has kept."""

    def __init__(self, requests: int) -> None:
        """Begin.

        Args:
            requests: How many the model answers.

        """
        self.requests, self.kept = requests, 0
        self.began = self.asked = time.monotonic()

    def keep(self, number: int) -> None:
        """Note that an earlier run has this number of answers; the model gives the others now."""
        self.kept += number
        self.asked = time.monotonic()

    def said(self, left: int) -> str:
        """Return the line for a model that is done; empty if there is nothing to say.

        Args:
            left: How many models come after it.

        """
        if self.requests and self.kept >= self.requests:
            return "answers kept from an earlier run"
        now, new = time.monotonic(), self.requests - self.kept
        parts = []
        if self.kept:
            of = f"{self.kept:,} of {self.requests:,} answers"
            parts.append(f"{of} kept from an earlier run")
        if left:
            parts.append(f"took {_time(now - self.began)}")
        if left and new >= LEAST * self.requests:
            whole = self.asked - self.began + (now - self.asked) * self.requests / max(new, 1)
            rest = "the last one" if left == 1 else f"the other {left} together"
            parts.append(f"{rest}: about {_time(whole * left)}")
        return "; ".join(parts)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < MINUTE else duration(seconds)
