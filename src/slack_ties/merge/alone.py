"""Let only one merge run at a time in this process."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["alone"]

_MERGING = threading.Lock()

_MERGING_THREADS: list[int] = []  # the thread that merges, if any


@contextmanager
def alone() -> Iterator[None]:
    """Let only one merge run at a time in this process; a merge of another thread waits.

    mergekit keeps its loaders for the whole process, and the process has one report counter.

    Raises:
        SlackTiesError: This thread runs a merge already.

    """
    me = threading.get_ident()
    if me in _MERGING_THREADS:
        msg = "a merge cannot begin another merge while it runs"
        raise SlackTiesError(msg, hint="begin it after the first merge has ended")
    with _MERGING:
        _MERGING_THREADS.append(me)
        try:
            yield
        finally:
            _MERGING_THREADS.remove(me)
