"""Split the items of each task into two halves: one to choose by, one to score the choice on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError
from slack_ties.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FEW", "Halves", "split_tasks"]

Halves = tuple[tuple[int, ...], tuple[int, ...]]  # positions of items: selection, held out

FEW = 20  # items in a half; with fewer, hardly any difference can be decided


def split_tasks(tasks: Mapping[str, Sequence[str]], *, seed: int) -> dict[str, Halves]:
    """Return the positions of the items of each half, for each task, in ascending order.

    Items with the same content are in the same half, in all tasks: two tasks may ask about the same
    items. The order in which items go to the halves is that of checksums, so it is the same on
    every machine and in every version of Python.

    Args:
        tasks: For each task, a text for each item that stands for its content.
        seed: Another seed gives other halves.

    Raises:
        SlackTiesError: A task has no items for one of the halves.

    """
    alike: dict[str, dict[str, list[int]]] = {}  # content, and its positions in each task
    for name, items in tasks.items():
        for position, content in enumerate(items):
            alike.setdefault(content, {}).setdefault(name, []).append(position)
    order = sorted(alike, key=lambda content: sha256_of(f"{seed}\n{content}"))
    # The largest groups first, or a last one could make the halves unequal.
    order.sort(key=lambda content: -max(map(len, alike[content].values())))
    halves: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in tasks}
    for content in order:
        places = alike[content]
        first, second = (sum(len(halves[name][half]) for name in places) for half in (0, 1))
        for name, positions in places.items():
            halves[name][first > second].extend(positions)
    found = {name: (tuple(sorted(one)), tuple(sorted(two))) for name, (one, two) in halves.items()}
    for name, both in found.items():
        if not all(both):
            different = len(set(tasks[name]))
            msg = f"task {name!r} has {different} item{'s' if different != 1 else ''}, expected "
            msg += "2 or more: one to choose by, and one to score the choice on"
            raise SlackTiesError(msg, hint="choose another task, or a larger --limit")
    return found
