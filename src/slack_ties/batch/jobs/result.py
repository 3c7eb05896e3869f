"""How a job of Hugging Face hands over its result: as marked lines at the end of its log.

The disk of a job is gone when it ends, and its log stays. Whoever reads a log trusts nothing in it:
sizes are bounded, types are checked, and texts are made safe to print.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import masked, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["End", "end_in", "failure_lines", "result_lines"]

PART = 4_000  # letters of a line; a log may cut longer ones
MOST_PARTS = 999
MOST_BYTES = 50_000_000  # of a result: an evaluation has a number for each item and model
LONGEST_TEXT = 2_000  # letters of a reason or a next step

LINE = re.compile(r"slack-ties-(result|failed) (\d{1,3})/(\d{1,3}) (.*)")


@dataclass(frozen=True)
class End:
    """How a job ended, in its own words."""

    results: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # of each step, if done
    why: str = ""  # if it failed
    next: str = ""


def result_lines(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines that hand over what the steps of a task printed as JSON, compressed."""
    text = masked(json.dumps({"results": [*results]}))
    return _lines("result", base64.b64encode(zlib.compress(text.encode(), 9)).decode())


def failure_lines(why: str, then: str) -> list[str]:
    """Return the lines that hand over why a task failed, and what to do."""
    return _lines("failed", masked(json.dumps({"why": why, "next": then})))


def _lines(kind: str, text: str) -> list[str]:
    """Return an ASCII text, which no log changes, as numbered lines."""
    parts = [text[at : at + PART] for at in range(0, len(text), PART)]
    return [f"slack-ties-{kind} {i}/{len(parts)} {part}" for i, part in enumerate(parts, 1)]


def end_in(lines: Iterable[str]) -> End | None:
    """Return what the log of a job says of its end; None if it says nothing whole.

    Args:
        lines: The log. If there are several ends in it, the last whole one counts.

    """
    end, kind, parts = None, "", list[str]()
    for line in lines:
        match = LINE.fullmatch(line.rstrip())
        if match is None:
            continue
        number, count = int(match[2]), int(match[3])
        if number == 1:
            kind, parts = match[1], []
        if match[1] != kind or number != len(parts) + 1 or not number <= count <= MOST_PARTS:
            kind, parts = "", []
            continue
        parts.append(match[4][:PART])
        if number == count:
            end = _end(kind, "".join(parts)) or end
            kind, parts = "", []
    return end


def _end(kind: str, text: str) -> End | None:
    try:
        data = json.loads(_unpacked(text) if kind == "result" else text)
    except (ValueError, RecursionError, zlib.error):
        return None
    if not isinstance(data, dict):
        return None
    if kind == "failed":
        return End(why=_text(data.get("why")) or "it failed", next=_text(data.get("next")))
    results = data.get("results")
    if not isinstance(results, list) or not results:
        return None
    return End(tuple(results)) if all(isinstance(one, dict) for one in results) else None


def _unpacked(text: str) -> bytes:
    """Return what was compressed; raise ValueError if it is too large or not whole."""
    packed = base64.b64decode(text, validate=True)
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(packed, MOST_BYTES)
    if not unpacking.eof:
        msg = "more than a result can be, or less than a whole one"
        raise ValueError(msg)
    return data


def _text(given: object) -> str:
    """Return a text that is safe to show on one line."""
    if not isinstance(given, str):
        return ""
    return visible(masked(" ".join(given[:LONGEST_TEXT].split())))
