"""Other merge methods for the same triple: their configs, and every command with them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.merge_methods import registered_methods
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from command import Invoke
from slack_ties.card.text import make_card
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import look_at_choices, make_config
from slack_ties.config.methods import METHODS, RANDOM, config_name, find_method, method_names
from slack_ties.errors import RecipeError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.report.anatomy import layer_of
from slack_ties.run import run_all
from slack_ties.sharing.adapt import adapt_recipe
from slack_ties.sharing.pull import pull_recipe
from slack_ties.sharing.search import search_recipes
from slack_ties.sharing.untrusted import lint_recipe
from slack_ties.sharing.verify import verify_model
from triple import Folders, changed, extend, llama
from zoo_merge import tensors

QUIET = MergeOptions(quiet=True, lazy_unpickle=True)
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
    away = replace(choices, ct="NOBODY/here")  # refused before anybody is asked for the model
    with pytest.raises(RecipeError, match=message):
        look_at_choices(away, ["bo"])


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


# The same bytes as stock mergekit


def stock(recipe: Recipe, out: Path, **options: Any) -> dict[str, torch.Tensor]:
    """Return the weights that mergekit itself makes of a config."""
    config = MergeConfiguration.model_validate(yaml.safe_load(recipe.text))
    run_merge(config, str(out), QUIET.model_copy(update={"write_model_card": False, **options}))
    return tensors(out)


def ours(recipe: Recipe, out: Path, **options: Any) -> dict[str, torch.Tensor]:
    """Return the weights that slack-ties makes of it."""
    merge_models(recipe, out, options=QUIET.model_copy(update=options))
    return tensors(out)


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Compare names, types and every bit."""
    assert one.keys() == other.keys()
    assert [key for key, made in one.items() if made.dtype != other[key].dtype] == []
    assert [key for key, made in one.items() if not torch.equal(made, other[key])] == []


def choose(folders: Folders, method: str, **others: Any) -> Choices:
    """Return the choice of a triple and a method, as `config` looks at it."""
    named = Choices(str(folders.base), str(folders.ct), str(folders.sft), method=method, **others)
    return look_at_choices(named, ["bo"])


@pytest.mark.parametrize("name", OTHERS)
def test_the_bytes_of_stock_mergekit(name: str, triple: Folders, tmp_path: Path) -> None:
    """Every method's config gives what mergekit-yaml makes of it; the random ones by their seed."""
    recipe = make_config("bo", choose(triple, name))

    assert_same(
        ours(recipe, tmp_path / "ours", random_seed=3),
        stock(recipe, tmp_path / "stock", random_seed=3),
    )


def test_the_formula_of_a_chat_vector(triple: Folders, tmp_path: Path) -> None:
    """In float32, each entry is CT + (SFT - base), but for the order of rounding."""
    merged = ours(make_config("bo", choose(triple, "chat-vector", dtype="float32")), tmp_path / "x")

    models = {
        role: AutoModelForCausalLM.from_pretrained(getattr(triple, role), dtype=torch.float32)
        for role in ("base", "ct", "sft")
    }
    base, ct, sft = (models[role].state_dict() for role in ("base", "ct", "sft"))
    for name, entries in merged.items():
        torch.testing.assert_close(entries, ct[name] + (sft[name] - base[name]), rtol=0, atol=1e-2)


def test_tokens_of_the_ct_model(triple: Folders, tmp_path: Path) -> None:
    """A CT model with tokens of its own: the section that aligns them gives stock's bytes."""
    folders = Folders(triple.base, extend(tmp_path / "ct", triple.ct), triple.sft)
    recipe = make_config("bo", choose(folders, "param-delta"))

    merged = ours(recipe, tmp_path / "ours")

    assert recipe.data["tokenizer"] == {"source": str(folders.ct)}
    assert len(merged["model.embed_tokens.weight"]) == 512 + 64
    assert_same(merged, stock(recipe, tmp_path / "stock"))


