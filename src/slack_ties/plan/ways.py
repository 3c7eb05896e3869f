"""Choose between the two ways of a merge: download the weights first, or read them as needed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slack_ties.plan.cost import check_room, merge_cost
from slack_ties.plan.reading import plan_reading
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.plan.cost import Result
    from slack_ties.plan.draft import Draft
    from slack_ties.plan.reading import Reading

__all__ = ["Way", "choose_way", "say_memory_is_short"]

MB = 1_000_000
USUAL_WINDOW = 1000  # MB


@dataclass(frozen=True)
class Way:
    """What was chosen."""

    cost: Mapping[str, int]  # in bytes
    facts: Mapping[str, Any] = field(default_factory=dict)  # fields of the plan, about both ways


def choose_way(draft: Draft, result: Result, free: int, *, known: bool) -> Way:
    """Choose the way of a merge; add errors if it cannot be gone.

    Weights are downloaded if the disk has room, and read from the Hub as they are needed if only
    that fits; unless the settings say which.

    Args:
        draft: What we found out about the models.
        result: What is made.
        free: Bytes of memory that are free.
        known: Whether the costs are known.

    """
    cost, wanted = merge_cost(draft, result), draft.settings.download
    reading = None if wanted else plan_reading(draft, free)
    if reading is None:
        full = check_room(draft, result, cost) if known else None
        draft.errors += [full] if full else []
        return Way(cost)
    other = merge_cost(draft, result, reading)
    full = check_room(draft, result, cost, reading=reading) if known else None
    short = check_room(draft, result, other, reading=reading, chosen=True) if known else None
    chosen = wanted is False or (
        wanted is None and full is not None and short is None and not reading.errors
    )
    draft.errors += reading.errors if chosen else ()
    error = short if chosen else full
    draft.errors += [error] if error else []
    if not known:
        return Way(other if chosen else cost, {"no_download": chosen})
    facts: dict[str, Any] = {"with_download": _both_disks(draft, result), "no_download": chosen}
    if not reading.errors:
        facts |= {
            "without_download": _both_disks(draft, result, reading),
            "window": reading.window,
            "not_compared": reading.not_compared,
            "window_for_all": reading.largest,
        }
    return Way(other if chosen else cost, facts)


def _both_disks(draft: Draft, result: Result, reading: Reading | None = None) -> dict[str, int]:
    """Return what one way needs, and the disk that it needs if the result is streamed."""
    cost = merge_cost(draft, result, reading)
    del cost["device_memory"]  # the same for both
    streamed = merge_cost(draft, replace(result, streamed=True), reading)
    return {**cost, "streamed_disk": streamed["disk"]}


def say_memory_is_short(way: Way, free: int) -> str:
    """Return the warning about a merge that needs more memory than is free, and what helps.

    Args:
        way: How it merges.
        free: Bytes of memory that are free.

    """
    needed = way.cost["memory"]
    window = way.facts.get("window", 0) if way.facts.get("no_download") else 0
    fits = (free - (needed - window)) // MB
    step = "make the files of the result smaller (--out-shard-size 500M)"
    if window and fits > 0:
        step = f"make the window of memory smaller (--window {min(fits, USUAL_WINDOW)}M)"
    return (
        f"the merge needs about {size(needed)} of memory, and {size(free)} are free: close other "
        f"programs, or {step}"
    )
