"""Name the models of a merge as they are published: without the folders of this disk.

A folder is published by its last name only (`./ct`), or as the Hub id that the user says it is.
The files in OUT keep the full paths, so that the merge can be repeated here.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.files import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slack_ties.record import MergeRecord, Parent


__all__ = ["as_known", "as_published", "local_parts", "published_names"]

SEPARATORS = re.compile(r"[+@\s]+")  # a model's name has them between its parts


def local_parts(parents: Iterable[Parent]) -> Iterator[str]:
    """Yield every model and adapter that is a folder on this disk."""
    for parent in parents:
        for i, path in enumerate(parent.names):
            if parent.is_local(i):
                yield path


def as_known(record: MergeRecord) -> MergeRecord:
    """Return the record with Hub ids and commits in place of folders, where the user named them."""
    return replace(record, parents=tuple(map(_known, record.parents)))


def as_published(record: MergeRecord) -> MergeRecord:
    """Return the record as it is published: Hub ids, and the last names of other folders."""
    names = published_names(record.parents)
    parents = (replace(_known(one), model=names[one.model]) for one in record.parents)
    return replace(record, parents=tuple(parents))


def published_names(parents: Iterable[Parent]) -> dict[str, str]:
    """Return the name of each model in what is published, by its name here."""
    parents = [*parents]
    names: dict[str, str] = {}
    for path in dict.fromkeys(local_parts(map(_known, parents))):
        full = Path(os.path.abspath(expanded(path)))  # noqa: PTH100 - follows no link
        first = name = f"./{SEPARATORS.sub('-', full.name) or 'model'}"
        number = 1
        while name in names.values():  # two folders with the same last name
            number += 1
            name = f"{first}-{number}"
        names[path] = name
    return {one.model: _published(_known(one), names) for one in parents}


def _published(parent: Parent, names: Mapping[str, str]) -> str:
    if len(parent.names) == 1:  # a folder's path may contain + and @
        return names.get(parent.names[0], parent.model)
    parts = zip(parent.model.split("+"), parent.names, strict=True)
    return "+".join(
        names[path] if parent.is_local(i) else part for i, (part, path) in enumerate(parts)
    )


def _known(parent: Parent) -> Parent:
    """Return a parent with the Hub ids and commits that the user named for its folders."""
    if not any(parent.hub):
        return parent
    paths = parent.names
    parts = parent.model.split("+") if len(paths) > 1 else [parent.model]
    given = [*parent.hub, *[""] * len(parts)]
    model = "+".join(known or part for part, known in zip(parts, given, strict=False))
    commits = tuple(
        known.partition("@")[2] or "".join(parent.commits[i : i + 1])
        for i, (_, known) in enumerate(zip(parts, given, strict=False))
    )
    return replace(parent, model=model, commits=commits, hub=())
