"""Run lm-eval without its own log lines, prints and progress bars: the caller shows ours."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet"]

LOG = logging.getLogger("slack_ties")

LIBRARIES = ("lm_eval", "datasets", "evaluate", "accelerate", "sqlitedict", "fsspec", "absl")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what lm-eval and the libraries below it print, unless our log is at DEBUG."""
    if LOG.isEnabledFor(logging.DEBUG):
        with redirect_stdout(sys.stderr):  # the result alone is on the standard output
            yield
        return
    import slack_ties.private.lm_eval  # noqa: F401, PLC0415 - its bars are hidden only if loaded
    from slack_ties.private.bars import no_bars  # noqa: PLC0415 - imports tqdm

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stdout(io.StringIO()))  # lm-eval prints batch sizes
        stack.enter_context(no_bars())
        stack.enter_context(_no_logs())
        stack.enter_context(_no_bars_of_hugging_face())
        yield


@contextmanager
def _no_logs() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


@contextmanager
def _no_bars_of_hugging_face() -> Iterator[None]:
    import datasets  # noqa: PLC0415 - heavy
    from transformers.utils import logging as theirs  # noqa: PLC0415 - heavy

    show: Any = theirs
    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    hidden = datasets.are_progress_bars_disabled()
    theirs.set_verbosity(logging.CRITICAL)
    show.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            show.enable_progress_bar()
        if not hidden:
            datasets.enable_progress_bars()
