"""Find the models that `try` and `chat` ask: the merged model, and those that it was made from.

Only small files are downloaded here. A model that cannot be used is left out with its reason, but
for the merged model itself.
"""

from __future__ import annotations

import importlib.util
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.card.repo_id import repo_id_of
from slack_ties.errors import CheckpointError, OutputError, RecipeError, SlackTiesError
from slack_ties.files import expanded
from slack_ties.models.look_together import look_at_models
from slack_ties.models.names import HUB_ID, split_reference
from slack_ties.record import CONFIG_FILE
from slack_ties.running.models_of import MERGED, Member, merge_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.models.look import Look

__all__ = ["Candidate", "find_members", "look_at_candidates"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to ask, and what is known of it."""

    member: Member
    looks: tuple[Look, ...]  # the model, and its adapter if it has one

    @property
    def role(self) -> str:
        """The role in the merge: merged, base, ct or sft; empty if it is not known."""
        return self.member.role

    @property
    def name(self) -> str:
        """The model for people: without commits."""
        return _name(self.member)

    @property
    def pinned(self) -> str:
        """The model with the commits that were found: ID@COMMIT, or the folder."""
        return self.member.name(self.looks)

    @property
    def commit(self) -> str:
        """The commits of the model and of its adapter on the Hub; empty for folders."""
        commits = [look.commit for look in self.looks]
        return "+".join(commits) if any(commits) else ""


def find_members(
    what: str | Path, *, alone: bool = False, api: HfApi | None = None
) -> tuple[Member, ...]:
    """Return the models of a merge, the merged model first.

    Args:
        what: A merged folder, or the Hub id of a published merge: OWNER/NAME[@REVISION].
        alone: Return the merged model only; then it may be any model.
        api: The Hub client; the default one if not given.

    Raises:
        SlackTiesError: It is no merged model, or its config is refused.

    """
    folder = expanded(what) if expanded(what).is_dir() else None
    if not folder:
        _check_name(str(what))
    if alone:
        return (Member(MERGED, str(folder or what)),)
    try_alone = f"slack-ties try {shlex.quote(str(what))} PROMPT --alone  # without base, CT, SFT"
    if folder and not (folder / CONFIG_FILE).is_file():
        msg = f"{str(folder)!r} has no {CONFIG_FILE}, expected a merged model"
        raise OutputError(msg, hint=try_alone)
    try:
        return merge_of(what, adopt=False, api=api).members
    except RecipeError as error:
        if folder:
            raise
        raise RecipeError(str(error), hint=try_alone) from None


def _check_name(what: str) -> None:
    """Refuse what is neither a folder nor the id of a model on the Hub."""
    if what.endswith((".yml", ".yaml")):
        msg = f"{what!r} is a config, expected a merged model"
        raise RecipeError(msg, hint=f"slack-ties merge {shlex.quote(what)} OUT")
    repo_id = what.partition("@")[0]
    if "/" not in repo_id or repo_id.startswith((".", "/", "~")) or not HUB_ID.fullmatch(repo_id):
        msg = f"there is no folder {what!r}"
        raise OutputError(msg, hint="slack-ties merge CONFIG OUT  # makes a model's folder")


def look_at_candidates(
    members: Sequence[Member],
    *,
    api: HfApi | None = None,
    cache: str | None = None,
    command: str = "try",
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the models with what is known of them; and why others are left out, by name.

    Args:
        members: The models.
        api: The Hub client; the default one if not given.
        cache: The folder for downloads; the Hub's own cache if not given.
        command: The command of the user, for the next step of an error.

    Raises:
        SlackTiesError: The merged model is not there.

    """
    answers = look_at_models([one.reference for one in members], api=api, cache=cache)
    found, left_out = [], {}
    for one in members:
        try:
            new = Candidate(one, tuple(answer.get() for answer in answers[one.reference]))
            _check(new, command)
        except SlackTiesError as error:
            if one.role == MERGED:
                raise
            left_out[_name(one)] = str(error)
        else:
            found.append(new)
    return found, left_out


def _name(member: Member) -> str:
    return "+".join(path for path, _ in split_reference(member.reference))


def _check(candidate: Candidate, command: str) -> None:
    """Refuse a model without weights, and a model with an adapter if peft is not installed."""
    for look in candidate.looks:
        if not look.weights:
            msg = f"model {candidate.name!r} has no weights"
            words = [command, repo_id_of(look.folder), *(["PROMPT"] if command == "try" else [])]
            hint = f"slack-ties {' '.join(words)}  # if the Hub has its weights"
            raise CheckpointError(msg, hint=hint)
    if len(candidate.looks) > 1 and not importlib.util.find_spec("peft"):
        msg = f"{candidate.name} has a LoRA adapter, and peft is not installed: pip install peft"
        raise CheckpointError(msg)
