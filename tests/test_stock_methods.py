"""Recipes of stock methods: what mergekit runs is accepted, and what it ignores is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from mergekit.architecture import get_architecture_info
from mergekit.config import MergeConfiguration
from mergekit.merge_methods import registered_methods
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner
from pydantic import ValidationError

from command import Invoke
from slack_ties.errors import RecipeError
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.sharing.pull import pull_recipe
from triple import Folders

METHODS = {method.spec.name: method.spec for method in registered_methods()}
STOCK = sorted(METHODS.keys() - {"slack_ties"})


def smallest(method: str, triple: Folders) -> dict[str, Any]:
    """Return the smallest config of a method, by what the method declares."""
    spec = METHODS[method]
    contract, others = spec.contract, [str(triple.ct), str(triple.sft)]
    names = others[: min(contract.max_non_base or 2, contract.max_inputs or 2)]
    data: dict[str, Any] = {"merge_method": method, "parameters": {}}
    if contract.base.value == "required":
        data["base_model"] = str(triple.base)
        names = names[: (contract.max_inputs or 3) - 1]
    data["models"] = [{"model": name, "parameters": {}} for name in names]
    for parameter in spec.parameters:
        if parameter.required:
            data["parameters"][parameter.name] = 0.5
    return data


def mergekit_plans(data: dict[str, Any]) -> bool:
    """Say whether mergekit reads a config and plans every tensor of it."""
    options = MergeOptions()
    try:
        config = MergeConfiguration.model_validate(deepcopy(data))
        architecture = get_architecture_info(config, options)
        made = config.referenced_models()[0].config()
        MergePlanner(config, architecture, options, made).plan_to_disk("nowhere")
    except (ValidationError, ValueError, RuntimeError, TypeError, KeyError):
        return False
    return True


def we_plan(data: dict[str, Any]) -> bool:
    """Say whether we do."""
    try:
        return not plan_merge(parse_recipe(yaml.safe_dump(data), where="x.yml")).errors
    except RecipeError:
        return False


VALUES = (
    *("abc", "1e-3", True, None, 5, -1, [], [0, 1], [0, "x"], [[1]]),
    {"value": 1},
    {"value": 1, "extra": 2},
    {"filter": "mlp", "value": 1},
    [{"filter": "mlp", "value": 1}, {"value": 0.5}],
    [{"filter": "nowhere", "value": "x"}, {"value": 1}],
)


def odd_configs(plain: dict[str, Any], triple: Folders) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield configs with odd keys and values: what is odd, and the config."""
    source = "base" if "base_model" in plain else "union"
    parts = plain["models"]
    names = [part["model"] for part in parts]
    top: dict[str, dict[str, Any]] = {
        "nothing odd": {},
        "a seed": {"random_seed": 0},
        "postprocessing": {"postprocessing": [{"kind": "x"}]},
        "a key of tokenizer": {"tokenizer": {"source": source, "extra": 1}},
        "padding": {"tokenizer": {"source": source, "pad_to_multiple_of": 0}},
        "a key of models": {"models": [{**part, "extra": 1} for part in parts]},
        "a key of a model": {"models": [{"model": {"model": n, "extra": 1}} for n in names]},
        "a base": {"base_model": str(triple.base)},
        "one model": {"models": parts[:1]},
        "one more model": {"models": [*parts, {"model": str(triple.base)}]},
        "a model twice": {"models": [*parts, parts[0]]},
    }
    for what, changes in top.items():
        yield what, {**plain, **changes}
    yield "no base", {key: value for key, value in plain.items() if key != "base_model"}
    sources = [{**part, "layer_range": [0, 2]} for part in parts]
    if "base_model" in plain:
        sources.append({"model": plain["base_model"], "layer_range": [0, 2]})
    sliced = {"slices": [{"sources": sources, "extra": 1, "parameters": {"int8_mask": True}}]}
    yield "slices", {**{key: plain[key] for key in plain if key != "models"}, **sliced}
    names = [parameter.name for parameter in METHODS[plain["merge_method"]].parameters]
    odd = [(name, 1) for name in ("int8_mask", "lambda", "normalize", "random_seed", "t", *names)]
    for name, value in [*odd, ("extra", {"a": 1}), *(((names or ["t"])[-1], v) for v in VALUES)]:
        for place in (plain, plain["models"][0]):
            before = place["parameters"]
            place["parameters"] = {**before, name: value}
            yield f"{name}: {value}, {'above' if place is plain else 'of one'}", deepcopy(plain)
            place["parameters"] = before