def test_an_adapter(triple: Folders, tmp_path: Path) -> None:
    """An SFT model that is a LoRA of the base, as stock merges it."""
    torch.manual_seed(0)
    adapter = get_peft_model(
        AutoModelForCausalLM.from_pretrained(triple.base),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    adapter.save_pretrained(tmp_path / "lora")
    pair = f"{triple.base}+{tmp_path / 'lora'}"
    models = Choices(str(triple.base), str(triple.ct), pair, method="chat-vector")
    recipe = make_config("bo", models)

    merged = ours(recipe, tmp_path / "ours")

    cache = str(tmp_path / "cache")
    assert_same(merged, stock(recipe, tmp_path / "stock", lora_merge_cache=cache))


# Every command


def test_the_plan_says_what_the_method_does(invoke: Invoke, triple: Folders) -> None:
    """In one row, and nothing about slack."""
    models = [f"--{role}={getattr(triple, role)}" for role in ("base", "ct", "sft")]
    invoke("config", "bo", "--method", "chat-vector", *models)

    plan = invoke("plan", "merge_configs/bo-task_arithmetic.yml")
    lint = invoke("plan", "--offline-lint", "merge_configs/bo-task_arithmetic.yml")

    assert plan.exit_code == 0
    assert "Method:     add the changes of each model, times its weight, to the base" in plan.stdout
    assert "slack" not in plan.stdout
    assert "Warnings" not in plan.stdout
    assert lint.exit_code == 1
    assert "Hub" in lint.stdout  # these models are folders


def test_a_plan_without_a_base(triple: Folders, tmp_path: Path) -> None:
    """The tokenizer is that of the first model, and the text says so."""
    plan = plan_merge(make_config("bo", choose(triple, "linear")))
    bare = Path(shutil.copytree(triple.ct, tmp_path / "bare"))
    for path in bare.glob("*token*"):
        path.unlink()
    without = plan_merge(make_config("bo", choose(replace_ct(triple, bare), "linear")))

    assert plan.vocabulary == "the same 512 tokens in all models"
    assert plan.chat == f"template and special tokens of {triple.sft}"
    assert without.vocabulary == f"{bare} has no tokenizer, so the merged model has none"
    (warning,) = [line for line in without.warnings if "no tokenizer" in line]
    assert warning.endswith("copy the tokenizer of another model into its folder")


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].has_base])
def test_a_base_as_ct_model_is_refused(name: str, triple: Folders) -> None:
    """The same mistake has the same message with every method that adds changes to a base."""
    folders = Folders(triple.base, triple.base, triple.sft)

    (error,) = plan_merge(make_config("bo", choose(folders, name))).errors

    assert f"the CT model is the base {triple.base}: it adds nothing" in str(error)


def test_ct_and_sft_swapped_without_a_base(triple: Folders) -> None:
    """The chat template of the CT model gives it away."""
    swapped = Folders(triple.base, triple.sft, triple.ct)

    said = plan_merge(make_config("bo", choose(swapped, "linear", dtype="float16"))).warnings

    assert [line for line in said if "are the CT and the SFT model swapped?" in line]


def test_models_of_a_mean_that_are_not_related(triple: Folders, tmp_path: Path) -> None:
    """There is no base to compare with: the models are compared with the first."""
    shutil.copytree(triple.sft, tmp_path / "other")
    llama(seed=9).bfloat16().save_pretrained(tmp_path / "other")
    recipe = make_config(
        "bo", choose(Folders(triple.base, triple.ct, tmp_path / "other"), "linear")
    )

    (error,) = plan_merge(recipe).errors
    allowed = plan_merge(recipe, allow_unrelated=True)

    assert f"{str(tmp_path / 'other')!r} have nothing in common with {str(triple.ct)!r}" in str(
        error
    )
    assert "made from one base, or merge anyway: --allow-unrelated" in error.hint
    assert not allowed.errors
    assert all(model.likeness is None for model in allowed.models)


@pytest.mark.parametrize("weights", [{"ct": 0.0, "sft": 0.0}, {"ct": 1.0, "sft": -1.0}])
def test_a_mean_with_weights_of_sum_0(weights: dict[str, float], triple: Folders) -> None:
    """Mergekit would divide by 0; without the division it is a sum like any other."""
    divided, added = (
        plan_merge(make_config("bo", choose(triple, "linear", weight=weights, normalize=divide)))
        for divide in (True, False)
    )

    assert "the weights have the sum 0, and linear divides by it" in str(divided.errors[0])
    assert not added.errors


