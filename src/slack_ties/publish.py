"""Send a merged model to the Hugging Face Hub. `slack-ties publish` calls this.

Everything that can be known is looked at before anything is made or sent. All files go in
one commit, so that the Hub shows the old model or the new one and never a mixture;
afterwards the Hub's checksums are compared with the files here. No repository is ever
deleted, and of its files none but weights of an earlier merge of ours.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from slack_ties.card import CARD_FILE, address_card, write_card
from slack_ties.card_check import check_card, validate_card
from slack_ties.commit import Branch, commit_files, list_files, wrong_files
from slack_ties.destination import (
    NOT_OURS_TO_MIND,
    Destination,
    Target,
    check_publish,
    look_at_repo,
)
from slack_ties.errors import HubError
from slack_ties.hub import (
    API_TIMEOUT,
    CLIENT_ERRORS,
    any_matches,
    hub_error,
    hub_errors,
)
from slack_ties.licenses import Stated
from slack_ties.manifest import WEIGHTS, SentFile, check_weights, read_manifest
from slack_ties.notice import is_pointer
from slack_ties.own_text import read_own_text
from slack_ties.patience import Patience
from slack_ties.plan import size
from slack_ties.record import CONFIG_FILE, MergeRecord, read_record

__all__ = [
    "Planned",
    "Published",
    "plan_publish",
    "publish_model",
]

LOG = logging.getLogger("slack_ties")

PULL_REQUEST = "Merge with slack-ties: recipe {}"  # its title, by which it is found again
SLUG = re.compile(r"[\w.-]+/[\w.-]+-[0-9a-f]{16,}")  # of a collection


@dataclass(frozen=True)
class Planned:
    """What publishing would do. Nothing has been made or sent."""

    repo_id: str
    url: str
    new: bool  # the repository is made
    private: bool
    branch: str
    head: str  # the commit that it is at; empty if there is none
    send: Mapping[str, int] = field(default_factory=dict)  # file -> bytes
    same: tuple[str, ...] = ()  # files that are there already, with the same checksum
    remove: tuple[str, ...] = ()  # weights of an earlier merge
    keep: tuple[str, ...] = ()  # other files that are there, and stay

    def as_text(self) -> str:
        """Return what a person reads."""
        kind = "private" if self.private else "public"
        where = f"{self.branch} of {self.repo_id}"
        lines = [
            f"A new {kind} repository {self.repo_id} would be made"
            if self.new
            else f"{where} ({kind}) is at {self.head[:7] or 'no commit'}"
        ]
        lines += [f"  send    {name}  {size(length)}" for name, length in self.send.items()]
        lines += [f"  remove  {name}" for name in self.remove]
        lines += [f"  there   {name}" for name in self.same]
        lines += [f"  keep    {name}" for name in self.keep]
        total = size(sum(self.send.values()))
        lines.append(f"{len(self.send)} files, {total}, in one commit. Nothing was made or sent.")
        return "\n".join(lines)


@dataclass(frozen=True)
class Published:
    """Where a model went."""

    repo_id: str
    url: str  # of the model's page, or of the pull request
    commit: str
    files: tuple[str, ...]
    branch: str = "main"
    collection: str = ""  # its URL


def publish_model(  # noqa: PLR0913 - all by name
    folder: str | Path,
    to: str | Destination,
    *,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    include: Iterable[str] = (),
    patience: Patience | None = None,
    api: HfApi | None = None,
) -> Published:
    """Publish the merged model in `folder` on the Hub.

    A repository that is there must hold nothing, or an earlier result of the same recipe,
    unless `to` says that it may be updated. Interrupted at any moment, main holds what it
    held, and the same call goes on from there.

    Args:
        folder: Made by `merge_models`, with a card by `write_card`.
        to: The Hub id, or where and how; a new repository is private unless that says public.
        license: The merged model's licence; the card is made again to state it.
        include: Patterns of files to send that are no part of a model.
        patience: How long to wait for the Hub.
        api: The Hub client; the default one, with your stored token, if not given.

    Raises:
        OutputError: The folder is incomplete or holds what must not be sent, its card is none
            that the Hub takes, its licence is not known, or something is missing that a
            parent's licence asks for. Nothing is sent then.
        HubError: The Hub cannot be reached or refuses, or holds other bytes than were sent.

    """
    folder, api, patience = Path(folder), api or HfApi(), patience or Patience()
    to = Destination(to) if isinstance(to, str) else to
    record = read_record(folder)
    read_manifest(folder, record, include=include)
    _warn_of_local(record)
    if license:
        write_card(folder, license=license, api=api)
    check_card(folder, to)
    with patience.applied():
        target = check_publish(to, patience=patience, api=api)
        if address_card(folder, target.to.repo_id):
            LOG.info("  the card's example now loads %s", target.to.repo_id)
        files = read_manifest(folder, record, include=include)
        target = _find_pull_request(target, files, patience=patience, api=api)
        plan, files = _compared(target, files, record, patience=patience, api=api)
        with hub_errors(f"publishing to {target.to.repo_id!r}", api):
            patience.ask(lambda: validate_card(folder / CARD_FILE, target.to.repo_id, api))
        try:
            return send(plan, files, target, patience=patience, api=api)
        except KeyboardInterrupt:
            LOG.warning("  stopped: the same command goes on from what the Hub has by now")
            raise


def plan_publish(  # noqa: PLR0913 - all by name
    folder: str | Path,
    to: str | Destination,
    *,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    include: Iterable[str] = (),
    patience: Patience | None = None,
    api: HfApi | None = None,
) -> Planned:
    """Look at all that `publish_model` looks at, and say what it would do.

    Nothing is written, here or on the Hub. Arguments and errors as for `publish_model`.
    """
    folder, api, patience = Path(folder), api or HfApi(), patience or Patience()
    to = Destination(to) if isinstance(to, str) else to
    record = read_record(folder)
    files = read_manifest(folder, record, include=include)
    stated = Stated(license) if isinstance(license, str) else license
    if stated:
        LOG.info("  the card and the licence's files would be written again to state it")
    check_card(folder, to, stated)
    with patience.applied():
        target = check_publish(to, patience=patience, api=api)
        target = _find_pull_request(target, files, patience=patience, api=api)
        plan, _ = _compared(target, files, record, patience=patience, api=api)
        if not stated:
            with hub_errors(f"publishing to {target.to.repo_id!r}", api):
                patience.ask(lambda: validate_card(folder / CARD_FILE, target.to.repo_id, api))
    return plan


def send(
    plan: Planned,
    files: Mapping[str, SentFile],
    target: Target,
    *,
    patience: Patience,
    api: HfApi,
) -> Published:
    """Make what is missing, send, commit, compare, tag.

    Raises:
        HubError: With what is on the Hub after it.

    """
    to = target.to
    try:
        branch = _make_branch(target, files, patience=patience, api=api)
    except CLIENT_ERRORS as error:
        what = f"making {to.repo_id!r}"
        raise hub_error(what, api, error) from None
    wanted = [files[name] for name in plan.send]
    if wanted or plan.remove:
        LOG.info("  sending %d files to %s/%s", len(wanted), api.endpoint, to.repo_id)
        if plan.remove:
            LOG.info("  removing there: %s", ", ".join(plan.remove))
        try:
            commit = commit_files(wanted, plan.remove, branch, patience=patience, api=api)
        except HubError as error:
            raise _with_state(error, target, branch, api) from None
    else:
        LOG.info("  %s holds all of it already", branch.label)
        commit = branch.head
    _verify(files, plan, to.repo_id, commit, api=api)
    collection = _after(target, commit, patience=patience, api=api)
    url = f"{api.endpoint}/{to.repo_id}"
    if to.pull_request:
        url += f"/discussions/{branch.name.rpartition('/')[2]}"
    return Published(to.repo_id, url, commit, tuple(files), branch.name, collection)


# Looking


def _warn_of_local(record: MergeRecord) -> None:
    local = [p.model for p in record.parents if not any(p.commits)]
    if local:
        LOG.warning(
            "  these parents are folders here, which nobody else has; their paths are published "
            "with the config: %s",
            ", ".join(local),
        )


def _find_pull_request(
    target: Target, files: Mapping[str, SentFile], *, patience: Patience, api: HfApi
) -> Target:
    """Return where to go on with a pull request of this recipe that is still open."""
    if not target.to.pull_request or target.branch is None:
        return target
    repo_id, title = target.to.repo_id, _title(files)
    with hub_errors(f"looking for a pull request of {repo_id!r}", api):
        number = _open_request(repo_id, title, target.user, patience, api)
        if number is None:
            return target
        name = f"refs/pr/{number}"
        info = patience.ask(lambda: api.model_info(repo_id, revision=name, timeout=API_TIMEOUT))
        head = info.sha or ""
        there = list_files(repo_id, head, api=api)
    return replace(target, branch=Branch(repo_id, name, head, there))


def _open_request(
    repo_id: str, title: str, user: str, patience: Patience, api: HfApi
) -> int | None:
    """Return the number of the user's open pull request of this title."""
    found = patience.ask(
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


def _compared(
    target: Target,
    files: Mapping[str, SentFile],
    record: MergeRecord,
    *,
    patience: Patience,
    api: HfApi,
) -> tuple[Planned, dict[str, SentFile]]:
    """Return what is to be done, and the files as they are to be on the Hub afterwards.

    Raises:
        HubError: Something that is there would be lost, or would make a mixture.

    """
    to, branch = target.to, target.branch
    files = dict(files)
    url = f"{api.endpoint}/{to.repo_id}"
    name = branch.name if branch else "main"
    check_weights(files, record)
    if branch is None:
        sent = {file.name: file.size for file in files.values()}
        return Planned(to.repo_id, url, True, target.private, name, "", sent), files
    there = branch.files
    same = [one for one, file in files.items() if one in there and file.is_same(there[one])]
    if target.earlier and CONFIG_FILE not in same and not (to.update or to.pull_request):
        msg = f"{to.repo_id!r} holds the merge of another recipe"
        raise HubError(msg, hint="choose another name, or replace it: --update")
    for one in sorted(set(files) & set(there) - set(same)):
        if _is_somebodys(one, files[one], branch, patience, api):
            if is_pointer(files[one].path or Path(one)):
                LOG.info("  %s stays as it is there: the one here only says where to find it", one)
                del files[one]
            elif not (to.update or to.pull_request):
                msg = f"{one} of {to.repo_id!r} was changed there, and would be replaced"
                get = f"hf download {to.repo_id} {one} --local-dir there"
                raise HubError(msg, hint=f"{get}  (to take it over), or: --update")
    others = sorted(set(there) - set(files))
    ours = {*(target.earlier.files if target.earlier else ()), "model.safetensors.index.json"}
    stale = [one for one in others if any_matches([one], WEIGHTS) and one in ours]
    foreign = [one for one in others if any_matches([one], WEIGHTS) and one not in ours]
    if foreign:
        msg = f"{to.repo_id!r} holds weights that slack-ties did not put there, such as "
        msg += f"{foreign[0]!r}: beside others nobody could tell which are loaded"
        hint = f"choose another name, or: hf repo-files delete {to.repo_id} {foreign[0]}"
        raise HubError(msg, hint=hint)
    sent = {one: file.size for one, file in files.items() if one not in same}
    if (
        to.tag
        and (sent or stale or target.tags.get(to.tag) != branch.head)
        and to.tag in target.tags
    ):
        msg = f"{to.repo_id!r} has a tag {to.tag!r} already, at {target.tags[to.tag][:7]}"
        raise HubError(msg, hint="choose another --tag")
    keep = tuple(one for one in others if one not in stale)
    plan = Planned(
        to.repo_id,
        url,
        False,
        target.private,
        name,
        branch.head,
        sent,
        tuple(same),
        tuple(stale),
        keep,
    )
    return plan, files


def _is_somebodys(
    name: str, file: SentFile, branch: Branch, patience: Patience, api: HfApi
) -> bool:
    """Say whether a text on the Hub was written by a person, and the one here does not have it."""
    if name != CARD_FILE:
        return bool(file.path and is_pointer(file.path))
    path = patience.ask(lambda: api.hf_hub_download(branch.repo_id, name, revision=branch.head))
    theirs = read_own_text(Path(path).read_text(encoding="utf-8", errors="replace"))
    ours = read_own_text(file.path.read_text(encoding="utf-8") if file.path else "")
    if theirs.edited:
        return True
    return any(ours.places.get(key) != text for key, text in theirs.places.items())


# Making and sending


def _make_branch(
    target: Target, files: Mapping[str, SentFile], *, patience: Patience, api: HfApi
) -> Branch:
    """Make the repository, the branch or the pull request, if it is not there."""
    to, branch = target.to, target.branch
    if branch is None:
        return _make_repo(to, patience, api)
    if target.new_branch:
        LOG.info("  making branch %s", branch.name)
        patience.ask(
            lambda: api.create_branch(
                to.repo_id, branch=branch.name, revision=branch.head, exist_ok=True
            )
        )
        info = look_at_repo(to.repo_id, branch.name, patience, api)
        if info is None or info.sha != branch.head:
            msg = f"branch {branch.name!r} of {to.repo_id!r} was made by somebody else meanwhile"
            raise HubError(msg, hint="run the same command again")
    if to.pull_request and not branch.name.startswith("refs/pr/"):
        title = _title(files)
        number = patience.ask(lambda: _open(to.repo_id, title, target.user, patience, api))
        return replace(branch, name=f"refs/pr/{number}", head=branch.head)
    return branch


def _make_repo(to: Destination, patience: Patience, api: HfApi) -> Branch:
    """Make the repository; one that is there by now has to be empty and as it was asked for."""
    LOG.info("  making the %s repository %s", "public" if to.public else "private", to.repo_id)
    try:
        patience.ask(lambda: api.create_repo(to.repo_id, private=not to.public))
    except HfHubHTTPError as error:
        if error.response.status_code != 409:  # noqa: PLR2004 - HTTP: it is there
            raise
    info = patience.ask(lambda: api.model_info(to.repo_id, timeout=API_TIMEOUT))
    head = info.sha or ""
    files = list_files(to.repo_id, head, api=api)
    if set(files) - NOT_OURS_TO_MIND or bool(info.private) == to.public:
        msg = f"{to.repo_id!r} was made by somebody else meanwhile"
        raise HubError(msg, hint="run the same command again: it looks at what is there")
    return Branch(to.repo_id, "main", head, files)


def _open(repo_id: str, title: str, user: str, patience: Patience, api: HfApi) -> int:
    """Open a pull request, unless an attempt whose answer was lost has opened it."""
    number = _open_request(repo_id, title, user, patience, api)
    if number is None:
        number = api.create_pull_request(repo_id, title).num
        LOG.info("  opened pull request %d", number)
    return number


def _with_state(error: HubError, target: Target, branch: Branch, api: HfApi) -> HubError:
    """Add to an error what is on the Hub now."""
    if "is not known" in str(error) or "meanwhile" in str(error):
        return error
    try:
        info = api.model_info(branch.repo_id, revision=branch.name, timeout=API_TIMEOUT)
        unchanged = info.sha == branch.head
    except CLIENT_ERRORS:
        state = f"Nothing was committed; {branch.repo_id} cannot be reached now"
    else:
        if not unchanged:
            state = f"{branch.label} was changed by somebody else: it is at {(info.sha or '')[:7]}"
        elif target.branch is None:
            state = f"{branch.repo_id} was made and is still empty"
        else:
            state = f"{branch.label} of {branch.repo_id} is unchanged, at {branch.head[:7]}"
    again = "run the same command again: what the Hub has by now is not sent twice"
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
    """Compare what the Hub holds at a commit with what was sent, file by file."""
    try:
        there = list_files(repo_id, commit, api=api)
    except CLIENT_ERRORS as error:
        why = hub_error(f"{repo_id!r} is published at commit {commit[:7]}", api, error)
        msg = f"{why}. So what arrived was not compared"
        again = "run the same command again: it compares, and sends nothing twice"
        raise HubError(msg, hint=again) from None
    if wrong := wrong_files(files.values(), plan.remove, there):
        msg = (
            f"{repo_id!r} at commit {commit[:7]}: {', '.join(wrong)} arrived damaged or not at all"
        )
        raise HubError(msg, hint="run the same command again: it sends what is missing")
    LOG.info("  compared: all %d files have the checksums that they have here", len(files))


def _after(target: Target, commit: str, *, patience: Patience, api: HfApi) -> str:
    """Tag the commit and add the model to a collection; return the collection's URL."""
    to = target.to
    done = f"{to.repo_id!r} is published at commit {commit[:7]}"
    if to.tag and target.tags.get(to.tag) != commit:
        try:
            patience.ask(
                lambda: api.create_tag(to.repo_id, tag=to.tag, revision=commit, exist_ok=True)
            )
            tags = patience.ask(lambda: api.list_repo_refs(to.repo_id)).tags
        except CLIENT_ERRORS as error:
            why = hub_error(done, api, error)
            msg = f"{why}. So it has no tag {to.tag!r}"
            raise HubError(msg, hint="run the same command again") from None
        if commit not in [one.target_commit for one in tags if one.name == to.tag]:
            msg = f"{done}, but tag {to.tag!r} is at another commit"
            raise HubError(msg, hint="choose another --tag")
    if not to.collection:
        return ""
    try:
        return patience.ask(lambda: _collect(to, api))
    except HfHubHTTPError as error:
        if error.response.status_code == 404:  # noqa: PLR2004 - HTTP
            LOG.warning("  %s has no collection %r, or none at all", api.endpoint, to.collection)
            return ""
        why = hub_error(done, api, error)
    except CLIENT_ERRORS as error:
        why = hub_error(done, api, error)
    msg = f"{why}. So it is in no collection {to.collection!r}"
    raise HubError(msg, hint="run the same command again")


def _collect(to: Destination, api: HfApi) -> str:
    slug = to.collection
    if not SLUG.fullmatch(slug):
        owner = to.repo_id.partition("/")[0]
        made = api.create_collection(
            to.collection, namespace=owner, private=not to.public, exists_ok=True
        )
        slug = made.slug
    return str(api.add_collection_item(slug, to.repo_id, "model", exists_ok=True).url)