@pytest.mark.parametrize("method", STOCK)
def test_we_accept_what_mergekit_does(method: str, triple: Folders) -> None:
    """Every method of the installed mergekit, with odd keys, parameters and values."""
    answers = {
        what: (mergekit_plans(data), we_plan(data))
        for what, data in odd_configs(smallest(method, triple), triple)
    }

    assert {what: both for what, both in answers.items() if both[0] != both[1]} == {}
    assert {True, False} == {mergekits for mergekits, _ in answers.values()}
    assert answers["postprocessing"] == (True, True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dtype", "int64"),
        ("out_dtype", "float8"),
        ("tokenizer", {"source": "base", "pad_to_multiple_of": -1}),
    ],
)
def test_what_would_fail_later_is_refused_first(key: str, value: Any, triple: Folders) -> None:
    """Mergekit plans these, and fails or damages the model when it merges."""
    data = {**smallest("ties", triple), key: value}

    assert (mergekit_plans(data), we_plan(data)) == (True, False)


def test_what_has_no_effect_is_said(invoke: Invoke, triple: Folders) -> None:
    """Which key, where it is, and a key that may be meant; the merge has mergekit's bytes."""
    data = smallest("dare_ties", triple)
    data |= {"random_seed": 7, "postprocessing": [], "dtpye": "float32"}
    data["parameters"] |= {"random_seed": 7, "densty": 0.5}
    data["models"][0]["parameters"] = {"weight": 1, "normalize": True}
    twice = "dtype: float32\ndtype: bfloat16\n"
    Path("x.yml").write_text(twice + yaml.safe_dump(data), "utf-8")

    planned = invoke("plan", "x.yml", "--json")
    merged = invoke("merge", "x.yml", "out", "--random-seed", "7")

    expected = [
        "x.yml: mergekit ignores the key 'random_seed': it has no effect.",
        "x.yml: mergekit ignores the key 'postprocessing': it has no effect.",
        "x.yml: mergekit ignores the key 'dtpye': it has no effect. Did you mean 'dtype'?",
        "x.yml: parameters: mergekit ignores 'random_seed': dare_ties has no such parameter.",
        "x.yml: parameters: mergekit ignores 'densty': dare_ties has no such parameter. Did you "
        "mean 'density'?",
        "x.yml: line 2: 'dtype' is given twice in the same place: only the last one has an effect",
        f"x.yml: models[0] ({triple.ct}): mergekit ignores 'normalize' here: it is for the whole "
        "merge, in the top-level parameters",
    ]
    said = [line for line in json.loads(planned.stdout)["warnings"] if "x.yml: " in line]
    assert sorted(said) == sorted(expected)
    assert merged.exit_code == 0
    assert all(line in merged.stderr for line in expected)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("slerp", {"t": 0.5, "int8_mask": True}),
        ("sce", {"select_topk": 0.5, "lambda": 0.9}),
        ("dare_ties", {"weight": 0.5, "random_seed": 42}),
    ],
)
def test_a_recipe_with_ignored_parameters_is_pulled(
    method: str, parameters: dict[str, Any], api: HfApi
) -> None:
    """What has no effect is in the result, and among the changes that make it slack_ties."""
    models = [{"model": "a/ct"}, {"model": "a/sft"}]
    data = {"merge_method": method, "base_model": "a/base", "parameters": parameters}
    text = yaml.safe_dump({**data, "models": models, "postprocessing": []})
    api.create_repo("me/x", private=False)
    for name, content in (("mergekit_config.yml", text), ("README.md", "---\nlicense: mit\n---\n")):
        api.upload_file(path_or_fileobj=content.encode(), path_in_repo=name, repo_id="me/x")

    pulled = pull_recipe("me/x", api=api)

    ignored = list(parameters)[1]
    assert [words.partition(": ")[2] for words in pulled.ignored] == [
        "mergekit ignores the key 'postprocessing': it has no effect.",
        f"parameters: mergekit ignores {ignored!r}: {method} has no such parameter.",
    ]
    assert "remove postprocessing: it has no effect" in pulled.changes


def test_a_value_that_mergekit_cannot_read(triple: Folders) -> None:
    """It is refused before any model is downloaded, with its place and the next step."""
    data = smallest("linear", triple)
    data["parameters"]["weight"] = "heavy"
    refused = plan_merge(parse_recipe(yaml.safe_dump(data), where="x.yml")).errors

    (error,) = refused
    assert str(error).startswith("x.yml: the parameters of linear: Input should be a valid number")
    assert str(error).endswith(", got 'heavy'")
    assert error.hint == "change that value; then: slack-ties plan x.yml"
