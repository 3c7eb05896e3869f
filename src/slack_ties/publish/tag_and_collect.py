"""Tag the commit of a published model, and add the model to a collection."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from huggingface_hub.errors import HfHubHTTPError

from slack_ties.errors import HubError
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.errors import hub_error

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.destination import Target

__all__ = ["tag_and_collect"]

LOG = logging.getLogger("slack_ties")

SLUG = re.compile(r"[\w.-]+/[\w.-]+-[0-9a-f]{16,}")  # the id of a collection


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
        if error.response.status_code == 404:  # noqa: PLR2004 - HTTP
            LOG.warning(
                "  %s has no collection %r, or does not support collections",
                api.endpoint,
                to.collection,
            )
            return ""
        why = hub_error(done, api, error)
    except CLIENT_ERRORS as error:
        why = hub_error(done, api, error)
    msg = f"{why}. It was not added to the collection {to.collection!r}"
    raise HubError(msg, hint="run the same command again")


def _collect(target: Target, api: HfApi) -> str:
    to = target.to
    slug = to.collection
    if not SLUG.fullmatch(slug):
        owner = to.repo_id.partition("/")[0]
        made = api.create_collection(
            to.collection, namespace=owner, private=target.private, exists_ok=True
        )
        slug = made.slug
    return str(api.add_collection_item(slug, to.repo_id, "model", exists_ok=True).url)
