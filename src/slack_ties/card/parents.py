"""The table of parents in a model card: a row for each model that was merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.card.markdown import plain_text
from slack_ties.card.metadata import MODEL_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.record import MergeRecord, Parent

__all__ = ["HUB", "files_not_compared", "hub_ids", "link_to", "parent_row"]

HUB = "https://huggingface.co"  # links in a card always lead to this Hub

ROLES = {"base": "base", "ct": "CT: continual pre-training", "sft": "SFT: instruction tuning"}


def parent_row(parent: Parent) -> dict[str, str]:
    """Return a row of the table of parents."""
    links = [
        f"[`{name}`]({HUB}/{name})" if on_hub else plain_text(name)
        for name, _, on_hub in _parts(parent)
    ]
    commits = [
        f"[`{commit[:7]}`]({HUB}/{name}/tree/{commit})"
        if commit
        else ("not known" if on_hub else "local folder")
        for name, commit, on_hub in _parts(parent)
    ]
    licenses = [parent.license or "not stated"]
    licenses += [parent.adapter_license or "not stated"] if len(links) > 1 else []
    return {
        "role": ROLES.get(parent.role, "merged"),
        "model": " + ".join(links),
        "commit": " + ".join(commits),
        "license": plain_text(" + ".join(licenses)),
    }


def _parts(parent: Parent) -> list[tuple[str, str, bool]]:
    """Return the model and its adapter: name, commit, and whether it is on the Hub."""
    if parent.commits:
        pairs = zip(parent.names, parent.commits, strict=False)
        return [(name, commit, bool(commit)) for name, commit in pairs]
    names = enumerate(parent.names)
    return [(name, "", not parent.is_local(i)) for i, name in names]


def link_to(parent: Parent) -> str:
    """Return a parent's name for Markdown: as code if it is on the Hub."""
    return "+".join(f"`{name}`" if hub else plain_text(name) for name, _, hub in _parts(parent))


def files_not_compared(parents: Sequence[Parent]) -> list[str]:
    """Return the weight files whose checksums were not compared with the Hub's."""
    return [f"`{file}` of {link_to(one)}" for one in parents for file in one.not_compared]


def hub_ids(parent: Parent, record: MergeRecord | None) -> list[str]:
    """Return the Hub ids for the metadata: only those of models that came from the Hub."""
    known = record and not record.adopted
    ids = parent.hub_ids if known else [name for name, _, on_hub in _parts(parent) if on_hub]
    return [name for name in ids if MODEL_ID.fullmatch(name)]
