"""Check the repository on the Hub that a model will be published to.

Nothing is written. The check also runs before a merge: so a user does not merge for hours and
then cannot publish.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from huggingface_hub import HfApi, ModelInfo, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from slack_ties.errors import HubError, OtherIdError, OutputError
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import in_force
from slack_ties.hub.token import no_token
from slack_ties.private.huggingface_hub import is_repo_id
from slack_ties.publish.branch import Branch, list_files
from slack_ties.publish.rights import check_owner, check_placeholder, check_role
from slack_ties.record import RECORD_FILE, MergeRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


__all__ = [
    "HUB_OWN_FILES",
    "Destination",
    "DestinationByName",
    "Target",
    "check_publish",
    "look_at_repo",
]

LOG = logging.getLogger("slack_ties")

# The files that the Hub itself adds to a new repository.
HUB_OWN_FILES = {".gitattributes"}


# From `git help check-ref-format`: what the name of a tag or branch must not contain.
NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|//|/\.|^[-./]|^@$|[./]$|\.lock(/|$)")


@dataclass(frozen=True)
class Destination:
    """Where to publish a model, and what is allowed there."""

    repo_id: str  # OWNER/NAME, or NAME in the user's own account
    public: bool | None = None  # None: a new repository is private, an existing one stays as it is
    update: bool = False  # replace files that are not an earlier result of the same recipe
    branch: str = ""  # main if not given
    pull_request: bool = False
    tag: str = ""  # for the commit
    collection: str = ""  # title or slug of a collection that gets the model

    def __post_init__(self) -> None:
        """Refuse an address or a path instead of an id, and a tag or branch that git refuses.

        Raises:
            HubError: The Hub has no such ids, or git no such names.

        """
        if not is_repo_id(self.repo_id):
            msg = f"{self.repo_id!r} is no id of a model on the Hub, expected OWNER/NAME or NAME "
            msg += "of letters, digits, '-', '_' and '.'"
            better = _id_in(self.repo_id)
            if better:
                raise OtherIdError(msg, hint=f"publish it as {better}", other_id=better)
            raise HubError(msg, hint="give OWNER/NAME")
        for flag, name in (("--tag", self.tag), ("--revision", self.branch)):
            if NO_REF.search(name):
                msg = f"{flag}: git allows no tag or branch {name!r}"
                better = re.sub(r"[^\w.]+", "-", name).strip("-.").removesuffix(".lock")
                better = re.sub(r"[.]{2,}", ".", better)
                raise HubError(msg, hint=f"{flag} {better or 'NAME'}")

    def flags(self) -> list[str]:
        """Return the options as they are typed after `slack-ties publish`."""
        visibility = {True: ["--public"], False: ["--private"], None: []}[self.public]
        words = [*visibility, *["--update"] * self.update]
        words += ["--revision", self.branch] if self.branch else []
        words += ["--pr"] * self.pull_request
        words += ["--tag", self.tag] if self.tag else []
        return words + (["--collection", self.collection] if self.collection else [])


class DestinationByName(TypedDict, total=False):
    """The same without the id, as arguments of a function; `Destination` says what each is."""

    public: bool | None
    update: bool
    branch: str
    pull_request: bool
    tag: str
    collection: str


def _id_in(text: str) -> str:
    """Return the id in an address, or in a path such as models/OWNER/NAME; "" if there is none.

    What the Hub does not allow in an id becomes a hyphen.
    """
    path = re.sub(r"^https?://[^/]*|^(www\.)?(huggingface|hf)\.co(?=/)", "", text).strip("/")
    parts = [part for part in path.split("/") if part]
    if parts and parts[0] == "models":
        parts = parts[1:]
    if not parts or parts[0] in {"datasets", "spaces"}:
        return ""
    is_page = parts[2:] and parts[2] in {"tree", "blob", "resolve", "discussions"}
    if text == f"{parts[0]}/" or (len(parts) > 2 and not is_page):  # noqa: PLR2004 - OWNER/NAME
        return ""  # a name is missing, or there are too many
    names = [re.sub(r"[^A-Za-z0-9._]+|[.]{2,}", "-", part) for part in parts[:2]]
    better = "/".join(name.strip("-.").removesuffix(".git") for name in names)
    return better if is_repo_id(better) else ""


@dataclass(frozen=True)
class Target:
    """The state of the Hub before anything is uploaded."""

    to: Destination  # with the full id
    user: str
    private: bool
    branch: Branch | None = None  # None if the repository does not exist yet
    new_branch: bool = False  # whether the branch must be created from main
    tags: Mapping[str, str] = field(default_factory=dict)  # tag -> commit
    earlier: MergeRecord | None = None  # the record of an earlier merge there


def check_publish(
    to: Destination,
    *,
    proposes: bool = True,
    retries: Retries | None = None,
    api: HfApi | None = None,
) -> Target:
    """Return the state of the Hub where a model will be published.

    Writes nothing. Call it before a long merge too.

    Args:
        to: Where to publish.
        proposes: Whether the user's command can open a pull request instead.
        retries: How long to wait for the Hub.
        api: The Hub client.

    Raises:
        HubError: There is no token, or it may not write; or the repository belongs to somebody
            else, holds files that would be lost, or has another visibility than `to` says.

    """
    retries, api = retries or in_force(Retries()), api or HfApi()
    what = f"publishing to {to.repo_id!r}"
    if not (api.token or get_token()):
        msg = f"{what} needs a token, but no token is stored"
        raise HubError(msg, hint=no_token("with write access"))
    if to.pull_request and to.branch:
        msg = f"{what}: --pr and --revision {to.branch} cannot be used together: --pr starts from "
        msg += "main"
        raise HubError(msg, hint="leave one of them out")
    with hub_errors(what, api):
        user = retries.ask(api.whoami)
        if "/" not in to.repo_id:
            to = replace(to, repo_id=f"{user['name']}/{to.repo_id}")
        look = partial(look_at_repo, revision=None, retries=retries, api=api)
        _check_place(to, user, lambda: proposes and look(to.repo_id) is not None, api)
        info = look(to.repo_id)
        if info is None:
            if to.pull_request or to.branch:
                raise _no_repository(to, user)
            return Target(to, user["name"], private=not to.public)
        if info.id != to.repo_id:
            LOG.warning("  %s has the name %s now: publishing there", to.repo_id, info.id)
            to = replace(to, repo_id=info.id)
            _check_place(to, user, lambda: proposes, api)
        target = Target(to, user["name"], private=bool(info.private))
        return _existing(target, info, retries, api)


def _no_repository(to: Destination, user: Mapping[str, Any]) -> HubError:
    """Return the error that a pull request or a branch needs a repository."""
    flag = "--pr" if to.pull_request else "--revision"
    msg = f"publishing to {to.repo_id!r}: the repository does not exist, but {flag} needs it"
    try:
        check_owner(to.repo_id, user, can_propose=lambda: False)
    except HubError as error:
        return HubError(msg, hint=f"{error.hint}, and leave {flag} out")
    return HubError(msg, hint=f"publish to main first: leave {flag} out")


def _check_place(
    to: Destination, user: Mapping[str, Any], can_propose: Callable[[], bool], api: HfApi
) -> None:
    check_role(to.repo_id, user, api=api, proposes=to.pull_request)
    if not to.pull_request:  # that makes no repository
        check_placeholder(to.repo_id, user)
        check_owner(to.repo_id, user, can_propose=can_propose)


def _existing(target: Target, info: ModelInfo, retries: Retries, api: HfApi) -> Target:
    """Return the state of an existing repository; raise if publishing there is not allowed."""
    to = target.to
    if not to.pull_request:
        _check_rights(to.repo_id, retries, api)
    refs = retries.ask(lambda: api.list_repo_refs(to.repo_id)) if to.tag or to.branch else None
    tags = {one.name: one.target_commit for one in refs.tags} if refs else {}
    heads = {one.name: one.target_commit for one in refs.branches} if refs else {}
    name = to.branch or "main"
    head = heads.get(name) or info.sha or ""
    files = list_files(to.repo_id, head, api=api)
    earlier = None
    if RECORD_FILE in files:
        earlier = _earlier(to.repo_id, head, retries, api)
    there = set(files) - HUB_OWN_FILES
    if there and earlier is None and not (to.update or to.pull_request):
        msg = f"{to.repo_id!r} contains files that slack-ties did not upload, such as "
        msg += f"{min(there)!r}"
        raise HubError(msg, hint="choose another name, or add the model to it: --update")
    if to.public is target.private and not to.pull_request:  # not if the user did not say it
        is_, wanted = ("private", "public") if to.public else ("public", "private")
        msg = f"{to.repo_id!r} already exists and is {is_}, expected a {wanted} repository"
        hint = (
            f"leave --{wanted} out, or change the visibility in the repository's settings on the "
        )
        raise HubError(msg, hint=f"{hint}Hub first")
    return replace(
        target,
        branch=Branch(to.repo_id, name, head, files),
        new_branch=bool(to.branch) and name not in heads,
        tags=tags,
        earlier=earlier,
    )


def _check_rights(repo_id: str, retries: Retries, api: HfApi) -> None:
    """Refuse a token that may not write; skip this if the Hub cannot answer the question."""
    try:
        retries.ask(lambda: api.auth_check(repo_id, write=True))
    except RepositoryNotFoundError:
        raise
    except HfHubHTTPError as error:
        if error.response.status_code != 404:  # noqa: PLR2004 - HTTP: the Hub lacks this request
            raise


def look_at_repo(
    repo_id: str, revision: str | None, retries: Retries, api: HfApi
) -> ModelInfo | None:
    """Return the Hub's information on a repository or branch; None if it does not exist."""
    try:
        return retries.ask(lambda: api.model_info(repo_id, revision=revision))
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return None


def _earlier(repo_id: str, head: str, retries: Retries, api: HfApi) -> MergeRecord | None:
    """Return the record of the merge on the Hub; None if slack-ties did not write it."""
    path = retries.ask(lambda: api.hf_hub_download(repo_id, RECORD_FILE, revision=head))
    try:
        return read_record(Path(path).parent)
    except OutputError:
        return None
