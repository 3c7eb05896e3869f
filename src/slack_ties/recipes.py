"""Recipes of others: find them on the Hub, fetch one, make one for another language.

`slack-ties recipes` calls this. A recipe from the Hub is somebody's text: it may name models
of the Hub and say how to merge them, and nothing else. Fetching one runs and downloads nothing.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented

from slack_ties.config import finished
from slack_ties.errors import CatalogueError, HubError, RecipeError
from slack_ties.files import git_hash
from slack_ties.hub import API_TIMEOUT, HUB_ID, hub_errors, split_reference
from slack_ties.languages import Language, find_triple, unlisted_language
from slack_ties.parameters import PARAMETERS
from slack_ties.recipe import (
    FACTS_KEY,
    Recipe,
    parse_recipe,
    places,
    put,
    read_recipe,
    reference,
)
from slack_ties.record import CONFIG_FILE

__all__ = [
    "Listed",
    "Pulled",
    "adapt_recipe",
    "api_is_offline",
    "check_not_here",
    "check_untrusted",
    "lint_recipe",
    "pull_recipe",
    "search_recipes",
    "to_slack_ties",
]

MOST_BYTES = 256 * 1024  # of a recipe; the longest that mergekit's documentation shows has 5 KB
MOST_DEPTH = 32
MOST_PADDING = 4096
REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")
TEMPLATE = re.compile(r"[\w.-]{1,64}")
TAG = "slack-ties"
# Characters that turn the direction of what follows them.
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Parameters of other methods, and why slack_ties has none of them.
WITHOUT = {
    "int8_mask": "it only saves memory, which slack_ties does not need",
    "rescale": "slack_ties does not rescale",
    "gamma": "slack_ties keeps the largest changes",
    "epsilon": "slack_ties chooses nothing at random",
    "t": "slack_ties adds changes, it does not interpolate",
}


@dataclass(frozen=True)
class Listed:
    """One published recipe."""

    repo_id: str
    languages: tuple[str, ...]
    bases: tuple[str, ...]  # base_model, as its card says
    license: str
    modified: str  # year-month-day
    downloads: int
    likes: int


@dataclass(frozen=True)
class Pulled:
    """A recipe that was fetched and checked."""

    recipe: Recipe
    repo_id: str
    commit: str
    changes: tuple[str, ...]  # that would make it slack_ties; none if it is


def search_recipes(
    *,
    language: str | None = None,
    base: str | None = None,
    author: str | None = None,
    limit: int = 100,
    api: HfApi | None = None,
) -> list[Listed]:
    """Return published models that carry a recipe of ours, the newest first.

    Args:
        language: A language of the catalogue, or a language tag.
        base: The Hub id of a parent.
        author: A user or an organization.
        limit: At most so many.
        api: The Hub client; the default one if not given.

    Raises:
        CatalogueError: `language` is no language.
        HubError: The Hub cannot be reached.

    """
    api = api or HfApi()
    wanted = [TAG]
    if language:
        found = _language(language)
        # The Hub lists ISO 639 codes; our cards carry a tag for a script.
        wanted.append(found.tag if "-" in found.tag else found.iso_639_1 or found.iso_639_3)
    if base:
        wanted.append(f"base_model:{base.partition('@')[0]}")
    with hub_errors("searching for recipes", api):
        models = list(
            api.list_models(
                filter=wanted, author=author, sort="last_modified", limit=limit, full=True,
                cardData=True,
            )
        )  # fmt: skip
    return [
        Listed(
            repo_id=model.id,
            languages=tuple(_texts(card.get("language"))),
            bases=tuple(_texts(card.get("base_model"))),
            license=next(iter(_texts(card.get("license"))), ""),
            modified=f"{model.last_modified:%Y-%m-%d}" if model.last_modified else "",
            downloads=model.downloads or 0,
            likes=model.likes or 0,
        )
        for model in models
        for card in [vars(model.card_data) if model.card_data else {}]
    ]


def pull_recipe(repo_id: str, *, api: HfApi | None = None) -> Pulled:
    """Fetch the recipe of a published model, by commit, and check it.

    Args:
        repo_id: OWNER/NAME or OWNER/NAME@REVISION.
        api: The Hub client; the default one if not given.

    Raises:
        HubError: There is no such model, or it holds no recipe.
        RecipeError: The recipe is refused; the message says why.

    """
    api = api or HfApi()
    path, _, revision = repo_id.partition("@")
    if "/" not in path:
        msg = f"{repo_id!r} is no model of the Hub, expected OWNER/NAME"
        raise HubError(msg, hint="slack-ties recipes search")
    what = f"recipe of {repo_id!r}"
    with hub_errors(what, api):
        if api_is_offline():
            file = api.hf_hub_download(
                path, CONFIG_FILE, revision=revision or None, local_files_only=True
            )
            commit = Path(file).parent.name
            stored = ""
        else:
            info = api.model_info(
                path, revision=revision or None, files_metadata=True, timeout=API_TIMEOUT
            )
            commit = info.sha or ""
            files = {one.rfilename: one for one in info.siblings or ()}
            if CONFIG_FILE not in files:
                msg = f"{repo_id!r} holds no {CONFIG_FILE}: it was not made by mergekit or us"
                raise HubError(msg, hint="slack-ties recipes search")
            found = files[CONFIG_FILE]
            stored = (found.lfs.sha256 if found.lfs else found.blob_id) or ""
            if (files[CONFIG_FILE].size or 0) > MOST_BYTES:
                raise _refused(what, f"it has {files[CONFIG_FILE].size:,} bytes")
            # By name as well, so that the cache knows it when there is no network.
            file = api.hf_hub_download(path, CONFIG_FILE, revision=revision or None)
            if Path(file).parent.name != commit:
                file = api.hf_hub_download(path, CONFIG_FILE, revision=commit)
    content = Path(file).read_bytes()
    if len(content) > MOST_BYTES:
        raise _refused(what, f"it has {len(content):,} bytes")
    if stored and stored not in (git_hash(content), hashlib.sha256(content).hexdigest()):
        msg = f"{what}: the file in the cache is not what the Hub has"
        raise HubError(msg, hint=f"hf download {path} {CONFIG_FILE} --force-download")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _refused(what, "it is no UTF-8 text") from None
    recipe = check_untrusted(text, where=f"{path}@{commit}")
    return Pulled(recipe, path, commit, tuple(to_slack_ties(recipe)))


def check_untrusted(text: str, *, where: str) -> Recipe:
    """Return a recipe from elsewhere, if it does nothing but merge models of the Hub.

    Refused are: YAML tags and aliases, keys that neither mergekit nor we have, models that
    are not Hub ids, chat templates written out (they are programs), control characters, and
    more than 256 KiB.

    Raises:
        RecipeError: Says what was found.

    """
    what = f"recipe {where!r}"
    _check_yaml(text, what)
    recipe = parse_recipe(text, where=where)
    for place, value in places(recipe.data):
        if place[0] != FACTS_KEY:
            _check_model(what, reference(value))
    template = recipe.data.get("chat_template")
    if template is not None and not (isinstance(template, str) and TEMPLATE.fullmatch(template)):
        raise _refused(what, "a chat template written out, which is a program")
    section = recipe.data.get("tokenizer") or {}
    padding = section.get("pad_to_multiple_of")
    if padding is not None and not (isinstance(padding, int) and 0 < padding <= MOST_PADDING):
        raise _refused(what, f"pad_to_multiple_of {padding!r}")
    return recipe


def _check_yaml(text: str, what: str) -> None:
    if len(text.encode()) > MOST_BYTES:
        raise _refused(what, f"it has {len(text.encode()):,} bytes")
    try:
        depth = 0
        for event in yaml.parse(text):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:  # before it is read on: that takes ever longer
                raise _refused(what, f"more than {MOST_DEPTH} brackets in one another")
            if isinstance(event, yaml.ScalarEvent) and (bad := _hidden(event.value)):
                raise _refused(what, f"control characters ({bad!r}) in {event.value[:40]!r}")
            if isinstance(event, yaml.AliasEvent):
                raise _refused(what, "a YAML alias, which can make a small file huge")
            if tag := getattr(event, "tag", None):
                raise _refused(what, f"the YAML tag {str(tag)[:60]!r}")
    except yaml.YAMLError:
        pass  # parse_recipe says where


def lint_recipe(path: Path) -> Recipe:
    """Check a config that is to be shared, without any network, and return it.

    Beyond what a recipe from elsewhere must be, it is a slack_ties merge that says under our
    key which language it is for and what each model is, and it is named after the language.

    Raises:
        RecipeError: Says what is missing.

    """
    recipe = check_untrusted(read_recipe(path).text, where=str(path))
    facts = recipe.facts
    problems = []
    if recipe.method != "slack_ties":
        problems.append(f"merge_method is {recipe.method}, expected slack_ties")
    tags = [one.get("tag", "") for one in facts.languages]
    if not tags or not all(tags):
        problems.append(f"{FACTS_KEY}.language has no tag")
    elif not path.stem.startswith(tags[0]):
        problems.append(f"its name is {path.stem}, expected one that begins with {tags[0]}")
    problems += [
        f"{FACTS_KEY}.roles does not say what {name} is"
        for name in recipe.models
        if recipe.role(name) not in ("base", "ct", "sft")
    ]
    problems += [
        f"there is no {role} model" for role in ("ct", "sft") if not recipe.models_of(role)
    ]
    problems += [
        f"{FACTS_KEY} speaks of {name}, which is not merged"
        for name in sorted({*facts.licenses, *(n for ns in facts.roles.values() for n in ns)})
        if name not in recipe.models
    ]
    if not recipe.data.get("out_dtype"):
        problems.append("out_dtype is missing: mixed inputs would make it float32")
    if problems:
        msg = f"{path}: {'; '.join(problems)}"
        raise RecipeError(msg, hint="compare it with one that `slack-ties config` writes")
    return recipe


def check_not_here(recipe: Recipe) -> None:
    """Refuse to take a recipe's Hub ids for folders that happen to have their names.

    Raises:
        RecipeError: Names the model.

    """
    for name in recipe.models:
        for path, revision in split_reference(name):
            if not revision and Path(path).exists():
                msg = f"{recipe.where} means {path!r} on the Hub, and here is a folder of that name"
                raise RecipeError(msg, hint="run it from another folder")


def to_slack_ties(recipe: Recipe) -> list[str]:
    """Return what would have to change to make a config of another method slack_ties."""
    if recipe.method == "slack_ties":
        return []
    ours = {parameter.name for parameter in PARAMETERS}
    changes = [f"merge_method: slack_ties  (now {recipe.method})"]
    if not recipe.base:
        changes.append("add base_model: slack_ties adds changes to a base")
    given: set[str] = set()
    for settings in _parameters(recipe.data):
        given |= settings.keys()
    changes += [
        f"remove {name}: {WITHOUT.get(name, 'slack_ties has no such parameter')}"
        for name in sorted(given - ours)
    ]
    if recipe.base and any(
        reference(part.get("model")) == recipe.base for part in recipe.data.get("models") or ()
    ):
        changes.append(f"remove {recipe.base} from models: the base has no change to add")
    if "weight" not in given:
        changes.append("add weight to each model's parameters, 1.0 to begin with")
    if recipe.method.startswith(("dare", "della")):
        changes.append("density means the largest changes there, not random ones: begin with 0.5")
    elif "density" not in given:
        changes.append("add density to each model's parameters, 0.5 to begin with")
    changes.append("add slack: 0.2 to the parameters of the SFT model")
    if recipe.method in ("linear", "slerp", "nuslerp", "multislerp", "karcher"):
        changes.append(f"weights of {recipe.method} are shares of whole models, here of changes")
    return changes


def adapt_recipe(
    recipe: Recipe,
    *,
    language: str,
    ct: str,
    instead_of: str | None = None,
    language_name: str | None = None,
) -> Recipe:
    """Return the recipe for another language: its CT model and language facts replaced.

    Args:
        recipe: With roles under our key, or with `instead_of`.
        language: A language of the catalogue, or an ISO 639 code.
        ct: The CT model of that language, of the same base.
        instead_of: The model of the recipe that it replaces; its CT model if not given.
        language_name: In English, for a language outside the catalogue.

    Raises:
        CatalogueError: `language` is no language.
        RecipeError: Which model to replace is not known.

    """
    target = _language(language)
    if language_name and not target.name:
        target = replace(target, name=language_name)
    old = instead_of or ""
    if not old:
        cts = recipe.models_of("ct")
        if len(cts) != 1:
            found = f"{len(cts)} CT models" if cts else "no word of which model is the CT model"
            msg = f"{recipe.where}: {found}, expected one to replace"
            others = " or ".join(model for model in recipe.models if model != recipe.base)
            raise RecipeError(msg, hint=f"say which one it is: --instead-of {others}")
        (old,) = cts
    if old not in recipe.models:
        msg = f"{recipe.where}: there is no model {old!r} to replace"
        raise RecipeError(msg, hint=f"its models: {', '.join(recipe.models)}")
    data: dict[str, Any] = deepcopy(dict(recipe.data))
    for place, value in places(recipe.data):
        if reference(value) == old:
            put(data, place, ct)
            if place[0] in ("tokenizer", "tokenizer_source"):
                # Whether the new model has tokens of its own, `plan` finds out.
                data[place[0]] = None
                break
    data = {name: value for name, value in data.items() if value is not None}
    facts = dict(data.pop(FACTS_KEY, None) or {"recipe": 1})
    for name in ("versions", "options"):
        facts.pop(name, None)
    known = ("tag", "name", "endonym", "script", "iso_639_1", "iso_639_3")
    facts["language"] = {
        name: value for name, value in asdict(target).items() if value and name in known
    }
    facts["roles"] = facts.get("roles") or {"base": recipe.base, "ct": ct}
    facts["licenses"] = {k: v for k, v in (facts.get("licenses") or {}).items() if k != old}
    data[FACTS_KEY] = {name: value for name, value in facts.items() if value}
    name = target.name or target.tag
    title = f"{name}, {target.endonym}" if target.endonym else name
    return finished(
        data, f"{target.tag}.yml", ", ".join(filter(None, [title, recipe.facts.family]))
    )


def api_is_offline() -> bool:
    """Say whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants  # noqa: PLC0415 - read when it is imported

    return bool(constants.HF_HUB_OFFLINE)


