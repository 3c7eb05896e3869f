"""Find out whether a repository holds the result of another recipe."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import HubError, RecipeError
from slack_ties.hub.errors import hub_errors
from slack_ties.recipe.read import parse_recipe
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

    from slack_ties.hub.retries import Retries
    from slack_ties.publish.destination import Destination, Target
    from slack_ties.recipe.recipe import Recipe

__all__ = ["another_recipe", "check_recipe"]


def check_recipe(recipe: Recipe, target: Target, retries: Retries, api: HfApi) -> None:
    """Refuse a merge if the repository holds the result of another recipe.

    Raises:
        HubError: Models or parameters differ from those of the recipe on the Hub.

    """
    to, branch = target.to, target.branch
    if not target.earlier or branch is None or to.update or to.pull_request:
        return
    if CONFIG_FILE not in branch.files:
        return
    with hub_errors(f"publishing to {to.repo_id!r}", api):
        path = retries.ask(
            lambda: api.hf_hub_download(to.repo_id, CONFIG_FILE, revision=branch.head)
        )
    try:
        there = parse_recipe(Path(path).read_text(encoding="utf-8"), where=CONFIG_FILE)
    except (OSError, ValueError, RecipeError):
        return
    if _core(there.data) != _core(recipe.data):
        raise another_recipe(to)


def another_recipe(to: Destination) -> HubError:
    """Return the error that a repository holds the merge of another recipe."""
    msg = f"{to.repo_id!r} holds the merge of another recipe"
    return HubError(msg, hint="choose another name, or replace it: --update")


def _core(data: Mapping[str, Any]) -> str:
    """Return models and parameters, without the commits that a plan adds."""
    names = ("merge_method", "base_model", "models", "slices", "modules", "parameters")
    text = json.dumps({name: data.get(name) for name in names}, sort_keys=True, default=str)
    return re.sub(r"@[0-9a-f]{40}", "", text)
