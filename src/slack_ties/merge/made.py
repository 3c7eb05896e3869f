"""Make the record of a merge: its parents and the checksums of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.files import sha256
from slack_ties.models.license_texts import license_files
from slack_ties.models.parent_card import stated_license
from slack_ties.record import Parent
from slack_ties.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from slack_ties.models.cached import Snapshot
    from slack_ties.recipe.recipe import Recipe

__all__ = ["checksums", "parent_of"]


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files, by name.

    The files were just written, so the system reads them from memory.
    """
    listed = sorted(names)
    # Hashing releases Python's global lock.
    sums = in_threads(lambda name: sha256(folder / name), listed, most=2)
    return dict(zip(listed, sums, strict=True))


def parent_of(recipe: Recipe, name: str, found: list[Snapshot]) -> Parent:
    """Return the record of one merged model."""
    model, *adapters = found
    return Parent(
        name,
        role=recipe.role(name),
        commits=tuple(part.commit for part in found),
        license=stated_license(model.card, recipe.facts.licenses.get(name, "")),
        adapter_license=stated_license(adapters[0].card) if adapters else "",
        made_from=tuple(dict.fromkeys(name for part in found for name in part.card.made_from)),
        datasets=tuple(dict.fromkeys(name for part in found for name in part.card.datasets)),
        texts=license_files(model.path),
        adapter_texts=license_files(adapters[0].path) if adapters else (),
    )
