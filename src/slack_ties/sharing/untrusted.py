"""Check an untrusted recipe before we use it."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import yaml

from slack_ties.config.methods import METHODS
from slack_ties.errors import RecipeError
from slack_ties.models.names import HUB_ID, split_reference
from slack_ties.private.huggingface_hub import is_repo_id
from slack_ties.recipe.read import parse_recipe, read_recipe
from slack_ties.recipe.recipe import FACTS_KEY, Recipe, places, reference

__all__ = [
    "MOST_RECIPE_BYTES",
    "check_not_here",
    "check_untrusted",
    "is_of_hub",
    "lint_recipe",
    "refused",
]

MOST_RECIPE_BYTES = 256 * 1024  # the longest recipe in mergekit's documentation has 5 KB

MOST_DEPTH = 32  # of nested YAML

MOST_PADDING = 4096

REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")

TEMPLATE = re.compile(r"[\w.-]{1,64}")

# Characters that change the writing direction of the text after them.
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def check_untrusted(text: str, *, where: str, folders: bool = False) -> Recipe:
    """Return an untrusted recipe, if it only merges models of the Hub.

    With `folders`, it may name folders too; the caller must not open them.

    This refuses YAML tags and aliases, models that are not Hub ids, the text of a chat template
    (it is a program), control characters, and recipes of more than 256 KiB. Keys that mergekit
    ignores do no harm: mergekit and slack-ties read none of them.

    Raises:
        RecipeError: The recipe is refused; the message says why.

    """
    what = f"recipe {where!r}"
    _check_yaml(text, what)
    recipe = parse_recipe(text, where=where)
    for key_path, value in places(recipe.data):
        if key_path[0] != FACTS_KEY and not folders:
            _check_model(what, reference(value))
    template = recipe.data.get("chat_template")
    if template is not None and not (isinstance(template, str) and TEMPLATE.fullmatch(template)):
        raise refused(what, "it has the text of a chat template, which is a program")
    section = recipe.data.get("tokenizer") or {}
    padding = section.get("pad_to_multiple_of")
    if padding is not None and not (isinstance(padding, int) and 0 <= padding <= MOST_PADDING):
        raise refused(what, f"it has pad_to_multiple_of {padding!r}")
    return recipe


def _check_yaml(text: str, what: str) -> None:
    if len(text.encode()) > MOST_RECIPE_BYTES:
        raise refused(what, f"it has {len(text.encode()):,} bytes")
    try:
        depth = 0
        for event in yaml.parse(text):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:  # stop here: deeper levels take longer and longer to read
                raise refused(what, f"it has more than {MOST_DEPTH} levels of brackets")
            if isinstance(event, yaml.ScalarEvent) and (bad := _hidden(event.value)):
                raise refused(what, f"it has control characters ({bad!r}) in {event.value[:40]!r}")
            if isinstance(event, yaml.AliasEvent):
                raise refused(what, "it has a YAML alias, which can make a small file huge")
            if tag := getattr(event, "tag", None):
                raise refused(what, f"it has the YAML tag {str(tag)[:60]!r}")
    except yaml.YAMLError:
        pass  # parse_recipe reports the position


def lint_recipe(path: Path) -> Recipe:
    """Check a config before it is shared, without network, and return it.

    It must pass the checks for untrusted recipes. It must also have a method that `slack-ties
    config` writes, state its language and the role of each model under our key, and have a name
    that begins with the language tag.

    Raises:
        RecipeError: The config is not ready to share; the message says why.

    """
    recipe = check_untrusted(read_recipe(path).text, where=str(path))
    facts = recipe.facts
    problems = []
    if recipe.method not in METHODS:
        known = ", ".join(METHODS)
        problems.append(f"merge_method is {recipe.method}, expected one of {known}")
    tags = [one.get("tag", "") for one in facts.languages]
    if not tags or not all(tags):
        problems.append(f"{FACTS_KEY}.language has no tag")
    elif not path.stem.startswith(tags[0]):
        problems.append(f"its name is {path.stem}, expected one that begins with {tags[0]}")
    problems += [
        f"{FACTS_KEY}.roles has no role for {name}"
        for name in recipe.models
        if recipe.role(name) not in ("base", "ct", "sft")
    ]
    problems += [
        f"there is no {role} model" for role in ("ct", "sft") if not recipe.models_of(role)
    ]
    problems += [
        f"{FACTS_KEY} names {name}, which is not merged"
        for name in sorted({*facts.licenses, *(n for ns in facts.roles.values() for n in ns)})
        if name not in recipe.models
    ]
    if not recipe.data.get("out_dtype"):
        problems.append("out_dtype is missing: mixed inputs would make it float32")
    if problems:
        msg = f"{path}: {'; '.join(problems)}"
        raise RecipeError(msg, hint="compare it with a config that `slack-ties config` writes")
    return recipe


def check_not_here(recipe: Recipe) -> None:
    """Refuse a recipe if a local folder has the same name as one of its Hub ids.

    Raises:
        RecipeError: There is such a folder; the message names it.

    """
    for name in filter(is_of_hub, recipe.models):
        for path, revision in split_reference(name):
            if not revision and Path(path).exists():
                msg = f"{recipe.where} means {path!r} on the Hub, but a folder here has that name"
                raise RecipeError(msg, hint="run it from another folder")


def refused(what: str, found: str) -> RecipeError:
    """Return the error for a refused recipe."""
    msg = f"{what} is refused: {found}"
    return RecipeError(msg, hint="a shared recipe may only name models of the Hub")


def _check_model(what: str, name: str) -> None:
    if not is_of_hub(name):
        raise refused(what, f"it has the model {name[:100]!r}, expected a Hub id")


def is_of_hub(name: str) -> bool:
    """Say whether a recipe's name of a model, and of its adapter, can only be ids of the Hub."""
    for part in name.split("+"):
        path, at, revision = part.partition("@")
        good = is_repo_id(path) and bool(HUB_ID.fullmatch(path)) and path.isascii()
        if not good or (at and (not REVISION.fullmatch(revision) or ".." in revision)):
            return False
    return True


def _hidden(text: str) -> str:
    """Return the first control character, or "" if there is none."""
    return next(
        (
            c
            for c in text
            if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or c in BIDI
        ),
        "",
    )
