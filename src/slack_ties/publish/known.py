"""Find out which model of the Hub a folder holds, if the user says so with --is."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import HubError, OutputError
from slack_ties.files import checksum, expanded
from slack_ties.models.checksums import stated_sums
from slack_ties.models.hub_info import AWAY, ask_hub, is_away, model_errors
from slack_ties.models.names import COMMIT
from slack_ties.models.weight_index import find_weights
from slack_ties.private.huggingface_hub import is_repo_id
from slack_ties.recipe.public import as_known, as_published, local_parts
from slack_ties.record import PINNED_ID, MergeRecord, read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.record import Parent

__all__ = ["find_known", "keep_known", "warn_of_folders", "with_known"]

LOG = logging.getLogger("slack_ties")


def find_known(
    folders: Iterable[str], known_as: Mapping[str, str], *, retries: Retries, api: HfApi
) -> dict[str, str]:
    """Return ID@COMMIT of each folder that the user named, by its full path.

    The weights of the folder are compared with the checksums of that commit.

    Args:
        folders: The merged models and adapters that are folders.
        known_as: By a folder, its id on the Hub: ID, or ID@COMMIT.
        retries: How long to wait for the Hub.
        api: The Hub client.

    Raises:
        OutputError: A folder is no model of this merge, or its weights differ.
        HubError: The Hub has no such model, or cannot be asked for its commit.

    """
    merged = {_full(folder): folder for folder in folders}
    found = {}
    for folder, name in known_as.items():
        if _full(folder) not in merged:
            msg = f"--is {folder}={name}: this merge has no folder {folder!r}"
            there = ", ".join(merged.values())
            raise OutputError(msg, hint=f"its folders: {there}" if there else "leave --is out")
        found[_full(folder)] = _checked(_full(folder), name, retries, api)
    return found


def with_known(parents: Iterable[Parent], known: Mapping[str, str]) -> tuple[Parent, ...]:
    """Return the parents with the Hub ids of their folders; `known` is from `find_known`."""
    found = []
    for one in parents:
        given = [*one.hub, *[""] * len(one.names)]
        pairs = zip(one.names, given, strict=False)
        hub = tuple(known.get(_full(name), before) for name, before in pairs)
        found.append(replace(one, hub=hub if any(hub) else ()))
    return tuple(found)


def keep_known(folder: Path, known: Mapping[str, str]) -> MergeRecord:
    """Write the Hub ids of folders into the record of a merged model, and return the record."""
    record = read_record(folder)
    if known:
        record = replace(record, parents=with_known(record.parents, known))
        write_record(record, folder)
    return record


def warn_of_folders(parents: Iterable[Parent]) -> None:
    """Warn if other people cannot repeat a merge, because its models are folders here."""
    parents = [*parents]
    record = MergeRecord("", "", 0, tuple(parents), {})
    if local := [*local_parts(as_known(record).parents)]:
        LOG.warning(
            "  these models are folders on this disk, published without their paths, as %s: other "
            "people cannot repeat this merge. If one is a copy of a model on the Hub, add: "
            "--is %s=OWNER/NAME",
            ", ".join(local_parts(as_published(record).parents)),
            shlex.quote(local[0]),
        )


def _full(folder: str) -> str:
    return str(expanded(folder).resolve())


def _checked(folder: str, name: str, retries: Retries, api: HfApi) -> str:
    repo_id, _, revision = name.partition("@")
    if not is_repo_id(repo_id):
        msg = f"--is {folder}={name}: {repo_id!r} is no id of a model on the Hub"
        raise HubError(msg, hint=f"--is {folder}=OWNER/NAME")
    with model_errors(repo_id, revision or None, api):
        try:
            info = ask_hub(repo_id, revision or None, retries, api)
        except AWAY as error:
            if not (is_away(error) and COMMIT.fullmatch(revision)):
                raise
            LOG.warning("  the Hub cannot be asked: %s is not compared with %s", folder, name)
            return name
    pinned = f"{repo_id}@{info.sha}"
    if not PINNED_ID.fullmatch(pinned):
        msg = f"--is {folder}={name}: the Hub names no commit of {repo_id!r}"
        raise HubError(msg, hint=f"give the commit: --is {folder}={repo_id}@COMMIT")
    _compare(folder, pinned, stated_sums(info))
    return pinned


def _compare(folder: str, pinned: str, sums: Mapping[str, str]) -> None:
    """Refuse a folder whose weight files are not those of the Hub's commit."""
    weights = find_weights(Path(folder), folder)
    repo_id, _, commit = pinned.partition("@")
    for file in weights.files if weights else ():
        if file in sums and checksum(Path(folder) / file, sums[file]) == sums[file]:
            continue
        what = "differs from" if file in sums else "is no file of"
        msg = f"{Path(folder) / file} {what} {repo_id!r} at commit {commit[:7]}"
        raise OutputError(
            msg, hint=f"name the commit that the folder holds: --is {folder}={repo_id}@COMMIT"
        )
    LOG.info("  %s has the weights of %s at commit %s", folder, repo_id, commit[:7])
