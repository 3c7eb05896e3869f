"""Requests that the Hub client has no function for, with parts of it that are not documented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub import utils

from slack_ties.private.huggingface_hub import BOUNDS, LIBRARY
from slack_ties.private.lazy import gone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

__all__ = ["begin_answer", "get", "missing_objects", "post", "raise_for_status"]


LFS_HEADERS = dict.fromkeys(("Accept", "Content-Type"), "application/vnd.git-lfs+json")


def post(
    api: HfApi, path: str, data: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Any:
    """Return the answer to a POST request that the client has no function for.

    Raises:
        SlackTiesError: This version of the client lacks the needed functions.

    """
    return _request(api, "POST", f"{api.endpoint}{path}", headers, json=data)


def get(api: HfApi, url: str, params: Mapping[str, Any] | None) -> Any:
    """Return the answer to a GET request that the client has no function for.

    Raises:
        SlackTiesError: This version of the client lacks the needed functions.

    """
    return _request(api, "GET", url, params=params)


def begin_answer(url: str, headers: Mapping[str, str], extensions: Mapping[str, Any]) -> Any:
    """Return the answer to a GET request whose body is not read yet; redirects are not followed.

    Whoever reads it closes it.

    Raises:
        SlackTiesError: This version of the client lacks the needed function.

    """
    try:
        session = utils.get_session()  # type: ignore[attr-defined]
    except AttributeError:
        raise gone(LIBRARY, BOUNDS, "utils.get_session") from None
    request = session.build_request("GET", url, headers=headers, extensions=dict(extensions))
    return session.send(request, stream=True, follow_redirects=False)


def missing_objects(api: HfApi, repo_id: str, sizes: Mapping[str, int]) -> list[str]:
    """Return the SHA-256 of those large files whose content the Hub does not have.

    Git LFS's batch request: the Hub says what to do for each file that it lacks.
    https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
    """
    wanted = {
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": [{"oid": sha256, "size": size} for sha256, size in sizes.items()],
        "hash_algo": "sha256",
    }
    response = post(api, f"/{repo_id}.git/info/lfs/objects/batch", wanted, LFS_HEADERS)
    raise_for_status(response)
    return [one["oid"] for one in response.json()["objects"] if one.get("actions")]


def _request(
    api: HfApi, method: str, url: str, more: Mapping[str, str] | None = None, **how: Any
) -> Any:
    try:
        session, headers = utils.get_session, utils.build_hf_headers  # type: ignore[attr-defined]
    except AttributeError:
        raise gone(LIBRARY, BOUNDS, "utils.get_session") from None
    all_headers = {**headers(token=api.token), **(more or {})}
    return session().request(method, url, headers=all_headers, **how)


def raise_for_status(response: Any) -> None:
    """Raise the client's error for an error answer; httpx's error if the client has no check."""
    check = getattr(utils, "hf_raise_for_status", None)
    if check:
        check(response)
    else:
        response.raise_for_status()
