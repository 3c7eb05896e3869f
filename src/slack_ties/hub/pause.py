"""Pauses that a server asks for, kept by all who would send it further requests.

A server that answers 429 or 503 and says how long to wait gives the next requests the same answer.
So the threads of a command that would ask it meanwhile wait too. If `VARIABLE` names a file, all
processes with that variable wait: the tasks of a batch on one machine or one shared disk, and the
processes that transfer files for them. Only hf_xet, which asks other servers, has its own waits.

A pause of one command counts against its `--timeout`. A pause of a batch does not: the server has
said when it answers, nobody sits in front of the batch, and a task that has asked for nothing yet
would fail because of others. But if a server does nothing but ask to wait, after `LONGEST` it
counts again. So no file, no header and no wrong clock lets a request wait for longer than that.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from slack_ties.files import json_text, write_whole
from slack_ties.hub.faults import LIMITED, AnswerError, SilentError, stated_wait
from slack_ties.hub.limit import SHORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.hub.faults import FaultError
    from slack_ties.hub.limit import Limit

__all__ = ["LONGEST", "VARIABLE", "begin", "keep", "kept", "last_end"]

LOG = logging.getLogger("slack_ties")

VARIABLE = "SLACK_TIES_HUB_PAUSE"  # the path of the file that the processes of a batch share

# Seconds. The Hub counts requests in windows of five minutes, so it asks for at most those.
# https://huggingface.co/docs/hub/rate-limits
LONGEST = 900.0

STATUSES = {LIMITED, 503}  # others are about one request

MARGIN = 1.0  # seconds; the Hub states whole ones
MOST_BYTES = 64 * 1024  # of the file
LOOK_AGAIN = 0.2  # seconds; Ctrl-C is heard within this time

# The Hub limits these separately.
FILES, OTHERS = "files", "other requests"


def begin(fault: FaultError | None, limit: Limit) -> None:
    """Begin the pause that an answer asks for; nothing if it asks for none, or one too long."""
    seconds = _asked_for(fault)
    if not seconds or not isinstance(fault, AnswerError):
        return
    response = fault.error.response
    url = str(response.url)
    names = [_name(url)] if response.status_code == LIMITED else _names(url)
    if batch := _batch():
        batch.begin(names, seconds + MARGIN)
    else:
        limit.pauses.update(dict.fromkeys(names, time.monotonic() + seconds))


def kept(fault: FaultError | None, limit: Limit) -> float:
    """Return the seconds that `keep` waits before the retry after a fault.

    They do not count. 0 if no batch waits: then the policy says how long to wait, and it counts.
    """
    seconds = _asked_for(fault)
    return seconds if _batch() and limit.paused_for + seconds < LONGEST else 0.0


def keep(url: str, limit: Limit, stop: threading.Event | None) -> None:
    """Wait until a server may be asked again.

    Args:
        url: The address of a request.
        limit: The limit of the command. If the pause counts, and is longer than the time that is
            left, the request is sent: its answer says what is wrong.
        stop: When it is set, nobody waits for the answer.

    Raises:
        SilentError: `stop` is set.

    """
    name, batch = _name(url), _batch()
    while not limit.closed:
        end = batch.end(name) if batch else limit.pauses.get(name, 0.0)
        left = end - time.monotonic()
        if left <= 0:
            return
        if batch and limit.paused_for < LONGEST:
            limit.begin_pause()
            _wait(min(left, LONGEST - limit.paused_for), limit, stop)
        elif not batch and left + limit.seconds * SHORT < limit.left:
            with limit.wait():
                _wait(left, limit, stop)
        else:
            return


def last_end() -> float:
    """Return when the last pause of the batch ends or has ended, by time.monotonic(); or 0.

    A process that transfers files keeps a pause without a word to the one that watches it.
    """
    batch = _batch()
    return (
        max((batch.end(name, tell=False) for name in batch.read()), default=0.0) if batch else 0.0
    )


def _asked_for(fault: FaultError | None) -> float:
    """Return the seconds for which an answer asks everybody to wait; 0 if that is foolish."""
    if not isinstance(fault, AnswerError) or fault.error.response.status_code not in STATUSES:
        return 0.0
    seconds = stated_wait(fault.error) or 0.0
    return seconds if seconds <= LONGEST else 0.0


def _wait(seconds: float, limit: Limit, stop: threading.Event | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not limit.ended.wait(min(LOOK_AGAIN, left)):
        if stop is not None and stop.is_set():
            raise SilentError


def _names(url: str) -> list[str]:
    """Return the names of all that a server limits; without a user, a path or a signature."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return [f"{parts.scheme}://{parts.hostname}{port} {kind}" for kind in (FILES, OTHERS)]


