"""Requests that the Hub client has no function for, with parts of it that are not documented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub import utils

from slack_ties.private.huggingface_hub import BOUNDS, LIBRARY
from slack_ties.private.lazy import gone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

__all__ = ["get", "post", "raise_for_status"]


def post(api: HfApi, path: str, data: Mapping[str, Any]) -> Any:
    """Return the answer to a POST request that the client has no function for.

    Raises:
        SlackTiesError: This version of the client lacks the needed functions.

    """
    return _request(api, "POST", f"{api.endpoint}{path}", json=data)


def get(api: HfApi, url: str, params: Mapping[str, Any] | None, timeout: float) -> Any:
    """Return the answer to a GET request; the client's own function would not take a timeout.

    Raises:
        SlackTiesError: This version of the client lacks the needed functions.

    """
    return _request(api, "GET", url, params=params, timeout=timeout)


def _request(api: HfApi, method: str, url: str, **how: Any) -> Any:
    try:
        session, headers = utils.get_session, utils.build_hf_headers  # type: ignore[attr-defined]
    except AttributeError:
        raise gone(LIBRARY, BOUNDS, "utils.get_session") from None
    return session().request(method, url, headers=headers(token=api.token), **how)


def raise_for_status(response: Any) -> None:
    """Raise the client's error for an error answer; httpx's error if the client has no check."""
    check = getattr(utils, "hf_raise_for_status", None)
    if check:
        check(response)
    else:
        response.raise_for_status()