def replace_ct(triple: Folders, ct: Path) -> Folders:
    """Return a triple with another CT model."""
    return Folders(triple.base, ct, triple.sft)


def test_methods_without_a_report(invoke: Invoke, triple: Folders) -> None:
    """It is said which have one, and what one can do instead, before any work."""
    models = [f"--{role}={getattr(triple, role)}" for role in ("base", "ct", "sft")]
    invoke("config", "bo", "--method", "chat-vector", *models)
    config = "merge_configs/bo-task_arithmetic.yml"

    refused = invoke("report", config)
    merged = invoke("merge", config, "out", "--report")

    assert "reports exist only for slack_ties and ties, which elect signs" in refused.stderr
    assert f"Next: slack-ties plan {config} # says how far" in refused.stderr
    assert "Next: leave --report out" in merged.stderr
    assert not Path("out").exists()


def test_a_method_is_no_option_of_a_config(invoke: Invoke, triple: Folders) -> None:
    """`run CONFIG --method` would change the config; `merge` says where the option belongs."""
    Path("bo.yml").write_text(make_config("bo", choose(triple, "ties")).text, "utf-8")

    run = invoke("run", "bo.yml", "--out", "out", "--method", "linear")
    merge = invoke("merge", "bo.yml", "out", "--method", "linear")

    assert "bo.yml is a config: --method would change it" in run.stderr
    assert "slack-ties config LANG --method" in merge.stderr


@pytest.fixture
def on_hub(triple: Folders, api: HfApi) -> Choices:
    """The triple on the Hub of the test."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
    return Choices(base="me/base", ct="me/ct", sft="me/sft")


@pytest.mark.parametrize("name", ["task_arithmetic", "linear", "dare_ties"])
def test_from_a_language_to_a_verified_model(
    name: str, on_hub: Choices, tmp_path: Path, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run, publish, find, pull, run again and verify: the same bytes; the card says how."""
    monkeypatch.chdir(tmp_path)
    options = QUIET.model_copy(update={"random_seed": 5 if name == "dare_ties" else None})
    made = run_all(
        "bo",
        tmp_path / "out",
        choices=replace(on_hub, method=name),
        options=options,
        publish="me/tibetan",
        license="mit",
        api=api,
    )

    verified = verify_model("me/tibetan", quiet=True, api=api)
    pulled = pull_recipe("me/tibetan", api=api)
    again = run_all("me/tibetan", tmp_path / "again", options=options, api=api)

    card = ModelCard.load(made.card)
    assert verified.same
    assert pulled.recipe.method == made.record.method == name
    assert pulled.ignored == ()
    assert pulled.recipe.models_of("ct") == (f"me/ct@{api.model_info('me/ct').sha}",)
    assert again.record.files == made.record.files
    assert {"slack-ties", "mergekit", "merge"} <= set(card.data.tags)
    assert card.data.base_model == ["me/base", "me/ct", "me/sft"][name == "linear" :]
    assert "To repeat the merge and get the same bytes:" in card.text
    assert [one.repo_id for one in search_recipes(language="bo", api=api)] == ["me/tibetan"]


