"""Publish a merged model on the Hugging Face Hub. `slack-ties publish` calls this.

All possible checks run before anything is created or uploaded. One commit contains all files: the
Hub shows the old model or the new one, never a mixture. After the commit, the Hub's checksums are
compared with the files here. We never delete a repository. We delete files on the Hub only if they
are from an earlier slack-ties merge: weights, an unchanged vocabulary, our evaluation and examples.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from slack_ties.card.examples import warn_of_examples
from slack_ties.card.write import CARD_FILE, address_card, plan_card, write_card
from slack_ties.errors import HubError, LostOnHubError, visible
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.errors import hub_error, hub_errors
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import in_force, timeouts
from slack_ties.licenses.known import Stated
from slack_ties.notebook import Shown, html_link, html_table
from slack_ties.publish.branch import Branch, list_files
from slack_ties.publish.check import check_card, validate_card
from slack_ties.publish.commit import BranchStateError, commit_files, wrong_files
from slack_ties.publish.destination import Destination, Target, check_publish
from slack_ties.publish.evaluated import warn_of_evaluation
from slack_ties.publish.known import find_known, keep_known, warn_of_folders, with_known
from slack_ties.publish.make_branch import find_pull_request, make_branch
from slack_ties.publish.manifest import SentFile, read_manifest, with_planned
from slack_ties.publish.plan import Planned, compare
from slack_ties.publish.public_files import public_files
from slack_ties.publish.rights import with_token
from slack_ties.publish.tag_and_collect import tag_and_collect
from slack_ties.recipe.public import local_parts
from slack_ties.record import read_record
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from huggingface_hub import HfApi
    from typing_extensions import Unpack

    from slack_ties.publish.destination import DestinationByName

__all__ = ["Published", "plan_publish", "publish_model"]

LOG = logging.getLogger("slack_ties")


@dataclass(frozen=True, repr=False)
class Published(Shown):
    """The place on the Hub of a published model."""

    repo_id: str
    url: str  # of the model's page, or of the pull request
    commit: str
    files: tuple[str, ...]
    branch: str = "main"
    collection: str = ""  # its URL

    def summary(self) -> str:
        """Return its address, with the commit."""
        of = "" if self.branch == "main" else f", branch {self.branch}"
        also = f"; in the collection {self.collection}" if self.collection else ""
        return (
            f"{self.url}: {counted(len(self.files), 'file')} at commit {self.commit[:7]}{of}{also}"
        )

    def as_text(self) -> str:
        """Return what the command prints: address, commit and collection."""
        lines = [f"{self.url} at commit {self.commit}"]
        lines += [f"Collection: {self.collection}"] if self.collection else []
        return "\n".join(map(visible, lines))

    def as_html(self) -> str:
        """Return its address as a link, and what is there."""
        rows = [("model", html_link(self.url)), ("commit", self.commit)]
        rows += [("branch", self.branch)] if self.branch != "main" else []
        rows += [("collection", html_link(self.collection))] if self.collection else []
        return html_table((), [*rows, ("files", f"{len(self.files):,}")])


def publish_model(  # noqa: PLR0913 - all by name
    folder: str | Path,
    to: str | Destination,
    *,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    include: Iterable[str] = (),
    known_as: Mapping[str, str] | None = None,
    sent: Mapping[str, SentFile] | None = None,
    retries: Retries | None = None,
    api: HfApi | None = None,
    **where: Unpack[DestinationByName],
) -> Published:
    """Publish the merged model in `folder` on the Hub.

    An existing repository must be empty, or hold an earlier result of the same recipe, unless `to`
    allows an update. If the call is interrupted, main does not change, and the same call resumes.

    Args:
        folder: A folder that `merge_models` made, with a card from `write_card`.
        to: The Hub id, or a `Destination`. A new repository is private unless that says public.
        license: The merged model's licence; the card is written again to state it.
        include: Patterns of further files to upload that do not belong to a model.
        known_as: By a merged folder, its id on the Hub (ID or ID@COMMIT), which is published
            instead; the card is written again to name it.
        sent: Weight files that are on the Hub but not in `folder`: see `Stream`.
        retries: How long to wait for the Hub.
        api: The Hub client; the default one, with your stored token, if not given.
        where: `public`, `update`, `branch`, `pull_request`, `tag`, `collection`, as in
            `Destination`.

    Raises:
        OutputError: The folder is incomplete or contains files that must not be uploaded, the Hub
            would refuse the card, the licence is not known, or a file is missing that a parent's
            licence requires. Then nothing is uploaded.
        HubError: The Hub cannot be reached or refuses, or a file on the Hub differs from ours.

    """
    folder, api, retries = Path(folder), with_token(api), retries or in_force(Retries())
    to = replace(Destination(to) if isinstance(to, str) else to, **where)
    record = read_record(folder)
    with public_files(folder, record) as instead:
        read_manifest(folder, record, include=include, sent=sent, instead=instead)
    stated = Stated(license) if isinstance(license, str) else license
    written_again = bool(stated or known_as)
    check_card(folder, to, stated, rewritten=bool(known_as), again_later=written_again)
    with timeouts(retries):
        target = check_publish(to, retries=retries, api=api)
        known = find_known(local_parts(record.parents), known_as or {}, retries=retries, api=api)
        if stated or known:  # only after the checks: a refused call must not change the folder
            LOG.info("  writing the card and the licence's files again")
            record = keep_known(folder, known)
            write_card(folder, license=stated, api=api)
            check_card(folder, to)
        warn_of_folders(record.parents)
        warn_of_evaluation(folder, record)
        warn_of_examples(folder, record)
        if address_card(folder, target.to.repo_id):
            LOG.info("  the card's example now loads %s", target.to.repo_id)
        with public_files(folder, record) as instead:
            files = read_manifest(folder, record, include=include, sent=sent, instead=instead)
            target = find_pull_request(target, files, retries=retries, api=api)
            plan, files = compare(target, files, record, retries=retries, api=api)
            with hub_errors(f"publishing to {target.to.repo_id!r}", api):
                retries.ask(lambda: validate_card(folder / CARD_FILE, target.to.repo_id, api))
            return _send(plan, files, target, retries=retries, api=api)


def plan_publish(  # noqa: PLR0913 - all by name
    folder: str | Path,
    to: str | Destination,
    *,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    include: Iterable[str] = (),
    known_as: Mapping[str, str] | None = None,
    retries: Retries | None = None,
    api: HfApi | None = None,
    **where: Unpack[DestinationByName],
) -> Planned:
    """Run all checks of `publish_model`, and return what it would do.

    Nothing is written, here or on the Hub. See `publish_model` for arguments and errors.
    """
    folder, api, retries = Path(folder), with_token(api), retries or in_force(Retries())
    to = replace(Destination(to) if isinstance(to, str) else to, **where)
    record = read_record(folder)
    with public_files(folder, record) as instead:
        read_manifest(folder, record, include=include, instead=instead)
    stated = Stated(license) if isinstance(license, str) else license
    if stated or known_as:
        LOG.info("  the card and the licence's files would be written again")
    check_card(folder, to, stated, rewritten=bool(known_as))
    with timeouts(retries), TemporaryDirectory() as written:
        target = check_publish(to, retries=retries, api=api)
        known = find_known(local_parts(record.parents), known_as or {}, retries=retries, api=api)
        changed = replace(record, parents=with_known(record.parents, known)) if known else None
        record = changed or record
        warn_of_folders(record.parents)
        warn_of_evaluation(folder, record)
        warn_of_examples(folder, record)
        planned = plan_card(folder, target.to.repo_id, stated, record=changed, api=api)
        with public_files(folder, record) as instead:
            files = read_manifest(folder, record, include=include, instead=instead)
            files = with_planned(files, planned, Path(written))
            target = find_pull_request(target, files, retries=retries, api=api)
            plan, _ = compare(target, files, record, retries=retries, api=api)
        if not (stated or known):
            with hub_errors(f"publishing to {target.to.repo_id!r}", api):
                retries.ask(lambda: validate_card(folder / CARD_FILE, target.to.repo_id, api))
    return plan


def _send(
    plan: Planned,
    files: Mapping[str, SentFile],
    target: Target,
    *,
    retries: Retries,
    api: HfApi,
) -> Published:
    """Create what is missing on the Hub, upload, commit, verify, tag.

    Raises:
        HubError: A step failed; the text also tells what is on the Hub now.

    """
    to = target.to
    wanted = [files[name] for name in plan.send]
    if to.pull_request and target.branch and not (wanted or plan.remove):
        branch = target.branch  # a pull request without a change would be empty
    else:
        branch = make_branch(target, files, retries=retries, api=api)
    if wanted or plan.remove:
        count = counted(len(wanted), "file")
        LOG.info("  uploading %s to %s/%s", count, api.endpoint, to.repo_id)
        if plan.remove:
            LOG.info("  deleting on the Hub: %s", ", ".join(plan.remove))
        try:
            commit = commit_files(wanted, plan.remove, branch, retries=retries, api=api)
        except HubError as error:
            raise _with_state(error, target, branch, api) from None
    else:
        LOG.info("  %s of %s has all files already", branch.label, to.repo_id)
        commit = branch.head
    _verify(files, plan, to.repo_id, commit, api=api)
    if target.private and not to.pull_request:
        LOG.info("  private: others do not see it until you change that in its page's settings")
    collection = tag_and_collect(target, commit, retries=retries, api=api)
    url = f"{api.endpoint}/{to.repo_id}"
    if branch.name.startswith("refs/pr/"):
        url += f"/discussions/{branch.name.rpartition('/')[2]}"
    return Published(to.repo_id, url, commit, tuple(files), branch.name, collection)


# Reporting and verifying


def _with_state(error: HubError, target: Target, branch: Branch, api: HfApi) -> HubError:
    """Add the present state of the Hub to an error."""
    if isinstance(error, BranchStateError):
        return error
    try:
        info = api.model_info(branch.repo_id, revision=branch.name)
        unchanged = info.sha == branch.head
    except CLIENT_ERRORS:
        state = f"Nothing was committed; {branch.repo_id} cannot be reached now"
    else:
        if not unchanged:
            state = f"somebody else changed {branch.label}: it is at {(info.sha or '')[:7]}"
        elif target.branch is None:
            state = f"{branch.repo_id} was created and is still empty"
        else:
            state = f"{branch.label} of {branch.repo_id} is unchanged, at {branch.head[:7]}"
    if isinstance(error, LostOnHubError):
        return LostOnHubError(f"{error}. {state}", hint=error.hint)
    again = "run the same command again: it uploads only what is missing"
    hint = again if not error.hint or "again" in error.hint else f"{error.hint}; then {again}"
    return type(error)(f"{error}. {state}", hint=hint)


def _verify(
    files: Mapping[str, SentFile],
    plan: Planned,
    repo_id: str,
    commit: str,
    *,
    api: HfApi,
) -> None:
    """Compare the files on the Hub at a commit with the files here."""
    try:
        there = list_files(repo_id, commit, api=api)
    except CLIENT_ERRORS as error:
        why = hub_error(f"{repo_id!r} is published at commit {commit[:7]}", api, error)
        msg = f"{why}. The uploaded files were not verified"
        again = "run the same command again: it verifies the files, and uploads none twice"
        raise HubError(msg, hint=again) from None
    if wrong := wrong_files(files.values(), plan.remove, there):
        msg = (
            f"{repo_id!r} at commit {commit[:7]}: {', '.join(wrong)} arrived damaged or not at all"
        )
        raise HubError(msg, hint="run the same command again: it uploads what is missing")
    LOG.info("  verified: all %d files on the Hub have the checksums of the files here", len(files))
