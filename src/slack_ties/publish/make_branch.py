"""Create the repository, the branch or the pull request that a model is published to.

An earlier try may have created it although its answer was lost: then it is found and used.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from slack_ties.errors import HubError
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.errors import hub_error, hub_errors
from slack_ties.hub.faults import BusyError
from slack_ties.publish.branch import Branch, list_files
from slack_ties.publish.destination import HUB_OWN_FILES, Destination, Target, look_at_repo
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi, ModelInfo

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.manifest import SentFile

__all__ = ["find_pull_request", "make_branch"]

LOG = logging.getLogger("slack_ties")

PULL_REQUEST = "Merge with slack-ties: recipe {}"  # the title, by which a later run finds it


def find_pull_request(
    target: Target, files: Mapping[str, SentFile], *, retries: Retries, api: HfApi
) -> Target:
    """Return the target with the open pull request of this recipe, if there is one."""
    if not target.to.pull_request or target.branch is None:
        return target
    repo_id, title = target.to.repo_id, _title(files)
    with hub_errors(f"looking for a pull request of {repo_id!r}", api):
        number = _open_request(repo_id, title, target.user, retries, api)
        if number is None:
            return target
        name = f"refs/pr/{number}"
        info = retries.ask(lambda: api.model_info(repo_id, revision=name))
        head = info.sha or ""
        there = list_files(repo_id, head, api=api)
    return replace(target, branch=Branch(repo_id, name, head, there))


def _open_request(repo_id: str, title: str, user: str, retries: Retries, api: HfApi) -> int | None:
    """Return the number of the user's open pull request with this title."""
    found = retries.ask(
        lambda: list(api.get_repo_discussions(repo_id, author=user, discussion_type="pull_request"))
    )
    numbers = [
        one.num
        for one in found
        if one.title == title and one.author == user and one.status in {"open", "draft"}
    ]
    return max(numbers, default=None)


def _title(files: Mapping[str, SentFile]) -> str:
    return PULL_REQUEST.format(files[CONFIG_FILE].sha256[:12])


def make_branch(
    target: Target, files: Mapping[str, SentFile], *, retries: Retries, api: HfApi
) -> Branch:
    """Create the repository, the branch or the pull request, if it does not exist.

    Raises:
        HubError: The Hub refuses, or somebody else has created it meanwhile.

    """
    try:
        return _make(target, files, retries=retries, api=api)
    except CLIENT_ERRORS as error:
        what = f"creating {target.to.repo_id!r}"
        raise hub_error(what, api, error) from None


def _make(target: Target, files: Mapping[str, SentFile], *, retries: Retries, api: HfApi) -> Branch:
    to, branch = target.to, target.branch
    if branch is None:
        return _make_repo(to, retries, api)
    if target.new_branch:
        LOG.info("  creating branch %s", branch.name)
        retries.ask(
            lambda: api.create_branch(
                to.repo_id, branch=branch.name, revision=branch.head, exist_ok=True
            )
        )
        info = look_at_repo(to.repo_id, branch.name, retries, api)
        if info is None or info.sha != branch.head:
            msg = f"somebody else has created branch {branch.name!r} of {to.repo_id!r} meanwhile"
            raise HubError(msg, hint="run the same command again")
    if to.pull_request and not branch.name.startswith("refs/pr/"):
        title = _title(files)
        number = retries.ask(lambda: _open(to.repo_id, title, target.user, retries, api))
        return replace(branch, name=f"refs/pr/{number}", head=branch.head)
    return branch


def _make_repo(to: Destination, retries: Retries, api: HfApi) -> Branch:
    """Create the repository; if it exists now, it must be empty and have the right visibility."""
    LOG.info("  creating the %s repository %s", "public" if to.public else "private", to.repo_id)
    info = retries.ask(lambda: _created(to, api))
    head = info.sha or ""
    files = list_files(to.repo_id, head, api=api)
    if set(files) - HUB_OWN_FILES or bool(info.private) == bool(to.public):
        msg = f"somebody else has created {to.repo_id!r} meanwhile"
        raise HubError(msg, hint="run the same command again: it checks the repository")
    return Branch(to.repo_id, "main", head, files)


def _created(to: Destination, api: HfApi) -> ModelInfo:
    """Create a repository unless it exists, and return what the Hub says about it."""
    try:
        api.create_repo(to.repo_id, private=not to.public)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:  # noqa: PLR2004 - HTTP
            raise
        try:
            return api.model_info(to.repo_id)  # it exists
        except RepositoryNotFoundError:
            raise BusyError(error) from None  # the Hub is busy with another repository of ours
    return api.model_info(to.repo_id)


def _open(repo_id: str, title: str, user: str, retries: Retries, api: HfApi) -> int:
    """Open a pull request, unless an earlier try whose answer was lost has opened it."""
    number = _open_request(repo_id, title, user, retries, api)
    if number is None:
        number = api.create_pull_request(repo_id, title).num
        LOG.info("  opened pull request %d", number)
    return number
