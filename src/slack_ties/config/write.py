"""Write config files; never overwrite a file that a person edited."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.catalogue.languages import list_languages
from slack_ties.config.make import look_at_choices, make_config
from slack_ties.errors import OutputError
from slack_ties.files import expanded, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slack_ties.config.choices import Choices
    from slack_ties.recipe.recipe import Recipe

__all__ = ["is_config_file", "write_configs", "write_recipes"]

SUFFIXES = (".yml", ".yaml")


def write_configs(  # noqa: PLR0913 - all by name
    languages: Iterable[str] | str,
    output: str | Path = "merge_configs",
    *,
    choices: Choices | None = None,
    joint: bool = False,
    overwrite: bool = False,
    look_at_models: bool = True,
) -> list[Path]:
    """Write one merge config per language and return their paths.

    If `choices` names models, their config and tokenizer files are read, here or on the Hub: the
    config gets the base's weight type, and what tokens that a model added need.

    Args:
        languages: Keys or languages of the catalogue. For a language outside it, give its ISO
            639 code, and all three models in `choices`.
        output: The folder for the configs; it is created if it does not exist. A path that ends
            in .yml or .yaml is the file of a single config, unless a folder has that name.
        choices: Models and parameters that replace the catalogue's and the recommended ones.
        joint: Write one config that merges the CT models of all languages.
        overwrite: Replace configs of the same name with other content.
        look_at_models: False: read no file of a model; `choices` is complete as it is.

    Raises:
        CatalogueError: A language is not in the catalogue. Nothing is written then.
        HubError: The Hub lacks a model of `choices`, or cannot be reached. Nothing is written then.
        RecipeError: A parameter is out of range. Nothing is written then.
        OutputError: `output` cannot be written to, a config there was edited, or it is one file
            for several configs.

    """
    output = expanded(output)
    languages = [languages] if isinstance(languages, str) else list(languages)
    groups = [languages] if joint else [[language] for language in languages]
    file = output.name if is_config_file(output) else ""
    if file and len(groups) > 1:
        msg = f"{str(output)!r} is the name of one file, and {len(groups)} languages make as many"
        langs = ["--all"] if len(languages) == len(list_languages()) else languages
        step = shlex.join(["slack-ties", "config", *langs, "-o", str(output.with_suffix(""))])
        raise OutputError(msg, hint=f"{step}  # a folder; with your other options")
    folder = output.parent if file else output
    made = (
        make_config(
            group,
            look_at_choices(choices, group) if choices and look_at_models else choices,
            file=file,
        )
        for group in groups
    )
    recipes = {folder / recipe.where: recipe for recipe in made}
    write_recipes(recipes, overwrite=overwrite)
    return list(recipes)


def is_config_file(path: Path) -> bool:
    """Say whether a path to write to is the file of one config, by its name, and no folder."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def write_recipes(recipes: Mapping[Path, Recipe], *, overwrite: bool = False) -> None:
    """Write all configs to their paths, or none.

    Raises:
        OutputError: A path cannot be written, or has other content.

    """
    for path, recipe in recipes.items():
        if path.is_dir():
            msg = f"{str(path)!r} is a folder, expected a file for the config"
            raise OutputError(msg, hint="choose a file with -o")
        try:
            there = path.exists() and path.read_bytes() != recipe.text.encode()
        except OSError:  # it cannot be read
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
