"""Writing merge configs: what is in them, and that stock mergekit reads them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from slack_ties.card.text import make_card
from slack_ties.card.write import write_card
from slack_ties.catalogue.languages import list_languages
from slack_ties.config.choices import Choices
from slack_ties.config.defaults import RECOMMENDED
from slack_ties.config.make import look_at_choices, make_config
from slack_ties.config.write import write_configs
from slack_ties.errors import CatalogueError, OutputError, RecipeError
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.recipe import FACTS_KEY
from slack_ties.sharing.adapt import adapt_recipe
from triple import Folders, extend

ROOT = Path(__file__).parent.parent


def test_the_config_of_tibetan() -> None:
    """The whole content, key by key."""
    parameters = {"weight": 1.0, "density": 0.5}

    assert make_config("bo").data == {
        "merge_method": "slack_ties",
        "base_model": "meta-llama/Llama-2-7b-hf",
        "models": [
            {"model": "pkupie/Llama-2-7b-bod", "parameters": parameters},
            {
                "model": "pkupie/Llama-2-7b-FLAN-step884",
                "parameters": {**parameters, "slack": 0.2},
            },
        ],
        "parameters": {"normalize": False, "lambda": 1.0},
        "out_dtype": "float16",
        FACTS_KEY: {
            "recipe": 1,
            "language": {
                "tag": "bo",
                "name": "Tibetan",
                "endonym": "བོད་སྐད་",
                "script": "Tibt",
                "iso_639_1": "bo",
                "iso_639_3": "bod",
            },
            "family": "Llama 2 7B",
            "roles": {
                "base": "meta-llama/Llama-2-7b-hf",
                "ct": "pkupie/Llama-2-7b-bod",
                "sft": "pkupie/Llama-2-7b-FLAN-step884",
            },
            "licenses": {
                "meta-llama/Llama-2-7b-hf": "llama2",
                "pkupie/Llama-2-7b-bod": "llama2",
                "pkupie/Llama-2-7b-FLAN-step884": "llama2",
            },
            "sft_languages": ["en"],
        },
    }


@pytest.mark.parametrize("key", [triple.key for triple in list_languages()])
def test_the_shared_configs_are_what_is_written(key: str, tmp_path: Path) -> None:
    """merge_configs/ holds exactly what `slack-ties config` writes, and mergekit reads it."""
    (path,) = write_configs([key], tmp_path)

    assert path.read_bytes() == (ROOT / "merge_configs" / f"{key}.yml").read_bytes()
    from mergekit.config import MergeConfiguration  # noqa: PLC0415 - heavy

    merge = MergeConfiguration.model_validate(yaml.safe_load(path.read_text("utf-8")))
    assert merge.merge_method == "slack_ties"


def test_there_are_no_other_shared_configs() -> None:
    """A config of a triple that left the catalogue is a mistake."""
    there = {path.stem for path in (ROOT / "merge_configs").glob("*.yml")}

    assert there == {triple.key for triple in list_languages()}


def test_choices_replace_what_is_recommended() -> None:
    """Each option changes its own value and nothing else."""
    choices = Choices(
        weight=0.5, density=0.3, slack=0.1, normalize=True, lambda_=2, dtype="float32"
    )

    data = make_config("te", choices).data

    parameters = {"weight": 0.5, "density": 0.3}
    assert [model["parameters"] for model in data["models"]] == [
        parameters,
        {**parameters, "slack": 0.1},
    ]
    assert data["parameters"] == {"normalize": True, "lambda": 2}
    assert data["out_dtype"] == "float32"
    assert choices.made() == ["weight", "density", "slack", "normalize", "lambda", "dtype"]


def test_recommended_values_are_those_of_the_evidence() -> None:
    """What docs/method.md gives reasons for."""
    assert RECOMMENDED == {
        "weight": 1.0,
        "density": 0.5,
        "slack": 0.2,
        "normalize": False,
        "lambda": 1.0,
    }


def test_own_models_keep_no_facts_of_the_catalogues() -> None:
    """Another CT model has no known licence, another base no known family or type."""
    other_ct = make_config("bo", Choices(ct="me/my-ct"))
    other_base = make_config("bo", Choices(base="me/my-base"))

    assert "me/my-ct" not in other_ct.facts.licenses
    assert other_ct.data["out_dtype"] == "float16"
    assert other_base.facts.family == ""
    assert "out_dtype" not in other_base.data


def test_a_local_base_says_its_own_type(triple: object) -> None:
    """The merged model is stored in the type of a base on this disk."""
    recipe = make_config("bo", Choices(base=str(triple.base)))

    assert recipe.data["out_dtype"] == "bfloat16"


def test_a_language_outside_the_catalogue() -> None:
    """Its code and three models are enough."""
    choices = Choices(base="a/base", ct="a/ct", sft="a/sft")

    recipe = make_config("cy", choices)

    assert recipe.where == "cy.yml"
    assert recipe.facts.language == {
        "tag": "cy",
        "name": "Welsh",
        "endonym": "Cymraeg",
        "iso_639_1": "cy",
        "iso_639_3": "cym",
    }
    with pytest.raises(CatalogueError, match="no language 'cy'"):
        make_config("cy", Choices(base="a/base", ct="a/ct"))


@pytest.mark.parametrize(
    ("typed", "tag", "name"),
    [
        ("kk", "kk", "Kazakh"),
        ("Kazakh", "kk", "Kazakh"),
        ("mon", "mn", "Mongolian"),
        ("kk-Arab", "kk-Arab", "Kazakh (Arabic script)"),
        ("bod", "bo", "Tibetan"),
    ],
)
def test_a_language_of_own_models(typed: str, tag: str, name: str) -> None:
    """A code or name without a script says nothing of the script of a user's own models."""
    recipe = make_config(typed, Choices(base="a/base", ct="a/ct", sft="a/sft"))

    assert (recipe.facts.language["tag"], recipe.facts.language["name"]) == (tag, name)
    assert recipe.where.startswith(tag)
    adapted = adapt_recipe(recipe, language=typed, ct="b/ct")
    assert (adapted.facts.language["tag"], adapted.facts.language["name"]) == (tag, name)
    assert make_config("kk").facts.language["tag"] == "kk-Arab"  # the catalogue's models are


