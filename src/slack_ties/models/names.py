"""Read the names of models: a folder or a Hub id, with @REVISION and +ADAPTER."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["COMMIT", "HUB_ID", "split_reference"]

COMMIT = re.compile(r"[0-9a-f]{40}")

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def split_reference(reference: str) -> list[tuple[str, str | None]]:
    """Split mergekit's path[@revision][+lora[@revision]] into (path, revision) pairs."""
    try:
        if Path(reference).is_dir():  # even if its path contains @ or +
            return [(reference, None)]
    except (OSError, ValueError):  # too long, or a NUL: find_model reports it
        pass
    return [(p, r or None) for p, _, r in (x.partition("@") for x in reference.split("+"))]
