"""Whether models fit each other, their configs and the slices of a recipe, without any weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.checkpoint import Header, first_entries
from slack_ties.errors import CheckpointError, RecipeError
from slack_ties.hub import Look, open_weights
from slack_ties.layers import layer_place
from slack_ties.recipe import Recipe, reference

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from slack_ties.layout import Layout

__all__ = [
    "check_slices",
    "compare_configs",
    "first_entries_alike",
    "layers_of_result",
    "result_headers",
    "stacks_of",
    "stacks_of_modules",
    "zeros_of",
]

SAME_BASE = "are all models of the same base?"
# config.json: what gives the tensors their meaning. Different values are no common base.
SAME = (
    *("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "intermediate_size"),
)
# ... and what a model can be trained to differ in, but a merged one has of the base alone.
ALIKE = (
    *("rope_theta", "rope_scaling", "rope_parameters", "rms_norm_eps", "layer_norm_eps"),
    *("hidden_act", "sliding_window", "max_position_embeddings"),
)
FEW = 256  # entries of a matrix of an adapter that are read first
SAMPLED = 8192  # entries of two tensors that are compared to know whether they are one


def compare_configs(
    configs: Mapping[str, Mapping[str, Any]], *, allow_crimes: bool
) -> tuple[list[CheckpointError], list[str]]:
    """Return why models cannot have a common base, and what else their configs differ in.

    Args:
        configs: The config.json of each model, the base first.
        allow_crimes: Do not refuse anything.

    """
    (base, ours), *others = configs.items()
    warnings: list[str] = []
    for name, config in others:
        kinds = [" and ".join(map(str, one.get("architectures") or "?")) for one in (config, ours)]
        if kinds[0] != kinds[1] and not allow_crimes:
            msg = (
                f"{name!r}: config.json names the architecture {kinds[0]}, expected {kinds[1]} as "
            )
            msg += f"the base {base!r}"
            return [CheckpointError(msg, hint=SAME_BASE)], warnings
        # What is null is the default, which the shapes of the tensors show; but without scaling
        # positions mean something else than with it.
        stated = [key for key in (*SAME, *ALIKE) if None not in (config.get(key), ours.get(key))]
        different = [key for key in stated if config[key] != ours[key]]
        scaling = [one.get("rope_scaling") for one in (config, ours)]
        if scaling[0] != scaling[1] and None in scaling and "rope_scaling" in {**config, **ours}:
            different += ["rope_scaling"] if "rope_parameters" not in {**config, **ours} else []
        for key in different:
            if key in SAME and not allow_crimes:
                msg = f"{name!r}: {key} is {config[key]!r}, expected {ours[key]!r} as in {base!r}"
                return [CheckpointError(msg, hint=SAME_BASE)], warnings
        warnings += [
            f"{name}: {key} is {config.get(key)!r}, and {ours.get(key)!r} in the base, which the "
            "merged model will have"
            for key in different
            if key in ALIKE
        ]
    return [], warnings


def first_entries_alike(
    look: Look, headers: Mapping[str, Header], api: HfApi | None
) -> Callable[[str, str], bool]:
    """Return what says whether two tensors of a model begin with the same entries."""

    def alike(one: str, other: str) -> bool:
        found = []
        for tensor in (one, other):
            file = headers[tensor].file
            try:
                with open_weights(look, file, api) as opened:
                    found.append(first_entries(opened, file, [tensor], SAMPLED)[tensor])
            except CheckpointError:
                if not file.endswith(".bin"):  # an old one is compared as a whole when it is merged
                    raise
                return True
        return len(found[0]) == len(found[1]) and found[0].tobytes() == found[1].tobytes()

    return alike


def zeros_of(
    look: Look, headers: Mapping[str, Header], api: HfApi | None
) -> Callable[[Sequence[str]], set[str]]:
    """Return what says which of some tensors of an adapter hold nothing but zeros."""

    def zeros(tensors: Sequence[str]) -> set[str]:
        found = set()
        for file in sorted({headers[name].file for name in tensors}):
            there = [name for name in tensors if headers[name].file == file]
            try:
                with open_weights(look, file, api) as opened:
                    begin = first_entries(opened, file, there, FEW)
                    silent = [name for name in there if len(begin[name]) and not begin[name].any()]
                    for name in silent:  # and the rest of them?
                        whole = first_entries(opened, file, [name], headers[name].size)
                        found |= set() if whole[name].any() else {name}
            except CheckpointError:
                if not file.endswith(".bin"):  # an old one PEFT reads, and this does not
                    raise
        return found

    return zeros


def check_slices(
    recipe: Recipe,
    layout: Layout,
    check_inputs: Callable[[list[str], str, str], None] | None = None,
    *,
    modules: Mapping[str, str] | None = None,
) -> list[RecipeError]:
    """Return why a recipe's slices cannot be merged.

    Args:
        recipe: With `slices`, at the top or in modules.
        layout: The tensors of its base.
        check_inputs: The method's own check of the models of a group, its base and its name; the
            base has to be among them if it is not given.
        modules: The stack of layers that each module of the recipe is.

    """
    stacks = stacks_of(layout)
    errors: list[RecipeError] = []
    ends: dict[str, int] = {}  # of each stack: how many layers of the result stand before
    if recipe.data.get("slices") and len(stacks) != 1:
        msg = f"{recipe.where}: slices: the base has {len(stacks)} stacks of layers "
        msg += f"({', '.join(stacks)}), and slices do not say which is meant"
        return [RecipeError(msg, hint="use models: in place of slices:")]
    counts = {len(part.get("sources") or ()) for part in recipe.data.get("slices") or ()}
    if len(counts) > 1:
        msg = f"{recipe.where}: slices: all need the same number of sources, got {sorted(counts)}: "
        msg += "tensors before and behind the layers are merged of those of the first and the last"
        return [RecipeError(msg, hint="list every model in every slice, with weight 0 if need be")]
    for place, stack, part in _slices(recipe, stacks, modules or {}):
        layers = stacks.get(stack, {})
        error = _check_slice(recipe, place, part, layers, check_inputs)
        error = error or _check_places(recipe, place, part, layers, ends.get(stack, 0))
        if error:
            errors.append(error)
            break
        first, end = part["sources"][0]["layer_range"]
        ends[stack] = ends.get(stack, 0) + end - first
    return errors


def stacks_of(layout: Layout) -> dict[str, dict[int, set[str]]]:
    """Return of each stack of layers the layers, and of each layer its tensors."""
    found: dict[str, dict[int, set[str]]] = {}
    for name in layout.tensors:
        if place := layer_place(name):
            found.setdefault(place.stack, {}).setdefault(place.number, set()).add(place.rest)
    return found


def layers_of_result(recipe: Recipe) -> list[int]:
    """Return for each layer of the result its number in the base; nothing if they are the same."""
    found: list[int] = []
    for part in recipe.data.get("slices") or ():
        first, end = part["sources"][0]["layer_range"]
        found += range(int(first), int(end))
    return found


def result_headers(
    recipe: Recipe, layout: Layout, rows: int, *, modules: Mapping[str, str]
) -> dict[str, Header]:
    """Return the names and shapes that the result will have.

    Args:
        recipe: Of the merge.
        layout: The tensors of its base.
        rows: Of its embedding; 0 if they are the base's.
        modules: The stack of layers that each module of the recipe is.

    """
    stacks = stacks_of(layout)
    layers: dict[str, list[int]] = {}
    for _, stack, part in _slices(recipe, stacks, modules):
        first, end = part["sources"][0]["layer_range"]
        layers.setdefault(stack, []).extend(range(first, end))
    found: dict[str, Header] = {}
    for name, old in layout.tensors.items():
        header, axis, place = old, layout.vocabulary.get(name), layer_place(name)
        if rows and axis is not None:
            header = replace(old, shape=(*old.shape[:axis], rows, *old.shape[axis + 1 :]))
        if place is None or place.stack not in layers:
            found[name] = header
            continue
        for number, layer in enumerate(layers[place.stack]):
            if layer == place.number:
                found[place.name(number)] = header
    return found


def _slices(
    recipe: Recipe, stacks: Mapping[str, Any], modules: Mapping[str, str]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for i, part in enumerate(recipe.data.get("slices") or ()):
        yield f"slices[{i}]", next(iter(stacks), ""), part
    named = recipe.data.get("modules") or {}
    for name, module in named.items():
        for i, part in enumerate(module.get("slices") or ()):
            yield f"modules.{name}.slices[{i}]", modules.get(name, name), part


def _check_slice(
    recipe: Recipe,
    place: str,
    part: Mapping[str, Any],
    layers: Mapping[int, set[str]],
    check_inputs: Callable[[list[str], str, str], None] | None,
) -> RecipeError | None:
    where = f"{recipe.where}: {place}"
    sources = part.get("sources") or []
    ranges = [source.get("layer_range") for source in sources]
    for source, ends in zip(sources, ranges, strict=True):
        plain = isinstance(ends, list) and [type(one) for one in ends] == [int, int]
        if not plain or not 0 <= ends[0] < ends[1] <= (max(layers, default=-1) + 1 or ends[1]):
            msg = f"{where}: layer_range of {reference(source['model'])!r} is {ends!r}, expected "
            msg += f"[FIRST, END] within [0, {max(layers, default=-1) + 1}], END after FIRST"
            return RecipeError(msg, hint="END is the number of the first layer that is left out")
    if len({ends[1] - ends[0] for ends in ranges}) > 1:
        msg = f"{where}: all sources need the same number of layers, got {ranges}"
        return RecipeError(msg)
    names = [reference(source["model"]) for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        msg = f"{where} lists {twice[0]!r} twice"
        return RecipeError(msg, hint="list it once, with the sum of the weights")
    base = reference(part.get("base_model") or recipe.data.get("base_model") or "")
    try:
        if check_inputs:
            check_inputs(names, base, place)
        elif base not in names:
            msg = f"{where}: the base {base!r} is not among its sources: deltas are taken from it"
            ends = ranges[0] if ranges else [0, 0]
            hint = f"add to its sources: - {{model: {base}, layer_range: {ends}}}"
            return RecipeError(msg, hint=hint)
    except ValueError as error:
        ends = ranges[0] if ranges else [0, 0]
        hint = ""
        if base and base not in names:
            hint = f"add to its sources: - {{model: {base}, layer_range: {ends}}}"
        return RecipeError(f"{where}: {error}", hint=hint)
    return None


def _check_places(
    recipe: Recipe, place: str, part: Mapping[str, Any], layers: Mapping[int, set[str]], before: int
) -> RecipeError | None:
    """Refuse a layer in the place of one that has other tensors: their names would not be right."""
    for source in part.get("sources") or []:
        for number, layer in enumerate(range(*source["layer_range"]), before):
            stands_for = layers.get(number, layers.get(0, set()))
            if layers.get(layer, stands_for) != stands_for:
                msg = f"{recipe.where}: {place}: layer {layer} cannot stand in the place of layer "
                msg += f"{number}: they do not have the same tensors"
                return RecipeError(msg, hint="use models: in place of slices:")
    return None


def stacks_of_modules(
    recipe: Recipe, config: Mapping[str, Any], layout: Layout
) -> tuple[dict[str, str], list[RecipeError]]:
    """Return the stack of layers that each module of a recipe is, and what is wrong with them.

    Modules have the names of mergekit's architecture files, or of the stacks themselves.
    """
    modules = recipe.data.get("modules") or {}
    stacks = stacks_of(layout)
    # mergekit 0.1.5 lacks a dot in the names of Whisper's decoder.
    plain = {stack.replace(".", ""): stack for stack in stacks}
    theirs = _mergekit_modules(config) or {"default": next(iter(stacks), "")}
    named = {name: plain.get(stack.replace(".", "")) for name, stack in theirs.items()}
    known = {stack: stack for stack in stacks}
    known |= {name: stack for name, stack in named.items() if stack is not None}
    found = {name: known[name] for name in modules if known.get(name) in stacks}
    errors = []
    for name in modules:
        if name not in found:
            msg = f"{recipe.where}: modules.{name}: the base has no such module"
            errors.append(RecipeError(msg, hint=f"known: {', '.join(sorted(known))}"))
    left = [stack for stack in stacks if stack not in found.values()]
    if modules and left and not errors:
        names = [name for name, stack in known.items() if stack in left]
        msg = f"{recipe.where}: modules: nothing is said of {left[0]}, which the base has: the "
        msg += "merged model would be without it"
        errors.append(RecipeError(msg, hint=f"add a module: {names[0]}, or use models:"))
    return found, errors


def _mergekit_modules(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the modules that mergekit has of an architecture of several parts, by its files."""
    package = find_spec("mergekit")
    kind = (config.get("architectures") or [""])[0]
    if not package or not package.submodule_search_locations:
        return {}
    folder = Path(package.submodule_search_locations[0], "_data", "architectures")
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if kind in data.get("architectures", ()) and data.get("kind") == "modular":
            return {name: _stack_of(module) for name, module in data["modules"].items()}
    return {}


def _stack_of(module: Mapping[str, Any]) -> str:
    weights = module["architecture"]["layer_templates"]["weights"]
    first = str(weights[0]["name"]) if weights else ""
    return f"{module.get('weight_prefix') or ''}{first.partition('.${layer_index}')[0]}"