@pytest.mark.parametrize(
    ("card", "languages"), [("", ()), ("---\nlanguage: [fr, br]\n---\n", ("fr", "br"))]
)
def test_the_languages_of_an_own_sft_model(
    card: str, languages: tuple[str, ...], triple: Folders, tmp_path: Path
) -> None:
    """They are those that its card names: English only if it says so."""
    shutil.copytree(triple.sft, tmp_path / "sft")
    (tmp_path / "sft" / "README.md").write_text(card, "utf-8")
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(tmp_path / "sft"))

    recipe = make_config("cy", look_at_choices(choices, ["cy"]))

    assert recipe.facts.sft_languages == languages
    assert "English" not in recipe.text
    assert make_card(recipe).data.language == ["cy", *languages]
    assert make_config("bo").facts.sft_languages == ("en",)


def test_written_with_own_models_it_is_the_one_of_the_command(
    triple: Folders, tmp_path: Path
) -> None:
    """Their files are read: the CT model has tokens of its own, which the merge must know of."""
    ct = extend(tmp_path / "extended", triple.ct)
    choices = Choices(base=str(triple.base), ct=str(ct), sft=str(triple.sft))

    (looked,) = write_configs(["cy"], tmp_path / "looked", choices=choices)
    (not_looked,) = write_configs(["cy"], tmp_path / "not", choices=choices, look_at_models=False)

    assert looked.read_text("utf-8") == make_config("cy", look_at_choices(choices, ["cy"])).text
    assert "\ntokenizer:" in looked.read_text("utf-8")
    assert "\ntokenizer:" not in not_looked.read_text("utf-8")


def test_norwegian_stays_a_text() -> None:
    """The code `no` is a truth value in YAML unless it is quoted."""
    choices = Choices(base="a/base", ct="a/ct", sft="a/sft")

    assert make_config("no", choices).facts.language["tag"] == "no"


def test_nothing_is_written_if_one_language_is_wrong(tmp_path: Path) -> None:
    """All are checked before the first is written."""
    with pytest.raises(CatalogueError):
        write_configs(["bo", "klingon"], tmp_path / "new")
    with pytest.raises(RecipeError, match="density must be"):
        write_configs(["bo"], tmp_path / "new", choices=Choices(density=7))

    assert not (tmp_path / "new").exists()


