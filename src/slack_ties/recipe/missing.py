"""Say what to type instead of the path of a config that does not exist."""

from __future__ import annotations

import re
import shlex
from difflib import get_close_matches
from pathlib import Path

from slack_ties.catalogue.languages import find_triple
from slack_ties.errors import CatalogueError, RecipeError
from slack_ties.record import CONFIG_FILE

__all__ = ["ALIASES", "instead_of", "no_merge"]

SUFFIXES = (".yml", ".yaml")

WRITE_ONE = "slack-ties config LANG  # writes one"

# Names of papers for a method of mergekit, whose name is in the file's name. As in
# config/methods.py, which is not below this room; a test compares them.
ALIASES = {
    "chat-vector": "task_arithmetic",
    "param-delta": "task_arithmetic",
    "instruction-residual": "task_arithmetic",
    "model-soup": "linear",
}

FOLDER = "merge_configs"  # where `slack-ties config` writes if it is not told otherwise

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\S+)?")  # OWNER/NAME or OWNER/NAME@REVISION


def instead_of(path: Path) -> str:
    """Return the next step for a config that is not there.

    It is an existing config with a similar name, a command that writes the config of this
    language, or a command that fetches the recipe of this Hub id.
    """
    if path.name == CONFIG_FILE and path.parent.is_dir():
        return "slack-ties merge CONFIG OUT  # makes a model's folder"
    alone = path.parent == Path()
    near = _configs(path.parent)
    written = near + (_configs(Path(FOLDER)) if alone else [])
    try:
        key = find_triple(path.stem).key
    except CatalogueError:
        key = ""
    of_paper, method = _named_by_paper(path.stem)
    stems = {path.stem, key, f"{of_paper}-{ALIASES[method]}" if method else ""}
    for one in written:
        if one.stem in stems:
            return _use(one)
    if (key or of_paper) and (path.suffix in SUFFIXES or alone):
        to = f" --method {method}" if method else ""
        to += "" if str(path.parent) in {".", FOLDER} else f" -o {shlex.quote(str(path))}"
        return f"slack-ties config {key or of_paper}{to}"
    names = {one.stem: one for one in near}  # equal suffixes do not make names alike
    if alike := get_close_matches(path.stem, names, n=1):
        return _use(names[alike[0]])
    if not path.suffix and HUB_ID.fullmatch(str(path)) and not path.parent.is_dir():
        return f"slack-ties recipes pull {path}"
    return WRITE_ONE


def no_merge(name: str | Path, expected: str) -> RecipeError:
    """Return the error for a name that is no merge at all: no folder, no config, nothing else.

    Args:
        name: What the user wrote.
        expected: What it may be.

    """
    hint = instead_of(Path(name))
    if hint == WRITE_ONE:  # nothing is like it
        hint = "slack-ties merge CONFIG OUT  # makes a model's folder"
    return RecipeError(f"{str(name)!r} is not there, expected {expected}", hint=hint)


def _named_by_paper(stem: str) -> tuple[str, str]:
    """Return the language and the method in a name such as lo-chat-vector; two "" if none is."""
    for name in ALIASES:
        language = stem.lower().replace("_", "-").removesuffix(f"-{name}")
        if language != stem.lower().replace("_", "-"):
            try:
                return find_triple(language).key, name
            except CatalogueError:
                break
    return "", ""


def _configs(folder: Path) -> list[Path]:
    """Return the files in a folder that are configs by their names."""
    try:
        return sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())
    except OSError:
        return []


def _use(path: Path) -> str:
    return f"use {shlex.quote(str(path))}, which exists"
