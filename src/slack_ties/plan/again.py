"""Say which command shows all errors of a merge, also if its config is not on this disk."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.catalogue.languages import find_triple
from slack_ties.errors import CatalogueError

if TYPE_CHECKING:
    from slack_ties.recipe.recipe import Recipe

__all__ = ["plan_command"]


def plan_command(config: str, recipe: Recipe | None) -> str:
    """Return the command that plans a config; first the one that writes it, if need be.

    `slack-ties run LANG` and `slack-ties run REPO_ID` write no config before they merge.
    """
    write: list[str] = []
    if recipe and not Path(config).is_file():
        if "@" in config:  # OWNER/NAME@COMMIT, from the Hub
            write = ["recipes", "pull", config]
            config = f"{config.partition('@')[0].rpartition('/')[2]}.yml"
        elif recipe.facts.languages:  # made for a language
            key = Path(config).stem
            write = ["config", key, *_own_models(key, recipe)]
            config = f"merge_configs/{key}.yml"
    plan = shlex.join(["slack-ties", "plan", config])
    return f"{shlex.join(['slack-ties', *write])} && {plan}" if write else plan


def _own_models(key: str, recipe: Recipe) -> list[str]:
    """Return the options that name those models of a recipe that are not the catalogue's."""
    try:
        triple = find_triple(key)
        known = {"base": triple.base.id, "ct": triple.ct.id, "sft": triple.sft.id}
    except CatalogueError:
        known = {}
    return [
        word
        for role in ("base", "ct", "sft")
        if (models := recipe.facts.roles.get(role, ())) != (known.get(role),)
        for model in models
        for word in (f"--{role}", model)
    ]
