"""Send a merged model to the Hugging Face Hub. `slack-ties publish` calls this.

All files go in one commit, so that the Hub shows the old model or the new one and never a
mixture; afterwards the Hub's checksums are compared with the files here.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)

from slack_ties.card import CARD_FILE, address_card, resolve_for, write_card
from slack_ties.checkpoint import read_headers
from slack_ties.errors import CheckpointError, HubError, OutputError
from slack_ties.evaluation import RESULTS_FOLDER
from slack_ties.hub import (
    API_TIMEOUT,
    LOGIN,
    TransportError,
    any_matches,
    hub_errors,
    look_at_model,
    split_reference,
)
from slack_ties.licenses import Resolution, Stated, check_repo_name, resolve_license
from slack_ties.metadata import check_metadata
from slack_ties.notice import is_pointer, license_file, missing_duties
from slack_ties.record import CONFIG_FILE, RECORD_FILE, Parent, read_record

if TYPE_CHECKING:
    from slack_ties.recipe import Recipe

__all__ = ["Published", "check_license", "check_publish", "publish_model"]

LOG = logging.getLogger("slack_ties")

# What the Hub itself puts into a new repository.
NOT_OURS_TO_MIND = {".gitattributes"}
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.index.json")


@dataclass(frozen=True)
class Published:
    """Where a model went."""

    repo_id: str
    url: str  # of the model's page
    commit: str
    files: tuple[str, ...]


def publish_model(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    license: str | Stated | None = None,  # noqa: A002 - the Hub's word for it
    api: HfApi | None = None,
) -> Published:
    """Publish the merged model in `folder` as the Hub model `repo_id`.

    The repository is made if it is not there. One that is there must hold nothing, or an
    earlier result of slack-ties. Its weights are replaced by these; other files that are
    only there stay.

    Args:
        folder: Made by `merge_models`, with a card by `write_card`.
        repo_id: OWNER/NAME, or NAME for one of your own.
        private: Make a new repository private.
        license: The merged model's licence; the card is made again to state it.
        api: The Hub client; the default one, with your stored token, if not given.

    Raises:
        OutputError: The folder is incomplete, its card is none that the Hub takes, its licence
            is not known, or something is missing that a parent's licence asks for. Nothing is
            sent then.
        HubError: The Hub cannot be reached or refuses, or holds other bytes than were sent.

    """
    folder, api = Path(folder), api or HfApi()
    _check_complete(folder)
    if license:
        write_card(folder, license=license, api=api)
    _check_card(folder, repo_id)
    repo_id, head = check_publish(repo_id, private=private, api=api)
    if address_card(folder, repo_id):
        LOG.info("  the card's example now loads %s", repo_id)
    files = _files(folder)
    with hub_errors(f"publishing to {repo_id!r}", api):
        there: list[str] = []
        _validate(folder / CARD_FILE, repo_id, api)
        if head is None:
            api.create_repo(repo_id, private=private)
            head = api.model_info(repo_id, timeout=API_TIMEOUT).sha
        else:
            there = api.list_repo_files(repo_id, revision=head)
        stale = sorted(name for name in set(there) - set(files) if any_matches([name], WEIGHTS))
        if stale:
            LOG.info("  removing there: %s", ", ".join(stale))
        LOG.info("  sending %d files to %s/%s", len(files), api.endpoint, repo_id)
        try:
            commit = api.create_commit(
                repo_id,
                [
                    *(CommitOperationAdd(name, folder / name) for name in files),
                    *(CommitOperationDelete(name) for name in stale),
                ],
                commit_message="Merge with slack-ties",
                parent_commit=head,
            )
        except ValueError as error:  # the Hub's verdict on the card's metadata
            msg = f"{repo_id!r}: {error}"
            raise HubError(msg, hint=f"mend {folder / CARD_FILE}") from None
        except TransportError:
            # The answer was lost; the commit may be there all the same.
            now = api.model_info(repo_id, timeout=API_TIMEOUT).sha
            if now == head:
                raise
            LOG.warning("  the connection broke after the commit: checking what is there")
            commit_id = now or ""
        else:
            commit_id = commit.oid
        _verify(folder, files, repo_id, commit_id, api)
    return Published(repo_id, f"{api.endpoint}/{repo_id}", commit_id, tuple(files))


def check_publish(repo_id: str, *, private: bool, api: HfApi) -> tuple[str, str | None]:
    """Return the full id and the present commit of the repository, None if it is to be made.

    Writes nothing; to be called before a long merge as well.

    Raises:
        HubError: There is no token, it may not write, or the repository is somebody's else.

    """
    if not (api.token or get_token()):
        msg = f"publishing to {repo_id!r} needs a token, and none is stored"
        raise HubError(msg, hint=LOGIN)
    with hub_errors(f"publishing to {repo_id!r}", api):
        user = api.whoami()
        if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
            msg = f"publishing to {repo_id!r}: the present token can only read"
            raise HubError(msg, hint=LOGIN)
        if "/" not in repo_id:
            repo_id = f"{user['name']}/{repo_id}"
        owners = [user["name"], *(org["name"] for org in user.get("orgs", ()))]
        if repo_id.partition("/")[0] not in owners:
            msg = f"publishing to {repo_id!r}: the present token is of {' and '.join(owners)}"
            raise HubError(msg, hint=f"publish to {owners[0]}/{repo_id.partition('/')[2]}")
        try:
            info = api.model_info(repo_id, timeout=API_TIMEOUT)
        except RepositoryNotFoundError:
            return repo_id, None
    there = {sibling.rfilename for sibling in info.siblings or ()} - NOT_OURS_TO_MIND
    if there and RECORD_FILE not in there:
        msg = f"{repo_id!r} holds files that slack-ties did not put there, such as {min(there)!r}"
        raise HubError(msg, hint="choose another name")
    if private and not info.private:
        msg = f"{repo_id!r} is there already and public, expected a private one"
        raise HubError(msg, hint="choose another name, or leave --private out")
    return repo_id, info.sha


def check_license(
    recipe: Recipe, repo_id: str, stated: Stated | None = None, *, api: HfApi | None = None
) -> None:
    """Refuse to merge what could not be published as `repo_id`: its licence, or the name.

    Reads the cards of the models alone.

    Raises:
        SlackTiesError: A model is not there, or as for `publish_model`.

    """
    parents = []
    for name in recipe.models:
        looks = [look_at_model(*part, api=api) for part in split_reference(name)]
        parents.append(
            Parent(
                name,
                role=recipe.role(name),
                commits=tuple(look.commit for look in looks),
                license=looks[0].card.license or recipe.facts.licenses.get(name, ""),
                adapter_license=looks[1].card.license if len(looks) > 1 else "",
                made_from=looks[0].card.made_from,
            )
        )
    resolution = resolve_license(parents, stated.check() if stated else None)
    _check_resolution(resolution, f"what {recipe.where} makes", "the same command with")
    check_repo_name(repo_id, resolution)


def _check_resolution(resolution: Resolution, what: str, again: str) -> None:
    if resolution.license:
        return
    msg = f"the licence of {what} is not settled: {' '.join(resolution.problems)}"
    hint = f"ask their authors, then state the merged model's yourself: {again} --license "
    raise OutputError(msg, hint=hint + (resolution.suggestion or "ID"))


def _check_card(folder: Path, repo_id: str) -> None:
    """Refuse what the Hub or a parent's licence would not have."""
    card = folder / CARD_FILE
    again = f"slack-ties card {shlex.quote(str(folder))}"
    if not card.is_file():
        msg = f"{str(folder)!r} has no model card ({CARD_FILE})"
        raise OutputError(msg, hint=again)
    resolution = resolve_for(folder)
    publish = f"slack-ties publish {shlex.quote(str(folder))} {repo_id}"
    _check_resolution(resolution, repr(str(folder)), publish)
    check_repo_name(repo_id, resolution)
    if missing := missing_duties(folder, resolution):
        own = resolution.license and resolution.license.link in missing
        what = "its licence needs" if own else "its parents' licences ask for"
        msg = f"{str(folder)!r} lacks what {what}: {'; '.join(missing)}"
        hint = f"put the text of your licence into {folder / missing[0]}" if own else again
        raise OutputError(msg, hint=hint)
    check_metadata(card)
    for warning in resolution.warnings:
        LOG.warning("  %s", warning)
    for one in resolution.duties:
        if one.copy and is_pointer(folder / license_file(one, resolution)):
            file = license_file(one, resolution)
            LOG.warning("  %s only says where the text of the %s is: put it there", file, one.name)


