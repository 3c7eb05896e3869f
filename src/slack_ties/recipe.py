"""A merge config, read and checked: mergekit's YAML plus our facts about it.

mergekit silently ignores a key or a parameter that it does not know; here a misspelt one
is an error that names the nearest known one. No import of torch or mergekit, so that a
wrong config is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slack_ties.errors import RecipeError, nearest
from slack_ties.parameters import PARAMETERS

__all__ = [
    "DTYPES",
    "FACTS_KEY",
    "RECIPE_VERSION",
    "Facts",
    "Place",
    "Recipe",
    "check_parameter_names",
    "parse_recipe",
    "places",
    "put",
    "read_recipe",
    "reference",
]

# Our own facts live under one extra top-level key, which mergekit ignores.
FACTS_KEY = "slack_ties"
# Raised when the meaning of a key under FACTS_KEY changes.
RECIPE_VERSION = 1

# mergekit 0.1.5: the fields of MergeConfiguration and of its parts. A test compares
# them with mergekit's. `name` belongs to mergekit-multi.
TOP_KEYS = frozenset(
    {"modules", "slices", "models", "merge_method", "base_model", "dtype", "tokenizer_source"}
    | {"tokenizer", "chat_template", "out_dtype", "parameters"}
)
PART_KEYS = {
    "models": frozenset({"model", "parameters"}),
    "slices": frozenset({"sources", "base_model", "residual_weight", "parameters"}),
    "sources": frozenset({"model", "layer_range", "parameters"}),
    "modules": frozenset({"slices", "models", "parameters"}),
}
MODEL_KEYS = frozenset({"model", "lora", "override_architecture"})  # a model's long form
PATH_KEYS = frozenset({"path", "revision"})
TOKENIZER_KEYS = frozenset({"source", "tokens", "pad_to_multiple_of"})
TOKEN_KEYS = frozenset({"source", "force"})
TOKEN_SOURCE_KEYS = frozenset({"kind", "model", "token_id", "token"})
# Ours, under FACTS_KEY.
FACTS_KEYS = frozenset(
    {"recipe", "language", "family", "roles", "licenses", "sft_languages", "versions", "options"}
)
# What mergekit's dtype_from_name knows of floating-point types.
DTYPES = ("bfloat16", "float16", "float32", "float64")
# Parameters of stock `ties` that change nothing here: int8_mask only saves memory there,
# and rescale is its default when false (when true it is an error: we have none).
WITHOUT_EFFECT = ("int8_mask", "rescale")


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
            for _, part in _inputs(self.data)
            if self.method == "slack_ties" and (part.get("parameters") or {}).get("slack")
        ]

    def models_of(self, role: str) -> tuple[str, ...]:
        """Return the models of one role, in the config's order."""
        return tuple(model for model in self.models if self.role(model) == role)


def read_recipe(path: str | Path) -> Recipe:
    """Read and check the merge config at `path`.

    Raises:
        RecipeError: It is not there, not YAML, or says something that cannot be done.

    """
    path = Path(path)
    try:
        text = path.read_bytes().decode()  # with the line ends that it has
    except FileNotFoundError:
        msg = f"no config file {str(path)!r}"
        name = str(path)
        hint = f"slack-ties recipes pull {name}" if name.count("/") == 1 else ""
        if not path.suffix and not path.parent.name:
            hint = f"slack-ties config {name}"
        raise RecipeError(msg, hint=hint or "slack-ties config LANG  (writes one)") from None
    except (OSError, UnicodeDecodeError) as error:
        found = "a folder" if path.is_dir() else error
        msg = f"{path}: expected a YAML text file, got: {found}"
        raise RecipeError(msg) from None
    return parse_recipe(text, where=str(path))