def _name(url: str) -> str:
    """Return the name of what a request belongs to."""
    files, others = _names(url)
    return files if "/resolve/" in urlsplit(url).path else others


@dataclass(frozen=True)
class _Entry:
    """A pause, as the file has it."""

    until: str  # as ISO 8601, by the clock of the process that was asked to wait
    seconds: float  # what the server asked for

    @property
    def left(self) -> float:
        """The seconds that are left; with a wrong clock at most those that were asked for."""
        return min(datetime.fromisoformat(self.until).timestamp() - time.time(), self.seconds)

    @classmethod
    def of(cls, data: Any) -> _Entry | None:
        """Return the pause that JSON describes; None if it is none, or too long."""
        until, seconds = (
            (data.get("until"), data.get("seconds")) if isinstance(data, dict) else ("", 0)
        )
        if not isinstance(until, str) or not isinstance(seconds, (int, float)):
            return None
        try:
            aware = datetime.fromisoformat(until).tzinfo is not None
        except ValueError:
            return None
        return cls(until, seconds) if aware and 0 < seconds <= LONGEST + MARGIN else None


class _Batch:
    """The pauses of all processes that have the same file."""

    def __init__(self, path: Path) -> None:
        """Take the file."""
        self.path, self.lock = path, threading.Lock()
        # On a shared disk other machines see at once that a file has changed, but not a new one.
        with suppress(OSError), path.open("x") as file:
            file.write("{}\n")
        # Name -> which pause was seen last, and when it ends for us: each is waited for once.
        self.known: dict[str, tuple[str, float]] = {}

    def begin(self, names: Sequence[str], seconds: float) -> None:
        """Let all processes wait, beginning with this one."""
        until = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        entry = _Entry(until.isoformat(timespec="milliseconds"), seconds)
        with self.lock:
            end = time.monotonic() + seconds
            self.known.update(dict.fromkeys(names, (entry.until, end)))
            others = {name: one for name, one in self.read().items() if one.left > 0}
            entries = {**others, **dict.fromkeys(names, entry)}
            try:
                write_whole(
                    self.path, json_text({name: vars(one) for name, one in entries.items()})
                )
            except OSError:
                LOG.debug("a pause is not shared", exc_info=True)

    def end(self, name: str, *, tell: bool = True) -> float:
        """Return when a pause ends, by time.monotonic(); a time in the past if there is none."""
        entry = self.read().get(name)
        with self.lock:
            seen, end = self.known.get(name, ("", 0.0))
            if entry is None or entry.until == seen:
                return end
            now, left = time.monotonic(), entry.left
            told = any(other > now for _, other in self.known.values())
            self.known[name] = (entry.until, max(end, now + left))
        if left > 0 and tell and not told:
            LOG.warning("  the Hub has asked this batch to wait; going on in %.0f s", left)
        return self.known[name][1]

    def read(self) -> dict[str, _Entry]:
        """Return the pauses in the file; none if there is no such file, or something else."""
        try:
            if not self.path.is_file():  # a pipe would have to be waited for
                return {}
            with self.path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
            found = json.loads(content) if len(content) <= MOST_BYTES else {}
        except (OSError, ValueError, RecursionError):
            return {}
        entries = (
            {name: _Entry.of(data) for name, data in found.items()}
            if isinstance(found, dict)
            else {}
        )
        return {name: entry for name, entry in entries.items() if entry}


_BATCHES: dict[str, _Batch] = {}
_LOCK = threading.Lock()


def _batch() -> _Batch | None:
    """Return the batch that this process belongs to."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        return None
    with _LOCK:
        if path not in _BATCHES:
            _BATCHES[path] = _Batch(Path(path))
        return _BATCHES[path]
