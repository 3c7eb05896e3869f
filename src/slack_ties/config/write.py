"""Write config files; never overwrite a file that a person edited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.config.make import make_config
from slack_ties.errors import OutputError
from slack_ties.files import expanded, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slack_ties.config.choices import Choices
    from slack_ties.recipe.recipe import Recipe

__all__ = ["write_configs", "write_recipes"]


def write_configs(
    languages: Iterable[str] | str,
    folder: str | Path = "merge_configs",
    *,
    choices: Choices | None = None,
    joint: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write one merge config per language into `folder` and return their paths.

    Args:
        languages: Keys or languages of the catalogue. For a language outside it, give its ISO
            639 code, and all three models in `choices`.
        folder: It is created if it does not exist.
        choices: Models and parameters that replace the catalogue's and the recommended ones.
        joint: Write one config that merges the CT models of all languages.
        overwrite: Replace configs of the same name with other content.

    Raises:
        CatalogueError: A language is not in the catalogue. Nothing is written then.
        RecipeError: A parameter is out of range. Nothing is written then.
        OutputError: The folder cannot be written to, or a config there was edited.

    """
    folder = expanded(folder)
    languages = [languages] if isinstance(languages, str) else list(languages)
    groups = [languages] if joint else [[language] for language in languages]
    recipes = {folder / r.where: r for r in (make_config(group, choices) for group in groups)}
    write_recipes(recipes, overwrite=overwrite)
    return list(recipes)


def write_recipes(recipes: Mapping[Path, Recipe], *, overwrite: bool = False) -> None:
    """Write all configs to their paths, or none.

    Raises:
        OutputError: A path cannot be written, or has other content.

    """
    for path, recipe in recipes.items():
        try:
            there = path.exists() and path.read_bytes() != recipe.text.encode()
        except OSError:  # a folder of that name
            there = True
        if there and not overwrite:
            msg = f"{str(path)!r} exists and has other content"
            raise OutputError(msg, hint="add --overwrite, or choose another path with -o")
    for path, recipe in recipes.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, recipe.text)
        except OSError as error:
            msg = f"cannot write configs to {str(path.parent)!r}: {error.strerror or error}"
            raise OutputError(msg, hint="choose another path with -o") from None