def parse_recipe(text: str, *, where: str) -> Recipe:
    """Check a merge config given as text; `where` is what messages call it.

    Raises:
        RecipeError: It is not YAML, or says something that cannot be done.

    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or error
        msg = f"{where}:{line} not valid YAML: {problem}"
        raise RecipeError(msg) from None
    except (ValueError, RecursionError) as error:  # 2024-13-45, or thousands of brackets
        msg = f"{where}: not valid YAML: {error}"
        raise RecipeError(msg) from None
    try:
        _check(data, where)
        return Recipe(where, text, data, _facts(data, where))
    except RecursionError:  # an anchor that holds itself
        msg = f"{where}: expected a mergekit config, got YAML that contains itself"
    except ValueError:  # a whole number of thousands of digits cannot be shown
        msg = f"{where}: a number is too long"
    raise RecipeError(msg) from None


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


def _inputs(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every place that names an input model, with where it stands."""
    for i, model in enumerate(data.get("models") or ()):
        yield f"models[{i}]", model
    for i, part in enumerate(data.get("slices") or ()):
        for j, source in enumerate(part.get("sources") or ()):
            yield f"slices[{i}].sources[{j}]", source
    for name, module in (data.get("modules") or {}).items():
        for place, source in _inputs(module):
            yield f"modules.{name}.{place}", source


def _facts(data: Mapping[str, Any], where: str) -> Facts:
    facts = data.get(FACTS_KEY) or {}
    if not isinstance(facts, Mapping):
        msg = f"{where}: {FACTS_KEY}: expected keys and values, got {facts!r}"
        raise RecipeError(msg)
    if facts and facts.get("recipe") != RECIPE_VERSION:
        msg = f"{where}: {FACTS_KEY}.recipe: expected {RECIPE_VERSION}, got {facts.get('recipe')!r}"
        raise RecipeError(msg, hint="pip install --upgrade slack-ties")
    _check_keys(f"{where}: {FACTS_KEY}", facts, FACTS_KEYS)

    def table(name: str, value: object) -> dict[str, str]:
        if not isinstance(value, Mapping):
            msg = f"{where}: {FACTS_KEY}.{name}: expected keys and values, got {value!r}"
            raise RecipeError(msg)
        return {str(k): str(v) for k, v in value.items()}

    def several(name: str, value: object) -> list[Any]:
        if not isinstance(value, list):
            msg = f"{where}: {FACTS_KEY}.{name}: expected a list, got {value!r}"
            raise RecipeError(msg)
        return value

    language = facts.get("language") or []
    languages = language if isinstance(language, list) else [language]
    roles = facts.get("roles") or {}
    table("roles", roles)
    options = facts.get("options") or {}
    table("options", options)
    return Facts(
        languages=tuple(table("language", one) for one in languages),
        family=str(facts.get("family") or ""),
        roles={
            str(role): tuple(map(reference, names if isinstance(names, list) else [names]))
            for role, names in roles.items()
        },
        licenses=table("licenses", facts.get("licenses") or {}),
        sft_languages=tuple(map(str, several("sft_languages", facts.get("sft_languages") or []))),
        versions=table("versions", facts.get("versions") or {}),
        options=dict(options),
    )


def _check(data: object, where: str) -> None:
    """Refuse what mergekit would ignore or trip over late."""
    if not isinstance(data, Mapping):
        got = "nothing" if data is None else "a list" if isinstance(data, list) else "a text"
        msg = f"{where}: expected a mergekit config (keys and values), got {got}"
        raise RecipeError(msg, hint="slack-ties config LANG  (writes one)")
    _check_keys(where, data, TOP_KEYS | {FACTS_KEY, "name"})
    if not data.get("merge_method"):
        msg = f"{where}: merge_method is missing"
        raise RecipeError(msg, hint="add: merge_method: slack_ties")
    if sum(bool(data.get(key)) for key in ("models", "slices", "modules")) != 1:
        msg = f"{where}: expected exactly one of models, slices and modules"
        raise RecipeError(msg)
    for key in ("dtype", "out_dtype"):
        name = data.get(key)
        if name is not None and str(name).removeprefix("torch.") not in DTYPES:
            msg = f"{where}: {key}: unknown type {name!r}.{nearest(str(name), list(DTYPES))}"
            raise RecipeError(msg, hint=f"known: {', '.join(DTYPES)}")
    _check_parts(where, data)
    _check_tokenizer(where, data)
    if data.get("base_model"):
        _check_reference(f"{where}: base_model", data["base_model"])
    if not any(True for _ in _inputs(data)):
        msg = f"{where}: expected at least one model to merge"
        raise RecipeError(msg)
    if data["merge_method"] == "slack_ties":
        _check_slack_ties(where, data)


