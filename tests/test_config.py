"""Writing merge configs: what is in them, and that stock mergekit reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from slack_ties.config import RECOMMENDED, Choices, make_config, write_configs
from slack_ties.errors import CatalogueError, OutputError, RecipeError
from slack_ties.languages import list_languages
from slack_ties.recipe import FACTS_KEY

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

    recipe = make_config("eu", choices)

    assert recipe.where == "eu.yml"
    assert recipe.facts.language == {"tag": "eu", "iso_639_1": "eu"}
    with pytest.raises(CatalogueError, match="no language 'eu'"):
        make_config("eu", Choices(base="a/base", ct="a/ct"))


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

    with pytest.raises(OutputError, match="is there already and says something else"):
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
