"""Send a merged model to the Hugging Face Hub. `slack-ties publish` calls this.

All files go in one commit, so that the Hub shows the old model or the new one and never a
mixture; afterwards the Hub's checksums are compared with the files here.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError

from slack_ties.card import CARD_FILE, load_line
from slack_ties.checkpoint import read_headers
from slack_ties.errors import CheckpointError, HubError, OutputError
from slack_ties.files import write_whole
from slack_ties.hub import API_TIMEOUT, LOGIN, TransportError, any_matches, hub_errors
from slack_ties.record import CONFIG_FILE, RECORD_FILE, read_record

__all__ = ["Published", "check_publish", "publish_model"]

LOG = logging.getLogger("slack_ties")

# What the Hub itself puts into a new repository.
NOT_OURS_TO_MIND = {".gitattributes"}
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.index.json")
# The line of the card's example that loads a folder: a name without the slash of a Hub id.
LOCAL_LOAD_LINE = re.compile(r'^name = "(?:[^"\\/]|\\.)*"$', re.MULTILINE)


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
        api: The Hub client; the default one, with your stored token, if not given.

    Raises:
        OutputError: The folder is incomplete. Nothing is sent then.
        HubError: The Hub cannot be reached or refuses, or holds other bytes than were sent.

    """
    folder, api = Path(folder), api or HfApi()
    files = _complete_files(folder)
    repo_id, head = check_publish(repo_id, private=private, api=api)
    _address_card(folder, repo_id)
    with hub_errors(f"publishing to {repo_id!r}", api):
        there: list[str] = []
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
            raise HubError(msg, hint=f"slack-ties card {folder} --overwrite") from None
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


def _address_card(folder: Path, repo_id: str) -> None:
    """Let the example of our card load the model from where it goes; the rest stays as it is."""
    card = folder / CARD_FILE
    text = card.read_text(encoding="utf-8")
    addressed = LOCAL_LOAD_LINE.sub(lambda _: load_line(repo_id), text, count=1)
    if addressed != text:
        LOG.info("  the card's example now loads %s", repo_id)
        write_whole(card, addressed)


def _complete_files(folder: Path) -> list[str]:
    """Return the names of the files to send, after making sure that nothing is missing."""
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
    if not (folder / CARD_FILE).is_file():
        msg = f"{str(folder)!r} has no model card ({CARD_FILE})"
        raise OutputError(msg, hint=f"slack-ties card {folder}")
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _verify(folder: Path, files: list[str], repo_id: str, commit: str, api: HfApi) -> None:
    result = api.verify_repo_checksums(repo_id, revision=commit, local_dir=folder)
    wrong = [m["path"] if isinstance(m, dict) else m.path for m in result.mismatches]
    wrong += [path for path in files if path in result.extra_paths]
    if wrong:
        msg = f"{repo_id!r}: {', '.join(sorted(wrong))} arrived damaged or not at all"
        raise HubError(msg, hint=f"slack-ties publish {folder} {repo_id}")