def _check_parts(where: str, data: Mapping[str, Any]) -> None:
    """Check the shape of models, slices and modules, at every depth."""
    modules = data.get("modules") or {}
    if not isinstance(modules, Mapping):
        msg = f"{where}: modules: expected names and modules, got {modules!r}"
        raise RecipeError(msg)
    for name, module in modules.items():
        _check_keys(f"{where}: modules.{name}", module, PART_KEYS["modules"])
        _check_parts(f"{where}: modules.{name}", module)
    for name in ("models", "slices", "sources"):
        parts = data.get(name) or []
        if not isinstance(parts, list):
            msg = f"{where}: {name}: expected a list, got {parts!r}"
            raise RecipeError(msg)
        for i, part in enumerate(parts):
            place = f"{where}: {name}[{i}]"
            _check_keys(place, part, PART_KEYS[name])
            if "model" in PART_KEYS[name] and not part.get("model"):
                msg = f"{place}: model is missing"
                raise RecipeError(msg)
            if "model" in part:
                _check_reference(f"{place}.model", part["model"])
            if part.get("base_model"):
                _check_reference(f"{place}.base_model", part["base_model"])
            _check_parts(place, part)
        if name == "models":
            _check_twice(where, parts)


def _check_twice(where: str, parts: list[Mapping[str, Any]]) -> None:
    names = [reference(part["model"]) for part in parts if "model" in part]
    for name in names:
        if names.count(name) > 1:
            msg = f"{where}: models lists {name!r} twice"
            raise RecipeError(msg, hint="list it once, with the sum of the weights")


def _check_reference(place: str, value: object) -> None:
    """Check the shape of a model's name: one line, or mergekit's long form."""
    if isinstance(value, Mapping):
        if "path" in value:
            _check_keys(place, value, PATH_KEYS)
            return
        _check_keys(place, value, MODEL_KEYS)
        if not value.get("model"):
            msg = f"{place}: model is missing"
            raise RecipeError(msg)
        for key in ("model", "lora"):
            if value.get(key):
                _check_reference(f"{place}.{key}", value[key])
    elif not isinstance(value, str):
        msg = f"{place}: expected a folder or a Hub id, got {value!r}"
        raise RecipeError(msg, hint="a name that is a number needs quotes")


def _check_tokenizer(where: str, data: Mapping[str, Any]) -> None:
    """Check the keys of the tokenizer section, which mergekit would ignore if misspelt."""
    if data.get("tokenizer_source"):
        _check_reference(f"{where}: tokenizer_source", data["tokenizer_source"])
    template = data.get("chat_template")
    if template is not None and not isinstance(template, str):
        msg = f"{where}: chat_template: expected a text, got {template!r}"
        raise RecipeError(msg)
    section = data.get("tokenizer")
    if section is None:
        return
    _check_keys(f"{where}: tokenizer", section, TOKENIZER_KEYS)
    if data.get("tokenizer_source"):
        msg = f"{where}: tokenizer and tokenizer_source, expected one of them"
        raise RecipeError(msg)
    if section.get("source"):
        _check_reference(f"{where}: tokenizer.source", section["source"])
    padding = section.get("pad_to_multiple_of")
    if padding is not None and (not isinstance(padding, int) or padding < 1):
        msg = f"{where}: tokenizer.pad_to_multiple_of: expected a number above 0, got {padding!r}"
        raise RecipeError(msg)
    _check_tokens(where, section.get("tokens") or {})


def _check_tokens(where: str, tokens: object) -> None:
    if not isinstance(tokens, Mapping):
        msg = f"{where}: tokenizer.tokens: expected tokens and sources, got {tokens!r}"
        raise RecipeError(msg)
    for token, how in tokens.items():
        place = f"{where}: tokenizer.tokens.{token}"
        _check_keys(place, how, TOKEN_KEYS)
        source = how.get("source")
        if isinstance(source, Mapping) and "kind" in source:
            _check_keys(f"{place}.source", source, TOKEN_SOURCE_KEYS)
            source = source.get("model")
        if source:
            _check_reference(f"{place}.source", source)


