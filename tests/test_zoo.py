"""Every architecture: merged in full, as the definition says, and loaded with nothing missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dense import merged_densely
from slack_ties.checkpoint import read_headers
from slack_ties.loading import skeleton_of
from slack_ties.plain_models import plain_model
from zoo import NOT_HERE, ZOO, Animal
from zoo_merge import PAGE, Outcome, make_models, read_by_version_4, try_merge

TRANSFORMERS_4 = "transformers==4.57.6"
# Models that transformers 4 has, and people merge: the others of the zoo would only take time.
READ_BY_4 = (
    *("llama", "llama-biases", "mistral", "qwen2", "qwen2-tied", "qwen3", "gemma", "phi3", "gpt2"),
    *(
        "bloom",
        "opt",
        "mixtral",
        "qwen2-moe",
        "olmoe",
        "falcon-7b",
        "starcoder2",
        "granite",
        "bart",
    ),
)


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_is_merged_in_full(animal: Animal, tmp_path: Path) -> None:
    """No tensor of the base is lost, each is the definition's, and transformers loads them all."""
    make_models(animal, tmp_path)

    outcome = try_merge(animal, tmp_path)

    assert outcome == Outcome(same_logits=True)


def test_the_page_lists_every_animal() -> None:
    """docs/architectures.md has a line for each, made from the same outcome."""
    text = PAGE.read_text("utf-8")

    lines = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    right = [f"| {a.name} | `{a.kind}` | merged, every tensor right |" for a in ZOO]
    assert [line.rpartition("|")[0].rpartition("|")[0] + "|" for line in lines] == right
    assert all(f"`{kind}`" in text for kind in NOT_HERE)


def test_plain_models_are_as_transformers_has_them(tmp_path: Path) -> None:
    """Names, shapes and ties that `plan` knows without transformers are those of transformers."""
    plain = []
    for animal in ZOO:
        if animal.name not in {
            "llama",
            "llama-3",
            "llama-biases",
            "mistral",
            "qwen2",
            "qwen2-tied",
            "qwen3",
        }:
            continue
        make_models(animal, tmp_path / animal.name)
        folder = tmp_path / animal.name / "base"
        config = __import__("json").loads((folder / "config.json").read_text("utf-8"))
        known, asked = plain_model(config, read_headers(folder)), skeleton_of(config)
        assert asked is not None
        if known is None:
            continue
        plain.append(animal.name)
        assert known.state == {name: tuple(t.shape) for name, t in asked.state.items()}
        assert set(known.tied) == set(asked.tied)
        assert (known.vocabulary, known.heads) == (asked.vocabulary, asked.heads)
        assert known.parameters == asked.parameters
    assert {"llama", "llama-biases", "mistral", "qwen2", "qwen2-tied", "qwen3"} <= set(plain)


@pytest.fixture(scope="module")
def version_4(request: pytest.FixtureRequest) -> Path:
    """A folder with transformers 4, which stands before the transformers of these tests."""
    cache = request.config.cache
    assert cache is not None
    site = Path(cache.mkdir("transformers-4"))
    if (site / "transformers").is_dir():
        return site
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [
            *pip,
            "--no-deps",
            "--target",
            str(site),
            TRANSFORMERS_4,
            "huggingface-hub<1",
            "tokenizers<0.23",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"{TRANSFORMERS_4} cannot be installed: {done.stderr.strip()[-200:]}")
    return site


def test_transformers_4_reads_the_same(version_4: Path, tmp_path: Path) -> None:
    """What loads the base loads the result: no more is missing, and configs say the same."""
    folders = {animal.name: tmp_path / animal.name for animal in ZOO if animal.name in READ_BY_4}
    for animal in ZOO:
        if animal.name in folders:
            make_models(animal, folders[animal.name])
            assert try_merge(animal, folders[animal.name]) == Outcome(same_logits=True)

    answer = read_by_version_4(folders, version_4)

    assert answer["version"].startswith("4.57")
    assert len(answer["found"]) >= len(READ_BY_4) - 2
    for name, found in answer["found"].items():
        assert found["out"]["missed"] == found["base"]["missed"], name
        assert found["out"]["config"] == found["base"]["config"], name
        assert found["out"]["weights"].keys() == found["base"]["weights"].keys(), name


def test_the_check_can_say_the_opposite(tmp_path: Path) -> None:
    """A result that lacks a tensor, or has another value, is found out."""
    animal = ZOO[0]
    make_models(animal, tmp_path)
    base = load_file(tmp_path / "base" / "model.safetensors")
    name = "model.norm.weight"
    wrong = merged_densely(base[name], base[name] + 1, base[name]) + 1

    assert not torch.equal(wrong, merged_densely(base[name], base[name] + 1, base[name]))
    assert Outcome(lost=(name,), same_logits=True) != Outcome(same_logits=True)
