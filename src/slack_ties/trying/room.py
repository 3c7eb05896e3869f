"""Refuse models that do not fit in memory or on the disk, before they are downloaded or loaded."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from slack_ties.errors import OutputError
from slack_ties.models.memory import bytes_in_memory, check_fits
from slack_ties.plan.room import cache_folder
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slack_ties.trying.tried import Candidate

__all__ = ["check_disk", "check_memory"]

LOG = logging.getLogger("slack_ties")


def check_memory(one: Candidate, dtype: str, device: str, again: Callable[..., str]) -> None:
    """Refuse a model whose weights alone are larger than the free memory.

    Args:
        one: The model.
        dtype: The type in which it is to run; auto: as stored.
        device: Where it is to run, as torch names it.
        again: Returns the command of the user with more options.

    Raises:
        CheckpointError: They are, or they cannot be read.

    """
    need = bytes_in_memory(one.looks, dtype)
    hint = "free memory, or use a machine that has more"
    if bytes_in_memory(one.looks, "bfloat16") < need:
        hint = again("--dtype", "bfloat16")
    check_fits(one.name, need, device, hint=hint)


def check_disk(models: Sequence[Candidate], cache: str | None, *, hint: str = "") -> None:
    """Refuse models whose download has no room on the disk; say how much is downloaded.

    Args:
        models: All that are to run.
        cache: The folder for downloads; the Hub's own cache if not given.
        hint: What to do next; to free disk space if not given.

    Raises:
        OutputError: They have no room.

    """
    need = sum({look.path: look.download for one in models for look in one.looks}.values())
    free = shutil.disk_usage(cache_folder(cache)).free
    if need > free:
        msg = f"the models that are not here yet take {size(need)}, and {size(free)} of the disk "
        msg += "of the Hub cache are free"
        raise OutputError(msg, hint=hint or "free disk space")
    if need:
        LOG.info("  %s are downloaded", size(need))