def _refused(what: str, found: str) -> RecipeError:
    msg = f"{what} is refused: {found}"
    return RecipeError(msg, hint="a recipe from elsewhere may name models of the Hub, no more")


def _check_model(what: str, name: str) -> None:
    for part in name.split("+"):
        path, at, revision = part.partition("@")
        try:
            validate_repo_id(path)
            good = bool(HUB_ID.fullmatch(path)) and path.isascii()
        except HFValidationError:
            good = False
        if not good or (at and (not REVISION.fullmatch(revision) or ".." in revision)):
            raise _refused(what, f"the model {name[:100]!r}, expected a Hub id")


def _parameters(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every `parameters` of a config."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == "parameters" and isinstance(item, Mapping):
                yield item
            elif name != FACTS_KEY:
                yield from _parameters(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parameters(item)


def _hidden(text: str) -> str:
    """Return a character that a terminal would obey, or that no file can hold; or nothing."""
    return next(
        (
            c
            for c in text
            if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or c in BIDI
        ),
        "",
    )


def _language(name: str) -> Language:
    try:
        return find_triple(name).language
    except CatalogueError:
        return unlisted_language(name)


def _texts(value: object) -> Iterable[str]:
    """Return what somebody's metadata say, as harmless texts."""
    several = value if isinstance(value, list) else [value]
    for one in several:
        if isinstance(one, str):
            yield "".join(c for c in one if c.isprintable())[:100]
