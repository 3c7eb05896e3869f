"""lm-eval's progress bars, which it gives no switch for."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_bars"]


class _Hidden(tqdm.tqdm):
    """A progress bar that is not shown."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """Disable the bar."""
        super().__init__(*given, **{**named, "disable": True})


@contextmanager
def no_bars() -> Iterator[None]:
    """Hide the bars of lm-eval's modules that are imported; those of other kinds are shown."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name == "tqdm" or (name.startswith("lm_eval.") and "tqdm" in vars(module))
    ]
    before = [(module, module.tqdm) for module in modules]
    for module in modules:
        module.tqdm = _Hidden  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, bar in before:
            module.tqdm = bar  # type: ignore[attr-defined]
