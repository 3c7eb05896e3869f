"""Whatever could load the base can load the result: tried with transformers 4."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mergekit.options import MergeOptions
from transformers import AutoTokenizer

from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.read import parse_recipe
from triple import Folders, extend
from zoo import ZOO
from zoo_merge import Outcome, make_models, try_merge

# With what it needs beside the packages of these tests.
TRANSFORMERS_4 = (
    *("transformers==4.57.6", "huggingface-hub<1", "tokenizers<0.23"),
    *("requests", "urllib3", "charset-normalizer", "idna", "certifi"),
)
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


@pytest.fixture(scope="module")
def version_4(request: pytest.FixtureRequest) -> Path:
    """A folder with transformers 4, which stands before the transformers of these tests."""
    cache = request.config.cache
    assert cache is not None
    site = Path(cache.mkdir("transformers-4"))
    if (site / "whole").is_file():
        return site
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade"]
    done = subprocess.run(
        [*pip, "--no-deps", "--target", str(site), *TRANSFORMERS_4],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"{TRANSFORMERS_4[0]} cannot be installed: {done.stderr.strip()[-200:]}")
    (site / "whole").touch()
    return site


def test_transformers_4_reads_the_same(version_4: Path, tmp_path: Path) -> None:
    """What loads the base loads the result: no more is missing, and configs say the same."""
    folders = {animal.name: tmp_path / animal.name for animal in ZOO if animal.name in READ_BY_4}
    for animal in ZOO:
        if animal.name in folders:
            make_models(animal, folders[animal.name])
            assert try_merge(animal, folders[animal.name]) == Outcome(same_logits=True)

    answer = asked(version_4, *(f"{name}={folder}" for name, folder in folders.items()))

    assert answer["version"].startswith("4.57")
    assert len(answer["found"]) >= len(READ_BY_4) - 2
    for name, found in answer["found"].items():
        assert found["out"]["missed"] == found["base"]["missed"], name
        assert found["out"]["config"] == found["base"]["config"], name
        assert found["out"]["weights"].keys() == found["base"]["weights"].keys(), name


def asked(site: Path, *words: str) -> Any:
    """Return what version_4.py answers."""
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("version_4.py")), *words],
        env={**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("source", ["", "union", "ct"])
def test_the_tokenizer_is_the_same_in_both(
    source: str, version_4: Path, triple: Folders, tmp_path: Path
) -> None:
    """Copied, or built by mergekit: transformers 4 and 5 cut a text into the same tokens."""
    ct = extend(tmp_path / "ct", triple.ct) if source else triple.ct
    models = {"base": str(triple.base), "ct": str(ct), "sft": str(triple.sft)}
    section = {"": "", "union": "tokenizer: {source: union}\n"}.get(
        source, f"tokenizer: {{source: {ct}}}\n"
    )
    config = make_config("bo", Choices(**models))
    lines = [one for one in config.text.splitlines() if not one.startswith("tokenizer:")]
    recipe = parse_recipe("\n".join([section, *lines]), where="bo.yml")
    merge_models(recipe, tmp_path / "out", options=MergeOptions(quiet=True))
    text = "བོད་ཡིག and English</s>"

    answer = asked(version_4, "tokenizer", str(tmp_path / "out"), text)

    ours = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert answer["tokens"] == ours(text)["input_ids"]
    assert answer["special"] == {k: str(v) for k, v in ours.special_tokens_map.items()}
    assert answer["chat"] == ours.apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=False
    )


def test_tokens_with_names_of_their_own(version_4: Path, triple: Folders, tmp_path: Path) -> None:
    """As vision models have them: transformers 4 finds them under their names."""
    shutil.copytree(triple.base.parent, tmp_path / "models")
    folders = [tmp_path / "models" / role for role in ("base", "ct", "sft")]
    for folder in folders:
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text("utf-8"))
        named = {"tokenizer_class": "PreTrainedTokenizerFast"}
        named["extra_special_tokens"] = {"image_token": "a"}
        path.write_text(json.dumps(settings | named), "utf-8")
    base, ct, sft = map(str, folders)
    config = make_config("bo", Choices(base=base, ct=ct, sft=sft))
    text = f"{config.text}tokenizer: {{source: union}}\n"
    merge_models(
        parse_recipe(text, where="bo.yml"), tmp_path / "out", options=MergeOptions(quiet=True)
    )

    for folder in (folders[0], tmp_path / "out"):
        answer = asked(version_4, "tokenizer", str(folder), "a")
        assert answer["special"]["image_token"] == "a"
