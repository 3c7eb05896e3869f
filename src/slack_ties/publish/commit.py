"""Send files to the Hub and commit them: one commit, or none.

Large files go first and are kept by the Hub without being visible, so that whoever is
interrupted sends no finished file twice. Then one commit shows all of it. If its answer is
lost, what the repository holds tells whether it is there.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from slack_ties.errors import HubError, LostOnHubError
from slack_ties.hub.client import API_TIMEOUT, CLIENT_ERRORS, AskAgainError
from slack_ties.hub.errors import hub_error
from slack_ties.hub.xet import SilenceTimeoutError, watched
from slack_ties.private.huggingface_hub import add_sent_file, set_checksum
from slack_ties.publish.branch import Branch, list_files
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.manifest import SentFile

__all__ = ["SaidError", "commit_files", "upload_files", "wrong_files"]

LOG = logging.getLogger("slack_ties")

MESSAGE = "Merge with slack-ties"

LARGE = 10_000_000  # bytes from which a file is sent by itself, before the commit

AGAIN = "run the same command again: it merges and sends them once more"

AT_ONCE = 2.0  # seconds in which the Hub only says that it has a file: no measure of the line

MOST_COMMITS = 20  # of somebody else's on top of ours, after a lost answer


class SaidError(HubError):
    """An error of which the message says what the branch holds now."""


def upload_files(
    files: Sequence[SentFile], branch: Branch, *, retries: Retries, api: HfApi
) -> list[CommitOperationAdd]:
    """Send the content of large files that the Hub does not have yet.

    Raises:
        HubError: The Hub refuses, or cannot be reached; the client has tried it several times.

    """
    operations = [_addition(file) for file in files]
    upload = partial(api.preupload_lfs_files, branch.repo_id, operations, free_memory=False)
    try:
        # The client itself retries what the Hub answers; it waits for ever if nothing moves.
        retries.ask(
            lambda: watched(partial(upload, revision=branch.name), retries),
            errors=(SilenceTimeoutError,),
        )
    except CLIENT_ERRORS as error:
        names = files[0].name if len(files) == 1 else f"{len(files)} files"
        what = f"sending {names} to {branch.repo_id!r}"
        raise hub_error(what, api, error) from None
    return operations


def commit_files(
    files: Iterable[SentFile],
    stale: Sequence[str],
    branch: Branch,
    *,
    retries: Retries,
    api: HfApi,
) -> str:
    """Commit `files`, and remove those named in `stale`; return the id of the commit.

    Raises:
        HubError: Nothing of this was committed, or the message says that it is not known.

    """
    files = list(files)
    what = f"publishing to {branch.repo_id!r}"
    operations: list[CommitOperationAdd] = _upload(files, branch, retries=retries, api=api)

    def commit() -> str:
        if not operations:
            operations.extend(_upload(files, branch, retries=retries, api=api))
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
                LOG.info("  the answer to the commit was lost, but it is there")
                return landed
            if not (isinstance(error, BadRequestError) and "pointed to a file" in str(error)):
                raise
            if gone := [file.name for file in files if not file.path]:
                msg = f"{what}: {api.endpoint} has lost what was sent of {', '.join(gone)}"
                raise LostOnHubError(msg, hint=AGAIN) from None
            operations.clear()
            msg = "the Hub has lost a file that was sent"
            raise AskAgainError(msg) from error

    try:
        return retries.ask(commit)
    except CLIENT_ERRORS as error:
        said = error.__cause__ if isinstance(error, AskAgainError) else error
        raise hub_error(what, api, said if isinstance(said, Exception) else error) from None


def _upload(
    files: Sequence[SentFile], branch: Branch, *, retries: Retries, api: HfApi
) -> list[CommitOperationAdd]:
    """Send the contents, each large file by itself so that it is finished by itself."""
    large = [file for file in files if file.size >= LARGE and file.path]
    operations = []
    left, sent, took = sum(file.size for file in large), 0, 0.0
    for i, file in enumerate(large, 1):
        about = f", about {_duration(left * took / sent)} left" if sent else ""
        LOG.info("  %s, %s (%d of %d%s)", file.name, size(file.size), i, len(large), about)
        began = time.monotonic()
        operations += upload_files([file], branch, retries=retries, api=api)
        left -= file.size
        if (seconds := time.monotonic() - began) > AT_ONCE:
            sent, took = sent + file.size, took + seconds
    rest = [file for file in files if file not in large]
    return operations + upload_files(rest, branch, retries=retries, api=api)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"  # noqa: PLR2004


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
    """Return the commit that holds what was sent, if there is one; empty if nothing changed.

    Raises:
        HubError: The branch was changed by somebody else; or it cannot be seen.

    """
    try:
        info = retries.ask(
            lambda: api.model_info(branch.repo_id, revision=branch.name, timeout=API_TIMEOUT)
        )
        if info.sha == branch.head:
            return ""
        newer = []
        for commit in api.list_repo_commits(branch.repo_id, revision=branch.name):
            if commit.commit_id == branch.head:
                break
            newer.append(commit)
        for commit in [one for one in newer if one.title == MESSAGE][:MOST_COMMITS]:
            there = list_files(branch.repo_id, commit.commit_id, api=api)
            if not wrong_files(files, stale, there):
                return commit.commit_id
    except CLIENT_ERRORS as unseen:
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:  # noqa: PLR2004
            return ""  # a clear no
        why = hub_error(what, api, unseen)
        msg = f"{why}. The commit was sent, and whether {branch.label} has it is not known"
        raise SaidError(msg, hint="run the same command again: it finds out first") from None
    by = f" by {newer[0].authors[0]}" if newer and newer[0].authors else ""
    title = f", {newer[0].title!r}" if newer else ""
    msg = (
        f"{what}: meanwhile {branch.label} was changed{by}: it is at {(info.sha or '')[:7]}{title}"
    )
    msg += ". Nothing of this merge is in it"
    raise SaidError(msg, hint="look at that change, then run the same command again")


def wrong_files(
    files: Iterable[SentFile], stale: Iterable[str], there: Mapping[str, RepoFile]
) -> list[str]:
    """Return the names of files that are not on the Hub as they were sent, or not removed."""
    wrong = [
        file.name for file in files if file.name not in there or not file.is_same(there[file.name])
    ]
    return sorted([*wrong, *(name for name in stale if name in there)])


def _addition(file: SentFile) -> CommitOperationAdd:
    """Return the operation that adds a file; its checksum is not computed a second time."""
    if file.path:
        operation = CommitOperationAdd(file.name, file.path)
        if file.size >= LARGE:
            set_checksum(operation, file.sha256)
        return operation
    return add_sent_file(file.name, file.sha256, file.size)
