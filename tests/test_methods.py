"""Other merge methods for the same triple: their configs, and every command with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from mergekit.merge_methods import registered_methods

from command import Invoke
from slack_ties.card.text import make_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.config.methods import METHODS, RANDOM, config_name, find_method, method_names
from slack_ties.errors import RecipeError
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.sharing.untrusted import lint_recipe
from triple import Folders

OTHERS = [name for name in METHODS if name != "slack_ties"]
INSTALLED = {method.spec.name: method.spec for method in registered_methods()}
# Parameters that mergekit's methods have in common, and that change nothing in some of them.
IN_COMMON = {"int8_mask", "rescale", "density"}


@pytest.mark.parametrize("name", METHODS)
def test_the_table_has_the_parameters_of_the_installed_mergekit(name: str) -> None:
    """Every parameter that is written exists with that scope, and none of effect is missing."""
    method, spec = METHODS[name], INSTALLED[name]
    scopes = {parameter.name: parameter.scope.value for parameter in spec.parameters}

    of_models = {scopes[one] for one in method.per_model}
    assert of_models <= {"non_base" if method.has_base else "input"}
    assert {scopes[one] for one in method.shared} == {"shared"}
    assert set(scopes) - set(method.parameters) <= IN_COMMON
    assert method.has_base == (spec.contract.base.value == "required")


@pytest.mark.parametrize("name", OTHERS)
def test_values_called_mergekits_defaults_are(name: str) -> None:
    """Only `normalize` of slack_ties differs from the default of mergekit, for a reason of ours."""
    defaults = {parameter.name: parameter.default for parameter in INSTALLED[name].parameters}
    method = METHODS[name]

    assert dict(method.shared) == {one: defaults[one] for one in method.shared}


def test_methods_with_random_numbers() -> None:
    """Those that mergekit's own table of methods gives a way to drop entries by chance."""
    by_chance = {
        method.spec.name
        for method in registered_methods()
        if getattr(method, "sparsification_method", None)
        and method.sparsification_method.value in ("random", "della_magprune")
    }

    assert by_chance == RANDOM
    assert {name for name, method in METHODS.items() if method.random} == RANDOM & METHODS.keys()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (None, "slack_ties"),
        ("chat-vector", "task_arithmetic"),
        ("Param_Delta", "task_arithmetic"),
        ("instruction-residual", "task_arithmetic"),
        ("task-arithmetic", "task_arithmetic"),
        ("model-soup", "linear"),
        *((name, name) for name in METHODS),
    ],
)
def test_names(typed: str | None, name: str) -> None:
    """Those of mergekit and those of papers, in any case, with - or _."""
    assert find_method(typed).name == name


def test_an_unknown_name(invoke: Invoke) -> None:
    """One line with the nearest name, and all names."""
    refused = invoke("config", "bo", "--method", "chat-vektor")

    assert refused.exit_code == 1
    assert "unknown merge method 'chat-vektor'. Did you mean 'chat-vector'?" in refused.stderr
    assert f"known: {', '.join(method_names())}" in refused.stderr
    assert not Path("merge_configs").exists()


def test_the_config_of_a_chat_vector(invoke: Invoke) -> None:
    """The same triple, facts and type as the config of slack_ties beside it, and its sources."""
    written = invoke("config", "bo", "--method", "chat-vector")
    ours = invoke("config", "bo")

    path = Path("merge_configs/bo-task_arithmetic.yml")
    text = path.read_text("utf-8")
    data, other = yaml.safe_load(text), make_config("bo").data
    assert (written.stdout.strip(), ours.stdout.strip()) == (str(path), "merge_configs/bo.yml")
    assert data.pop("merge_method") == "task_arithmetic"
    assert data.pop("models") == [
        {"model": model["model"], "parameters": {"weight": 1.0}} for model in other["models"]
    ]
    assert data == {key: other[key] for key in data}
    comment = "".join(line.removeprefix("#") for line in text.splitlines() if line[:1] == "#")
    for word in ("2310.04799", "2504.21023", "qE0lPCBkD4", "Chat Vector", "CT + (SFT - base)"):
        assert word in comment
    assert "slack-ties run bo-task_arithmetic.yml --out OUT" in comment
    assert "pip install" not in comment


@pytest.mark.parametrize("name", OTHERS)
def test_a_config_of_each_method(name: str, tmp_path: Path, triple: Folders) -> None:
    """It is ready to share, and its plan finds nothing wrong and nothing without effect."""
    recipe = make_config("bo", Choices(method=name))
    (tmp_path / recipe.where).write_text(recipe.text, "utf-8")
    own = Choices(str(triple.base), str(triple.ct), str(triple.sft), method=name, dtype="float16")

    plan = plan_merge(make_config("bo", own))

    assert recipe.where == config_name("bo", name) == f"bo-{name}.yml"
    assert lint_recipe(tmp_path / recipe.where).method == name
    assert recipe.models_of("ct") == ("pkupie/Llama-2-7b-bod",)
    assert recipe.models_of("sft") == ("pkupie/Llama-2-7b-FLAN-step884",)
    assert not plan.errors
    assert [line for line in plan.warnings if "ignores" in line or "slack" in line] == []


