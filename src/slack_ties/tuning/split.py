"""Split the items of a task into two halves: one to choose by, one to score the choice on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError
from slack_ties.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FEW", "Halves", "split_items", "split_tasks"]

Halves = tuple[tuple[int, ...], tuple[int, ...]]  # positions of items: selection, held out

FEW = 20  # items in a half; with fewer, hardly any difference can be decided


def split_items(items: Sequence[str], *, seed: int, task: str = "") -> Halves:
    """Return the positions of the items of each half, in ascending order.

    Items with the same content are in the same half. The order in which items go to the halves is
    that of checksums, so it is the same on every machine and in every version of Python.

    Args:
        items: A text for each item that stands for its content.
        seed: Another seed gives other halves.
        task: The name of the task.

    """
    alike: dict[str, list[int]] = {}
    for position, content in enumerate(items):
        alike.setdefault(content, []).append(position)
    order = sorted(alike, key=lambda content: sha256_of(f"{seed}\n{task}\n{content}"))
    # The largest groups first, or a last one could make the halves unequal.
    halves: tuple[list[int], list[int]] = ([], [])
    for content in sorted(order, key=lambda content: -len(alike[content])):
        smaller = min(halves, key=len)
        smaller += alike[content]
    selection, held_out = (tuple(sorted(half)) for half in halves)
    return selection, held_out


def split_tasks(tasks: Mapping[str, Sequence[str]], *, seed: int) -> dict[str, Halves]:
    """Return the halves of each task.

    Args:
        tasks: For each task, a text for each item that stands for its content.
        seed: Another seed gives other halves.

    Raises:
        SlackTiesError: A task has no items for one of the halves.

    """
    found = {}
    for name, items in tasks.items():
        halves = split_items(items, seed=seed, task=name)
        if not all(halves):
            different = len(set(items))
            msg = f"task {name!r} has {different} item{'s' if different != 1 else ''}, expected "
            msg += "2 or more: one to choose by, and one to score the choice on"
            raise SlackTiesError(msg, hint="choose another task, or a larger --limit")
        found[name] = halves
    return found
