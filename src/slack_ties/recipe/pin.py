"""Pin a config: add to every Hub id its commit, and the versions of the packages; rename models.

The text and its comments stay; only the names of models change. If that is impossible (anchors,
duplicate keys), we write a new text with the same content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib.metadata import version
from typing import Any

import yaml

from slack_ties.errors import RecipeError
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION, KeyPath, Recipe, places, put
from slack_ties.recipe.recipe import reference as name_of

__all__ = [
    "PACKAGES",
    "add_section",
    "one_line",
    "pin_recipe",
    "pinned_name",
    "rename_models",
    "used_versions",
]

# The packages that determine the bytes of a merge.
PACKAGES = ("slack-ties", "mergekit", "torch", "transformers", "safetensors")

PLAIN = re.compile(r"(?:\.?/)?[A-Za-z0-9][\w./@+-]*")  # needs no quotes anywhere in YAML


@cache
def used_versions() -> dict[str, str]:
    """Return the installed versions of PACKAGES, without build labels."""
    return {name: version(name).partition("+")[0] for name in PACKAGES}


def pin_recipe(
    recipe: Recipe,
    commits: Mapping[str, Sequence[str]],
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return the config with every model of the Hub as ID@COMMIT, and with our versions.

    Args:
        recipe: The config. If it names only local folders, it gets only the versions.
        commits: By the name of a model in the config: the commits of the model and its adapter;
            empty texts for local folders.
        options: mergekit's options that change bytes. If not given, the config keeps its own.

    """
    pinned = {name: pinned_name(name, found) for name, found in commits.items()}
    facts = recipe.data.get(FACTS_KEY) or {}
    added: dict[str, Any] = {"versions": used_versions()}
    if options or (options is not None and "options" in facts):
        added["options"] = dict(options)
    return _renamed_everywhere(recipe, pinned, added)


def rename_models(recipe: Recipe, names: Mapping[str, str]) -> Recipe:
    """Return the config with other names for its models: for each present name, the new one."""
    changed = {old: new for old, new in names.items() if old != new}
    return _renamed_everywhere(recipe, changed, {}) if changed else recipe


def _renamed_everywhere(
    recipe: Recipe, names: Mapping[str, str], added: Mapping[str, Any]
) -> Recipe:
    """Return the config with new names of models, and with `added` under our key."""
    renamed = [
        (key_path, new)
        for key_path, value in places(recipe.data)
        if (new := _renamed(value, names)) is not None
    ]
    wanted = deepcopy(dict(recipe.data))
    if added:
        facts = dict(wanted.get(FACTS_KEY) or {"recipe": RECIPE_VERSION})
        wanted[FACTS_KEY] = {**facts, **deepcopy(dict(added))}
    for key_path, new in renamed:
        put(wanted, key_path, new)
    licenses = (wanted.get(FACTS_KEY) or {}).get("licenses") or {}
    if licenses:
        wanted[FACTS_KEY]["licenses"] = {names.get(k, k): v for k, v in licenses.items()}
    return _written(recipe, wanted, lambda text: _edited(text, renamed, names, added))


def add_section(recipe: Recipe, tokenizer: Mapping[str, Any]) -> Recipe:
    """Return the config with mergekit's `tokenizer:` section."""
    data = {"tokenizer": dict(tokenizer)}
    return _written(recipe, {**recipe.data, **data}, lambda text: _added(text, data))


def pinned_name(name: str, commits: Sequence[str]) -> str:
    """Return a model's name with the commits of its parts."""
    if not any(commits):
        return name  # for example a folder with + or @ in its name
    parts = [part.partition("@")[0] for part in name.split("+")]
    both = zip(parts, commits, strict=True)
    return "+".join(f"{part}@{commit}" if commit else part for part, commit in both)


def one_line(data: Any) -> str:
    """Return data as YAML on one line."""
    line: str = yaml.safe_dump(
        data, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return line.removesuffix("\n").removesuffix("\n...")


def _written(recipe: Recipe, wanted: Mapping[str, Any], edit: Callable[[str], str]) -> Recipe:
    """Return the edited config. If the edit fails, dump the wanted data as a new text."""
    try:
        edited = parse_recipe(edit(recipe.text), where=recipe.where)
        if edited.data == wanted:
            return edited
    except (yaml.YAMLError, RecipeError, LookupError, ValueError, TypeError):
        pass  # a layout that we cannot edit
    lines = recipe.text.splitlines(keepends=True)
    count = next((i for i, line in enumerate(lines) if line.strip() and line[0] != "#"), 0)
    # Copy through JSON, so that no object occurs twice: YAML would write aliases.
    plain = json.loads(json.dumps(dict(wanted)))
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000)
    return parse_recipe("".join(lines[:count]) + text, where=recipe.where)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return the new form of a model's name; None if it does not change."""
    name = name_of(value)
    new = names.get(name, name)
    if new == name:
        return None
    architecture = value.get("override_architecture") if isinstance(value, Mapping) else None
    if not architecture:
        return new
    parts = dict(zip(("model", "lora"), new.split("+"), strict=False))
    return {**parts, "override_architecture": architecture}


