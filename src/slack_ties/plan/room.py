"""Check the room on the disks: what a merge downloads and writes, counted per file system."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.catalogue.languages import list_languages
from slack_ties.errors import OutputError
from slack_ties.files import nearest_folder
from slack_ties.models.names import split_reference
from slack_ties.wording import join_names, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slack_ties.recipe.recipe import Recipe

__all__ = ["Need", "cache_folder", "no_room", "on_one_disk", "smaller_keys"]

MUCH_SMALLER = 0.75  # a model of the catalogue is proposed if it is at most this share of ours


@dataclass(frozen=True)
class Need:
    """What a merge writes to one folder."""

    what: str  # for people
    folder: Path  # an existing one, on the file system that is written to
    size: int  # bytes
    kind: str  # download, or result: what the user can move
    moved: int = 0  # bytes that it needs in another place, where nothing of it is there yet


def cache_folder(cache: str | None) -> Path:
    """Return the nearest folder to the Hub cache that exists."""
    from huggingface_hub import constants  # noqa: PLC0415 - imports the client

    return nearest_folder(Path(cache or constants.HF_HUB_CACHE).expanduser() / "any")


def on_one_disk(one: Path, other: Path) -> bool:
    """Say whether two folders are on one file system."""
    return one.stat().st_dev == other.stat().st_dev


def no_room(
    needs: Iterable[Need], recipe: Recipe, *, parameters: int, spared: int, cache: str | None
) -> OutputError | None:
    """Return an error if a file system has less room than it needs.

    Args:
        needs: What is written, and where.
        recipe: The merge config.
        parameters: The number of parameters of the result.
        spared: The bytes that need not be written with `run --publish --stream`.
        cache: The folder of the Hub cache, if an option names one.

    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        if need.size:
            disks.setdefault(need.folder.stat().st_dev, []).append(need)
    free = {disk: shutil.disk_usage(found[0].folder).free for disk, found in disks.items()}
    short = [disk for disk, found in disks.items() if sum(n.size for n in found) > free[disk]]
    if not short:
        return None
    order = [*short, *(disk for disk in disks if disk not in short)]
    msg = "; ".join(_sentence(disks[disk], free[disk]) for disk in order)
    hints = [
        ", or ".join(_steps(disks[disk], free[disk], recipe, spared=spared, cache=cache))
        for disk in short
    ]
    hint = "; and ".join(hints)
    for key in smaller_keys(recipe, parameters)[:1]:
        hint += f", or merge smaller models: slack-ties config {key}"
    return OutputError(msg, hint=hint)


def _sentence(needs: Sequence[Need], free: int) -> str:
    parts = [f"{need.what} needs {size(need.size)}" for need in needs]
    both = " for all of it" if len(parts) > 1 else ""
    return f"{join_names(parts)}, {str(needs[0].folder)!r} has {size(free)} free{both}"


def _steps(
    needs: Sequence[Need], free: int, recipe: Recipe, *, spared: int, cache: str | None
) -> list[str]:
    """Return what the user can do about one full file system: first what is enough by itself."""
    total = sum(need.size for need in needs)
    download = sum(need.size for need in needs if need.kind == "download")
    result = total - download
    # HF_HOME would move the user's token too.
    name = "--transformers-cache" if cache else "HF_HUB_CACHE"
    moved = sum(need.moved for need in needs if need.kind == "download")
    move = f"set {name} to a folder on a disk with {size(moved)} free"
    place = f"choose a folder OUT on a disk with {size(result)} free"
    steps = [f"free {size(total - free)} on the disk of {str(needs[0].folder)!r}"]
    if download and result <= free:
        steps.append(move)
    if result and download <= free:
        steps.append(place)
    if download and result and free < min(download, result):
        steps.append(f"{move} and {place}")
    if result and spared and total - spared <= free:
        steps.append(
            f"slack-ties run {shlex.quote(recipe.where)} --out OUT --publish REPO_ID --stream"
        )
    return steps


def smaller_keys(recipe: Recipe, parameters: int) -> list[str]:
    """Return the catalogue's keys of the same language with smaller models, the smallest first.

    Empty if the base is none of the catalogue's: then the user has chosen other models.
    """
    tags = {language.get("tag") for language in recipe.facts.languages}
    triples = [triple for triple in list_languages() if triple.language.tag in tags]
    base = split_reference(recipe.base)[0][0] if recipe.base else ""
    if len(tags) != 1 or base not in {triple.base.id for triple in triples}:
        return []
    found = []
    for triple in triples:
        billions = re.search(r"([\d.]+)B\b", triple.family)
        if billions and float(billions[1]) * 1e9 <= MUCH_SMALLER * parameters:
            found.append((float(billions[1]), triple.key))
    return [key for _, key in sorted(found)]
