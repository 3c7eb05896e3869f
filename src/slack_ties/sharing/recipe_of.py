"""Find the recipe that `slack-ties run` is given: a language, a config or a published model."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.config.choices import Choices
from slack_ties.config.make import look_at_choices, make_config
from slack_ties.errors import CatalogueError, RecipeError
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.recipe.recipe import Recipe

__all__ = ["names_language", "recipe_of"]


def names_language(what: str | Path) -> bool:
    """Say whether this is a language: neither a config file nor a Hub id."""
    return "/" not in str(what) and not _is_config(Path(what))


def _is_config(path: Path) -> bool:
    return path.suffix in {".yml", ".yaml"} or os.path.isfile(path)  # noqa: PTH113 - never raises


def _is_folder(path: Path, out: Path) -> RecipeError:
    """Return the error for a folder; it names the config in it, if there is one."""
    configs = [path / CONFIG_FILE, *sorted(path.glob("*.yml"))]
    config = next((one for one in configs if one.is_file()), None)
    run = ["slack-ties", "run", str(config), "--out", str(out)]
    msg = f"{str(path)!r} is a folder, expected a language, a config or a Hub id"
    return RecipeError(msg, hint=shlex.join(run) if config else "slack-ties languages")


def recipe_of(what: str | Path, out: Path, choices: Choices | None, api: HfApi | None) -> Recipe:
    """Return the recipe of a config file, of a published model, or of a language.

    Args:
        what: A language, the path of a config, or a Hub id.
        out: The folder of the result, for the command that an error proposes.
        choices: For a language: what replaces the catalogue's models and parameters.
        api: The Hub client.

    Raises:
        SlackTiesError: There is no such language, config or recipe, or it is refused.

    """
    path = Path(what)
    if "/" in str(what) and path.is_dir():
        raise _is_folder(path, out)
    is_file = _is_config(path)
    if names_language(what):
        try:
            choices = look_at_choices(choices or Choices(), [str(what)], api)
            return make_config(str(what), choices)
        except CatalogueError:
            if os.path.isdir(path):  # noqa: PTH112 - never raises, as for a name that is too long
                raise _is_folder(path, out) from None
            raise
    made = choices.made() if choices else []
    if made:
        what_it_is = "a config" if is_file else "a published model"
        msg = f"{what} is {what_it_is}: --{' and --'.join(made)} would change it"
        raise RecipeError(msg, hint="change them in the config, or run a language")
    if is_file or str(what).startswith((".", "/", "~")):
        return read_recipe(path)
    from slack_ties.sharing.pull import pull_recipe  # noqa: PLC0415 - imports the client
    from slack_ties.sharing.untrusted import check_not_here  # noqa: PLC0415 - imports the client

    recipe = pull_recipe(str(what), api=api).recipe
    check_not_here(recipe)
    return recipe
