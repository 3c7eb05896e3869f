"""Does the Hub answer, and what may the token do? The token itself is never shown."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from slack_ties.doctor.finding import BROKEN, NOTE, OK, UNKNOWN, Finding
from slack_ties.errors import HubError
from slack_ties.hub.errors import hub_error, hub_errors
from slack_ties.hub.retries import READING
from slack_ties.hub.token import another_token, has_token, no_token, token_name
from slack_ties.private.huggingface_hub import is_offline
from slack_ties.publish.rights import may_write, rights

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["look_at_hub"]

WHAT = "the Hub"
REFUSED = {401, 403}  # the token is not accepted; the Hub itself works

OR_OFFLINE = "for merges of folders here and of the cache, set HF_HUB_OFFLINE=1"
NO_HUB = "check HF_ENDPOINT, and whether a proxy or a login page answers"


def look_at_hub(timeout: float, *, api: HfApi | None = None) -> Iterator[Finding]:
    """Yield whether the Hub answers, then what the token may do.

    Args:
        timeout: Seconds to wait for the Hub, with all retries.
        api: The Hub client; if not given, that of the environment.

    """
    api = api or HfApi()
    if is_offline():
        text = "not asked: HF_HUB_OFFLINE is set, so only folders here and the cache are used"
        yield Finding("Hub", NOTE, text, "unset HF_HUB_OFFLINE", _endpoint(api))
        yield _unasked(api, "HF_HUB_OFFLINE is set")
        return
    began = time.monotonic()
    try:
        user = _ask(api, timeout)
    except _TokenError as error:
        yield _reached(api, began)
        yield Finding("token", BROKEN, str(error), error.hint, {"present": True})
    except HubError as error:
        text = str(error).removeprefix(f"{WHAT}: ")
        waits = error.hint.startswith(("check the network", "try again"))
        hint = f"{error.hint}; {OR_OFFLINE}" if waits else error.hint
        yield Finding("Hub", BROKEN, text, hint, _endpoint(api))
        yield _unasked(api, "the Hub did not answer")
    else:
        yield _reached(api, began)
        yield _no_token(api) if user is None else _token(api, user)


class _TokenError(HubError):
    """The Hub works, and refuses the token."""


def _ask(api: HfApi, timeout: float) -> Mapping[str, Any] | None:
    """Return who the token belongs to; None if there is no token, and the Hub answers.

    Raises:
        HubError: The Hub does not answer, or not as a Hub.

    """
    policy = replace(READING, timeout=timeout)
    with hub_errors(WHAT, api):
        try:
            if not has_token(api):
                policy.ask(lambda: next(iter(api.list_models(limit=1)), None))
                return None
            user = policy.ask(api.whoami)
        except (HfHubHTTPError, UnicodeEncodeError) as error:  # or a token that no header can hold
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in REFUSED:
                raise
            ours = hub_error(WHAT, api, error)
            raise _TokenError(str(ours).removeprefix(f"{WHAT}: "), hint=ours.hint) from None
    if not isinstance(user, Mapping) or not isinstance(user.get("name"), str):
        msg = f"{WHAT}: the answer of {api.endpoint} is not the answer of a Hub"
        raise HubError(msg, hint=NO_HUB)
    return user


def _endpoint(api: HfApi) -> dict[str, Any]:
    return {"endpoint": api.endpoint}


def _reached(api: HfApi, began: float) -> Finding:
    seconds = time.monotonic() - began
    text = f"{api.endpoint} answered after {seconds:.1f} s"
    return Finding("Hub", OK, text, facts={**_endpoint(api), "seconds": round(seconds, 3)})


def _unasked(api: HfApi, reason: str) -> Finding:
    """Return the finding that nobody could ask the Hub about the token."""
    if not has_token(api):
        return _no_token(api)
    text = f"{token_name(api)}; its rights are not known: {reason}"
    return Finding("token", UNKNOWN, text, facts={"present": True})


def _no_token(api: HfApi) -> Finding:
    text = "none; public models need none, gated models and `publish` need one"
    return Finding("token", NOTE, text, no_token(), {"present": has_token(api)})


def _token(api: HfApi, user: Mapping[str, Any]) -> Finding:
    """Return what the token may do."""
    can, writes = rights(user), may_write(user)
    text = f"{token_name(api)}, of the user {user['name'][:100]}: {can}"
    facts = {"present": True, "user": user["name"], "may_write": writes}
    if writes is False:
        text += "; `publish` needs write access"
        return Finding("token", NOTE, text, another_token(api, "with write access"), facts)
    return Finding("token", OK, text, facts=facts)
