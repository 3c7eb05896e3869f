"""A branch, tag or pull request of a repository on the Hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, RepoFile

from slack_ties.hub.retries import Retries

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Branch", "list_files"]


@dataclass(frozen=True)
class Branch:
    """A branch or pull request, and its last commit."""

    repo_id: str
    name: str  # main, another branch, or refs/pr/N
    head: str  # its last commit
    files: Mapping[str, RepoFile] = field(default_factory=dict)  # in that commit

    @property
    def label(self) -> str:
        """Its name in messages."""
        return self.name.replace("refs/pr/", "pull request ")


def list_files(repo_id: str, revision: str, *, api: HfApi) -> dict[str, RepoFile]:
    """Return all files of a repository at one commit, by name."""
    entries = Retries().ask(
        lambda: list(api.list_repo_tree(repo_id, recursive=True, revision=revision))
    )
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