def test_an_edited_config_is_kept(tmp_path: Path) -> None:
    """Somebody's work is not replaced unasked; the same again is fine."""
    (path,) = write_configs(["bo"], tmp_path)
    write_configs(["bo"], tmp_path)
    path.write_text("# mine\n")

    with pytest.raises(OutputError, match="exists and has other content"):
        write_configs(["ug", "bo"], tmp_path)

    assert [p.name for p in tmp_path.iterdir()] == ["bo.yml"]
    assert path.read_text() == "# mine\n"
    write_configs(["bo"], tmp_path, overwrite=True)
    assert path.read_text("utf-8").startswith("# Tibetan")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is an error with a next step."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="cannot write configs"):
        write_configs(["bo"], tmp_path / "file")


# Several CT models in one merge


def test_a_joint_config() -> None:
    """One input for each language, one SFT model, and facts about all of them."""
    recipe = make_config(["bo", "Uyghur", "mn-Mong"])

    assert recipe.where == "bo-ug-mn-Mong.yml"
    assert recipe.models_of("ct") == tuple(f"pkupie/Llama-2-7b-{x}" for x in ("bod", "uig", "mon"))
    assert recipe.models_of("sft") == ("pkupie/Llama-2-7b-FLAN-step884",)
    assert [one["tag"] for one in recipe.facts.languages] == ["bo", "ug", "mn-Mong"]
    assert [m["parameters"].get("slack") for m in recipe.data["models"]] == [None, None, None, 0.2]
    assert recipe.text.startswith("# Tibetan, བོད་སྐད་ and Uyghur, ئۇيغۇرچە and Mongolian")


def test_parameters_by_role_and_language() -> None:
    """A language's number goes before its role's, and what is not named is recommended."""
    choices = Choices(
        weight={"bo": 0.5, "ct": 0.25, "sft": 2},
        density={"ug": 0.9},
        slack={"sft": 0.3, "mn-Mong": 0.1},
    )

    models = make_config(["bo", "ug", "mn-Mong"], choices).data["models"]

    assert [model["parameters"] for model in models] == [
        {"weight": 0.5, "density": 0.5},
        {"weight": 0.25, "density": 0.9},
        {"weight": 0.25, "density": 0.5, "slack": 0.1},
        {"weight": 2, "density": 0.5, "slack": 0.3},
    ]


def test_several_sft_models() -> None:
    """Each gets the SFT model's slack."""
    recipe = make_config("bo", Choices(sft=["a/chat", "a/code"]))

    assert recipe.models_of("sft") == ("a/chat", "a/code")
    assert [m["parameters"].get("slack") for m in recipe.data["models"]] == [None, 0.2, 0.2]
    assert recipe.data[FACTS_KEY]["roles"]["sft"] == ["a/chat", "a/code"]


@pytest.mark.parametrize(
    ("languages", "choices", "message"),
    [
        (["bo", "bo-qwen2.5-1.5b"], Choices(), "a joint merge needs one base"),
        (["lo", "th"], Choices(), "sail/Sailor-0.5B is the CT model of two of the languages"),
        (["bo", "ug"], Choices(ct=["a/b"]), "1 CT model for 2 languages, expected one for each"),
        (["bo"], Choices(weight={"ug": 1}), "--weight ug=...: expected a role or a language"),
        (["bo"], Choices(slack={"stf": 0.1}), "Did you mean 'sft'?"),
    ],
)
def test_what_cannot_be_joined(languages: list[str], choices: Choices, message: str) -> None:
    """Said with what was expected."""
    with pytest.raises(RecipeError, match=re.escape(message)):
        make_config(languages, choices)


def test_a_joint_merge_is_planned_and_run(triple: Folders, tmp_path: Path) -> None:
    """Two CT models and two SFT models, from config to card."""
    second = shutil.copytree(triple.ct, tmp_path / "second")
    choices = Choices(
        base=str(triple.base),
        ct=[str(triple.ct), str(second)],
        sft=[str(triple.sft), str(shutil.copytree(triple.sft, tmp_path / "chat"))],
        weight={"ct": 0.5},
        dtype="bfloat16",
    )
    (path,) = write_configs(["bo", "ug"], tmp_path, choices=choices, joint=True)

    plan = plan_merge(path)
    record = merge_models(path, tmp_path / "out", quiet=True)

    assert (plan.errors, plan.languages) == ((), ("Tibetan", "Uyghur"))
    assert [model.role for model in plan.models] == ["base", "ct", "ct", "sft", "sft"]
    assert [parent.role for parent in record.parents] == ["base", "ct", "ct", "sft", "sft"]
    card = write_card(tmp_path / "out").read_text("utf-8")
    assert "language:\n- bo\n- ug\nlicense: mit\n" in card
    assert "\n# Tibetan and Uyghur\n" in card