# In the text


def _edited(
    text: str,
    renamed: Sequence[tuple[KeyPath, Any]],
    names: Mapping[str, str],
    added: Mapping[str, Any],
) -> str:
    root = _composed(text)
    edits: dict[tuple[int, int], str] = {}
    for key_path, new in renamed:
        node = _node(root, key_path)
        edits[_span(text, node)] = _quoted(new, node)
    licenses = _find(_find(root, FACTS_KEY), "licenses")
    for key, _ in licenses.value if isinstance(licenses, yaml.MappingNode) else ():
        if names.get(key.value, key.value) != key.value:
            edits[_span(text, key)] = _quoted(names[key.value], key)
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return _with_facts(text, added) if added else text


def _with_facts(text: str, added: Mapping[str, Any]) -> str:
    """Write `added` under our key; it replaces values of the same names."""
    ours = _find(_composed(text), FACTS_KEY)
    facts = {FACTS_KEY: {"recipe": RECIPE_VERSION, **added}}
    if ours is None:
        return _added(text, facts)
    if not ours.value:  # there, and empty
        (key,) = (key for key, value in _composed(text).value if key.value == FACTS_KEY)
        end = max(ours.end_mark.index, key.end_mark.index + 1)
        return text[: key.start_mark.index] + one_line(facts)[1:-1] + text[end:]
    lines = {name: f"{name}: {one_line(value)}" for name, value in added.items()}
    for key, value in reversed(ours.value):
        if key.value in lines:
            start, end = key.start_mark.index, _span(text, value)[1]
            text = text[:start] + lines.pop(key.value) + text[end:]
    ours = _find(_composed(text), FACTS_KEY)
    ((key, value),) = (pair for pair in ours.value if pair[0].value == "recipe")
    between = ", " if ours.flow_style else _newline(text) + " " * key.start_mark.column
    end = _span(text, value)[1]
    return text[:end] + "".join(f"{between}{line}" for line in lines.values()) + text[end:]


def _added(text: str, data: Mapping[str, Any]) -> str:
    """Return the config with more data at its top level: before our key, or at the end."""
    root = _composed(text)
    if root.flow_style:  # JSON, for example
        start = root.start_mark.index + 1
        return f"{text[:start]}{one_line(data)[1:-1]}, {text[start:].lstrip()}"
    indent, newline = " " * root.start_mark.column, _newline(text)
    block = yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=10**6)
    lines = [f"{indent}{line}" for line in block.splitlines()]
    for key, _ in root.value:
        if key.value == FACTS_KEY:
            start = text.rindex("\n", 0, key.start_mark.index) + 1
            return text[:start] + newline.join([*lines, ""]) + text[start:]
    end = _span(text, root)[1]
    rest = text[end:].partition("\n")  # keep a comment at the end of the last line
    last = rest[0].removesuffix("\r")
    return text[:end] + last + newline + newline.join([*lines, ""]) + rest[2]


def _composed(text: str) -> Any:
    """Return the YAML nodes of a config, with their positions in the text."""
    return yaml.compose(text)


def _node(node: Any, key_path: KeyPath) -> yaml.Node:
    for step in key_path:
        node = node.value[step] if isinstance(step, int) else _find(node, step)
    if isinstance(node, yaml.Node):
        return node
    raise LookupError(key_path)


def _find(node: Any, key: str) -> Any:
    """Return the value of a key of a mapping; None if it has none."""
    items = node.value if isinstance(node, yaml.MappingNode) else ()
    found = [value for name, value in items if name.value == key]
    if len(found) > 1:
        msg = f"{key} occurs twice"
        raise LookupError(msg)
    return found[0] if found else None


def _span(text: str, node: yaml.Node) -> tuple[int, int]:
    """Return the start and end of a node in the text, without the comments after it."""
    start = node.start_mark.index
    if text[start] in "&*!":
        msg = "an anchor, an alias or a tag"
        raise LookupError(msg)
    last = node
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    return start, last.end_mark.index


def _quoted(value: Any, node: yaml.Node) -> str:
    """Return a name as YAML that can replace a node."""
    if isinstance(value, str) and PLAIN.fullmatch(value) and getattr(node, "style", None) is None:
        return value
    return json.dumps(value, ensure_ascii=False)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
