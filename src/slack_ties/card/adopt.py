"""Write the record of a model that mergekit merged without slack-ties, as far as it is known.

Known are the config, which mergekit writes beside the model, and the files as they are now. Not
known are the versions, the options, and the commits of models that the config does not pin.
"""

from __future__ import annotations

import logging
import os
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi

from slack_ties.errors import CheckpointError, HubError, NotOnHubError, SlackTiesError
from slack_ties.files import any_matches, sha256
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.retries import READING
from slack_ties.licenses.known import NOT_READ
from slack_ties.models.cached import local_folder
from slack_ties.models.header import main_type
from slack_ties.models.headers import read_headers
from slack_ties.models.look import look_at_model
from slack_ties.models.names import COMMIT, HUB_ID, split_reference
from slack_ties.models.parent_card import ParentCard, read_parent_card
from slack_ties.models.parents import parent_of
from slack_ties.models.text_files import ALWAYS, BESIDE
from slack_ties.models.weight_index import find_weights
from slack_ties.recipe.read import read_recipe
from slack_ties.record import (
    CONFIG_FILE,
    RECORD_FILE,
    MergeRecord,
    read_record,
    write_record,
)

if TYPE_CHECKING:
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import Parent

__all__ = ["is_card_of_mergekit", "record_of"]

LOG = logging.getLogger("slack_ties")

# What mergekit's own card says; a person who edited that card keeps it.
CARD_OF_MERGEKIT = (
    "This is a merge of pre-trained language models created using [mergekit](",
    "The following YAML configuration was used to produce this model:",
)


def record_of(folder: Path, *, api: HfApi | None = None) -> MergeRecord:
    """Return the record of a merged model; write it first if mergekit alone merged the model.

    If the card of a model could not be read when the record was written, it is read now.

    Raises:
        SlackTiesError: Neither merged it; or its config or its weights cannot be read; or it is
            not known whether one of its models is a folder or on the Hub.

    """
    if not (folder / CONFIG_FILE).is_file():
        return read_record(folder)
    if (folder / RECORD_FILE).exists():
        record = read_record(folder)
        now = _read_again(record, folder, api) if record.adopted else record
        if now != record:
            write_record(now, folder)
        return now
    recipe = read_recipe(folder / CONFIG_FILE)
    headers = read_headers(folder, str(folder))
    weights = {header.file for header in headers.values()}
    found = find_weights(folder)
    made = (*BESIDE, *ALWAYS, "config.json", CONFIG_FILE, *([found.index] if found else ()))
    beside = {p.name for p in folder.iterdir() if p.is_file() and any_matches([p.name], made)}
    record = MergeRecord(
        method=recipe.method,
        dtype=main_type(headers),
        parameters=sum(header.size for header in headers.values()),
        parents=tuple(_parent(recipe, name, folder, api) for name in recipe.models),
        versions={},
        files={name: sha256(folder / name) for name in sorted(weights)},
        beside={name: sha256(folder / name) for name in sorted(beside)},
        adopted=True,
    )
    LOG.warning(
        "  mergekit merged this model, not slack-ties: the card says what is not known of the merge"
    )
    write_record(record, folder)
    return read_record(folder)


def is_card_of_mergekit(card: str) -> bool:
    """Say whether mergekit wrote a card, and not a person."""
    return all(text in card for text in CARD_OF_MERGEKIT)


def _read_again(record: MergeRecord, folder: Path, api: HfApi | None) -> MergeRecord:
    """Return the record with what the cards that could not be read before state now."""
    recipe = read_recipe(folder / CONFIG_FILE)
    parents = []
    for one in record.parents:
        found = one
        # A model without commits and licence may be a folder that was not there.
        unread = NOT_READ in {one.license, one.adapter_license}
        if one.model in recipe.models and (unread or not (one.commits or one.license)):
            try:
                found = replace(_parent(recipe, one.model, folder, api), hub=one.hub)
            except (CheckpointError, HubError) as error:
                if isinstance(error, CheckpointError) and not one.commits:
                    raise
                LOG.warning("  %s: what is known of this model stays", error)
        parents.append(found)
    return replace(record, parents=tuple(parents))


def _parent(recipe: Recipe, name: str, out: Path, api: HfApi | None) -> Parent:
    """Return what is known of a model: its present card, and its commit if the config has it."""
    parts = split_reference(name)
    found = [_find(*part, out, api) for part in parts]
    folders = [folder for folder, _ in found]
    commits = tuple(
        revision or "" if folder is None and COMMIT.fullmatch(revision or "") else ""
        for folder, (_, revision) in zip(folders, parts, strict=True)
    )
    known = all(folder or commit for folder, commit in zip(folders, commits, strict=True))
    for folder, (path, _) in zip(folders, parts, strict=True):
        if folder and not known and HUB_ID.fullmatch(path) and path[0] != ".":
            # Without commits, a record tells folders from models of the Hub by their names.
            msg = f"{out / CONFIG_FILE}: {path!r} of {name!r} is a folder with the name of a model "
            msg += "on the Hub"
            raise CheckpointError(msg, hint=f"write ./{path} there, then run the command again")
    return parent_of(
        recipe,
        name,
        [card for _, card in found],
        commits=commits if known else (),
        folders=folders,
    )


def _find(
    path: str, revision: str | None, out: Path, api: HfApi | None
) -> tuple[Path | None, ParentCard]:
    """Return the folder of a model, or None if it is on the Hub; and its card.

    Raises:
        CheckpointError: It is neither a folder here nor on the Hub.
        HubError: It is no folder here, and the Hub cannot be asked.

    """
    try:
        if folder := local_folder(path, revision):
            return folder, read_parent_card(folder)
    except SlackTiesError as error:
        msg = f"{out / CONFIG_FILE}: {error}"
        raise CheckpointError(msg, hint=_where(path, out)) from None
    try:
        return None, look_at_model(path, revision, api=api).card
    except SlackTiesError as error:
        pinned = COMMIT.fullmatch(revision or "") and not isinstance(error, NotOnHubError)
        if not pinned and not _is_on_hub(path, api):
            msg = f"{out / CONFIG_FILE}: {error}"
            if isinstance(error, NotOnHubError):
                raise CheckpointError(msg, hint=_where(path, out)) from None
            hint = f"ask the Hub again later, or if it is a folder: {_where(path, out)}"
            raise HubError(msg, hint=hint) from None
        LOG.warning("  %s, so its licence is not known", error)
        return None, ParentCard(problem=str(error))


def _is_on_hub(path: str, api: HfApi | None) -> bool:
    """Say whether the Hub has a model, although its files cannot be read."""
    api = api or HfApi()
    try:
        READING.ask(partial(api.model_info, path))
    except CLIENT_ERRORS:
        return False
    return True


def _where(path: str, out: Path) -> str:
    """Return how to adopt a model whose parent is not here: where mergekit ran, paths are right."""
    full = out.resolve()
    for folder in full.parents:
        above = os.path.isdir(folder / path)  # noqa: PTH112 - never raises
        if above and not Path(path).is_absolute():
            inside = shlex.quote(full.relative_to(folder).as_posix())
            return f"cd {shlex.quote(str(folder))} && slack-ties card {inside}"
    again = f"slack-ties card {shlex.quote(str(full))}"
    config = shlex.quote(str(full / CONFIG_FILE))
    return f"{again}  (in the folder where mergekit-yaml ran; or write in {config} where it is now)"
