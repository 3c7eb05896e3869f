"""Pin a config: every Hub id with its commit, and the versions that make the bytes.

The text stays as it was written, comments too; only the names of models change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import yaml

from slack_ties.recipe import FACTS_KEY, RECIPE_VERSION, Recipe, parse_recipe, reference

__all__ = [
    "PACKAGES",
    "REFERENCE_KEYS",
    "add_section",
    "one_line",
    "pin_recipe",
    "pinned_name",
    "used_versions",
]

# What makes the bytes of a merge.
PACKAGES = ("slack-ties", "mergekit", "torch", "transformers", "safetensors")
# Keys of a merge config whose value can be a model.
REFERENCE_KEYS = frozenset({"model", "base_model", "source", "tokenizer_source"})


@cache
def used_versions() -> dict[str, str]:
    """Return the installed versions of what makes the bytes; builds left out."""
    return {name: version(name).partition("+")[0] for name in PACKAGES}


def pin_recipe(
    recipe: Recipe,
    commits: Mapping[str, Sequence[str]],
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return the config with every model of the Hub as ID@COMMIT, and with our versions.

    Args:
        recipe: The config. One of local folders alone gets the versions.
        commits: For each model as the config names it, the commit of it and of its adapter;
            empty texts for local folders.
        options: mergekit's options that change bytes; those of the config stay if not given.

    """
    pinned = {name: pinned_name(name, found) for name, found in commits.items()}
    changes = {  # once each, though an alias comes by twice
        (node.start_mark.index, node.end_mark.index): pinned[name]
        for node, name in _references(_composed(recipe.text))
        if pinned.get(name, name) != name
    }
    text = recipe.text
    for (start, end), name in sorted(changes.items(), reverse=True):
        text = _replaced(text, start, end, _written(name))
    return parse_recipe(_with_versions(text, options), where=recipe.where)


def add_section(recipe: Recipe, tokenizer: Mapping[str, Any]) -> Recipe:
    """Return the config with mergekit's `tokenizer:` section."""
    return parse_recipe(_added(recipe.text, {"tokenizer": dict(tokenizer)}), where=recipe.where)


def pinned_name(name: str, commits: Sequence[str]) -> str:
    """Return a model's name with the commits of its parts."""
    if not any(commits):
        return name  # also a folder with + or @ in its name
    parts = [part.partition("@")[0] for part in name.split("+")]
    both = zip(parts, commits, strict=True)
    return "+".join(f"{part}@{commit}" if commit else part for part, commit in both)


def _composed(text: str) -> yaml.MappingNode:
    """Return the nodes of a config, which know where they stand in the text."""
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):  # parse_recipe has seen to it
        msg = f"expected keys and values, got {type(root).__name__}"
        raise TypeError(msg)
    return root


def _references(root: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    """Yield every node that names a model, and the name."""
    for key, node in _items(root):
        if key == FACTS_KEY:
            for name, facts in _items(node):
                if name == "roles":
                    for _, models in _items(facts):
                        listed = models.value if isinstance(models, yaml.SequenceNode) else [models]
                        yield from ((model, reference(_value(model))) for model in listed)
                elif name == "licenses":
                    yield from ((k, str(k.value)) for k, _ in facts.value)
        elif key in REFERENCE_KEYS and not _holds_more(node):
            yield node, reference(_value(node))
        else:
            below = node.value if isinstance(node, yaml.SequenceNode) else [node]
            for one in below:
                yield from _references(one)


def _items(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(str(key.value), value) for key, value in node.value]


def _holds_more(node: yaml.Node) -> bool:
    """Say whether a node is more than a model's name: its architecture, or a token's source."""
    keys = {key for key, _ in _items(node)}
    return bool(keys & {"override_architecture", "kind", "value"})


def _value(node: yaml.Node) -> Any:
    """Return what a node of plain YAML holds."""
    if isinstance(node, yaml.MappingNode):
        return {key: _value(value) for key, value in _items(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    return node.value if node.tag != "tag:yaml.org,2002:null" else None


def _written(text: str) -> str:
    """Return a text as YAML, in one line."""
    line: str = yaml.safe_dump(text, allow_unicode=True, width=10**6)
    return line.removesuffix("\n").removesuffix("\n...")


def _with_versions(text: str, options: Mapping[str, Any] | None) -> str:
    """Write versions and options under our key, in place of those that are there."""
    facts: dict[str, Any] = {"versions": used_versions()}
    if options:
        facts["options"] = dict(options)
    root = _composed(text)
    ours = dict(_items(root)).get(FACTS_KEY)
    if not isinstance(ours, yaml.MappingNode) or not ours.value:
        return _added(text, {FACTS_KEY: {"recipe": RECIPE_VERSION, **facts}})
    lines = {name: f"{name}: {one_line(value)}" for name, value in facts.items()}
    for (name, _), (key, value) in reversed(list(zip(_items(ours), ours.value, strict=True))):
        if name == "versions" or (name == "options" and options is not None):
            new = lines.pop(name, "options: {}")  # options that are none any more
            text = _replaced(text, key.start_mark.index, value.end_mark.index, new)
    (ours,) = (node for key, node in _items(_composed(text)) if key == FACTS_KEY)
    ((key, recipe),) = (pair for pair in ours.value if pair[0].value == "recipe")
    between = ", " if getattr(ours, "flow_style", None) else "\n" + " " * key.start_mark.column
    added = "".join(f"{between}{line}" for line in lines.values())
    return _replaced(text, recipe.end_mark.index, recipe.end_mark.index, added)


def _added(text: str, data: Mapping[str, Any]) -> str:
    """Return the config with something more at its top level: before our key, or at the end."""
    root = _composed(text)
    if root.flow_style:  # JSON, for example
        start = root.start_mark.index + 1
        return f"{text[:start]}{one_line(data)[1:-1]}, {text[start:].lstrip()}"
    block = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10**6)
    for key, _ in root.value:
        if key.value == FACTS_KEY:
            return text[: key.start_mark.index] + block + text[key.start_mark.index :]
    return (text if text.endswith("\n") else f"{text}\n") + block


def _replaced(text: str, start: int, end: int, new: str) -> str:
    """Return the text with another piece; a block's line ends, which its node counts, stay."""
    old = text[start:end]
    return text[:start] + new + old[len(old.rstrip()) :] + text[end:]


def one_line(data: Any) -> str:
    """Return data as YAML in one line."""
    line: str = yaml.safe_dump(
        data, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return line.strip()
