"""Give the Hub client the time limit of a command.

While a block of `timeouts` runs, no request outlives the limit, and after a fault of the Hub or of
the connection our own error is raised. The Hub client does not know that error, and so does not
retry by itself: only `Retries.ask` retries. Without a block our HTTP client changes nothing.
"""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from huggingface_hub.errors import HfHubHTTPError

from slack_ties.hub.faults import ClientError, SilentError, as_fault, is_fault
from slack_ties.hub.limit import Limit
from slack_ties.hub.pause import begin, keep
from slack_ties.private.http import SILENT, WRONG_ADDRESS, TransportError, watch_bytes
from slack_ties.private.hub_requests import raise_for_status
from slack_ties.private.huggingface_hub import change_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["STOP", "Policy", "another", "in_force", "timeouts"]

# What the HTTP library raises for a proxy that it cannot use.
WRONG_SETTINGS: tuple[type[Exception], ...] = (ImportError, ValueError, *WRONG_ADDRESS)

OURS = "slack_ties"  # our key in a request's extensions
STOP = "slack_ties.stop"  # the key of an event; when it is set, nobody waits for the answer
LOOK_AGAIN = 0.2  # seconds; Ctrl-C is heard within this time
CONFLICT, CREATE = 409, "/repos/create"  # an answer after which the Hub client asks for ever
REPEATABLE = {"GET", "HEAD"}  # methods of requests that get a part of the limit, and a retry


class Policy(Protocol):
    """What a retry policy says of time."""

    @property
    def timeout(self) -> float:
        """The limit in seconds."""


P = TypeVar("P", bound=Policy)


class _Open:
    """The limit of the block that is open; several threads can be in it."""

    lock = threading.Lock()
    limit: Limit | None = None
    policy: Any = None
    users = 0


@contextmanager
def timeouts(policy: Policy) -> Iterator[Limit]:
    """Keep to the time limit of a retry policy while the block runs; yield the limit.

    Within another block the limit of that block applies: a command has one limit.
    """
    with _Open.lock:
        if _Open.limit is None or _Open.limit.closed:  # closed: threads of it may still end
            change_client(_make_client)
            _Open.limit, _Open.policy, _Open.users = Limit(policy.timeout), policy, 0
        limit = _Open.limit
        _Open.users += 1
    try:
        yield limit
    except (KeyboardInterrupt, SystemExit):
        limit.close()
        raise
    finally:
        with _Open.lock:
            _Open.users -= _Open.limit is limit
            if not _Open.users and _Open.limit is limit:
                _Open.limit = _Open.policy = None


def in_force(policy: P) -> P:
    """Return the policy of the open block; this one if no block is open."""
    return _Open.policy or policy


@contextmanager
def another(policy: Policy) -> Iterator[None]:
    """Let the open block, if there is one, keep to another policy while this block runs."""
    with _Open.lock:
        limit, before = _Open.limit, _Open.policy
        if limit is not None:
            seconds, limit.seconds, _Open.policy = limit.seconds, policy.timeout, policy
    try:
        yield
    finally:
        with _Open.lock:
            if limit is not None and _Open.limit is limit:
                limit.seconds, _Open.policy = seconds, before


def _make_client(make: Callable[[], Any]) -> Any:
    """Return an HTTP client whose requests keep to the limit."""
    try:
        client = make()
    except WRONG_SETTINGS as error:
        if _Open.limit is None:
            raise
        raise ClientError(str(error)) from error
    send, hooks = client.send, client.event_hooks
    client.send = lambda request, **how: _send(send, request, how)
    client.event_hooks = {**hooks, "response": [*hooks["response"], _note_answer]}
    return client


