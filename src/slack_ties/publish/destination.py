"""Where a model is to go on the Hub: what is there, and whether it may go there.

Nothing is written here. It is looked at before a merge too, so that nobody merges for hours
what cannot be published.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, ModelInfo, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from slack_ties.errors import HubError, OutputError, RecipeError
from slack_ties.hub.client import API_TIMEOUT, LOGIN
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import Retries
from slack_ties.publish.branch import Branch, list_files
from slack_ties.recipe.read import parse_recipe
from slack_ties.record import CONFIG_FILE, RECORD_FILE, MergeRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.recipe.recipe import Recipe

__all__ = [
    "NOT_OURS_TO_MIND",
    "Destination",
    "Target",
    "another_recipe",
    "check_publish",
    "check_recipe",
    "look_at_repo",
]

# What the Hub itself puts into a new repository.
NOT_OURS_TO_MIND = {".gitattributes"}


@dataclass(frozen=True)
class Destination:
    """Where a model is to go, and what may be done there."""

    repo_id: str  # OWNER/NAME, or NAME for one's own
    public: bool = False
    update: bool = False  # replace what is not an earlier result of the same recipe
    branch: str = ""  # main if not given
    pull_request: bool = False
    tag: str = ""  # to put on the commit
    collection: str = ""  # title or slug of one to add the model to

    def flags(self) -> list[str]:
        """Return the options as they are typed after `slack-ties publish`."""
        words = ["--public"] * self.public + ["--update"] * self.update
        words += ["--revision", self.branch] if self.branch else []
        words += ["--pr"] * self.pull_request
        words += ["--tag", self.tag] if self.tag else []
        return words + (["--collection", self.collection] if self.collection else [])


@dataclass(frozen=True)
class Target:
    """What is on the Hub before anything is sent."""

    to: Destination  # with the full id
    user: str
    private: bool
    branch: Branch | None = None  # None if the repository is to be made
    new_branch: bool = False  # it is to be made, from main
    tags: Mapping[str, str] = field(default_factory=dict)  # tag -> commit
    earlier: MergeRecord | None = None  # of the merge that is there


def check_publish(
    to: Destination, *, retries: Retries | None = None, api: HfApi | None = None
) -> Target:
    """Return what is on the Hub where a model is to go.

    Writes nothing; to be called before a long merge as well.

    Raises:
        HubError: There is no token, it may not write, or the repository is somebody's else,
            holds what would be lost, or can be seen by others than `to` says.

    """
    retries, api = retries or Retries(), api or HfApi()
    what = f"publishing to {to.repo_id!r}"
    if not (api.token or get_token()):
        msg = f"{what} needs a token, and none is stored"
        raise HubError(msg, hint=LOGIN)
    if to.pull_request and to.branch:
        msg = f"{what}: --pr starts from main, --revision {to.branch} cannot go with it"
        raise HubError(msg, hint="leave one of them out")
    with hub_errors(what, api):
        user = retries.ask(api.whoami)
        if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
            msg = f"{what}: the present token can only read"
            raise HubError(msg, hint=LOGIN)
        if "/" not in to.repo_id:
            to = replace(to, repo_id=f"{user['name']}/{to.repo_id}")
        owners = [user["name"], *(org["name"] for org in user.get("orgs", ()))]
        if to.repo_id.partition("/")[0] not in owners and not to.pull_request:
            msg = f"{what}: the present token is of {' and '.join(owners)}"
            name = to.repo_id.partition("/")[2]
            hint = f"publish to {owners[0]}/{name}, or open a pull request there: --pr"
            raise HubError(msg, hint=hint)
        info = look_at_repo(to.repo_id, None, retries, api)
        if info is None:
            if to.pull_request or to.branch:
                flag = "--pr" if to.pull_request else "--revision"
                msg = f"{what}: there is no such repository, which {flag} needs"
                raise HubError(msg, hint=f"publish to main first: leave {flag} out")
            return Target(to, user["name"], private=not to.public)
        target = Target(to, user["name"], private=bool(info.private))
        return _existing(target, info, retries, api)


def _existing(target: Target, info: ModelInfo, retries: Retries, api: HfApi) -> Target:
    """Return what a repository holds, if it may be published to."""
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
    there = set(files) - NOT_OURS_TO_MIND
    if there and earlier is None and not (to.update or to.pull_request):
        msg = f"{to.repo_id!r} holds files that slack-ties did not put there, such as "
        msg += f"{min(there)!r}"
        raise HubError(msg, hint="choose another name, or add to it all the same: --update")
    if to.public == target.private and not to.pull_request:
        is_, wanted = ("private", "public") if to.public else ("public", "private")
        msg = f"{to.repo_id!r} is there already and {is_}, expected a {wanted} one"
        change = "leave --public out" if to.public else "say --public"
        hint = f"{change}, or change it in the repository's settings on the Hub first"
        raise HubError(msg, hint=hint)
    return replace(
        target,
        branch=Branch(to.repo_id, name, head, files),
        new_branch=bool(to.branch) and name not in heads,
        tags=tags,
        earlier=earlier,
    )


def _check_rights(repo_id: str, retries: Retries, api: HfApi) -> None:
    """Refuse a token that may not write there; a Hub that cannot tell says so later."""
    try:
        retries.ask(lambda: api.auth_check(repo_id, write=True))
    except RepositoryNotFoundError:
        raise
    except HfHubHTTPError as error:
        if error.response.status_code != 404:  # noqa: PLR2004 - HTTP: no such question
            raise


def look_at_repo(
    repo_id: str, revision: str | None, retries: Retries, api: HfApi
) -> ModelInfo | None:
    """Return what the Hub says of a repository or branch; None if there is none."""
    try:
        return retries.ask(lambda: api.model_info(repo_id, revision=revision, timeout=API_TIMEOUT))
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return None


def _earlier(repo_id: str, head: str, retries: Retries, api: HfApi) -> MergeRecord | None:
    """Return the record of the merge that is on the Hub, if it is one of ours."""
    path = retries.ask(lambda: api.hf_hub_download(repo_id, RECORD_FILE, revision=head))
    try:
        return read_record(Path(path).parent)
    except OutputError:
        return None


def check_recipe(recipe: Recipe, target: Target, retries: Retries, api: HfApi) -> None:
    """Refuse a merge of which it shows already that another recipe's result is there.

    Raises:
        HubError: Models or parameters differ from those there.

    """
    to, branch = target.to, target.branch
    if not target.earlier or branch is None or to.update or to.pull_request:
        return
    if CONFIG_FILE not in branch.files:
        return
    with hub_errors(f"publishing to {to.repo_id!r}", api):
        path = retries.ask(
            lambda: api.hf_hub_download(to.repo_id, CONFIG_FILE, revision=branch.head)
        )
    try:
        there = parse_recipe(Path(path).read_text(encoding="utf-8"), where=CONFIG_FILE)
    except (OSError, ValueError, RecipeError):
        return
    if _core(there.data) != _core(recipe.data):
        raise another_recipe(to)


def another_recipe(to: Destination) -> HubError:
    """Return the error that a repository holds the merge of another recipe."""
    msg = f"{to.repo_id!r} holds the merge of another recipe"
    return HubError(msg, hint="choose another name, or replace it: --update")


def _core(data: Mapping[str, Any]) -> str:
    """Return models and parameters, without the commits that a plan adds."""
    names = ("merge_method", "base_model", "models", "slices", "modules", "parameters")
    text = json.dumps({name: data.get(name) for name in names}, sort_keys=True, default=str)
    return re.sub(r"@[0-9a-f]{40}", "", text)
