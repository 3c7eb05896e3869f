"""Give the Hub client the timeouts of our retry policy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slack_ties.hub.client import BusyError
from slack_ties.private.huggingface_hub import wrap_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slack_ties.hub.retries import Retries

__all__ = ["timeouts"]


@contextmanager
def timeouts(retries: Retries) -> Iterator[None]:
    """Give the Hub client the timeouts of a retry policy while the block runs."""

    def time_out(request: Any) -> None:
        _time_out(request, retries)

    def with_timeouts(client: Any) -> Any:
        client.timeout = retries.timeout
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], time_out],
            "response": [*hooks["response"], _end_conflicts],
        }
        return client

    with wrap_client(with_timeouts):
        yield


def _time_out(request: Any, retries: Retries) -> None:
    """Add a timeout to requests without one; wait longer for a commit or a complete upload."""
    path = request.url.path
    times = request.extensions.setdefault("timeout", {})
    for part in ("connect", "read", "write", "pool"):
        if times.get(part) is None:  # for example in listings
            times[part] = retries.timeout
    if request.method == "POST" and ("/commit/" in path or "complete" in path):
        times["read"] = max(retries.commit, retries.timeout)


def _end_conflicts(response: Any) -> None:
    """Raise if the Hub is busy when we create a repository: the client would retry forever."""
    if response.status_code == 409 and response.request.url.path.endswith("/repos/create"):  # noqa: PLR2004
        response.read()
        if "conflicting operation" in response.text:
            msg = "another operation on the repository is in progress"
            raise BusyError(msg)