def _check_keys(where: str, part: object, known: frozenset[str]) -> None:
    if not isinstance(part, Mapping):
        msg = f"{where}: expected keys and values, got {part!r}"
        raise RecipeError(msg)
    for key in part:
        if key not in known:
            names = sorted(known)
            msg = f"{where}: unknown key {key!r}.{nearest(str(key), names)}"
            raise RecipeError(msg, hint=f"known here: {', '.join(names)}")


def _settings(
    where: str, data: Mapping[str, Any], *, models: bool = True
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield every place of parameters: where it stands, what it says, whether of one model."""
    places = [(f"{where}: parameters", data.get("parameters"), False)]
    for i, part in enumerate(data.get("slices") or ()):
        places.append((f"{where}: slices[{i}].parameters", part.get("parameters"), False))
    if models:
        for place, part in _inputs(data):
            name = reference(part["model"])
            places.append((f"{where}: {place} ({name})", part.get("parameters"), True))
    for place, settings, per_model in places:
        if isinstance(settings, Mapping):
            yield place, settings, per_model
        elif settings is not None:
            msg = f"{place}: expected parameters and values, got {settings!r}"
            raise RecipeError(msg)
    for name, module in (data.get("modules") or {}).items():
        yield from _settings(f"{where}: modules.{name}", module, models=False)


def _check_slack_ties(where: str, data: Mapping[str, Any]) -> None:
    """Check every parameter of our method: its name, its place and its values."""
    if not data.get("base_model"):
        msg = f"{where}: slack_ties needs a base_model: deltas are taken from it"
        raise RecipeError(msg, hint="add: base_model: PATH_OR_HUB_ID")
    table = {p.name: p for p in PARAMETERS}
    for place, settings, per_model in _settings(where, data):
        for name, value in settings.items():
            if name in WITHOUT_EFFECT and (name, value) != ("rescale", True):
                continue
            if name not in table:
                raise _unknown_parameter(place, name, list(table), "slack_ties")
            if per_model and not table[name].per_model:
                msg = f"{place}: {name} holds for the whole merge, expected under parameters"
                raise RecipeError(msg, hint=f"move {name} to the top-level parameters")
            for scalar in _scalars(f"{place}: {name}", value):
                try:
                    table[name].check(scalar)
                except ValueError as error:
                    msg = f"{place}: {error}"
                    raise RecipeError(msg) from None
    _check_required(where, data, [p.name for p in PARAMETERS if p.default is None])


def _check_required(where: str, data: Mapping[str, Any], required: list[str]) -> None:
    """Refuse a model without a parameter that has no default."""
    for i, part in enumerate(data.get("models") or ()):
        name = reference(part["model"])
        given = {**(data.get("parameters") or {}), **(part.get("parameters") or {})}
        for parameter in required:
            if name != reference(data["base_model"]) and parameter not in given:
                msg = f"{where}: models[{i}] ({name}): {parameter} is missing"
                raise RecipeError(msg, hint=f"add under its parameters: {parameter}: 1.0")


def check_parameter_names(recipe: Recipe, known: list[str]) -> None:
    """Refuse parameters that the recipe's method does not have; mergekit would ignore them.

    Raises:
        RecipeError: Names the place, the parameter and the nearest known one.

    """
    for place, settings, _ in _settings(recipe.where, recipe.data):
        for name in settings:
            if name not in known:
                raise _unknown_parameter(place, name, known, recipe.method)


def _unknown_parameter(place: str, name: object, known: list[str], method: str) -> RecipeError:
    msg = f"{place}: unknown parameter {name!r}.{nearest(str(name), known)}"
    return RecipeError(msg, hint=f"{method} knows: {', '.join(known) or 'none'}")


def _scalars(where: str, setting: object) -> Iterator[object]:
    """Yield every scalar of a mergekit setting: a value, a gradient, or values by filter."""
    if isinstance(setting, list):
        if not setting:
            msg = f"{where}: expected a value or a list of values, got an empty list"
            raise RecipeError(msg)
        for item in setting:
            yield from _scalars(where, item)
    elif isinstance(setting, Mapping):
        _check_keys(where, setting, frozenset({"value", "filter"}))
        if "value" not in setting:
            msg = f"{where}: value is missing"
            raise RecipeError(msg)
        yield from _scalars(where, setting["value"])
    else:
        yield setting
