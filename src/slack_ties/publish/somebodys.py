"""Find out whether a file on the Hub holds a person's text that publishing would replace."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.card.license_files import is_generated
from slack_ties.card.own_text import read_own_text
from slack_ties.card.write import CARD_FILE
from slack_ties.errors import HubError
from slack_ties.hub.errors import hub_errors
from slack_ties.publish.branch import list_files
from slack_ties.publish.commit import MESSAGE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.branch import Branch
    from slack_ties.publish.destination import Target
    from slack_ties.publish.manifest import SentFile

__all__ = ["changed_there", "check_card_there", "is_somebodys"]


def changed_there(name: str, repo_id: str) -> HubError:
    """Return the error that a person changed a file on the Hub."""
    msg = f"{name} of {repo_id!r} was changed on the Hub, and would be replaced"
    get = shlex.join(["hf", "download", repo_id, name, "--local-dir", "there"])
    return HubError(msg, hint=f"{get}  # keeps its changes; or replace it: --update")


def check_card_there(target: Target, *, retries: Retries, api: HfApi) -> None:
    """Refuse to merge if a new card would replace a person's text on the Hub.

    Raises:
        HubError: The Hub's card has text that was not sent by us.

    """
    to, branch = target.to, target.branch
    if branch is None or CARD_FILE not in branch.files or to.update or to.pull_request:
        return
    with hub_errors(f"publishing to {to.repo_id!r}", api):
        if _has_more(CARD_FILE, "", branch, retries, api):
            raise changed_there(CARD_FILE, to.repo_id)


def is_somebodys(name: str, file: SentFile, branch: Branch, retries: Retries, api: HfApi) -> bool:
    """Say whether the Hub's file contains a person's text that the file here lacks."""
    if name == CARD_FILE:
        ours = file.path.read_text(encoding="utf-8") if file.path else ""
        return _has_more(name, ours, branch, retries, api)
    if not (file.path and is_generated(file.path)):
        return False
    path = retries.ask(lambda: api.hf_hub_download(branch.repo_id, name, revision=branch.head))
    return not is_generated(Path(path))


def _has_more(name: str, ours: str, branch: Branch, retries: Retries, api: HfApi) -> bool:
    """Say whether somebody changed the Hub's card, so that it has text that `ours` lacks."""
    path = retries.ask(lambda: api.hf_hub_download(branch.repo_id, name, revision=branch.head))
    theirs = read_own_text(Path(path).read_text(encoding="utf-8", errors="replace"))
    here = read_own_text(ours).places
    if not theirs.edited and all(here.get(key) == text for key, text in theirs.places.items()):
        return False
    return not _is_as_sent(name, branch, retries, api)


def _is_as_sent(name: str, branch: Branch, retries: Retries, api: HfApi) -> bool:
    """Say whether a file is the one that our last commit sent."""
    commits = retries.ask(lambda: api.list_repo_commits(branch.repo_id, revision=branch.head))
    ours = next((one.commit_id for one in commits if one.title == MESSAGE), None)
    if ours is None:
        return False
    if ours == branch.head:
        return True
    sent = list_files(branch.repo_id, ours, api=api).get(name)
    return sent is not None and sent.blob_id == branch.files[name].blob_id
