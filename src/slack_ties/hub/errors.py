"""Errors of the Hub client in our words, with what to do next."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from slack_ties.errors import HubError, NotOnHubError
from slack_ties.hub.client import CLIENT_ERRORS, LOGIN, BusyError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi

__all__ = ["first_line", "hub_error", "hub_errors"]

# As hf_xet says it, in errors of Python's own types.
XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3}) ([\w -]+)\)")


@contextmanager
def hub_errors(what: str, api: HfApi) -> Iterator[None]:
    """Turn whatever the Hub client raises into one HubError about `what`."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise hub_error(what, api, error) from None


def hub_error(what: str, api: HfApi, error: Exception) -> HubError:  # noqa: C901, PLR0911 - one per kind
    """Return what the Hub client raised as an error about `what`, with what to do next."""
    login = "hf auth login  (or set HF_TOKEN)"
    if isinstance(error, GatedRepoError):
        msg = f"{what}: access is gated, and the present token has none"
        return HubError(msg, hint="ask for access on the model's Hub page, then: hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        msg = f"{what}: not found on {api.endpoint}, or private and the present token cannot see it"
        return NotOnHubError(msg, hint=f"check the spelling; if it is private: {login}")
    if isinstance(error, LocalEntryNotFoundError):
        return _unreachable(what, api, error)
    if isinstance(error, (RevisionNotFoundError, EntryNotFoundError)):
        missing = "revision" if isinstance(error, RevisionNotFoundError) else "file"
        msg = f"{what}: {api.endpoint} has no such {missing}"
        return NotOnHubError(msg, hint="look at the model's files and commits on the Hub")
    if isinstance(error, HfHubHTTPError):
        return _refused(what, api, error)
    if isinstance(error, HFValidationError):
        msg = f"{what}: {first_line(error)}"
        return HubError(msg, hint="a Hub id looks like NAME or OWNER/NAME")
    if isinstance(error, OfflineModeIsEnabled):
        msg = f"{what}: HF_HUB_OFFLINE is set, and this needs the Hub"
        return HubError(msg, hint="unset HF_HUB_OFFLINE, or work on local folders")
    if status := XET_STATUS.search(str(error)):
        return _refused_with(what, api, int(status[1]), status[2])
    if isinstance(error, BusyError):
        msg = f"{what}: {api.endpoint} is busy with another operation on it"
        return HubError(msg, hint="try again in a minute")
    if isinstance(error, (TransportError, ConnectionError)):
        return _unreachable(what, api, error)
    if isinstance(error, json.JSONDecodeError):
        msg = f"{what}: {api.endpoint} answers with something else than a Hub does"
        return HubError(msg, hint="is HF_ENDPOINT right, or does a proxy or login page answer?")
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, CLIENT_ERRORS):
        return hub_error(what, api, error.__cause__)  # of an upload, which names the file before
    # the cache's disk, or a transfer given up
    msg = f"{what}: {first_line(error)}"
    return HubError(msg, hint="run the same command again: what is complete is kept")


def _refused(what: str, api: HfApi, error: HfHubHTTPError) -> HubError:
    said = error.server_message or first_line(error)
    return _refused_with(what, api, error.response.status_code, said)


def _refused_with(what: str, api: HfApi, status: int, said: str) -> HubError:
    if status == 401:  # noqa: PLR2004 - HTTP
        return HubError(f"{what}: {api.endpoint} does not accept the present token", hint=LOGIN)
    if status == 403:  # noqa: PLR2004 - HTTP
        return HubError(f"{what}: the present token is not allowed to do this", hint=LOGIN)
    hint = "try again later; if it stays, ask those who run that Hub"
    return HubError(f"{what}: {api.endpoint} answered {status}: {said}", hint=hint)


def _unreachable(what: str, api: HfApi, error: Exception) -> HubError:
    if "Timeout" in type(error).__name__:
        msg = f"{what}: {api.endpoint} did not answer in time"
        return HubError(msg, hint="try again later, or wait longer with --timeout SECONDS")
    msg = f"{what}: cannot reach {api.endpoint}: {first_line(error)}"
    return HubError(msg, hint="check the network (merging local folders needs none)")


def first_line(error: Exception) -> str:
    """Return the first line of a message: the client's go on with request ids and links."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