def _validate(card: Path, repo_id: str, api: HfApi) -> None:
    """Let the Hub check the card before anything is made or sent there."""
    response = get_session().post(
        f"{api.endpoint}/api/validate-yaml",
        json={"repoType": "model", "content": card.read_bytes().decode()},
        headers=build_hf_headers(token=api.token),
        timeout=API_TIMEOUT,
    )
    if response.status_code == 400:  # noqa: PLR2004 - HTTP
        try:
            said = "; ".join(one["message"] for one in response.json()["errors"])
        except (ValueError, KeyError, TypeError):
            said = response.text[:300]
        msg = f"{repo_id!r}: the Hub refuses the card: {said}"
        raise HubError(msg, hint=f"mend the lines between the two --- of {card}")
    hf_raise_for_status(response)


def _check_complete(folder: Path) -> None:
    """Refuse a folder in which something is missing."""
    local = [p.model for p in read_record(folder).parents if not any(p.commits)]
    if local:
        LOG.warning(
            "  these parents are folders here, which nobody else has; their paths are published "
            "with the config: %s",
            ", ".join(local),
        )
    try:
        read_headers(folder, "merged model")
    except CheckpointError as error:
        raise OutputError(str(error), hint=f"merge again: {folder / CONFIG_FILE}") from None


def _files(folder: Path) -> list[str]:
    """Return the names of the files to send: all but hidden ones, and the results."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in files
        if not any(part.startswith(".") for part in path.parts)
        or (path.parent.as_posix() == RESULTS_FOLDER and path.suffix == ".yaml")
    )


def _verify(folder: Path, files: list[str], repo_id: str, commit: str, api: HfApi) -> None:
    result = api.verify_repo_checksums(repo_id, revision=commit, local_dir=folder)
    wrong = [m["path"] if isinstance(m, dict) else m.path for m in result.mismatches]
    wrong += [path for path in files if path in result.extra_paths]
    if wrong:
        msg = f"{repo_id!r}: {', '.join(sorted(wrong))} arrived damaged or not at all"
        raise HubError(msg, hint=f"slack-ties publish {folder} {repo_id}")
