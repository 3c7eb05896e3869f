"""The card of a config: what the models' cards state, and what is not known of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from slack_ties.card.planned import read_parents
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.licenses.resolve import resolve_license
from slack_ties.publish.check import look_at_parents
from slack_ties.recipe.recipe import Recipe

NAMES = {"base": "me/base", "ct": "me/ct", "sft": "me/sft"}


@pytest.fixture
def recipe(api: HfApi) -> Recipe:
    """A config of three models on the Hub; one has no card."""
    for role, name in NAMES.items():
        api.create_repo(name, private=False)
        card = b"---\nlicense: llama2\ndatasets: [me/data]\nbase_model: me/older\n---\n"
        if role != "sft":
            api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=name)
    return make_config("qu", Choices(**NAMES))


@pytest.fixture
def silent() -> Iterator[HfApi]:
    """A Hub that takes a question and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield HfApi(endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")


def test_cards_on_the_hub(recipe: Recipe, api: HfApi) -> None:
    """Licence, datasets and parents are read; a model without a card states nothing."""
    parents, problems = read_parents(recipe, api)

    assert problems == {}
    assert [(one.model, one.role, one.license, one.datasets) for one in parents] == [
        ("me/base", "base", "llama2", ("me/data",)),
        ("me/ct", "ct", "llama2", ("me/data",)),
        ("me/sft", "sft", "", ()),
    ]
    assert parents[1].made_from == ("me/older",)


def test_a_model_that_is_not_there(recipe: Recipe, api: HfApi) -> None:
    """It is named, and the others are read."""
    assert recipe
    other = make_config("qu", Choices(**{**NAMES, "ct": "me/none"}))

    parents, problems = read_parents(other, api)

    assert list(problems) == ["me/none"]
    assert "not found on" in problems["me/none"]
    assert [one.license for one in parents] == ["llama2", "not read", ""]


def test_without_network(recipe: Recipe, api: HfApi, own_cache: Path) -> None:
    """A card in the cache is read; of the others it is said why not."""
    assert own_cache
    away = HfApi(endpoint="http://127.0.0.1:9")
    api.hf_hub_download("me/base", "README.md")

    parents, problems = read_parents(recipe, away)

    assert [one.license for one in parents] == ["llama2", "not read", "not read"]
    assert list(problems) == ["me/ct", "me/sft"]
    assert problems["me/ct"].endswith("Connection refused, and the cache has no such card")


def test_a_hub_that_is_silent(recipe: Recipe, silent: HfApi, own_cache: Path) -> None:
    """It is asked once, and not waited for long."""
    assert own_cache
    start = time.monotonic()

    _, problems = read_parents(recipe, silent, patience=0.5)

    assert time.monotonic() - start < 30
    assert set(problems) == {"me/base", "me/ct", "me/sft"}
    assert "did not answer in time" in problems["me/sft"]


def test_what_an_adapter_was_made_from(tmp_path: Path, api: HfApi) -> None:
    """Its licence stays with the merge, in the card of a config and before a merge alike."""
    folders = {role: tmp_path / role for role in ("base", "ct", "sft", "lora")}
    for role, folder in folders.items():
        folder.mkdir()
        more = "base_model: meta-llama/Meta-Llama-3-8B\n" if role == "lora" else ""
        (folder / "README.md").write_text(f"---\nlicense: mit\n{more}---\n", "utf-8")
    names = {role: str(folders[role]) for role in NAMES}
    names["sft"] += f"+{folders['lora']}"
    recipe = make_config("qu", Choices(**names))

    before = look_at_parents(recipe, api=api)
    shown, _ = read_parents(recipe, api)

    assert before[2].made_from == shown[2].made_from == ("meta-llama/Meta-Llama-3-8B",)
    found = [resolve_license(one).license for one in (before, shown)]
    assert [one and one.key for one in found] == ["llama3", "llama3"]
