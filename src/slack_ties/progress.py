"""Say how much of a long job is done, and about how long the rest takes.

One line shows all jobs that run, such as a merge and the upload of its files. On a terminal it
changes. In a notebook each job has a bar below the cell, and one line remains when it has ended.
Elsewhere, in a file or a pipe, the line is logged after ten seconds, then every half minute.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from slack_ties.notebook import CellLines, notebook_shell
from slack_ties.wording import duration, part_of, size

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Progress", "end_progress", "without_progress"]

LOG = logging.getLogger("slack_ties")

REDRAW = 0.2  # seconds between two changes of the line on a terminal

CELL_REDRAW = 1.0  # seconds between two changes of a bar in a notebook

FIRST_LINE, LINE_INTERVAL = 10.0, 30.0  # seconds to the first line of a log, and to the next ones

WINDOW = 120.0  # seconds; the speed of this time says how long the rest takes

SHORTEST = 10.0  # seconds; a shorter time does not measure the speed

MINUTE = 60.0  # seconds

_LOCK = threading.RLock()
_SHOWN: list[Progress] = []
_drawn = 0  # columns of the line on the terminal
_next_line = 0.0  # when a log gets its next line
_CELL = CellLines()


class Progress:
    """How much of a job is done.

    Example:
        >>> with Progress("merged", total=13_500_000_000) as progress:
        ...     progress.at(3_200_000_000)

    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        verb: str,
        total: int,
        *,
        done: int = 0,
        quiet: bool = False,
        unit: str = "",
        rate: bool = False,
    ) -> None:
        """Prepare to show the progress of a job.

        Args:
            verb: What was done with the bytes, such as merged.
            total: The bytes of the whole job.
            done: The bytes that an earlier run has done.
            quiet: Show nothing. The level of our logger is respected too.
            unit: What is counted, such as tokens; bytes if not given.
            rate: Also show how many bytes are done in a second.

        """
        self.verb, self.total, self.done, self.began_at = verb, total, done, done
        self.continues = done > 0
        self.unit, self.rate = unit, rate
        self.hidden = quiet or LOG.level > logging.INFO
        now = time.monotonic()
        self.seen = deque([(now, done)])
        self.begun = self.drawn = now  # when it began, and when it last changed what is shown

    def __enter__(self) -> Progress:  # noqa: PYI034 - Self is Python 3.11's
        """Begin."""
        global _next_line  # noqa: PLW0603 - one log for all jobs
        with _LOCK:
            if not _texts():
                _next_line = time.monotonic() + FIRST_LINE
            _SHOWN.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the job from the line."""
        with _LOCK:
            _SHOWN.remove(self)
            in_cell = not self.hidden and self.drawn > self.begun and notebook_shell()
            if not self.hidden and _is_terminal(sys.stderr):
                _draw(sys.stderr)
        if in_cell:  # a job that was too short to be shown leaves no line
            _CELL.show(_parts(), ended=(self.verb, f"{self._counts()}{self._took()}"))

    def at(self, done: int, total: int | None = None) -> None:
        """Note how many bytes are done, and of how many; show it from time to time."""
        now = time.monotonic()
        with _LOCK:
            if self.done == self.began_at < done:  # the speed is measured from the first bytes on
                self.seen.clear()
            self.done, self.total = done, self.total if total is None else total
            self.seen.append((now, done))
            while now - self.seen[0][0] > WINDOW and len(self.seen) > 2:  # noqa: PLR2004 - a speed needs two
                self.seen.popleft()
            text = "" if self.hidden else self._show(now)
        if not text:
            return
        if notebook_shell():
            _CELL.show(_parts())
            return
        # Outside of the lock: a handler of the log has its own, and waits for ours.
        if LOG.isEnabledFor(logging.INFO):
            LOG.info("  %s", text)
        else:  # in a notebook nobody may have told Python what to do with log lines
            sys.stderr.write(f"  {text}\n")

    def _show(self, now: float) -> str:
        """Change the line on a terminal if it is time; else return the line if one is due."""
        global _next_line  # noqa: PLW0603 - one log for all jobs
        if notebook_shell():
            if now - self.drawn < CELL_REDRAW:
                return ""
            self.drawn = now
            return _texts()
        if not _is_terminal(sys.stderr):
            if now < _next_line:
                return ""
            _next_line = now + LINE_INTERVAL
            return _texts()
        if now - self.drawn >= REDRAW:
            self.drawn = now
            _draw(sys.stderr)
        return ""

    def skip(self, number: int) -> None:
        """Note that an earlier run has done more, which says nothing about the speed of this one.

        Args:
            number: How many bytes.

        """
        with _LOCK:
            self.done += number
            self.began_at = self.done
            self.seen = deque([(time.monotonic(), self.done)])

    def __str__(self) -> str:
        """Return the progress as text: merged 3.2 of 13.5 GB, about 4 min left."""
        (first, before), (last, now) = self.seen[0], self.seen[-1]
        text = self._counts()
        if last - first < SHORTEST or now <= before or now >= self.total:
            return text
        speed = (now - before) / (last - first)
        if self.rate:
            text += f", {size(round(speed))}/s"
        left = (self.total - now) / speed
        about = f"about {duration(left)}" if left >= MINUTE else "less than a minute"
        return f"{text}, {about} left"

    def _took(self) -> str:
        """Return the time of the whole job, if this is no part of one."""
        seconds = time.monotonic() - self.begun
        took = duration(seconds) if seconds >= 2 * MINUTE else f"{seconds:.0f} s"
        return "" if self.continues else f" in {took}"

    def _counts(self) -> str:
        counts = f"{self.done:,} of {self.total:,} {self.unit}"
        return f"{self.verb} {counts if self.unit else part_of(self.done, self.total)}"


@contextmanager
def without_progress() -> Iterator[None]:
    """Take the line from the terminal while other text is written."""
    with _LOCK:
        if _drawn:
            _write(sys.stderr, "")
        yield


def end_progress() -> None:
    """Show no more of the jobs that run now: their threads may outlive a command that stops."""
    with _LOCK:
        for one in _SHOWN:
            one.hidden = True
        if _drawn:
            _write(sys.stderr, "")


def _is_terminal(stream: TextIO) -> bool:
    return hasattr(stream, "isatty") and stream.isatty()


def _texts() -> str:
    """Return what is done of all jobs that are shown."""
    return "; ".join(str(one) for one in _SHOWN if not one.hidden)


def _parts() -> list[tuple[str, float]]:
    """Return the text of each job that is shown, and how much of it is done, from 0 to 1."""
    with _LOCK:
        shown = [one for one in _SHOWN if not one.hidden]
        return [(str(one), min(one.done / max(one.total, 1), 1.0)) for one in shown]


def _draw(stream: TextIO) -> None:
    """Write the line anew, with all jobs."""
    width = shutil.get_terminal_size().columns - 1
    texts = _texts()
    _write(stream, f"  {texts}"[:width] if texts else "")


def _write(stream: TextIO, text: str) -> None:
    global _drawn  # noqa: PLW0603 - there is one terminal
    if not text and not _drawn:
        return
    stream.write(f"\r{text.ljust(_drawn)}" + ("" if text else "\r"))
    stream.flush()
    _drawn = len(text)
