"""A merge config, read and checked: mergekit's YAML plus our facts about it.

mergekit silently ignores unknown keys and parameters. In a config of slack_ties a misspelt name is
an error, and the message names the nearest known one. This module does not import torch or
mergekit: a wrong config is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from slack_ties.errors import visible
from slack_ties.notebook import Shown

__all__ = [
    "FACTS_KEY",
    "RECIPE_VERSION",
    "Facts",
    "KeyPath",
    "Recipe",
    "inputs_of",
    "places",
    "put",
    "reference",
]

# Our own facts are under one extra top-level key, which mergekit ignores.
FACTS_KEY = "slack_ties"

# Raised when the meaning of a key under FACTS_KEY changes.
RECIPE_VERSION = 1

# The keys and indexes that lead to a value in a config, from the top.
KeyPath = tuple[Any, ...]


@dataclass(frozen=True)
class Facts:
    """Our facts about a merge. They are for the card and do not change the result."""

    # Target languages: fields of languages.Language. A joint merge has several.
    languages: tuple[Mapping[str, str], ...] = ()
    family: str = ""  # of the base, for people
    # base, ct, sft -> models as the config names them
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # model -> Hub licence id, where known
    licenses: Mapping[str, str] = field(default_factory=dict)
    sft_languages: tuple[str, ...] = ()
    # In a pinned config: the versions of the packages, and mergekit's options.
    versions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def language(self) -> Mapping[str, str]:
        """The first target language; empty if none is known."""
        return self.languages[0] if self.languages else {}


@dataclass(frozen=True, repr=False)
class Recipe(Shown):
    """A merge config that passed the checks of `parse_recipe`."""

    where: str  # its name in messages
    text: str  # exactly as written
    data: Mapping[str, Any]  # the same, parsed
    facts: Facts

    def summary(self) -> str:
        """Return its name, the method and the models."""
        return f"{self.where}: {self.method} of {', '.join(self.models)}"

    def as_text(self) -> str:
        """Return the config, as written."""
        return "\n".join(map(visible, self.text.splitlines()))

    @property
    def method(self) -> str:
        """The name of the merge method."""
        return str(self.data["merge_method"])

    @property
    def base(self) -> str:
        """The base model as the config names it; empty if there is none."""
        return reference(self.data["base_model"]) if self.data.get("base_model") else ""

    @property
    def models(self) -> tuple[str, ...]:
        """Every model once, as the config names it: the base first, then in listed order."""
        listed = [
            reference(value)
            for key_path, value in places(self.data)
            if key_path[0] not in (FACTS_KEY, "tokenizer", "tokenizer_source")
        ]
        return tuple(dict.fromkeys([self.base, *listed] if self.base else listed))

    def role(self, model: str) -> str:
        """Return base, ct or sft; empty if the config does not say it."""
        for role, names in self.facts.roles.items():
            if model in names:
                return role
        if model == self.base:
            return "base"
        # Slack is for the SFT model, so a model with slack is the SFT model.
        slack = self._models_with_slack()
        return "" if self.facts.roles or not slack else "sft" if model in slack else "ct"

    def _models_with_slack(self) -> list[str]:
        return [
            reference(part["model"])
            for _, part in inputs_of(self.data)
            if self.method == "slack_ties" and (part.get("parameters") or {}).get("slack")
        ]

    def models_of(self, role: str) -> tuple[str, ...]:
        """Return the models of one role, in the config's order."""
        return tuple(model for model in self.models if self.role(model) == role)


def reference(value: object) -> str:
    """Return a model in mergekit's short form: path[@revision][+lora]."""
    if isinstance(value, Mapping):
        model, lora = value.get("model"), value.get("lora")
        if model is None and "path" in value:
            revision = value.get("revision")
            return f"{value['path']}@{revision}" if revision else str(value["path"])
        return reference(model) + (f"+{reference(lora)}" if lora else "")
    return str(value)


def places(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the key path and the value of every model name in a config.

    This follows the structure, not the names of keys: a token may be called "model". The order
    is: the base, inputs, sources of the tokenizer, the roles under our key.
    """
    yield from _input_places(data)
    tokenizer = data.get("tokenizer") or {}
    if tokenizer.get("source") not in (None, "base", "union"):
        yield ("tokenizer", "source"), tokenizer["source"]
    for token, how in (tokenizer.get("tokens") or {}).items():
        source = (how or {}).get("source")
        if isinstance(source, Mapping) and "kind" in source:
            if source.get("model"):
                yield ("tokenizer", "tokens", token, "source", "model"), source["model"]
        elif source:
            yield ("tokenizer", "tokens", token, "source"), source
    if data.get("tokenizer_source") not in (None, "base", "union"):
        yield ("tokenizer_source",), data["tokenizer_source"]
    for role, names in ((data.get(FACTS_KEY) or {}).get("roles") or {}).items():
        if isinstance(names, list):
            yield from (((FACTS_KEY, "roles", role, i), name) for i, name in enumerate(names))
        else:
            yield (FACTS_KEY, "roles", role), names


def put(data: Any, key_path: KeyPath, new: Any) -> None:
    """Set the value at a key path of a config."""
    for step in key_path[:-1]:
        data = data[step]
    data[key_path[-1]] = new


def _input_places(data: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if data.get("base_model"):
        yield (*above, "base_model"), data["base_model"]
    for key in ("models", "sources"):
        for i, part in enumerate(data.get(key) or ()):
            yield (*above, key, i, "model"), part["model"]
    for i, part in enumerate(data.get("slices") or ()):
        yield from _input_places(part, (*above, "slices", i))
    for name, module in (data.get("modules") or {}).items():
        yield from _input_places(module, (*above, "modules", name))


def inputs_of(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every entry that names an input model, with its position as text."""
    for i, model in enumerate(data.get("models") or ()):
        yield f"models[{i}]", model
    for i, part in enumerate(data.get("slices") or ()):
        for j, source in enumerate(part.get("sources") or ()):
            yield f"slices[{i}].sources[{j}]", source
    for name, module in (data.get("modules") or {}).items():
        for key, source in inputs_of(module):
            yield f"modules.{name}.{key}", source
