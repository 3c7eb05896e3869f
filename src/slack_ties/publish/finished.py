"""Go on with a merge that an earlier run has completed."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

from slack_ties.card.own_text import read_own_text
from slack_ties.errors import OutputError
from slack_ties.publish.publish import Published
from slack_ties.publish.tag_and_collect import tag_and_collect

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.destination import Target
    from slack_ties.record import MergeRecord

__all__ = ["find_published", "is_edited"]

LOG = logging.getLogger("slack_ties")


def is_edited(card: Path) -> bool:
    """Say whether a person edited a card outside of the places for their text."""
    return card.is_file() and read_own_text(card.read_text(encoding="utf-8-sig")).edited


def find_published(
    out: Path, record: MergeRecord, target: Target, *, retries: Retries, api: HfApi
) -> Published:
    """Return where the Hub has a merge whose weights are not in its folder.

    Raises:
        OutputError: The Hub does not have these weights there.

    """
    repo_id, branch = target.to.repo_id, target.branch
    there = branch.files if branch else {}
    sums = {name: file.lfs.sha256 for name, file in there.items() if file.lfs}
    if branch is None or any(sums.get(name) != known for name, known in record.files.items()):
        msg = f"output folder {str(out)!r} holds this merge without weights, and {repo_id!r} does "
        msg += "not have them"
        hint = f"choose another --out, such as {shlex.quote(f'{out}-again')}"
        raise OutputError(msg, hint=hint)
    LOG.info("  %s of %s has this merge already, at commit %s", branch.name, repo_id, branch.head)
    collection = tag_and_collect(target, branch.head, retries=retries, api=api)
    url = f"{api.endpoint}/{repo_id}"
    return Published(repo_id, url, branch.head, tuple(there), branch.name, collection)
