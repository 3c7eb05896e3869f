"""A merge config, read and checked: mergekit's YAML plus our facts about it.

mergekit silently ignores a key or a parameter that it does not know; here a misspelt one
is an error that names the nearest known one. No import of torch or mergekit, so that a
wrong config is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "FACTS_KEY",
    "RECIPE_VERSION",
    "Facts",
    "Place",
    "Recipe",
    "inputs_of",
    "places",
    "put",
    "reference",
]

# Our own facts live under one extra top-level key, which mergekit ignores.
FACTS_KEY = "slack_ties"

# Raised when the meaning of a key under FACTS_KEY changes.
RECIPE_VERSION = 1

# Where something stands in a config: keys and indexes, from the top.
Place = tuple[Any, ...]


@dataclass(frozen=True)
class Facts:
    """What our key says about a merge: for the card, never for the result."""

    # Target languages: fields of languages.Language. Several in a joint merge.
    languages: tuple[Mapping[str, str], ...] = ()
    family: str = ""  # of the base, for people
    # base, ct, sft -> models as in the config
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # model -> Hub licence id, where known
    licenses: Mapping[str, str] = field(default_factory=dict)
    sft_languages: tuple[str, ...] = ()
    # Of a pinned config: the packages that made the bytes, and mergekit's options.
    versions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def language(self) -> Mapping[str, str]:
        """The first target language; empty if none is known."""
        return self.languages[0] if self.languages else {}


@dataclass(frozen=True)
class Recipe:
    """A merge config that passed the checks of `parse_recipe`."""

    where: str  # what to call it in a message
    text: str  # exactly as written
    data: Mapping[str, Any]  # the same, parsed
    facts: Facts

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
            for place, value in places(self.data)
            if place[0] not in (FACTS_KEY, "tokenizer", "tokenizer_source")
        ]
        return tuple(dict.fromkeys([self.base, *listed] if self.base else listed))

    def role(self, model: str) -> str:
        """Return base, ct or sft, or nothing where the config does not say."""
        for role, names in self.facts.roles.items():
            if model in names:
                return role
        if model == self.base:
            return "base"
        # Slack is for the SFT model. It is unsaid which one that is, but not unknown.
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
    """Return a model as mergekit writes it in one line: path[@revision][+lora]."""
    if isinstance(value, Mapping):
        model, lora = value.get("model"), value.get("lora")
        if model is None and "path" in value:
            revision = value.get("revision")
            return f"{value['path']}@{revision}" if revision else str(value["path"])
        return reference(model) + (f"+{reference(lora)}" if lora else "")
    return str(value)


def places(data: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Yield every place of a config at which a model is named, with what stands there.

    By structure, not by the names of keys: a token may be called "model". The base comes
    first, then inputs, then sources of the tokenizer, then the roles under our key.
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


def put(data: Any, place: Place, new: Any) -> None:
    """Put something in a place of a config."""
    for step in place[:-1]:
        data = data[step]
    data[place[-1]] = new


def _input_places(data: Mapping[str, Any], above: Place = ()) -> Iterator[tuple[Place, Any]]:
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
    """Yield every place that names an input model, with where it stands."""
    for i, model in enumerate(data.get("models") or ()):
        yield f"models[{i}]", model
    for i, part in enumerate(data.get("slices") or ()):
        for j, source in enumerate(part.get("sources") or ()):
            yield f"slices[{i}].sources[{j}]", source
    for name, module in (data.get("modules") or {}).items():
        for place, source in inputs_of(module):
            yield f"modules.{name}.{place}", source
