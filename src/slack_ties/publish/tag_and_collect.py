"""Tag the commit of a published model, and add the model to a collection."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from huggingface_hub.errors import HfHubHTTPError

from slack_ties.errors import HubError
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.errors import hub_error, hub_errors
from slack_ties.hub.faults import BusyError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.destination import Target

__all__ = ["tag_and_collect", "the_collection"]

LOG = logging.getLogger("slack_ties")

SLUG = re.compile(r"[\w.-]+/[\w.-]+-[0-9a-f]{16,}")  # the id of a collection

NOT_FOUND = 404  # HTTP


def tag_and_collect(target: Target, commit: str, *, retries: Retries, api: HfApi) -> str:
    """Tag the commit and add the model to a collection; return the collection's URL."""
    to = target.to
    done = f"{to.repo_id!r} is published at commit {commit[:7]}"
    if to.tag and target.tags.get(to.tag) != commit:
        try:
            retries.ask(
                lambda: api.create_tag(to.repo_id, tag=to.tag, revision=commit, exist_ok=True)
            )
            tags = retries.ask(lambda: api.list_repo_refs(to.repo_id)).tags
        except CLIENT_ERRORS as error:
            why = hub_error(done, api, error)
            msg = f"{why}. The tag {to.tag!r} was not set"
            raise HubError(msg, hint="run the same command again") from None
        if commit not in [one.target_commit for one in tags if one.name == to.tag]:
            msg = f"{done}, but the tag {to.tag!r} is at another commit"
            raise HubError(msg, hint="choose another --tag")
    if not to.collection:
        return ""
    try:
        return retries.ask(lambda: _collect(target, api))
    except HfHubHTTPError as error:
        if error.response.status_code == NOT_FOUND:
            _warn(to.collection, api)
            return ""
        why = hub_error(done, api, error)
    except CLIENT_ERRORS as error:
        why = hub_error(done, api, error)
    msg = f"{why}. It was not added to the collection {to.collection!r}"
    raise HubError(msg, hint="run the same command again")


def the_collection(title: str, owner: str, *, private: bool, retries: Retries, api: HfApi) -> str:
    """Return the slug of an owner's collection, which is made if there is none with this title.

    Call it once before several processes publish into one collection. They may then give the title
    or the slug as `--collection`: the Hub refuses a second collection with a title that exists, and
    names the first. It does not promise that for two requests at the same moment.

    Args:
        title: The title. A slug is looked up and returned.
        owner: The user or organization; with a slug it does not count.
        private: Whether a new collection is private. One that exists stays as it is.
        retries: How long to wait for the Hub.
        api: The Hub client.

    Returns:
        The slug, OWNER/NAME-ID; "" with a warning if this Hub does not support collections.

    Raises:
        HubError: The Hub cannot be reached or refuses, or there is no collection with this slug.

    """
    known = bool(SLUG.fullmatch(title))
    with hub_errors(f"collection {title!r}", api):
        try:
            if known:
                return retries.ask(lambda: api.get_collection(title)).slug
            return retries.ask(lambda: _slug(title, owner, private, api))
        except HfHubHTTPError as error:
            if error.response.status_code != NOT_FOUND:
                raise
    if known:
        msg = f"{api.endpoint} has no collection {title!r}, or does not show it"
        raise HubError(msg, hint="give the title or the slug of another --collection")
    _warn(title, api)
    return ""


def _slug(title: str, owner: str, private: bool, api: HfApi) -> str:  # noqa: FBT001 - private
    """Make a collection unless there is one with the title; return its slug."""
    try:
        made = api.create_collection(title, namespace=owner, private=private, exists_ok=True)
    except KeyError:  # the Hub refuses and names no collection that exists
        raise BusyError from None
    return str(made.slug)


def _collect(target: Target, api: HfApi) -> str:
    to = target.to
    slug = to.collection
    if not SLUG.fullmatch(slug):
        slug = _slug(slug, to.repo_id.partition("/")[0], target.private, api)
    return str(api.add_collection_item(slug, to.repo_id, "model", exists_ok=True).url)


def _warn(collection: str, api: HfApi) -> None:
    LOG.warning(
        "  %s has no collection %r, or does not support collections", api.endpoint, collection
    )