def test_random_numbers_without_a_seed(
    on_hub: Choices, tmp_path: Path, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan warns, the card does not promise the same bytes, and `verify` refuses at once."""
    monkeypatch.chdir(tmp_path)
    choices = replace(on_hub, method="dare_linear")
    warnings = [
        plan_merge(make_config("bo", choices), api=api, options=options).warnings
        for options in (QUIET, QUIET.model_copy(update={"random_seed": 0}))
    ]
    made = run_all(
        "bo",
        tmp_path / "out",
        choices=choices,
        options=QUIET,
        publish="me/tibetan",
        license="mit",
        api=api,
    )

    said = ["draws random numbers" in " ".join(lines) for lines in warnings]
    card = made.card.read_text("utf-8")
    assert said == [True, False]
    assert "no `--random-seed` was given. To merge again, with other bytes" in card
    assert "slack-ties verify" not in card
    with pytest.raises(RecipeError, match="dare_linear draws random numbers") as caught:
        verify_model("me/tibetan", quiet=True, api=api)
    assert caught.value.hint.startswith("slack-ties verify me/tibetan --against FOLDER")


@pytest.mark.parametrize("name", ["chat-vector", "breadcrumbs"])
def test_a_stream(name: str, on_hub: Choices, tmp_path: Path, api: HfApi) -> None:
    """The Hub gets the bytes of a merge on this disk, and this disk keeps none of them."""
    choices = replace(on_hub, method=name, dtype="bfloat16")
    options = QUIET.model_copy(update={"out_shard_size": 100_000})
    here = merge_models(make_config("bo", choices), tmp_path / "here", options=options, api=api)

    streamed = run_all(
        "bo",
        tmp_path / "out",
        choices=choices,
        options=options,
        publish="me/tibetan",
        stream=True,
        license="mit",
        api=api,
    )

    assert streamed.record.files == here.files
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_adapts_to_another_language(on_hub: Choices) -> None:
    """The new config has the method in its name and in its comments."""
    recipe = make_config("bo", replace(on_hub, method="chat-vector"))

    adapted = adapt_recipe(recipe, language="dz", ct="me/dzongkha")

    assert adapted.where == "dz-task_arithmetic.yml"
    assert adapted.method == "task_arithmetic"
    assert adapted.models == ("me/base", "me/dzongkha", "me/sft")
    assert "A task_arithmetic merge of a base" in adapted.text
    assert "slack-ties run dz-task_arithmetic.yml" in adapted.text
    assert "pip install" not in adapted.text


def test_a_model_that_mergekit_yaml_merged(triple: Folders, tmp_path: Path) -> None:
    """The card of the adopted model has the formula and its names, by the roles in the config."""
    recipe = make_config("bo", choose(triple, "chat-vector"))
    config = MergeConfiguration.model_validate(yaml.safe_load(recipe.text))
    run_merge(config, str(tmp_path / "out"), QUIET, config_source=recipe.text)

    card = write_card(tmp_path / "out").read_text("utf-8")

    assert "[Chat Vector](https://arxiv.org/abs/2310.04799)" in card
    assert "merged with [mergekit](https://github.com/arcee-ai/mergekit)" in card
    assert "was continually pre-trained on Tibetan" in card


# The page


PAGE = (Path(__file__).parent.parent / "docs" / "methods.md").read_text("utf-8")


def test_the_commands_of_the_page(invoke: Invoke) -> None:
    """Each writes a config."""
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    done = [invoke(*shlex.split(line)[1:]) for line in block.splitlines()]

    assert [one.exit_code for one in done] == [0] * 3
    assert len({one.stdout for one in done}) == 3


def test_layer_swapping(tmp_path: Path) -> None:
    """The page's config takes the layers that it names, as they are, and mixes those between."""
    base = llama(hidden=16, layers=32)
    models = {"pkupie/Llama-2-7b-bod": "ct", "pkupie/Llama-2-7b-FLAN-step884": "sft"}
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for seed, (name, role) in enumerate(models.items()):
        changed(base, 0.02, seed).half().save_pretrained(tmp_path / role)
        text = text.replace(name, str(tmp_path / role))
    ct, sft = (tensors(tmp_path / role) for role in ("ct", "sft"))

    merged = ours(parse_recipe(text, where="swap.yml"), tmp_path / "ours")

    assert_same(merged, stock(parse_recipe(text, where="swap.yml"), tmp_path / "stock"))
    of = {name: [torch.equal(merged[name], one[name]) for one in (ct, sft)] for name in merged}
    layers: dict[int | None, list[list[bool]]] = {}
    for name, same in of.items():
        if "layernorm" not in name:  # 16 numbers, which a mixture may round to the same
            layers.setdefault(layer_of(name), []).append(same)
    for layer, found in layers.items():
        here = layer is None or not 4 <= layer < 28, layer is not None and 8 <= layer < 24
        assert found == [list(here)] * len(found), layer
