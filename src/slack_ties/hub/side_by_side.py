"""Ask the Hub several questions at the same time.

Results and messages come in the order of the questions, as if they were asked one after the other.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Answer", "side_by_side"]

LOG = logging.getLogger("slack_ties")

T = TypeVar("T")

LOOK_AGAIN = 0.2  # seconds; with a timeout Ctrl-C works on Windows too


@dataclass
class Answer(Generic[T]):
    """The result of a call, or its error."""

    value: Any = None
    error: BaseException | None = None
    said: list[logging.LogRecord] = field(default_factory=list)

    def get(self) -> T:
        """Return the result, or raise the error."""
        if self.error:
            raise self.error
        value: T = self.value
        return value


class _Messages(logging.Filter):
    """Keeps the messages of threads until it is their turn."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__()
        self.kept: dict[int, list[logging.LogRecord]] = {}
        self.lock = threading.RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a message may be shown now; keep it if not."""
        with self.lock:
            kept = self.kept.get(record.thread or 0)
            if kept is None:
                return True
            kept.append(record)
            return False

    def keep(self, answer: Answer[Any]) -> None:
        """Keep the messages of this thread."""
        with self.lock:
            self.kept[threading.get_ident()] = answer.said

    def show(self, thread: threading.Thread, answer: Answer[Any]) -> None:
        """Show the messages of a thread so far, and from now on at once."""
        with self.lock:
            self.kept.pop(thread.ident or 0, None)
            for record in answer.said:
                LOG.handle(record)


def side_by_side(calls: Sequence[Callable[[], T]]) -> list[Answer[T]]:
    """Make these calls at the same time; return their results and errors in the same order.

    The threads are daemons: Ctrl-C ends the program although they still wait.
    """
    messages, answers = _Messages(), [Answer[T]() for _ in calls]

    def work(call: Callable[[], T], answer: Answer[T], ready: threading.Event) -> None:
        messages.keep(answer)
        ready.set()
        try:
            answer.value = call()
        except BaseException as error:  # noqa: BLE001 - `get` raises it
            answer.error = error

    LOG.addFilter(messages)
    try:
        threads = []
        for call, answer in zip(calls, answers, strict=True):
            ready = threading.Event()
            what = (call, answer, ready)
            threads.append(threading.Thread(target=work, args=what, name="slack-ties", daemon=True))
            threads[-1].start()
            ready.wait()
        for thread, answer in zip(threads, answers, strict=True):
            messages.show(thread, answer)
            while thread.is_alive():
                thread.join(LOOK_AGAIN)
    finally:
        LOG.removeFilter(messages)
    return answers
