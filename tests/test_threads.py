"""A few things at once."""

from __future__ import annotations

import io
import logging
import sys
import threading

import pytest

from slack_ties.cli.group import say
from slack_ties.progress import Progress
from slack_ties.threads import in_threads


def test_results_in_order() -> None:
    """At most so many calls at once, and no thread for nothing."""
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(10)
        with lock:
            running -= 1
        return number * 2

    assert in_threads(call, range(6), most=2) == [0, 2, 4, 6, 8, 10]
    assert most == 2
    assert in_threads(call, [], most=2) == []


def test_the_first_error_is_raised_at_once() -> None:
    """A call that never ends is not waited for, and no other call begins."""
    begun: list[int] = []
    never = threading.Event()

    def call(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise KeyError(number)
        never.wait(60)

    with pytest.raises(KeyError):
        in_threads(call, range(9), most=2)
    never.set()
    assert sorted(begun)[:2] == [0, 1]
    assert len(begun) <= 3


def test_progress_and_log_lines_of_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log file each may wait for the other's lock: neither keeps its own meanwhile."""
    monkeypatch.setattr("slack_ties.progress.LINE_INTERVAL", 0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log = logging.getLogger("slack_ties")
    say(quiet=False)

    def tell() -> None:
        for _ in range(5000):
            log.info("a line")

    def move() -> None:
        with Progress("merged", 5000) as progress:
            for done in range(5000):
                progress.at(done)

    threads = [threading.Thread(target=one, daemon=True) for one in (tell, move)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)

    assert not any(one.is_alive() for one in threads)
