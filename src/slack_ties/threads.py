"""Do a few things at once, so that Ctrl-C ends the wait for them at once.

Python waits for the threads of its own pools before it ends, even after Ctrl-C: for a silent
server, or for the checksum of a large file.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CHECK_INTERVAL", "in_threads"]

S = TypeVar("S")
T = TypeVar("T")

CHECK_INTERVAL = 0.2  # seconds; on Windows, Ctrl-C does not end a wait without a timeout


def in_threads(call: Callable[[S], T], items: Iterable[S], *, most: int) -> list[T]:
    """Call `call` with each item, at most `most` at once; return the results in order.

    Raises:
        BaseException: The first error of a call. Calls that run go on; no other begins.

    """
    todo: SimpleQueue[tuple[int, S]] = SimpleQueue()
    for numbered in enumerate(items):
        todo.put(numbered)
    count = todo.qsize()
    done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            try:
                number, item = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((number, call(item), None))
            except BaseException as error:  # noqa: BLE001 - raised below
                done.put((number, None, error))

    for _ in range(min(most, count)):
        threading.Thread(target=work, name="slack-ties works", daemon=True).start()
    results: dict[int, Any] = {}
    try:
        while len(results) < count:
            try:
                number, result, error = done.get(timeout=CHECK_INTERVAL)
            except Empty:
                continue
            if error:
                raise error
            results[number] = result
    finally:
        ended.set()
    return [results[number] for number in range(count)]