class _Exchange:
    """A request and its answer."""

    def __init__(self, limit: Limit, request: Any) -> None:
        """Take the time that the request may wait."""
        self.limit, self.stop = limit, request.extensions.get(STOP)
        self.what = (request.method, str(request.url), request.headers.get("Range"))
        self.seconds = limit.left_for_request
        if request.method in REPEATABLE:
            self.seconds = min(self.seconds, limit.part)
        self.last = time.monotonic()
        self.sent = self.received = 0
        self.ended, self.abandoned = threading.Event(), False
        self.outcome: Any = None

    @property
    def silence(self) -> float:
        """Seconds since the last byte."""
        return time.monotonic() - self.last

    def join(self) -> None:
        """Wait for the answer; raise if nothing moves for too long."""
        while not self.ended.wait(min(LOOK_AGAIN, max(0.0, self.seconds - self.silence))):
            stopped = self.stop is not None and self.stop.is_set()
            if self.silence >= self.seconds or self.limit.closed or stopped:
                raise SilentError

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count the time of reading a block of the answer."""
        with self.limit.wait():
            try:
                yield
            except SILENT as error:
                # The Hub client continues the download of a file by itself, while there is time.
                if self.limit.left <= 0:
                    raise SilentError(error) from None
                raise

    def count_sent(self, count: int) -> None:
        """Note sent bytes."""
        self.last, self.sent = time.monotonic(), self.sent + count
        self.limit.moved(("sent", *self.what), self.sent)

    def count_received(self, count: int) -> None:
        """Note received bytes."""
        self.last, self.received = time.monotonic(), self.received + count
        self.limit.moved(("received", *self.what), self.received)


def _send(send: Callable[..., Any], request: Any, how: dict[str, Any]) -> Any:
    """Send a request within the limit of the open block, if there is one."""
    limit = _Open.limit
    if limit is None:
        return send(request, **how)
    keep(str(request.url), limit, request.extensions.get(STOP))
    with limit.wait():
        exchange = _Exchange(limit, request)
        if exchange.seconds <= 0:
            raise SilentError
        times = dict.fromkeys(("connect", "read", "write", "pool"), exchange.seconds)
        request.extensions = {**request.extensions, "timeout": times, OURS: exchange}
        watch_bytes(request, exchange.count_sent)
        try:
            response = _wait_for(exchange, lambda: send(request, **how))
            times["read"] = limit.part  # for an answer that is read later
        except (TransportError, HfHubHTTPError) as error:
            fault = as_fault(error)
            begin(fault, limit)
            raise fault or error from None
        return response


def _wait_for(exchange: _Exchange, send: Callable[[], Any]) -> Any:
    """Return the answer to a request, or raise its error.

    The request runs in a thread. The HTTP library's own time-outs are for each step: each address
    of a name, the encryption, the proxy, the answer; and none is for looking up the name.
    """
    context = contextvars.copy_context()

    def work() -> None:
        try:
            response = context.run(send)
            _check(response)
        except BaseException as error:  # noqa: BLE001 - raised below
            exchange.outcome = error
        else:
            exchange.outcome = response
            if exchange.abandoned:
                response.close()
        exchange.ended.set()

    threading.Thread(target=work, name="slack-ties asks", daemon=True).start()
    try:
        exchange.join()
    except BaseException:
        exchange.abandoned = True
        raise
    if isinstance(exchange.outcome, BaseException):
        raise exchange.outcome
    return exchange.outcome


def _note_answer(response: Any) -> None:
    """Count an answer and its bytes as progress, unless the Hub failed or is busy."""
    exchange = response.request.extensions.get(OURS)
    if exchange is None:
        return
    exchange.last = time.monotonic()
    if not is_fault(response.status_code):
        exchange.limit.moved(exchange.what)
        watch_bytes(response, exchange.count_received, exchange.reading)


def _check(response: Any) -> None:
    """Raise the Hub client's error for an answer after which the client would retry by itself."""
    conflict = response.status_code == CONFLICT and response.request.url.path.endswith(CREATE)
    if is_fault(response.status_code) or conflict:
        response.read()
        raise_for_status(response)
