"""Write the record of a model that mergekit merged without slack-ties, as far as it is known.

Known are the config, which mergekit writes beside the model, and the files as they are now. Not
known are the versions, the options, and the commits of models that the config does not pin.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError
from slack_ties.files import sha256
from slack_ties.models.cached import local_folder
from slack_ties.models.header import main_type
from slack_ties.models.headers import read_headers
from slack_ties.models.look import look_at_model
from slack_ties.models.names import COMMIT, split_reference
from slack_ties.models.parent_card import ParentCard
from slack_ties.models.parents import parent_of
from slack_ties.recipe.read import read_recipe
from slack_ties.record import (
    CONFIG_FILE,
    RECORD_FILE,
    MergeRecord,
    read_record,
    write_record,
)

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub import HfApi

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

    Raises:
        SlackTiesError: Neither merged it; or its config or its weights cannot be read.

    """
    if (folder / RECORD_FILE).exists() or not (folder / CONFIG_FILE).is_file():
        return read_record(folder)
    recipe = read_recipe(folder / CONFIG_FILE)
    headers = read_headers(folder, str(folder))
    weights = {header.file for header in headers.values()}
    names = {p.name for p in folder.iterdir() if p.is_file() and p.name[0] != "."}
    beside = names - weights - {"README.md"}
    LOG.warning(
        "  mergekit merged this model, not slack-ties: the card says what is not known of the merge"
    )
    record = MergeRecord(
        method=recipe.method,
        dtype=main_type(headers),
        parameters=sum(header.size for header in headers.values()),
        parents=tuple(_parent(recipe, name, api) for name in recipe.models),
        versions={},
        files={name: sha256(folder / name) for name in sorted(weights)},
        beside={name: sha256(folder / name) for name in sorted(beside)},
        adopted=True,
    )
    write_record(record, folder)
    return read_record(folder)


def is_card_of_mergekit(card: str) -> bool:
    """Say whether mergekit wrote a card, and not a person."""
    return all(text in card for text in CARD_OF_MERGEKIT)


def _parent(recipe: Recipe, name: str, api: HfApi | None) -> Parent:
    """Return what is known of a model: its present card, and its commit if the config has it."""
    parts = split_reference(name)
    folders = [_folder(*part) for part in parts]
    pinned = [
        revision or "" if folder is None and COMMIT.fullmatch(revision or "") else ""
        for folder, (_, revision) in zip(folders, parts, strict=True)
    ]
    known = all(folder or commit for folder, commit in zip(folders, pinned, strict=True))
    return parent_of(
        recipe,
        name,
        [_card(*part, api) for part in parts],
        commits=tuple(pinned) if known else (),
        folders=folders,
    )


def _folder(path: str, revision: str | None) -> Path | None:
    try:
        return local_folder(path, revision)
    except SlackTiesError:  # it was there when mergekit merged
        return None


def _card(path: str, revision: str | None, api: HfApi | None) -> ParentCard:
    try:
        return look_at_model(path, revision, api=api).card
    except SlackTiesError as error:
        LOG.warning("  %s, so its licence is not known", error)
        return ParentCard()
