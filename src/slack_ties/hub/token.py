"""Where the token comes from that the Hub client sends, and which step gives another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants, get_token

from slack_ties.private.huggingface_hub import sends_no_stored_token

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "LOGIN",
    "VARIABLES",
    "another_token",
    "has_token",
    "is_of_notebook",
    "login_sends",
    "no_token",
    "token_name",
]

LOGIN = "hf auth login  # or set HF_TOKEN to a token"

VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # in the order in which the client reads them
BY_OIDC = "HF_OIDC_RESOURCE"  # the client exchanges it for a short-lived token
UNASKED = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
STORED, GIVEN = "stored", "given"


def has_token(api: HfApi) -> bool:
    """Say whether the client sends a token."""
    return bool(_source(api))


def is_of_notebook(api: HfApi) -> bool:
    """Say whether the token is a secret of a notebook, which only this process can ask for it."""
    return api.token is None and _source(api) == GIVEN


def token_name(api: HfApi) -> str:
    """Return how messages call the token that the client sends; it is never the token itself."""
    source = _source(api)
    if source == STORED:
        own = os.environ.get("HF_TOKEN_PATH")
        return f"the token in {own} (HF_TOKEN_PATH)" if own else "the token of your login"
    return f"the token in {source}" if source.isupper() else "your token"


def another_token(api: HfApi, need: str = "") -> str:
    """Return the command after which the client sends another token, or none.

    Args:
        api: The Hub client.
        need: What the other token must be, for example "with write access"; if empty, no token is
            as good as another one.

    """
    source = _source(api)
    wanted = f"a token {need}".strip()
    if not source.isupper():
        return f"hf auth login  # {wanted}, or set HF_TOKEN to it" if need else LOGIN
    if _stored():
        return f"unset {source}  # the token of your login is used then"
    if need:
        return f"unset {source} && hf auth login  # {wanted}, or set {source} to it"
    return f"unset {source}  # a public model needs no token; to publish: hf auth login"


def no_token(need: str = "") -> str:
    """Return the step after which the client sends a token; for a client that sends none."""
    if sends_no_stored_token() and (_stored() or any(map(os.environ.get, VARIABLES))):
        return f"unset {UNASKED}  # it keeps the client from sending your token"
    return f"{LOGIN} {need}".strip()


def login_sends() -> str:
    """Return which token the client would send without the variables: "same", "other" or "none".

    "same" also if no variable has a token: then nothing changes without them.
    """
    given = next(filter(None, (os.environ.get(name, "").strip() for name in VARIABLES)), "")
    stored = _stored()
    return "same" if not given or given == stored else "other" if stored else "none"


def _source(api: HfApi) -> str:
    """Return the variable that holds the client's token, STORED, GIVEN, or "" if it sends none."""
    if api.token is False or (not api.token and sends_no_stored_token()):
        return ""
    if isinstance(api.token, str):  # given to the client; it may be one of those that we know
        found = {os.environ.get(name, "").strip(): name for name in reversed(VARIABLES)}
        return found.get(api.token) or (STORED if api.token == _stored() else GIVEN)
    for name in (BY_OIDC, *VARIABLES):
        if os.environ.get(name, "").strip():
            return name
    return STORED if _stored() else GIVEN if get_token() else ""  # of a notebook's own store


def _stored() -> str:
    """Return the token that a login has stored; "" if there is none."""
    try:
        return Path(constants.HF_TOKEN_PATH).read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""
