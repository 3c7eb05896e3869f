"""Check by the Hub's answer to "who am I" whether a token may publish to a repository.

So a user does not merge for hours and then cannot publish. The Hub checks again with each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from huggingface_hub import HfApi, get_token

from slack_ties.errors import HubError, OtherIdError
from slack_ties.hub.token import another_token, token_name
from slack_ties.private.huggingface_hub import sends_no_stored_token
from slack_ties.wording import join_names

__all__ = [
    "check_owner",
    "check_placeholder",
    "check_role",
    "may_write",
    "rights",
    "with_token",
]

# Words of our own examples and messages, which people copy and forget to replace.
PLACEHOLDERS = {"REPO_ID", "OWNER", "NAME", "ME", "SOMEBODY", "MODEL", "YOUR_NAME"}

MOST_NAMED, LONGEST_NAME = 5, 100  # of the places that a token may write to

WRITES = "repo.write"  # the Hub's name of this permission of a fine-grained token


def with_token(api: HfApi | None) -> HfApi:
    """Return a client that sends the user's token even if HF_HUB_DISABLE_IMPLICIT_TOKEN is set.

    That variable keeps stored tokens from being sent unasked; publishing asks for it.
    """
    api = api or HfApi()
    if api.token is None and sends_no_stored_token() and (token := get_token()):
        return HfApi(endpoint=api.endpoint, token=token)
    return api


def check_role(
    repo_id: str, user: Mapping[str, Any], *, api: HfApi, proposes: bool = False
) -> None:
    """Refuse a token that can only read, and a fine-grained one without rights to this place.

    Args:
        repo_id: Where to publish: OWNER/NAME.
        user: The Hub's answer to "who am I".
        api: The Hub client, with the token.
        proposes: Only a pull request will be opened.

    Raises:
        HubError: The token may not write there.

    """
    what, owner = f"publishing to {repo_id!r}", repo_id.partition("/")[0]
    access = _access(user)
    if access.get("role") == "read":
        msg = f"{what}: {token_name(api)} can only read"
        raise HubError(msg, hint=another_token(api, "with write access"))
    if access.get("role") != "fineGrained" or proposes:
        return
    places = [*_writable(access)]
    if {repo_id, owner}.isdisjoint(places) and None not in places:
        may = f"only to {' and '.join(map(str, places))}" if places else "to no repository"
        msg = f"{what}: your fine-grained token may write {may}"
        hint = "in your token settings on the Hub, give it write access to the repositories of "
        other = another_token(api, "with write access")
        raise HubError(msg, hint=f"{hint}{owner}, or: {other}")


def rights(user: Mapping[str, Any]) -> str:
    """Return what a token may do, for people.

    Args:
        user: The Hub's answer to "who am I".

    """
    access = _access(user)
    if access.get("role") == "read":
        return "it can only read"
    if access.get("role") == "write":
        return f"it may write to {_some(_own_places(user))}"
    if access.get("role") != "fineGrained":
        return "the Hub does not say what it may do"
    places = [*_writable(access)]
    if None in places:
        return "it is fine-grained, and the Hub does not say what it may do"
    said = f"it is fine-grained, and may write to {_some(places) if places else 'no repository'}"
    gated = access["fineGrained"].get("canReadGatedRepos")
    return f"{said}; it may not read gated models" if gated is False else said


def may_write(user: Mapping[str, Any]) -> bool | None:
    """Say whether a token may write to any repository; None if the Hub does not say that.

    Args:
        user: The Hub's answer to "who am I".

    """
    role = _access(user).get("role")
    if role == "fineGrained":
        places = [*_writable(_access(user))]
        return None if None in places else bool(places)
    return {"read": False, "write": True}.get(role) if isinstance(role, str) else None


def _own_places(user: Mapping[str, Any]) -> list[str]:
    """Return the user and the organizations in which the user can do more than read."""
    orgs = [org for org in user.get("orgs") or () if isinstance(org, Mapping)]
    return [user["name"], *(org.get("name") for org in orgs if org.get("roleInOrg") != "read")]


def _some(places: Sequence[object]) -> str:
    """Return the first names of a list, and how many there are more."""
    more = len(places) - MOST_NAMED
    named = [str(place)[:LONGEST_NAME] for place in places[:MOST_NAMED]]
    return join_names([*named, f"{more} more"] if more > 0 else named)


def check_placeholder(repo_id: str, user: Mapping[str, Any]) -> None:
    """Refuse an id with a word of our examples, such as OWNER or NAME, in place of a name.

    Raises:
        HubError: The id has such a word; the hint has the user's own name.

    """
    owner, _, name = repo_id.partition("/")
    owners = {user["name"], *(org["name"] for org in user.get("orgs") or ())}
    found = [owner] if owner in PLACEHOLDERS - owners else []
    found += [name] if name in PLACEHOLDERS else []
    if found:
        msg = f"publishing to {repo_id!r}: {found[0]} is a placeholder, expected a name of your own"
        chosen = "with a name that you choose" if name in PLACEHOLDERS else ""
        better = f"{user['name']}/{'my-merge' if chosen else name}"
        hint = f"publish {f'{chosen}, such as' if chosen else 'to'} {better}"
        raise OtherIdError(msg, hint=hint, other_id=better, comment=chosen)


def check_owner(repo_id: str, user: Mapping[str, Any], *, can_propose: Callable[[], bool]) -> None:
    """Refuse a place of somebody else, or of an organization in which the user can only read.

    Args:
        repo_id: Where to publish: OWNER/NAME.
        user: The Hub's answer to "who am I".
        can_propose: Says whether a pull request can be opened there.

    Raises:
        HubError: The token's user may not publish there.

    """
    what, (owner, _, name) = f"publishing to {repo_id!r}", repo_id.partition("/")
    roles = {org["name"]: org.get("roleInOrg") for org in user.get("orgs") or ()}
    owners = [user["name"], *roles]
    if owner not in owners:
        msg = f"{what}: your token belongs to {' and '.join(owners)}"
        better, propose = f"{owners[0]}/{name}", _or_propose(can_propose)
        hint = f"publish to {better}{propose}"
        raise OtherIdError(msg, hint=hint, other_id=better, comment=propose.removeprefix(", "))
    if owner != user["name"] and roles[owner] == "read":
        msg = f"{what}: your role in the organization {owner!r} is read, expected write"
        hint = f"ask an admin of {owner} for the role write"
        raise HubError(msg, hint=hint + _or_propose(can_propose))


def _or_propose(can_propose: Callable[[], bool]) -> str:
    return ", or open a pull request there: --pr" if can_propose() else ""


def _access(user: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (user.get("auth") or {}).get("accessToken")
    return found if isinstance(found, Mapping) else {}


def _writable(access: Mapping[str, Any]) -> Iterator[str | None]:
    """Yield the users, organizations and repositories that a token may write to; None: unknown."""
    fine = access.get("fineGrained")
    if not isinstance(fine, Mapping) or not isinstance(fine.get("scoped"), list):
        yield None  # the Hub does not say what the token may do
        return
    for one in fine["scoped"]:
        if isinstance(one, Mapping) and WRITES in (one.get("permissions") or ()):
            yield (one.get("entity") or {}).get("name")
