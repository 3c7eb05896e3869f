"""Plan what publishing does: which files to upload, to delete and to keep.

Nothing is written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.card.license_files import is_generated
from slack_ties.errors import HubError, visible
from slack_ties.files import any_matches, sha256
from slack_ties.publish.evaluated import OF_WEIGHTS
from slack_ties.publish.manifest import WEIGHT_FILES, SentFile, check_weights, holds_tokens
from slack_ties.publish.same_recipe import another_recipe
from slack_ties.publish.somebodys import changed_there, is_somebodys
from slack_ties.record import CONFIG_FILE, MergeRecord
from slack_ties.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.branch import Branch
    from slack_ties.publish.destination import Target

__all__ = ["Planned", "compare"]

LOG = logging.getLogger("slack_ties")


@dataclass(frozen=True)
class Planned:
    """What publishing would do. Nothing is created or uploaded."""

    repo_id: str
    url: str
    new: bool  # whether the repository must be created
    private: bool
    branch: str
    head: str  # the branch's last commit; empty if there is none
    send: Mapping[str, int] = field(default_factory=dict)  # file to upload -> bytes
    same: tuple[str, ...] = ()  # files that the Hub already has, with the same checksum
    # files to delete: weights, vocabularies, evaluations and examples of an earlier merge
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()  # other files on the Hub, which stay

    def as_text(self) -> str:
        """Return the plan as text for people."""
        kind = "private" if self.private else "public"
        where = f"{self.branch} of {self.repo_id}"
        lines = [
            f"A new {kind} repository {self.repo_id} would be made"
            if self.new
            else f"{where} ({kind}) is at {self.head[:7] or 'no commit'}"
        ]
        lines += [
            f"  send    {visible(name)}  {size(length)}" for name, length in self.send.items()
        ]
        for what, names in (("remove", self.remove), ("there", self.same), ("keep", self.keep)):
            lines += [f"  {what:<6}  {visible(name)}" for name in names]
        total = size(sum(self.send.values()))
        count = counted(len(self.send), "file")
        lines.append(f"{count}, {total}, in one commit. Nothing was made or sent.")
        return "\n".join(lines)


def compare(
    target: Target,
    files: Mapping[str, SentFile],
    record: MergeRecord,
    *,
    retries: Retries,
    api: HfApi,
) -> tuple[Planned, dict[str, SentFile]]:
    """Return the plan, and the files that the Hub will have afterwards.

    Raises:
        HubError: A person's file on the Hub would be lost, or weights would be mixed.

    """
    to, branch = target.to, target.branch
    files = dict(files)
    url = f"{api.endpoint}/{to.repo_id}"
    name = branch.name if branch else "main"
    check_weights(files, record)
    if branch is None:
        sent = {file.name: file.size for file in files.values()}
        return Planned(to.repo_id, url, True, target.private, name, "", sent), files
    there = branch.files
    same = [one for one, file in files.items() if one in there and file.is_same(there[one])]
    if target.earlier and CONFIG_FILE not in same and not (to.update or to.pull_request):
        raise another_recipe(to)
    for one in sorted(set(files) & set(there) - set(same)):
        if is_somebodys(one, files[one], branch, retries, api):
            if is_generated(files[one].path or Path(one)):
                LOG.info("  the Hub's %s stays: somebody put another text there", one)
                del files[one]
            elif not (to.update or to.pull_request):
                raise changed_there(one, to.repo_id)
    others = sorted(set(there) - set(files))
    ours = {*(target.earlier.files if target.earlier else ()), "model.safetensors.index.json"}
    stale = [
        one
        for one in others
        if (any_matches([one], WEIGHT_FILES) and one in ours)
        or (target.earlier and _is_left_over(one, target.earlier, branch, retries, api))
        or (target.earlier and one in OF_WEIGHTS and target.earlier.files != record.files)
    ]
    foreign = [one for one in others if any_matches([one], WEIGHT_FILES) and one not in ours]
    if foreign:
        msg = f"{to.repo_id!r} contains weights that slack-ties did not upload, such as "
        msg += f"{foreign[0]!r}: with two sets of weights it is unclear which are loaded"
        hint = f"choose another name, or: hf repo-files delete {to.repo_id} {foreign[0]}"
        raise HubError(msg, hint=hint)
    sent = {one: file.size for one, file in files.items() if one not in same}
    if (
        to.tag
        and (sent or stale or target.tags.get(to.tag) != branch.head)
        and to.tag in target.tags
    ):
        msg = f"{to.repo_id!r} already has a tag {to.tag!r}, at {target.tags[to.tag][:7]}"
        raise HubError(msg, hint="choose another --tag")
    keep = tuple(one for one in others if one not in stale)
    plan = Planned(
        to.repo_id,
        url,
        False,
        target.private,
        name,
        branch.head,
        sent,
        tuple(same),
        tuple(stale),
        keep,
    )
    return plan, files


def _is_left_over(
    name: str, earlier: MergeRecord, branch: Branch, retries: Retries, api: HfApi
) -> bool:
    """Say whether a file holds tokens of an earlier merge: nobody has changed it since."""
    known, there = earlier.beside.get(name), branch.files[name]
    if not known or not holds_tokens(name):
        return False
    if there.lfs:
        return bool(there.lfs.sha256 == known)
    path = retries.ask(lambda: api.hf_hub_download(branch.repo_id, name, revision=branch.head))
    return sha256(Path(path)) == known
