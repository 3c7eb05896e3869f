"""Find a model: a local folder, or a Hub model as a snapshot of one commit.

Only the files that a merge needs are downloaded: weights in one format, config and
tokenizer, and the card, which states the licence.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi

from slack_ties.errors import CheckpointError
from slack_ties.files import any_matches
from slack_ties.hub.ranges import HubFile, Ranges
from slack_ties.hub.retries import READING, Retries
from slack_ties.models.cached import (
    AwayFile,
    Snapshot,
    cached_file,
    find_in_cache,
    local_folder,
    patterns_for,
    snapshot_of,
    sums_of_wanted,
)
from slack_ties.models.checksums import check_download, damaged_files, stated_sums
from slack_ties.models.download import FILES_AT_ONCE, fetch_files, files_of
from slack_ties.models.hub_info import AWAY, ask_hub, is_away, model_errors, named
from slack_ties.models.license_texts import MOST_LICENSE, is_license_file
from slack_ties.models.look import needs_code, weights_on_hub
from slack_ties.models.parent_card import read_parent_card
from slack_ties.models.places import places_of
from slack_ties.models.text_files import CODE_FILES
from slack_ties.private.huggingface_hub import no_progress
from slack_ties.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from huggingface_hub import ModelInfo

    from slack_ties.models.places import FilePlaces

__all__ = ["find_model"]

LOG = logging.getLogger("slack_ties")


def find_model(  # noqa: PLR0913 - all but two by name
    path: str,
    revision: str | None = None,
    *,
    api: HfApi | None = None,
    cache: str | None = None,
    code: bool = False,
    weights: bool = True,
    places: Mapping[str, FilePlaces] | None = None,
    retries: Retries = READING,
) -> Snapshot:
    """Return the folder `path`, or a snapshot of the Hub model with that id.

    If `path` is both a folder here and a Hub id, the folder is used, as by mergekit and
    transformers; but with a revision the Hub model is used. Without network a snapshot in the
    Hub cache is used if it is complete.

    Args:
        path: A folder, or an id on the Hub.
        revision: A branch, tag or commit on the Hub; main if not given.
        api: The Hub client; the default one if not given.
        cache: The folder for downloads; the Hub's own cache if not given.
        code: Also download Python files, for models that need them.
        weights: Download the weights. If not, weight files that are in the cache are used, and
            those that are not, or are damaged there, are `away`: only their headers are read.
        places: What the headers of weight files at this commit say, of those that were read before.
        retries: How long to wait for the Hub.

    Raises:
        CheckpointError: `path` can only be a local folder, and it does not exist; or a weight
            file cannot be read in parts.
        HubError: The model cannot be downloaded from the Hub.

    """
    folder = local_folder(path, revision)
    if folder:
        return Snapshot(folder, card=read_parent_card(folder))
    api = api or HfApi()
    with model_errors(path, revision, api):
        try:
            info = ask_hub(path, revision, retries, api)
        except AWAY as error:
            if not is_away(error):
                raise
            cached = find_in_cache(path, revision, api, cache_dir=cache)
            if cached is None:
                raise
            check_download(path, cached.path, cache=cache)
            return cached  # `look_at_model` has already told the user
        on_hub = files_of(info)
        names = list(on_hub)
        files_of_weights = retries.ask(lambda: weights_on_hub(path, revision, names, api, cache))
        away = () if weights else _not_in_cache(path, files_of_weights, info.sha or "", cache)
        away += () if weights else _damaged(path, {*files_of_weights} - {*away}, info, cache)
        # Ask by the revision's name, not by info.sha: then the cache stores the commit of that
        # name, and can be used without network.
        code = code or retries.ask(lambda: needs_code(path, revision, names, api, cache))
        here = tuple(name for name in files_of_weights if name not in away)
        wanted = patterns_for(here, (*_license_texts(info), *(CODE_FILES if code else ())))
        files = {
            name: stated
            for name, stated in on_hub.items()
            if any_matches([name], tuple(wanted["allow_patterns"]))
            and name not in wanted["ignore_patterns"]
        }
        fetch_files(
            path,
            files,
            commit=info.sha or "",
            what=named(path, revision),
            cache=cache,
            retries=retries,
            api=api,
        )
        get = partial(api.snapshot_download, path, revision=revision, cache_dir=cache, **wanted)
        # Without a progress bar: the files are here now.
        snapshot = retries.ask(partial(get, tqdm_class=no_progress()))
        found = Path(str(snapshot))
        # The commit of a branch may have changed since `model_info`.
        same = found.name == info.sha
        if away and not same:
            return find_model(
                path, found.name, api=api, cache=cache, code=code, weights=False, retries=retries
            )  # of another commit: its headers are not known
        sums = stated_sums(info) if same else None
        check_download(path, found, sums_of_wanted(sums, wanted), cache=cache, api=api)
        away_files = [HubFile(info.id, found.name, name, *on_hub[name]) for name in away]
        read = partial(_away_file, known=places or {}, ranges=Ranges(api=api, retries=retries))
        parts = in_threads(read, away_files, most=FILES_AT_ONCE)
    return replace(snapshot_of(found), away=dict(zip(away, parts, strict=True)))


def _not_in_cache(
    path: str, names: tuple[str, ...], commit: str, cache: str | None
) -> tuple[str, ...]:
    """Return the files of a commit that the Hub cache lacks."""
    return tuple(name for name in names if not cached_file(path, name, commit, cache))


def _damaged(
    path: str, names: Collection[str], info: ModelInfo, cache: str | None
) -> tuple[str, ...]:
    """Return the weight files in the Hub cache that are damaged; say that they are not used."""
    first = cached_file(path, min(names), info.sha or "", cache) if names else None
    if first is None:
        return ()
    sums = {name: one for name, one in stated_sums(info).items() if name in names}
    found = damaged_files(path, first.parent, sums)
    for name in found:
        LOG.warning("  %s of %s is damaged in the cache: it is read from the Hub", name, path)
    return tuple(found)


def _away_file(on_hub: HubFile, *, known: Mapping[str, FilePlaces], ranges: Ranges) -> AwayFile:
    """Read from the header of a weight file on the Hub where its tensors lie, if not known."""
    before = known.get(on_hub.name)
    if before and before.size == on_hub.size:
        return AwayFile(on_hub, before)
    try:
        with ranges.open(on_hub) as opened:
            places = places_of(opened, on_hub.name, on_hub.size, on_hub.repo_id)
    except CheckpointError as error:
        own = shlex.join([on_hub.repo_id, on_hub.name, "--revision", on_hub.commit])
        raise CheckpointError(
            str(error), hint=error.hint.replace(f"ID {on_hub.name}", own)
        ) from None
    return AwayFile(on_hub, places)


def _license_texts(info: ModelInfo) -> list[str]:
    """Return the names of a model's files on the Hub that hold licences and notices."""
    named = [file for file in info.siblings or () if is_license_file(file.rfilename)]
    for file in named:
        if (file.size or 0) > MOST_LICENSE:
            LOG.warning(
                "  %s of %s has more than %s bytes: it is not downloaded, and not passed on",
                file.rfilename,
                info.id,
                f"{MOST_LICENSE:,}",
            )
    return [file.rfilename for file in named if (file.size or 0) <= MOST_LICENSE]
