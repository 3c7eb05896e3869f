"""Fetch a published recipe from the Hub and check it. `slack-ties recipes pull` calls this.

Anybody can write a recipe on the Hub. It may name models of the Hub and say how to merge them,
nothing else. This module downloads only the recipe, and runs nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi

from slack_ties.errors import HubError, visible
from slack_ties.files import git_hash
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import READING, Retries
from slack_ties.models.hub_info import ask_hub
from slack_ties.notebook import Shown
from slack_ties.plan.method import what_is_ignored
from slack_ties.private.huggingface_hub import is_offline
from slack_ties.record import CONFIG_FILE
from slack_ties.sharing.adapt import to_slack_ties
from slack_ties.sharing.untrusted import MOST_RECIPE_BYTES, check_untrusted, refused

if TYPE_CHECKING:
    from slack_ties.recipe.recipe import Recipe

MOE_FILE = "mergekit_moe_config.yml"  # what mergekit-moe writes beside its models

__all__ = ["Pulled", "pull_recipe"]


@dataclass(frozen=True, repr=False)
class Pulled(Shown):
    """A recipe that was fetched and checked."""

    recipe: Recipe
    repo_id: str
    commit: str
    changes: tuple[str, ...]  # that would make it slack_ties; empty if it is
    ignored: tuple[str, ...] = ()  # what mergekit ignores in it; empty for slack_ties

    def summary(self) -> str:
        """Return its method and its models, and where it is from."""
        models = ", ".join(self.recipe.models)
        return f"{self.recipe.method} of {models}, from {self.repo_id} at {self.commit[:7]}"

    def as_text(self) -> str:
        """Return the same, with the changes that would make it slack_ties."""
        lines = [self.summary()]
        if self.changes:
            lines += ["To make it slack_ties:", *(f"  - {change}" for change in self.changes)]
        return "\n".join(map(visible, lines))


def pull_recipe(
    repo_id: str,
    *,
    folders: bool = False,
    retries: Retries = READING,
    api: HfApi | None = None,
) -> Pulled:
    """Fetch the recipe of a published model with its commit, and check it.

    Args:
        repo_id: OWNER/NAME or OWNER/NAME@REVISION.
        folders: Accept a recipe that names folders, which are on another disk; do not open them.
        retries: How long to wait for the Hub.
        api: The Hub client. If not given: the default one.

    Raises:
        HubError: The model does not exist, or has no recipe.
        RecipeError: The recipe is refused; the message says why.

    """
    api = api or HfApi()
    path, _, revision = repo_id.partition("@")
    if "/" not in path:
        msg = f"{repo_id!r} is not a model of the Hub, expected OWNER/NAME"
        raise HubError(msg, hint="slack-ties recipes search")
    what = f"recipe of {repo_id!r}"
    with hub_errors(what, api):
        if is_offline():
            file = api.hf_hub_download(
                path, CONFIG_FILE, revision=revision or None, local_files_only=True
            )
            commit = Path(file).parent.name
            stored = ""
        else:
            info = ask_hub(path, revision or None, retries, api)
            commit = info.sha or ""
            files = {one.rfilename: one for one in info.siblings or ()}
            if MOE_FILE in files and CONFIG_FILE not in files:
                msg = f"{repo_id!r} is a mixture of experts, made by mergekit-moe: its recipe is "
                msg += "of another kind"
                raise HubError(msg, hint="slack-ties recipes search")
            if CONFIG_FILE not in files:
                msg = f"{repo_id!r} has no {CONFIG_FILE}: it was not made by mergekit or slack-ties"
                raise HubError(msg, hint="slack-ties recipes search")
            found = files[CONFIG_FILE]
            stored = (found.lfs.sha256 if found.lfs else found.blob_id) or ""
            if (files[CONFIG_FILE].size or 0) > MOST_RECIPE_BYTES:
                raise refused(what, f"it has {files[CONFIG_FILE].size:,} bytes")
            # Download by name too: then the cache has it when there is no network.
            file = retries.ask(
                lambda: api.hf_hub_download(path, CONFIG_FILE, revision=revision or None)
            )
            if Path(file).parent.name != commit:
                file = retries.ask(lambda: api.hf_hub_download(path, CONFIG_FILE, revision=commit))
    content = Path(file).read_bytes()
    if len(content) > MOST_RECIPE_BYTES:
        raise refused(what, f"it has {len(content):,} bytes")
    if stored and stored not in (git_hash(content), hashlib.sha256(content).hexdigest()):
        msg = f"{what}: the file in the cache differs from the file on the Hub"
        raise HubError(msg, hint=f"hf download {path} {CONFIG_FILE} --force-download")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise refused(what, "it is not UTF-8 text") from None
    recipe = check_untrusted(text, where=f"{path}@{commit}", folders=folders)
    ignored = tuple(map(visible, what_is_ignored(recipe)))
    return Pulled(recipe, path, commit, tuple(to_slack_ties(recipe)), ignored)
