"""Turn errors of the Hub client into ours, with what to do next."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from slack_ties.errors import GatedError, HubError, NotOnHubError
from slack_ties.hub.client import CLIENT_ERRORS, AskAgainError, TransportError
from slack_ties.hub.environment import environment_error
from slack_ties.hub.faults import (
    AnswerError,
    BusyError,
    FaultError,
    SilentError,
    as_fault,
    stated_wait,
)
from slack_ties.hub.token import another_token, has_token, no_token, token_name
from slack_ties.private.huggingface_hub import is_offline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi

__all__ = ["first_line", "hub_error", "hub_errors"]

# How hf_xet reports a status, in errors of Python's own types.
XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3}) ([\w -]+)\)")


@contextmanager
def hub_errors(what: str, api: HfApi) -> Iterator[None]:
    """Turn every error of the Hub client into a HubError about `what`."""
    try:
        yield
    except CLIENT_ERRORS as error:
        if isinstance(error, UnicodeEncodeError) and not environment_error(what, api, error):
            raise  # not a token: a bug
        raise hub_error(what, api, error) from None


def hub_error(  # noqa: C901, PLR0911, PLR0912 - one per kind
    what: str, api: HfApi, error: Exception
) -> HubError:
    """Return an error of the Hub client as a HubError about `what`, with what to do next."""
    if isinstance(error, AnswerError):
        error = error.error
    if environment := environment_error(what, api, error):
        return environment
    if isinstance(error, GatedRepoError):
        return _gated(what, api, error)
    if isinstance(error, RepositoryNotFoundError):
        return _not_found(what, api)
    if isinstance(error, LocalEntryNotFoundError) and is_offline():
        msg = f"{what}: HF_HUB_OFFLINE is set, and it is not in the cache"
        return HubError(msg, hint="unset HF_HUB_OFFLINE")
    if isinstance(error, LocalEntryNotFoundError):
        return _unreachable(what, api, error.__cause__ or error)
    if isinstance(error, (RevisionNotFoundError, EntryNotFoundError)):
        missing = "revision" if isinstance(error, RevisionNotFoundError) else "file"
        msg = f"{what}: {api.endpoint} has no such {missing}"
        return NotOnHubError(msg, hint="look at the model's files and commits on the Hub")
    if isinstance(error, DisabledRepoError):
        msg = f"{what}: the repository is disabled on {api.endpoint}"
        return HubError(
            msg, hint="use another repository, or ask its owner or the Hub's support why"
        )
    if isinstance(error, HfHubHTTPError):
        return _refused(what, api, error)
    if isinstance(error, HFValidationError):
        msg = f"{what}: {first_line(error)}"
        return HubError(msg, hint="a Hub id looks like NAME or OWNER/NAME")
    if isinstance(error, OfflineModeIsEnabled):
        msg = f"{what}: this needs the Hub, but HF_HUB_OFFLINE is set"
        other = "  # or use models that are folders here" if _reads_model(what) else ""
        return HubError(msg, hint=f"unset HF_HUB_OFFLINE{other}")
    if status := XET_STATUS.search(str(error)):
        return _refused_with(what, api, int(status[1]), status[2])
    if isinstance(error, BusyError):
        msg = f"{what}: {api.endpoint} is busy with another operation on it"
        return HubError(msg, hint="try again in a minute")
    if isinstance(error, (TransportError, ConnectionError)):
        return _unreachable(what, api, error)
    if isinstance(error, json.JSONDecodeError):
        msg = f"{what}: the answer of {api.endpoint} is not the answer of a Hub"
        return HubError(msg, hint="check HF_ENDPOINT, and whether a proxy or a login page answers")
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        # from an upload; the message names the file first
        return hub_error(what, api, error.__cause__)
    # an error of the cache's disk, or a transfer that failed
    msg = f"{what}: {first_line(error)}"
    return HubError(msg, hint="run the same command again: complete files are kept")


def _gated(what: str, api: HfApi, error: HfHubHTTPError) -> GatedError:
    page = _page(api, error)
    if has_token(api):
        msg = f"{what}: the owner has not given access to the user of {token_name(api)}"
        return GatedError(msg, hint=f"ask for access on {page}, then run the same command again")
    msg = f"{what}: only users with the owner's access can download it, and you are not logged in"
    return GatedError(msg, hint=f"ask for access on {page}, then: {no_token()}")


def _page(api: HfApi, error: HfHubHTTPError) -> str:
    """Return the address of the page of the model that a request was about."""
    asked = str(error.response.url).partition("?")[0]
    words = asked.removeprefix(f"{api.endpoint}/").removeprefix("api/models/").split("/")
    end = next((i for i, word in enumerate(words) if word in {"resolve", "revision", "tree"}), 2)
    known = asked.startswith(f"{api.endpoint}/") and end <= 2  # noqa: PLR2004 - OWNER/NAME
    return f"{api.endpoint}/{'/'.join(words[:end])}" if known else "the model's Hub page"


def _not_found(what: str, api: HfApi) -> NotOnHubError:
    if has_token(api):
        msg = f"{what}: not found on {api.endpoint}, or private and {token_name(api)} may not "
        hint = "check the spelling; a private one needs the token of a user who may see it"
        return NotOnHubError(f"{msg}see it", hint=hint)
    msg = f"{what}: not found on {api.endpoint}; a private one is not shown: you are not logged in"
    return NotOnHubError(msg, hint=f"check the spelling; if it is private: {no_token()}")


def _refused(what: str, api: HfApi, error: HfHubHTTPError) -> HubError:
    status, said = error.response.status_code, error.server_message or ""
    if status == 403:  # noqa: PLR2004 - HTTP
        return _not_allowed(what, api, said)
    if wait := stated_wait(error):
        msg = f"{what}: {api.endpoint} answered {status} and asks to wait {wait:.0f} s"
        return HubError(msg, hint=f"run the same command later, or with --timeout {_longer(wait)}")
    return _refused_with(what, api, status, said or first_line(error))


def _longer(wait: float) -> int:
    """Return a time limit with which a wait of so many seconds is possible."""
    return 10 * (int(wait * 1.5) // 10 + 1)


def _refused_with(what: str, api: HfApi, status: int, said: str) -> HubError:
    if status == 401:  # noqa: PLR2004 - HTTP
        if not has_token(api):
            return HubError(f"{what}: {api.endpoint} asks for a token", hint=no_token())
        msg = f"{what}: {api.endpoint} does not accept {token_name(api)}"
        return HubError(msg, hint=another_token(api))
    if status == 403:  # noqa: PLR2004 - HTTP
        return _not_allowed(what, api, "")  # hf_xet does not pass on the reason
    hint = "try again later; if the error persists, contact the operator of this Hub"
    return HubError(f"{what}: {api.endpoint} answered {status}: {said}", hint=hint)


def _not_allowed(what: str, api: HfApi, said: str) -> HubError:
    """Return the error for status 403, with the Hub's own reason if it gives one."""
    msg = f"{what}: {api.endpoint} does not allow this"
    other = another_token(api, "that may do this")
    if said:
        hint = "do what the Hub's message says, then run the same command again; for another token"
        return HubError(f"{msg}: {said[:300]}", hint=f"{hint}: {other}")
    if not has_token(api):
        return HubError(f"{msg} without a token", hint=no_token())
    return HubError(f"{msg} with {token_name(api)}", hint=other)


def _unreachable(what: str, api: HfApi, error: BaseException) -> HubError:
    fault = as_fault(error) if isinstance(error, Exception) else None
    if isinstance(fault, SilentError) or isinstance(error, AskAgainError):  # or of an upload
        msg = f"{what}: {api.endpoint} did not answer in time"
        return HubError(msg, hint="try again later, or set a longer --timeout SECONDS")
    cause = fault.error if isinstance(fault, FaultError) and fault.error else error
    msg = f"{what}: cannot reach {api.endpoint}: {first_line(cause)}"
    if _reads_model(what):
        return HubError(msg, hint="check the network; a merge of local folders needs no network")
    return HubError(msg, hint="check the network, then run the same command again")


def _reads_model(what: str) -> bool:
    """Say whether an error is about a model to read, which could also be a folder."""
    return what.startswith("model ")


def first_line(error: BaseException) -> str:
    """Return the first line of a message; the client adds lines with request ids and links."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
