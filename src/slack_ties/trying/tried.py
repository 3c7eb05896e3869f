"""Find the models that `slack-ties try` asks: the merged model, and those that it was made from.

Only small files are downloaded here. A model that cannot be used is left out with its reason, but
for the merged model itself.
"""

from __future__ import annotations

import importlib.util
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.card.repo_id import repo_id_of
from slack_ties.errors import CheckpointError, OutputError, RecipeError, SlackTiesError
from slack_ties.files import expanded
from slack_ties.models.look_together import look_at_models
from slack_ties.models.names import HUB_ID, split_reference
from slack_ties.recipe.pin import pinned_name
from slack_ties.recipe.public import as_known
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

    from slack_ties.models.look import Look
    from slack_ties.recipe.recipe import Recipe
    from slack_ties.record import Parent

__all__ = ["MERGED", "Candidate", "Merge", "find_merge", "look_at_candidates"]

MERGED = "merged"  # the role of the merged model

ORDER = (MERGED, "base", "ct", "sft", "")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to ask."""

    role: str  # merged, base, ct or sft; empty if it is not known
    reference: str  # PATH[@REVISION][+ADAPTER]
    looks: tuple[Look, ...] = ()  # the model, and its adapter if it has one

    @property
    def name(self) -> str:
        """The model for people: without commits."""
        return "+".join(path for path, _ in split_reference(self.reference))

    @property
    def commit(self) -> str:
        """The commits of the model and of its adapter on the Hub; empty for folders."""
        commits = [look.commit for look in self.looks]
        return "+".join(commits) if any(commits) else ""


@dataclass(frozen=True)
class Merge:
    """A merge: its models, and its config if it was read."""

    candidates: tuple[Candidate, ...]  # the merged model first
    recipe: Recipe | None = None
    folder: Path | None = None  # of the merged model, if it is on this disk


def find_merge(what: str | Path, *, alone: bool = False, api: HfApi | None = None) -> Merge:
    """Return the merge that this names, with the names of its models.

    Args:
        what: A merged folder, or the Hub id of a published merge: OWNER/NAME[@REVISION].
        alone: Return the merged model only; then it may be any model.
        api: The Hub client; the default one if not given.

    Raises:
        SlackTiesError: It is no merged model, or its config is refused.

    """
    path = expanded(what)
    if path.is_dir():
        return _of_folder(path, alone=alone)
    if path.suffix in {".yml", ".yaml"}:
        msg = f"{str(what)!r} is a config, expected a merged model"
        raise RecipeError(msg, hint=f"slack-ties merge {shlex.quote(str(what))} OUT")
    repo_id, _, revision = str(what).partition("@")
    if "/" not in repo_id or repo_id.startswith((".", "/", "~")) or not HUB_ID.fullmatch(repo_id):
        msg = f"there is no folder {str(what)!r}"
        raise OutputError(msg, hint="slack-ties merge CONFIG OUT  # makes a model's folder")
    if alone:
        return Merge((Candidate(MERGED, f"{repo_id}@{revision}" if revision else repo_id),))
    return _of_published(str(what), api)


def look_at_candidates(
    merge: Merge, *, api: HfApi | None = None, cache: str | None = None
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the models with what is known of them; and why others are left out, by name.

    Raises:
        SlackTiesError: The merged model is not there.

    """
    answers = look_at_models([one.reference for one in merge.candidates], api=api, cache=cache)
    found, left_out = [], {}
    for one in merge.candidates:
        try:
            looks = tuple(answer.get() for answer in answers[one.reference])
            new = replace(one, looks=looks)
            _check(new)
        except SlackTiesError as error:
            if one.role == MERGED:
                raise
            left_out[one.name] = str(error)
        else:
            found.append(new)
    return found, left_out


def _check(candidate: Candidate) -> None:
    """Refuse a model without weights, and a model with an adapter if peft is not installed."""
    for look in candidate.looks:
        if not look.weights:
            msg = f"model {candidate.name!r} has no weights"
            hint = f"slack-ties try {repo_id_of(look.folder)} PROMPT  # if the Hub has its weights"
            raise CheckpointError(msg, hint=hint)
    if len(candidate.looks) > 1 and not importlib.util.find_spec("peft"):
        msg = f"{candidate.name} has a LoRA adapter, and peft is not installed: pip install peft"
        raise CheckpointError(msg)


def _of_folder(folder: Path, *, alone: bool) -> Merge:
    merged = Candidate(MERGED, str(folder))
    if not (folder / CONFIG_FILE).is_file():
        if alone:
            return Merge((merged,), folder=folder)
        msg = f"{str(folder)!r} has no {CONFIG_FILE}, expected a merged model"
        hint = f"slack-ties try {shlex.quote(str(folder))} PROMPT --alone  # without base, CT, SFT"
        raise OutputError(msg, hint=hint)
    recipe = read_recipe(folder / CONFIG_FILE)
    if alone:
        return Merge((merged,), recipe, folder)
    if (folder / RECORD_FILE).is_file():
        record = read_record(folder)
        pairs = zip(record.parents, as_known(record).parents, strict=True)
        others = [_parent(here if _is_here(here) else known) for here, known in pairs]
    else:
        others = _of_recipe(recipe)
    return Merge(_ordered([merged, *others]), recipe, folder)


def _parent(parent: Parent) -> Candidate:
    return Candidate(parent.role, pinned_name(parent.model, parent.commits))


def _is_here(parent: Parent) -> bool:
    """Say whether all folders of a model are on this disk."""
    return all(Path(path).is_dir() for i, path in enumerate(parent.names) if parent.is_local(i))


def _of_published(repo_id: str, api: HfApi | None) -> Merge:
    from slack_ties.sharing.pull import pull_recipe  # noqa: PLC0415 - imports the Hub client
    from slack_ties.sharing.untrusted import check_not_here  # noqa: PLC0415 - as above

    try:
        pulled = pull_recipe(repo_id, api=api)
        check_not_here(pulled.recipe)
    except RecipeError as error:
        alone = f"slack-ties try {shlex.quote(repo_id)} PROMPT --alone  # without base, CT and SFT"
        raise RecipeError(str(error), hint=alone) from None
    merged = Candidate(MERGED, f"{pulled.repo_id}@{pulled.commit}")
    return Merge(_ordered([merged, *_of_recipe(pulled.recipe)]), pulled.recipe)


def _of_recipe(recipe: Recipe) -> list[Candidate]:
    return [Candidate(recipe.role(name), name) for name in recipe.models]


def _ordered(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Return the merged model, then base, CT and SFT models, then others; each once."""
    once: Mapping[str, Candidate] = {one.reference: one for one in reversed(candidates)}
    known = [one for one in candidates if once[one.reference] is one]
    return tuple(sorted(known, key=lambda one: ORDER.index(one.role if one.role in ORDER else "")))
