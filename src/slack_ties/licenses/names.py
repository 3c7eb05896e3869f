"""Names of repositories. Some licences require a name that begins with a given word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slack_ties.errors import OtherIdError

if TYPE_CHECKING:
    from slack_ties.licenses.resolve import Resolution

__all__ = ["check_repo_name", "suggest_name"]

LONGEST_NAME = 96  # of a repository on the Hub


def check_repo_name(repo_id: str, resolution: Resolution) -> None:
    """Refuse a repository name that a parent's licence does not allow.

    Raises:
        HubError: A licence does not allow the name; the message suggests an allowed one.

    """
    owner, _, name = repo_id.rpartition("/")
    for one in resolution.duties:
        if one.prefix and not _begins(name, one.prefix):
            msg = f"{repo_id!r}: the {one.name} requires a name that begins with {one.prefix!r} "
            msg += f"({one.source})"
            better = "/".join(filter(None, [owner, suggest_name(name, resolution.prefix)]))
            raise OtherIdError(msg, hint=f"publish it as {better}", other_id=better)


def suggest_name(name: str, prefix: str) -> str:
    """Return a repository name like `name` that begins with `prefix`: Llama-bo for bo."""
    if not prefix or _begins(name, prefix):
        return name
    first = prefix.replace(" ", "-")
    word = re.escape(prefix.partition(" ")[0])
    rest = re.sub(rf"^{word}[-_.]*|[-_.]+{word}$", "", name, flags=re.IGNORECASE)
    return f"{first}-{rest}"[:LONGEST_NAME].rstrip("-._")


def _begins(name: str, prefix: str) -> bool:
    return bool(re.match("[-_. ]?".join(map(re.escape, prefix.split())), name))
