"""Upload files to the Hub and commit them: in one commit, or not at all.

Large files are uploaded first. The Hub keeps them, still invisible, so an interrupted run does not
upload a finished file twice. Then one commit makes all files visible. If the answer to the commit
is lost, we look at the repository to find out whether the commit arrived.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from slack_ties.errors import HubError, LostOnHubError
from slack_ties.hub.client import CLIENT_ERRORS, AskAgainError
from slack_ties.hub.errors import hub_error
from slack_ties.hub.faults import SilentError
from slack_ties.hub.retries import Retries
from slack_ties.hub.transfer import upload
from slack_ties.private.hub_requests import missing_objects
from slack_ties.private.huggingface_hub import add_sent_file, was_sent
from slack_ties.publish.branch import Branch, list_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from threading import Event

    from slack_ties.publish.manifest import SentFile

__all__ = ["BranchStateError", "commit_files", "upload_files", "wrong_files"]

LOG = logging.getLogger("slack_ties")

MESSAGE = "Merge with slack-ties"

LARGE = 10_000_000  # bytes; from this size a file is uploaded by itself, before the commit

MERGE_AGAIN = "run the same command again: it merges and uploads these files again"

# Texts: the Hub takes them as part of a commit. A folder of nothing else needs no upload.
SMALL = (".md", ".json", ".yml", ".yaml", ".txt", ".jinja", ".html", "LICENSE", "Notice", "NOTICE")

MOST_COMMITS = 20  # commits to search for ours after a lost answer


class BranchStateError(HubError):
    """An error whose message already tells the state of the branch."""


def upload_files(  # noqa: PLR0913 - all by name
    files: Sequence[SentFile],
    branch: Branch,
    *,
    retries: Retries,
    api: HfApi,
    tell: bool = False,
    stop: Event | None = None,
) -> list[CommitOperationAdd]:
    """Upload the content of large files that the Hub does not have yet.

    Args:
        files: All files of a commit, or some of them.
        branch: The branch that the commit goes to.
        retries: How long to wait for the Hub.
        api: The Hub client.
        tell: Whether to log a line for each large file.
        stop: Ends the upload when it is set.

    Raises:
        HubError: The Hub refuses, or cannot be reached within the limit.

    """
    here = [file for file in files if file.path]
    names = files[0].name if len(files) == 1 else f"{len(files)} files"
    sent: dict[str, tuple[str, int]] = {}
    if any(file.size >= LARGE or not file.name.endswith(SMALL) for file in here):
        sent = upload(
            branch.repo_id,
            [
                {
                    "name": file.name,
                    "path": file.path,
                    "size": file.size,
                    "large": file.size >= LARGE,
                    "sha256": file.sha256 if file.size >= LARGE else "",
                }
                for file in here
            ],
            revision=branch.name,
            what=f"uploading {names} to {branch.repo_id!r}",
            retries=retries,
            api=api,
            tell=tell,
            stop=stop,
        )
    return [
        add_sent_file(file.name, *sent.get(file.name, (file.sha256, file.size)))
        if file.name in sent or not file.path
        else CommitOperationAdd(file.name, file.path)
        for file in files
    ]


def commit_files(
    files: Iterable[SentFile],
    stale: Sequence[str],
    branch: Branch,
    *,
    retries: Retries,
    api: HfApi,
) -> str:
    """Commit `files`, and delete the files named in `stale`; return the id of the commit.

    Raises:
        HubError: Nothing was committed; or the message says that this is not known.

    """
    files = list(files)
    what = f"publishing to {branch.repo_id!r}"
    upload_all = partial(upload_files, files, branch, retries=retries, api=api, tell=True)
    operations: list[CommitOperationAdd] = upload_all()

    def commit() -> str:
        if not operations:
            operations.extend(upload_all())
        deleted = [CommitOperationDelete(name) for name in stale]
        try:
            return api.create_commit(
                branch.repo_id,
                [*operations, *deleted],
                commit_message=MESSAGE,
                revision=branch.name,
                parent_commit=branch.head,
            ).oid
        except CLIENT_ERRORS as error:
            landed = _landed(files, stale, branch, what, error, retries=retries, api=api)
            if landed:
                LOG.info("  the Hub's answer was lost, but the commit arrived")
                return landed
            if isinstance(error, SilentError):  # it had the whole limit
                raise hub_error(what, api, error) from None
            lost = _lost(operations, branch, error, api)
            if not lost:
                raise
            if gone := [file.name for file in files if not file.path and file.name in lost]:
                msg = f"{what}: {api.endpoint} has lost these uploaded files: {', '.join(gone)}"
                raise LostOnHubError(msg, hint=MERGE_AGAIN) from None
            operations.clear()
            msg = "the Hub has lost an uploaded file"
            raise AskAgainError(msg) from error

    try:
        return retries.ask(commit)
    except CLIENT_ERRORS as error:
        said = error.__cause__ if isinstance(error, AskAgainError) else error
        raise hub_error(what, api, said if isinstance(said, Exception) else error) from None


def _landed(  # noqa: PLR0913 - all by name
    files: Sequence[SentFile],
    stale: Sequence[str],
    branch: Branch,
    what: str,
    error: Exception,
    *,
    retries: Retries,
    api: HfApi,
) -> str:
    """Return the commit with our files if it arrived; "" if the branch has not changed.

    Raises:
        HubError: Somebody else has changed the branch; or it cannot be read.

    """
    try:
        info = retries.ask(lambda: api.model_info(branch.repo_id, revision=branch.name))
        if info.sha == branch.head:
            return ""
        newer = []
        commits = retries.ask(lambda: api.list_repo_commits(branch.repo_id, revision=branch.name))
        for commit in commits:
            if commit.commit_id == branch.head:
                break
            newer.append(commit)
        for commit in [one for one in newer if one.title == MESSAGE][:MOST_COMMITS]:
            there = list_files(branch.repo_id, commit.commit_id, api=api)
            if not wrong_files(files, stale, there):
                return commit.commit_id
    except CLIENT_ERRORS as unseen:
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:  # noqa: PLR2004
            return ""  # the Hub has clearly refused the commit
        why = hub_error(what, api, unseen)
        msg = f"{why}. The commit was sent, but it is not known whether it arrived in "
        msg += branch.label
        hint = "run the same command again: it first checks whether the commit arrived"
        raise BranchStateError(msg, hint=hint) from None
    by = f" by {newer[0].authors[0]}" if newer and newer[0].authors else ""
    title = f", {newer[0].title!r}" if newer else ""
    msg = (
        f"{what}: meanwhile {branch.label} was changed{by}: it is at {(info.sha or '')[:7]}{title}"
    )
    msg += ". Nothing of this merge is in it"
    raise BranchStateError(msg, hint="check that change, then run the same command again")


def _lost(
    operations: Sequence[CommitOperationAdd], branch: Branch, error: Exception, api: HfApi
) -> set[str]:
    """Return the uploaded files that the Hub does not have, after it has refused a commit."""
    if not isinstance(error, BadRequestError):
        return set()
    sent = [one for one in operations if was_sent(one)]
    names = {one.upload_info.sha256.hex(): one.path_in_repo for one in sent}
    sizes = {one.upload_info.sha256.hex(): one.upload_info.size for one in sent}
    try:
        lost = Retries().ask(lambda: missing_objects(api, branch.repo_id, sizes))
    except CLIENT_ERRORS:
        return set()  # the Hub's reason for the refusal is the one to tell
    return {names[one] for one in lost if one in names}


def wrong_files(
    files: Iterable[SentFile], stale: Iterable[str], there: Mapping[str, RepoFile]
) -> list[str]:
    """Return the names of files that differ on the Hub or are missing, and of undeleted ones."""
    wrong = [
        file.name for file in files if file.name not in there or not file.is_same(there[file.name])
    ]
    return sorted([*wrong, *(name for name in stale if name in there)])
