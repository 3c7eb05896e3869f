"""Find the models of a merge to run them: the merged model, and those that it was made from.

Nothing is downloaded here but the small text files that say what each model is. A merge is a folder
that slack-ties or mergekit wrote, a published model, or a config: that one has no merged model yet.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError, HubError
from slack_ties.files import expanded
from slack_ties.models.names import split_reference
from slack_ties.recipe.missing import no_merge
from slack_ties.recipe.pin import pinned_name
from slack_ties.recipe.public import as_known
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from huggingface_hub import HfApi

    from slack_ties.models.look import Look
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import MergeRecord, Parent

__all__ = ["MERGED", "Member", "Merge", "look_at_members", "merge_of"]

LOG = logging.getLogger("slack_ties")

MERGED = "merged"  # the role of the merged model

ORDER = ("base", "ct", "sft", "")  # in which the models of a merge are run


@dataclass(frozen=True)
class Member:
    """The merged model, or one that it was made from."""

    role: str  # merged, base, ct or sft; empty if it is not known
    reference: str  # PATH[@REVISION][+ADAPTER], as a config names it; empty: merged in memory

    @property
    def label(self) -> str:
        """The role for people: merged, base, CT or SFT; model if it is not known."""
        return self.role.upper() if self.role in {"ct", "sft"} else self.role or "model"

    def name(self, looks: Sequence[Look]) -> str:
        """Return its name with the commits that were found: ID@COMMIT, or the folder."""
        parts = [
            f"{path}@{look.commit}" if look.commit else path
            for (path, _), look in zip(split_reference(self.reference), looks, strict=True)
        ]
        return "+".join(parts)


@dataclass(frozen=True)
class Merge:
    """A merge, and its models."""

    name: str  # for the names of files
    recipe: Recipe
    members: tuple[Member, ...]  # the merged model first
    folder: Path | None = None  # of the merged model, if it is on this disk
    commit: str = ""  # of the merged model, if it is on the Hub

    @property
    def is_config(self) -> bool:
        """Whether the merged model does not exist yet."""
        return not self.members[0].reference


def merge_of(
    what: str | Path, *, alone: bool = False, adopt: bool = True, api: HfApi | None = None
) -> Merge:
    """Return the merge that this names, and its models.

    Args:
        what: A folder that slack-ties or mergekit merged, a merge config, or a Hub id.
        alone: Leave out the models that it was made from.
        adopt: Write the record of a folder that mergekit merged, and ask for its weights.
        api: The Hub client; the default one if not given.

    Raises:
        SlackTiesError: It names no merge; or its config cannot be read, or is refused.

    """
    path = expanded(what)
    if path.is_dir():
        return _of_folder(path, alone=alone, adopt=adopt, api=api)
    is_file = path.suffix in {".yml", ".yaml"} or os.path.isfile(path)  # noqa: PTH113 - never raises
    if is_file or str(what).startswith((".", "/", "~")) or "/" not in str(what):
        return _of_config(path, alone=alone)
    return _of_published(str(what), alone=alone, api=api)


def look_at_members(
    members: Sequence[Member], *, api: HfApi | None = None, cache: str | None = None
) -> list[list[Look]]:
    """Return for each model what is known of it and of its adapter, before it is downloaded.

    Raises:
        SlackTiesError: A model is not there, or the Hub refuses it.

    """
    from slack_ties.models.look_together import look_at_models  # noqa: PLC0415 - imports the client

    found = look_at_models([one.reference for one in members], api=api, cache=cache)
    return [[answer.get() for answer in found[one.reference]] for one in members]


def _of_folder(folder: Path, *, alone: bool, adopt: bool, api: HfApi | None) -> Merge:
    record: MergeRecord | None = None
    if adopt:
        record = _adopted(folder, api)
    elif (folder / RECORD_FILE).is_file():
        record = read_record(folder)
    recipe = read_recipe(folder / CONFIG_FILE)
    others: tuple[Member, ...] = ()
    if not alone:
        others = _parents(record, recipe) if record else _of_recipe(recipe)
    merged = Member(MERGED, str(folder))
    return Merge(folder.resolve().name, recipe, (merged, *others), folder=folder)


def _adopted(folder: Path, api: HfApi | None) -> MergeRecord:
    """Return the record of a merge, which is written for one of mergekit."""
    from slack_ties.card.adopt import record_of  # noqa: PLC0415 - imports the Hub client
    from slack_ties.card.repo_id import repo_id_of  # noqa: PLC0415 - as above

    record = record_of(folder, api=api)
    if not record.has_weights(folder):
        msg = f"{str(folder)!r} has no weights: they were deleted here after an upload, or moved"
        raise CheckpointError(msg, hint=f"slack-ties evaluate {repo_id_of(folder)}")
    return record


def _parents(record: MergeRecord, recipe: Recipe) -> tuple[Member, ...]:
    """Return the models of a record, in our order; folders that are gone by their Hub ids."""
    found = []
    for here, known in zip(record.parents, as_known(record).parents, strict=True):
        one = here if _is_here(here) else known
        role = here.role or recipe.role(here.model)  # a person may have written it later
        found.append(Member(role, pinned_name(one.model, one.commits)))
    return _ordered(found)


def _is_here(parent: Parent) -> bool:
    """Say whether all folders of a model are on this disk."""
    return all(Path(path).is_dir() for i, path in enumerate(parent.names) if parent.is_local(i))


def _of_config(path: Path, *, alone: bool) -> Merge:
    if not path.suffix and not os.path.lexists(path):
        raise no_merge(path, "a merged folder, a merge config, or a Hub id: OWNER/NAME")
    recipe = read_recipe(path)
    others = () if alone else _of_recipe(recipe)
    return Merge(path.stem, recipe, (Member(MERGED, ""), *others))


def _of_published(repo_id: str, *, alone: bool, api: HfApi | None) -> Merge:
    from slack_ties.sharing.pull import pull_recipe  # noqa: PLC0415 - imports the client
    from slack_ties.sharing.untrusted import check_not_here, is_of_hub  # noqa: PLC0415 - as above

    try:
        pulled = pull_recipe(repo_id, folders=True, api=api)
    except HubError as error:
        if not Path(repo_id).parent.is_dir():
            raise
        msg = f"there is no folder {repo_id!r}; on the Hub: {error}"
        raise type(error)(msg, hint=error.hint) from None
    check_not_here(pulled.recipe)
    merged = Member(MERGED, f"{pulled.repo_id}@{pulled.commit}")
    others = []
    for one in () if alone else _of_recipe(pulled.recipe):
        if is_of_hub(one.reference):
            others.append(one)
        else:
            what = f"{one.label} model" if one.role else one.label
            LOG.warning("  the %s is left out: it was a folder, and is not on the Hub", what)
    name = pulled.repo_id.rpartition("/")[2]
    return Merge(name, pulled.recipe, (merged, *others), commit=pulled.commit)


def _of_recipe(recipe: Recipe) -> tuple[Member, ...]:
    return _ordered([Member(recipe.role(name), name) for name in recipe.models])


def _ordered(members: Sequence[Member]) -> tuple[Member, ...]:
    """Return the models base first, then CT and SFT models, each once."""
    known = {one for one in members if one.role in ORDER}
    rest = [Member("", one.reference) if one not in known else one for one in members]
    return tuple(dict.fromkeys(sorted(rest, key=lambda one: ORDER.index(one.role))))
