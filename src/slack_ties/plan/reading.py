"""What it takes to read weights from the Hub while they are merged, without a download.

The same schedule is made as in the merge: which bytes are read, what waits in memory, and which
files cannot be read from front to back, so that their checksums are not compared.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError
from slack_ties.models.names import split_reference
from slack_ties.remote.schedule import Use, largest_wait, make_schedule
from slack_ties.remote.size import fitting_window
from slack_ties.tensors.layout import without_adapter
from slack_ties.tensors.modules import stacks_of_modules
from slack_ties.tensors.order import expected_reads, order_of_loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.models.look import Look
    from slack_ties.models.places import FilePlaces
    from slack_ties.plan.draft import Draft

__all__ = ["Reading", "plan_reading"]


@dataclass(frozen=True)
class Reading:
    """What is read from the Hub while it is merged."""

    window: int  # bytes of memory to read ahead
    bytes: int  # that are read, without what is downloaded
    downloaded: int  # bytes that are downloaded all the same: adapters, and models that these need
    not_compared: tuple[str, ...] = ()  # ID: FILE
    largest: int = 0  # the window, in bytes, with which all files would be compared
    errors: tuple[CheckpointError, ...] = ()  # files that cannot be read so


@dataclass
class _Files:
    """The files that are read, and their numbers."""

    files: list[FilePlaces] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    numbers: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def number(self, look: Look, places: FilePlaces) -> int:
        """Return the number of a file; models that share a repository share its files."""
        key = (look.path, look.commit, places.file)
        if key not in self.numbers:
            self.numbers[key] = len(self.files)
            self.files.append(places)
            self.names.append(f"{look.path}: {places.file}")
        return self.numbers[key]


def plan_reading(draft: Draft, free: int) -> Reading | None:
    """Return what is read from the Hub; None if nothing would be, because all files are here.

    Args:
        draft: What we found out about the models.
        free: Bytes of memory that are free.

    """
    looks = {name: found[0] for name, found in draft.looks.items() if name not in draft.whole}
    here = {
        (look.path, look.commit): look
        for name, found in draft.looks.items()
        for look in (found if name in draft.whole else found[1:])
    }
    away = {
        name: look
        for name, look in looks.items()
        if look.missing and (look.path, look.commit) not in here
    }
    if not away:
        return None
    files, uses = _uses(draft, away)
    window = draft.settings.window or fitting_window(files.files, uses, free=free)
    schedule = make_schedule(files.files, uses, window=window)
    read = {use.file for use in uses}
    once = {(look.path, look.commit): look for look in away.values()}
    return Reading(
        window,
        schedule.total if uses else sum(look.download for look in once.values()),
        sum(look.download for look in here.values()),
        tuple(files.names[number] for number in sorted(read - schedule.compared)),
        largest_wait(files.files, uses),
        tuple(
            _unreadable(name, file, reason)
            for name in away
            for file, reason in draft.unreadable.get(name, {}).items()
        ),
    )


def _uses(draft: Draft, away: Mapping[str, Look]) -> tuple[_Files, list[Use]]:
    """Return the files that are read, and what the merge wants of them, in its order."""
    files, uses, recipe, layout = _Files(), list[Use](), draft.recipe, draft.layout
    if layout is None or draft.errors:
        return files, uses
    modules = None
    if recipe.data.get("modules"):
        modules, _ = stacks_of_modules(recipe, draft.configs[draft.first], layout)
    for model, tensor in expected_reads(layout, order_of_loads(recipe, layout, modules)):
        name = draft.first if model == without_adapter(draft.first) else model
        header = draft.headers[name].get(tensor)
        places = draft.places.get(name, {}).get(header.file) if header else None
        if name in away and places and tensor in places.tensors:
            number = files.number(away[name], places)
            uses.append(Use(number, places.tensors[tensor].span))
    return files, uses


def _unreadable(name: str, file: str, reason: str) -> CheckpointError:
    """Return the error about a file that cannot be read in parts."""
    path, revision = split_reference(name)[0]
    words = ["hf", "download", path, file, *(["--revision", revision] if revision else [])]
    msg = f"model {name!r}: {file} cannot be read from the Hub in parts: {reason}"
    return CheckpointError(msg, hint=f"{shlex.join(words)}  # then the merge reads it from there")
