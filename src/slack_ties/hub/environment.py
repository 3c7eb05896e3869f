"""Errors of the Hub client that an environment variable causes, with the variable's name."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from huggingface_hub import constants

from slack_ties.errors import HubError
from slack_ties.hub.faults import ClientError, UnconnectedError, as_fault
from slack_ties.private.http import LIBRARY

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["environment_error"]

PROXIES = {"http_proxy", "https_proxy", "all_proxy"}  # in any case
SCHEMES = {"http", "https", "socks5", "socks5h"}

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def environment_error(  # noqa: PLR0911 - one per variable
    what: str, api: HfApi, error: Exception
) -> HubError | None:
    """Return the error of a wrong environment variable; None if the cause is something else."""
    if not api.endpoint.startswith(("http://", "https://")):
        return _endpoint_error(what, api)
    if isinstance(error, UnicodeEncodeError):
        return _token_error(what, error)
    if isinstance(error, ClientError):
        return _wrong_proxy(what, error)
    if isinstance(as_fault(error), UnconnectedError):
        return _proxy_error(what, api, error)
    if not isinstance(error, OSError):
        return None
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(name)
        if value and isinstance(error, FileNotFoundError) and not Path(value).exists():
            msg = f"{what}: {name} is {value!r}, and nothing is there"
            return HubError(msg, hint=f"correct {name}, or: unset {name}")
    return _cache_error(what, error)


def _endpoint_error(what: str, api: HfApi) -> HubError:
    """Return the error for the address of a Hub without http:// or https://."""
    ours = os.environ.get("HF_ENDPOINT", "").rstrip("/") == api.endpoint
    name = "HF_ENDPOINT" if ours else "the endpoint"
    better = f"http://{api.endpoint.rpartition('://')[2]}"
    msg = f"{what}: {name} is {api.endpoint!r}, expected http:// or https:// before the name"
    hint = f"export HF_ENDPOINT={shlex.quote(better)}  # or https://" if ours else f"use {better}"
    return HubError(msg, hint=hint)


def _token_error(what: str, error: UnicodeEncodeError) -> HubError | None:
    """Return the error for a token that cannot be sent; it does not contain the token."""
    if not str(error.object).startswith("Bearer "):
        return None
    where = next((one for one in TOKEN_VARIABLES if not os.environ.get(one, "").isascii()), "")
    msg = f"{what}: the token {f'in {where} ' if where else ''}has a character that no token has"
    hint = "copy the token again from your settings on the Hub, then: "
    return HubError(msg, hint=hint + (f"export {where}=TOKEN" if where else "hf auth login"))


def _wrong_proxy(what: str, error: ClientError) -> HubError:
    """Return the error for a proxy that the HTTP library cannot use."""
    given = {name: value for name, value in os.environ.items() if name.lower() in PROXIES and value}
    socks = [name for name in given if given[name].lower().startswith("socks")]
    if isinstance(error.__cause__, ImportError) and socks:
        msg = f"{what}: {socks[0]} names a SOCKS proxy, which needs a further package"
        return HubError(msg, hint=f'pip install "{LIBRARY}[socks]"  # or: unset {socks[0]}')
    names = [name for name in given if not _is_usable(given[name])] or list(given)
    if not names:
        return HubError(f"{what}: {error}", hint="check your network settings")
    proxy = given[names[0]].rpartition("@")[2]  # without a password
    msg = f"{what}: {names[0]} is {proxy!r}, which cannot be used as a proxy"
    return HubError(msg, hint=f"set {names[0]} to http://HOST:PORT, or: unset {names[0]}")


def _is_usable(proxy: str) -> bool:
    """Say whether a text is the address of a proxy."""
    try:
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return url.scheme in SCHEMES and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        return False


def _proxy_error(what: str, api: HfApi, error: Exception) -> HubError | None:
    url = urlsplit(api.endpoint)
    names = [f"{url.scheme}_proxy", "all_proxy"]
    names = [one for name in names for one in (name, name.upper())]
    name = next((one for one in names if os.environ.get(one)), "")
    if not name or not url.hostname or proxy_bypass(url.hostname):
        return None
    proxy = os.environ[name].rpartition("@")[2]  # without a password
    reason = str(error).partition("\n")[0]
    msg = f"{what}: cannot reach {api.endpoint} through the proxy {proxy} of {name}: {reason}"
    return HubError(msg, hint=f"check whether the proxy runs, or: unset {name}")


def _cache_error(what: str, error: OSError) -> HubError | None:
    """Return the error for a Hub cache that cannot be written."""
    file, folders = error.filename, (constants.HF_HOME, constants.HF_HUB_CACHE)
    if not isinstance(file, str | Path) or not error.strerror:
        return None
    if not any(Path(file).is_relative_to(folder) for folder in folders):
        return None
    name = "HF_HUB_CACHE" if os.environ.get("HF_HUB_CACHE") else "HF_HOME"
    folder = constants.HF_HUB_CACHE if name == "HF_HUB_CACHE" else constants.HF_HOME
    msg = f"{what}: the folder of {name}, {folder}, cannot be written: {error.strerror}"
    return HubError(msg, hint=f"set {name} to a folder that you can write to, with free space")