def test_linear_leaves_the_base_out() -> None:
    """A mean of the models has no base: it is neither named nor downloaded."""
    recipe = make_config("bo", Choices(method="linear", weight={"ct": 0.7, "sft": 0.3}))

    assert recipe.models == ("pkupie/Llama-2-7b-bod", "pkupie/Llama-2-7b-FLAN-step884")
    assert "meta-llama" not in recipe.text
    assert [part["parameters"] for part in recipe.data["models"]] == [
        {"weight": 0.7},
        {"weight": 0.3},
    ]


@pytest.mark.parametrize(
    ("choices", "message", "known"),
    [
        (Choices(method="chat-vector", slack=0.2), "--slack: no effect", "--weight, --normalize"),
        (Choices(method="ties", slack=0.2), "--slack: no effect in the method ties", "--density"),
        (Choices(method="linear", lambda_=2, density=1), "--density and --lambda", "--weight"),
        (Choices(method="sce", weight=1), "--weight: no effect in the method sce", "none"),
    ],
)
def test_options_that_a_method_lacks(choices: Choices, message: str, known: str) -> None:
    """They are refused by name, with those that it has."""
    with pytest.raises(RecipeError, match=message) as caught:
        make_config("bo", choices)
    assert known in caught.value.hint


def test_own_values_and_models(invoke: Invoke, triple: Folders) -> None:
    """`--base`, `--ct`, `--sft` and the parameters that the method has, by role."""
    models = [f"--{role}={getattr(triple, role)}" for role in ("base", "ct", "sft")]
    values = ["--weight", "sft=0.8", "--density", "0.7", "--normalize", "--lambda", "0.9"]
    result = invoke("config", "bo", "--method", "breadcrumbs", *models, *values, "--json")

    (path,) = json.loads(result.stdout)["configs"]
    data = yaml.safe_load(Path(path).read_text("utf-8"))
    assert [part["parameters"] for part in data["models"]] == [
        {"weight": 1.0, "density": 0.7, "gamma": 0.01},
        {"weight": 0.8, "density": 0.7, "gamma": 0.01},
    ]
    assert data["parameters"] == {"normalize": True, "lambda": 0.9}
    assert data["out_dtype"] == "bfloat16"
    assert data["slack_ties"]["roles"]["base"] == str(triple.base)


# The card


def card_of(method: str, **choices: object) -> str:
    """Return the example card of the config of a method for Tibetan."""
    return str(make_card(make_config("bo", Choices(method=method, **choices))))  # type: ignore[arg-type]


def test_the_card_of_a_chat_vector() -> None:
    """It names the formula, its three names and their papers, and cites what was used."""
    card = card_of("chat-vector")
    made = card.partition("## How it was made")[2].partition("```")[0]
    limits, _, citation = card.partition("## Limitations")[2].partition("## Citation")

    assert "CT + (SFT - base)" in made
    for alias in METHODS["task_arithmetic"].aliases:
        assert f"[{alias.title}]({alias.source})" in made
    assert "slack" not in made.replace("slack-ties run", "")
    assert "cancel each other in part" in limits
    keys = re.findall(r"^@\w+\{([\w-]+),$", citation, re.MULTILINE)
    assert keys == [*METHODS["task_arithmetic"].cites, "goddard-etal-2024-arcees"]
    assert "model_name: Llama 2 7B Tibetan, merged with task_arithmetic" in card


@pytest.mark.parametrize(
    "choices", [{"weight": 0.8}, {"normalize": True}, {"lambda_": 0.5}, {"weight": {"sft": 2.0}}]
)
def test_other_values_are_not_called_a_chat_vector(choices: dict[str, object]) -> None:
    """Its papers add both changes in full."""
    card = card_of("chat-vector", **choices)

    assert "add the changes of each model, times its weight" in card
    assert "Chat Vector](" not in card
    assert "CT + (SFT - base)" not in card.partition("```yaml")[0]


@pytest.mark.parametrize("name", METHODS)
def test_the_card_of_each_method(name: str) -> None:
    """It links the paper, says what the method does, and has an entry for each work it cites."""
    card = card_of(name)

    assert METHODS[name].conflicts in card
    assert METHODS[name].source in card
    assert (METHODS[name].formula in card) == (name != "slack_ties")
    citation = card.partition("## Citation")[2]
    assert [key for key in METHODS[name].cites if f"{{{key},\n" not in citation] == []
    assert citation.count("\n@") == len(METHODS[name].cites) + 1
    assert len(citation.splitlines()) == 7 * citation.count("\n@") - citation.count("@misc") + 4


def test_the_card_of_a_method_that_no_config_is_written_for() -> None:
    """Only mergekit is cited, and nothing is claimed of it."""
    text = "merge_method: slerp\nbase_model: a/b\nmodels: [{model: a/c}]\nparameters: {t: 0.5}\n"
    card = str(make_card(parse_recipe(text, where="x.yml")))

    assert "The merge method is mergekit's `slerp`." in card
    assert card.partition("## Citation")[2].count("\n@") == 1
