"""Where the bytes of a file on the Hub come from, and whether an answer is of that file.

The Hub sends small files itself. For a large one it answers with a signed address on another
server, which holds for some time. The token is for the Hub only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from huggingface_hub import hf_hub_url

from slack_ties.errors import visible
from slack_ties.hub.client import AskAgainError
from slack_ties.private.hub_requests import raise_for_status

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "Address",
    "HubFile",
    "WholeFileError",
    "WrongAnswerError",
    "check_bytes",
    "check_file",
    "has_expired",
    "next_address",
]

PARTIAL, OK, NOT_SATISFIABLE = 206, 200, 416
COMMIT = "X-Repo-Commit"
REFUSED = {400, 401, 403, 404, 410}  # how storage servers answer to an address that has expired
REDIRECTS = {301, 302, 303, 307, 308}
CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
MOST_SHOWN = 100  # characters of a header in a message

LATER = "run the same command later; if the error persists, contact the operator of this Hub"
OR_ALL = "or, if you gave --no-download: run the same command without it"
OTHER_SERVER = "check HF_ENDPOINT, and whether a proxy or a login page answers"


@dataclass(frozen=True)
class HubFile:
    """A file of one commit on the Hub, as the Hub states it."""

    repo_id: str
    commit: str  # 40 hex digits
    name: str
    size: int  # bytes
    checksum: str = ""  # SHA-256 of a large file (64 hex digits), git's SHA-1 of a small one

    @property
    def what(self) -> str:
        """How errors name it."""
        return f"model {self.repo_id!r}, {self.name}"


class WrongAnswerError(AskAgainError):
    """An answer does not have the bytes that were asked for; the same request may get them."""

    def __init__(self, message: str, hint: str = LATER) -> None:
        """Keep what to do if it stays so."""
        super().__init__(message)
        self.hint = hint


class WholeFileError(WrongAnswerError):
    """A server sends the whole file instead of a part."""


@dataclass
class Address:
    """An address of a file."""

    url: str
    hub: bool  # whether it is on the Hub's own host, which gets the token
    checked: bool = False  # whether the Hub has said what file that is
    fresh: bool = True  # the Hub has just given it, and no bytes came from it yet
    etags: dict[str, str] = field(default_factory=dict)  # host -> what it calls the file

    @classmethod
    def of(cls, file: HubFile, api: HfApi, etags: dict[str, str]) -> Address:
        """Return the address of a file on the Hub."""
        url = hf_hub_url(file.repo_id, file.name, revision=file.commit, endpoint=api.endpoint)
        return cls(url, hub=True, etags=etags)

    @property
    def host(self) -> str:
        """The host, for messages: the rest of a signed address is secret."""
        return _host(self.url)

    @property
    def server(self) -> str:
        """The address of the server."""
        return f"{urlsplit(self.url).scheme}://{self.host}"


def has_expired(at: Address, response: Any) -> bool:
    """Say whether an answer means that a signed address does not hold any more."""
    return not at.hub and not at.fresh and response.status_code in REFUSED


def next_address(file: HubFile, at: Address, response: Any, api: HfApi) -> Address | None:
    """Return where an answer says that the bytes are; None if it is no redirect.

    Raises:
        WrongAnswerError: It is about another file.

    """
    if response.status_code not in REDIRECTS:
        return None
    stated = response.headers.get("Location", "")
    try:
        url = urljoin(at.url, stated)
        scheme, host, port = _origin(url)
    except ValueError:  # a port that is no number, half an IPv6 address
        scheme, host, port, url = "", "", 0, ""
    if not stated or scheme not in {"http", "https"} or not host:
        msg = f"{at.host} answered {response.status_code} without an address"
        raise WrongAnswerError(msg)
    hub, checked = (scheme, host, port) == _origin(api.endpoint), at.checked
    if not hub and not checked and COMMIT in response.headers:
        check_file(file, at, response)
        checked = True
    return Address(url, hub=hub, checked=checked and not hub, etags=at.etags)


def check_file(file: HubFile, at: Address, response: Any) -> None:
    """Check whether an answer is about a file: its commit, size and ETag.

    A storage server has its own ETag for a file: that must stay the same.

    Raises:
        WrongAnswerError: It is not.

    """
    headers = response.headers
    etag = _plain(headers.get("X-Linked-Etag") or headers.get("ETag") or "")
    if not at.checked:
        commit, length = headers.get(COMMIT) or "", headers.get("X-Linked-Size")
        if commit != file.commit:
            raise _differs(at, "commit", file.commit, commit)
        if length is not None and length != str(file.size):
            raise _differs(at, "size", str(file.size), length)
        if file.checksum and etag != file.checksum:
            raise _differs(at, "ETag", file.checksum, etag)
    elif etag and etag != (known := at.etags.setdefault(at.host, etag)):
        raise _differs(at, "ETag", known, etag)


def check_bytes(file: HubFile, first: int, end: int, at: Address, response: Any) -> int:
    """Check whether an answer has the bytes of a file from `first` to `end`; return their end.

    A server may send fewer bytes than were asked for, if it says so.
    https://www.rfc-editor.org/rfc/rfc9110#status.206

    Raises:
        WrongAnswerError: It has not.
        HfHubHTTPError: The Hub refuses.

    """
    status, headers = response.status_code, response.headers
    if "text/html" in headers.get("Content-Type", "") and status in {OK, PARTIAL}:
        msg = f"{at.host} answered {status} with an HTML page, expected bytes of the file"
        raise WrongAnswerError(msg, OTHER_SERVER)
    if status == OK:
        msg = f"{at.host} cannot send a part of the file: it ignores ranges"
        command = f"hf download {file.repo_id} {file.name} --revision {file.commit}"
        raise WholeFileError(msg, f"{command}  # {OR_ALL}")
    if status == NOT_SATISFIABLE:
        msg = f"{at.host} answered 416: it has no bytes {first}-{end - 1} of {file.size}"
        raise WrongAnswerError(msg)
    if not at.hub and status != PARTIAL:
        msg = f"{at.host} answered {status} to an address that the Hub has just given"
        raise WrongAnswerError(msg)
    raise_for_status(response)
    stated = headers.get("Content-Range") or ""
    found = CONTENT_RANGE.fullmatch(stated)
    start, last, size = map(int, found.groups()) if found else (0, -1, 0)
    if (start, size) != (first, file.size) or not first <= last < end:
        raise _differs(at, "Content-Range", f"bytes {first}-{end - 1}/{file.size}", stated)
    end = last + 1
    length = headers.get("Content-Length")
    if length is not None and length != str(end - first):
        raise _differs(at, "Content-Length", str(end - first), length)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise _differs(at, "Content-Encoding", "identity", headers["Content-Encoding"])
    check_file(file, at, response)
    return end


def _differs(at: Address, what: str, expected: str, got: str) -> WrongAnswerError:
    got = visible(got[:MOST_SHOWN]) or "none"
    msg = f"{at.host} answered with another {what}: expected {expected}, got {got}"
    return WrongAnswerError(msg)


def _plain(etag: str) -> str:
    """Return an ETag without its quotes."""
    return etag.removeprefix("W/").strip('"')


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
