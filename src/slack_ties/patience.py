"""How long the Hub may be silent, and what it is asked again.

The client itself waits for ever for the answer to an API call or a commit, and repeats only
uploads and listings. Whatever is repeated here does no harm when it is done twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import _http

from slack_ties.hub import BusyError, TransportError, is_server_fault
from slack_ties.xet import told

__all__ = ["Patience"]

LOG = logging.getLogger("slack_ties")
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to ask.

    Example:
        >>> patience = Patience(timeout=30)
        >>> with patience.applied():
        ...     info = patience.ask(lambda: api.model_info("me/model"))

    """

    timeout: float = 60.0  # seconds without a byte, in either direction
    commit: float = 600.0  # seconds for the answer to a commit, in which the Hub checks files
    tries: int = 4
    first_wait: float = 1.0  # seconds; each wait is twice the one before it
    longest_wait: float = 300.0  # seconds that a Retry-After is followed for

    @classmethod
    def of(cls, timeout: float) -> Patience:
        """Return the patience of somebody who waits so many seconds for a sign of life."""
        return cls(timeout, commit=10 * timeout, first_wait=min(cls.first_wait, timeout / 20))

    @property
    def longest_pause(self) -> float:
        """Seconds before the last try, if the Hub does not say how many."""
        return float(self.first_wait * 2 ** (self.tries - 1))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the Hub client these timeouts, as long as the block runs."""
        inner = _http._GLOBAL_CLIENT_FACTORY  # noqa: SLF001 - the one to wrap, and to put back

        def factory() -> Any:
            client = inner()
            client.timeout = self.timeout
            hooks = client.event_hooks
            client.event_hooks = {
                "request": [*hooks["request"], self._time_out],
                "response": [*hooks["response"], _end_conflicts],
            }
            return client

        set_client_factory(factory)
        try:
            with told(self):
                yield
        finally:
            set_client_factory(inner)

    def ask(self, call: Callable[[], T], stopped: threading.Event | None = None) -> T:
        """Call, and call again if the Hub is busy or cannot be reached.

        Raises:
            Exception: What the last call raised, or the first that waiting cannot mend.

        """
        wait = self.first_wait
        for left in range(self.tries - 1, 0, -1):
            try:
                return call()
            except (TransportError, HfHubHTTPError) as error:
                pause = self.pause(error, wait)
                if pause is None:
                    raise
                LOG.warning("  %s; trying again in %.0f s (%d left)", _reason(error), pause, left)
                if stopped and stopped.wait(pause):
                    raise
                if not stopped:
                    time.sleep(pause)
                wait *= 2
        return call()

    def pause(self, error: Exception, wait: float) -> float | None:
        """Return the seconds to wait before the next try, or None if that would be no use."""
        if isinstance(error, OfflineModeIsEnabled):
            return None
        if not isinstance(error, HfHubHTTPError):
            return wait
        if not is_server_fault(error):
            return None
        said = error.response.headers.get("Retry-After", "").strip()
        if not said.isdigit():
            return wait
        return None if int(said) > self.longest_wait else max(wait, float(said))

    def _time_out(self, request: Any) -> None:
        """Time out also what the client asks for without; wait longer for work on whole files."""
        path = request.url.path
        times = request.extensions.setdefault("timeout", {})
        for part in ("connect", "read", "write", "pool"):
            if times.get(part) is None:  # as for listings
                times[part] = self.timeout
        if request.method == "POST" and ("/commit/" in path or "complete" in path):
            times["read"] = max(self.commit, self.timeout)


def _end_conflicts(response: Any) -> None:
    """End what the client would repeat without a pause or an end: making a repository."""
    if response.status_code == 409 and response.request.url.path.endswith("/repos/create"):  # noqa: PLR2004
        response.read()
        if "conflicting operation" in response.text:
            msg = "another operation on the repository is in progress"
            raise BusyError(msg)


def _reason(error: Exception) -> str:
    """Return in a few words what went wrong on the way to the Hub."""
    if isinstance(error, BusyError):
        return "the Hub is busy with that repository"
    if isinstance(error, HfHubHTTPError):
        return f"the Hub answered {error.response.status_code}"
    kinds = {"Timeout": "the Hub did not answer in time", "Protocol": "the connection broke"}
    name = type(error).__name__
    return next((text for kind, text in kinds.items() if kind in name), "the Hub cannot be reached")
