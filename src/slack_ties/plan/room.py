"""Check the room on the disks: what a merge downloads and writes, counted per file system."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.catalogue.languages import list_languages
from slack_ties.errors import OutputError
from slack_ties.files import expanded, nearest_folder
from slack_ties.models.names import split_reference
from slack_ties.plan.expected import expect
from slack_ties.wording import join_names, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slack_ties.plan.expected import Expected
    from slack_ties.recipe.recipe import Recipe

__all__ = [
    "Need",
    "cache_folder",
    "no_room",
    "on_one_disk",
    "smaller_merges",
    "ungated_merge",
]


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

    return nearest_folder(expanded(cache or constants.HF_HUB_CACHE) / "any")


def on_one_disk(one: Path, other: Path) -> bool:
    """Say whether two folders are on one file system."""
    return one.stat().st_dev == other.stat().st_dev


def no_room(  # noqa: PLR0913 - all but two by name
    needs: Iterable[Need],
    recipe: Recipe,
    *,
    spared: int,
    cache: str | None,
    smaller: Mapping[str, Sequence[Need]] | None = None,
    no_download: bool = False,
) -> OutputError | None:
    """Return an error if a file system has less room than it needs.

    Args:
        needs: What is written, and where.
        recipe: The merge config.
        spared: The bytes that need not be written with `run --publish --stream`.
        cache: The folder of the Hub cache, if an option names one.
        smaller: What is written with `run --publish --stream --no-download` and these further
            options, those first that need most; empty if that is not possible.
        no_download: The needs are those of a merge without download.

    """
    disks = _by_disk(needs)
    free = {disk: _free(found) for disk, found in disks.items()}
    short = [disk for disk, found in disks.items() if sum(n.size for n in found) > free[disk]]
    if not short:
        return None
    order = [*short, *(disk for disk in disks if disk not in short)]
    msg = "; ".join(_sentence(disks[disk], free[disk]) for disk in order)
    stream = _stream(recipe, no_download=no_download)
    hints = [
        ", or ".join(_steps(disks[disk], free[disk], spared=spared, stream=stream, cache=cache))
        for disk in short
    ]
    hint = "; and ".join(hints)
    fitting = [words for words, written in (smaller or {}).items() if _fits(written)]
    if fitting and stream not in hint:
        hint += f", or {_stream(recipe, no_download=True)}{fitting[0]}"
    for key, cost in smaller_merges(recipe, [(disks[disk], free[disk]) for disk in disks])[:1]:
        about = size(cost.download) + (" or more" if cost.download_is_least else "")
        hint += f", or merge smaller models: slack-ties config {key}  # download {about}, "
        gate = "" if cost.gated is False else "; whether a model has a gate is not known"
        hint += f"result {size(cost.result)}{gate}"
    return OutputError(msg, hint=hint)


def _fits(needs: Iterable[Need]) -> bool:
    """Say whether each file system has the room that it needs."""
    disks = _by_disk(needs)
    return all(sum(need.size for need in found) <= _free(found) for found in disks.values())


def _by_disk(needs: Iterable[Need]) -> dict[int, list[Need]]:
    """Return what is written to each file system."""
    disks: dict[int, list[Need]] = {}
    for need in needs:
        if need.size:
            disks.setdefault(need.folder.stat().st_dev, []).append(need)
    return disks


def _free(needs: Sequence[Need]) -> int:
    """Return the bytes that are free on a file system."""
    return shutil.disk_usage(needs[0].folder).free


def _stream(recipe: Recipe, *, no_download: bool) -> str:
    """Return the command that keeps only two files of the result here."""
    more = " --no-download" if no_download else ""
    if not Path(recipe.where).is_file() and "@" not in recipe.where:  # of `run LANG`
        return f"type the same command with --publish REPO_ID --stream{more}"
    command = f"slack-ties run {shlex.quote(recipe.where)} --out OUT --publish REPO_ID --stream"
    return f"{command}{more}"


def _sentence(needs: Sequence[Need], free: int) -> str:
    parts = [f"{need.what} needs {size(need.size)}" for need in needs]
    both = " for all of it" if len(parts) > 1 else ""
    return f"{join_names(parts)}, {str(needs[0].folder)!r} has {size(free)} free{both}"


def _steps(
    needs: Sequence[Need], free: int, *, spared: int, stream: str, cache: str | None
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
        steps.append(stream)
    return steps


def smaller_merges(
    recipe: Recipe, disks: Sequence[tuple[Sequence[Need], int]]
) -> list[tuple[str, Expected]]:
    """Return merges of the same language, without a known gate, that fit on the disks.

    They are the catalogue's: keys, with what they need. Those with a known licence come first, and
    of these the smallest. Empty if the base is none of the catalogue's: then the user has chosen
    other models.

    Args:
        recipe: The merge that does not fit.
        disks: What it writes to each file system, and the bytes that are free there.

    """
    tags = {language.get("tag") for language in recipe.facts.languages}
    triples = [triple for triple in list_languages() if triple.language.tag in tags]
    base = split_reference(recipe.base)[0][0] if recipe.base else ""
    if len(tags) != 1 or base not in {triple.base.id for triple in triples}:
        return []
    costs = {triple.key: expect(triple) for triple in triples if triple.base.id != base}
    found = [
        (not cost.license, cost.download, key, cost)
        for key, cost in costs.items()
        if cost.gated is not True
        and all(sum(_instead(need, cost) for need in needs) <= free for needs, free in disks)
    ]
    return [(key, cost) for _, _, key, cost in sorted(found, key=lambda row: row[:3])]


def ungated_merge(recipe: Recipe) -> str:
    """Return the key of a merge of the same language for which no access must be asked for.

    The catalogue's key of models without a gate; if there are none, of models without a known gate;
    "" if there are none either.
    """
    found = smaller_merges(recipe, ())
    return min(found, key=lambda row: row[1].gated is not False)[0] if found else ""


def _instead(need: Need, cost: Expected) -> int:
    """Return what another merge would write there."""
    return cost.download if need.kind == "download" else min(cost.result, need.size)
