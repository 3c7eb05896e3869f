"""What the demo's Hub holds: repositories with their commits, in memory."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from slack_ties.files import git_hash

__all__ = ["Commit", "File", "RefusedError", "Repository", "front_matter"]

# As .gitattributes of a new repository on the real Hub says, of the formats used here.
LARGE_FILES = (".safetensors", ".bin")


class RefusedError(Exception):
    """An answer of the Hub that is no success: a status, and the Hub's own code for the reason."""

    def __init__(self, status: int, message: str, code: str = "", **more: str) -> None:
        """Answer `status`; `more` goes into the body."""
        super().__init__(message)
        self.status, self.message, self.code, self.more = status, message, code, more


@dataclass(frozen=True)
class File:
    """A file of a commit; a large one is known by its SHA-256, a small one by git's hash."""

    content: bytes = field(repr=False)
    large: bool

    @cached_property
    def sha256(self) -> str:
        """Return the hash by which a large file is stored."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def name(self) -> str:
        """Return the hash by which clients tell whether they have the file."""
        return self.sha256 if self.large else git_hash(self.content)

    def as_json(self) -> dict[str, Any]:
        """Return what a list of files says of it."""
        size = len(self.content)
        facts: dict[str, Any] = {
            "oid": git_hash(self.name.encode() if self.large else self.content)
        }
        facts["size"] = size
        if self.large:
            facts["lfs"] = {"oid": self.sha256, "sha256": self.sha256, "size": size}
            facts["lfs"]["pointerSize"] = 134  # of git-lfs, for files of these sizes
        return facts


@dataclass(frozen=True)
class Commit:
    """All files at one moment."""

    id: str
    title: str
    files: dict[str, File]
    date: str


@dataclass
class Repository:
    """A model's repository: its commits on main, the oldest first."""

    id: str
    private: bool
    commits: list[Commit] = field(default_factory=list)

    def add(self, title: str, files: dict[str, File]) -> Commit:
        """Add a commit that holds exactly these files."""
        facts = [self.id, title, len(self.commits), *sorted((p, f.name) for p, f in files.items())]
        number = hashlib.sha1(repr(facts).encode(), usedforsecurity=False).hexdigest()
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        self.commits.append(Commit(number, title, files, date))
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        """Return the commit that a revision names: main, or a commit's id."""
        for commit in reversed(self.commits):
            if revision in ("main", commit.id):
                return commit
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def as_json(self, revision: str, *, sizes: bool) -> dict[str, Any]:
        """Return what the Hub says of a model: its commit, its card's metadata, its files."""
        commit = self.at(revision)
        readme = commit.files.get("README.md")
        card = front_matter(readme.content.decode()) if readme else {}
        return {
            "id": self.id,
            "modelId": self.id,
            "sha": commit.id,
            "private": self.private,
            "gated": False,
            "tags": card.get("tags", []),
            "cardData": card,
            "library_name": card.get("library_name"),
            "pipeline_tag": card.get("pipeline_tag"),
            "createdAt": self.commits[0].date,
            "lastModified": commit.date,
            "siblings": [
                _sibling(path, commit.files[path], sizes=sizes) for path in sorted(commit.files)
            ],
        }


def _sibling(path: str, file: File, *, sizes: bool) -> dict[str, Any]:
    if not sizes:
        return {"rfilename": path}
    facts = file.as_json()
    return {"rfilename": path, "blobId": facts.pop("oid"), **facts}


def front_matter(card: str) -> dict[str, Any]:
    """Return the metadata at the top of a model card.

    Raises:
        RefusedError: It is not YAML, or no mapping.

    """
    match = re.match(r"---\s*\n(.*?)\n---", card, re.DOTALL)
    try:
        data = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        raise RefusedError(400, f"the card's metadata is not YAML: {error}") from None
    if not isinstance(data, dict):
        raise RefusedError(400, "the card's metadata is not a mapping")
    return data
