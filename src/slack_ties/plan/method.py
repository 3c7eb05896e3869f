"""Check a recipe of a stock method as mergekit does it, and say what mergekit ignores.

Other people's recipes may have keys and parameters without effect: mergekit runs them, and so do
we. What a method accepts is read from the installed mergekit, not from a list of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import RecipeError, nearest
from slack_ties.plan.again import plan_command
from slack_ties.recipe.check import settings_of
from slack_ties.recipe.keys import KEYS, unknown_keys
from slack_ties.recipe.recipe import FACTS_KEY, Recipe
from slack_ties.recipe.yaml_text import keys_given_twice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mergekit.config import MergeConfiguration
    from pydantic import ValidationError

__all__ = ["check_method", "check_values", "refused_value", "what_is_ignored"]


def check_method(recipe: Recipe) -> list[str]:
    """Return what mergekit ignores; refuse a method that it lacks, and values it cannot read.

    Raises:
        RecipeError: The message names the method, or the key and what is wrong with its value.

    """
    methods = _methods()
    if recipe.method not in methods:
        msg = f"{recipe.where}: unknown merge method {recipe.method!r}."
        names = sorted(methods)
        raise RecipeError(msg + nearest(recipe.method, names), hint=f"known: {', '.join(names)}")
    _read(recipe)
    return what_is_ignored(recipe)


def what_is_ignored(recipe: Recipe) -> list[str]:
    """Return a sentence for each key and parameter of a stock method that has no effect."""
    methods = _methods()
    if recipe.method == "slack_ties" or recipe.method not in methods:
        return []
    method = recipe.method
    found = [
        f"{place}: mergekit ignores the key {key!r}: it has no effect.{nearest(key, sorted(known))}"
        for place, key, known in unknown_keys(recipe.where, recipe.data, _keys())
    ]
    shared = {parameter.name: parameter.scope.value == "shared" for parameter in methods[method]}
    for place, settings, per_model in settings_of(recipe.where, recipe.data):
        for name in settings:
            if name not in shared:
                found.append(
                    f"{place}: mergekit ignores {name!r}: {method} has no such parameter."
                    + nearest(str(name), list(shared))
                )
            elif per_model and shared[name]:
                found.append(
                    f"{place}: mergekit ignores {name!r} here: it is for the whole merge, in the "
                    "top-level parameters"
                )
    found += [
        f"{recipe.where}: line {line}: {key!r} is given twice in the same place: only the last one "
        "has an effect"
        for line, key in keys_given_twice(recipe.text)
    ]
    return list(dict.fromkeys(found))


def check_values(recipe: Recipe, tensors: Iterable[str]) -> list[RecipeError]:
    """Return the first error in the parameters that mergekit would use for these tensors."""
    if recipe.method == "slack_ties":  # the recipe has been checked with our own words
        return []
    from mergekit import merge_methods  # noqa: PLC0415 - `check_method` has imported it
    from pydantic import ValidationError  # noqa: PLC0415

    from slack_ties.private.mergekit import resolve_parameters  # noqa: PLC0415 - as above

    config = _read(recipe)
    spec = merge_methods.get(recipe.method).spec
    tensors = list(tensors)
    for inputs, around in _groups(config):

        def sources(model: Any, inputs: Any = inputs, around: Any = around) -> Any:
            own = [settings for name, settings in inputs if model is not None and name == model]
            return (*own, *around)

        try:
            for name in tensors:
                resolve_parameters(
                    spec,
                    tensor_name=name,
                    inputs={model: name for model, _ in inputs},
                    sources=sources,
                    base_model=config.base_model,
                )
        except ValidationError as error:
            return [refused_value(recipe, error, f"the parameters of {recipe.method}")]
        except RuntimeError as error:  # mergekit's word for a missing parameter
            hint = f"give it to each model; {recipe.method} knows: "
            hint += ", ".join(parameter.name for parameter in spec.parameters)
            return [RecipeError(f"{recipe.where}: {error}", hint=hint)]
    return []


def refused_value(recipe: Recipe, error: ValidationError, place: str = "") -> RecipeError:
    """Return the error for a value that mergekit cannot read."""
    first = error.errors()[0]
    key_path = ".".join(map(str, first["loc"])) or place
    got = "" if isinstance(first["input"], (dict, list)) else f", got {first['input']!r}"
    msg = f"{recipe.where}: {key_path}: {first['msg']}{got}"
    return RecipeError(msg, hint=f"change that value; then: {plan_command(recipe.where, recipe)}")


def _read(recipe: Recipe) -> MergeConfiguration:
    """Return the config as mergekit reads it."""
    from mergekit.config import MergeConfiguration  # noqa: PLC0415 - seconds to import
    from pydantic import ValidationError  # noqa: PLC0415

    data = {key: value for key, value in recipe.data.items() if key != FACTS_KEY}
    try:
        return MergeConfiguration.model_validate(data)
    except ValidationError as error:
        raise refused_value(recipe, error) from None
    except RuntimeError as error:  # raised by mergekit's own checks
        msg = f"{recipe.where}: {error}"
        raise RecipeError(msg) from None


def _groups(config: MergeConfiguration) -> Iterator[tuple[list[Any], tuple[Any, ...]]]:
    """Yield the inputs that are merged together, with their parameters, and those around them."""
    for part in (config, *(config.modules or {}).values()):
        above = (config.parameters,) if part is config else (part.parameters, config.parameters)
        if part.models:
            inputs = [(one.model, one.parameters) for one in part.models]
            base = config.base_model
            if base and base not in [model for model, _ in inputs]:
                inputs.append((base, None))
            yield inputs, above
        for group in part.slices or ():
            yield [(one.model, one.parameters) for one in group.sources], (group.parameters, *above)


def _methods() -> Mapping[str, Any]:
    """Return the parameters of each method of the installed mergekit."""
    from mergekit import merge_methods  # noqa: PLC0415 - seconds to import

    import slack_ties.method  # noqa: F401, PLC0415 - registers our method

    return {one.spec.name: one.spec.parameters for one in merge_methods.registered_methods()}


def _keys() -> Mapping[str, frozenset[str]]:
    """Return the keys of each part of a config, as the installed mergekit has them."""
    from mergekit import config  # noqa: PLC0415 - seconds to import

    parts = {
        "": config.MergeConfiguration,
        "models": config.InputModelDefinition,
        "slices": config.OutputSliceDefinition,
        "sources": config.InputSliceDefinition,
        "modules": config.OutputModuleDefinition,
        "tokenizer": config.TokenizerConfig,
        "reference": config.ModelReference,
    }
    return {**KEYS, **{kind: frozenset(part.model_fields) for kind, part in parts.items()}}
