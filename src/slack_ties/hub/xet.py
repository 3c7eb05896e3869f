"""What hf_xet is told in this process: nothing, as `transfer.py` uploads in another one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slack_ties.hub.retries import Retries

__all__ = ["xet_settings"]


@contextmanager
def xet_settings(_: Retries) -> Iterator[None]:
    """Change nothing."""
    yield
