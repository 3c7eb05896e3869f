"""A card's metadata, by the Hub's documented rules and beside the Hub of the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_server import check_card
from slack_ties.card.metadata import check_metadata, metadata_problems
from slack_ties.errors import OutputError

GOOD = {
    "language": ["no", "en"],
    "license": "llama2",
    "base_model": ["a/base", "a/ct"],
    "base_model_relation": "merge",
    "datasets": ["a/data", "wikipedia"],
    "tags": ["merge", "mn-Mong"],
    "library_name": "transformers",
    "pipeline_tag": "text-generation",
    "model_name": "x",
}
OTHER = {"license": "other", "license_name": "qwen-research", "license_link": "LICENSE"}


@pytest.mark.parametrize(
    "change",
    [
        {},
        OTHER,
        {**OTHER, "license_link": "https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE"},
        {"language": "bo"},
        {"thumbnail": "x.png", "new_version": "a/b", "model-index": []},
    ],
)
def test_good_metadata(change: dict[str, Any]) -> None:
    """Nothing to say, here and at the Hub; keys of others' are nobody's business."""
    data = {**GOOD, **change}

    assert metadata_problems(data) == []
    assert check_card(f"---\n{yaml.safe_dump(data)}---\n") == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"language": [False]}, "language: expected ISO 639 codes; quote `no`"),
        ({"language": ["Tibetan"]}, "language: expected ISO 639 codes"),
        ({"license": "my-own"}, "license: 'my-own' is not a licence id of the Hub"),
        ({"license": ["mit"]}, "license: \"['mit']\" is not a licence id"),
        ({"license": "other", "license_link": "LICENSE"}, "license: other needs a license_name"),
        ({"license": "other", "license_name": "x"}, "license: other needs a license_link"),
        ({**OTHER, "license_link": "../secret"}, "license_link: expected a URL"),
        ({**OTHER, "license_name": 3}, "license_name: expected a text"),
        ({"base_model": ["./base"]}, "base_model: expected ids of models"),
        ({"base_model": ["/home/me/base"]}, "base_model: expected ids of models"),
        ({"base_model_relation": "married"}, "base_model_relation: expected one of"),
        ({"datasets": ["a b"]}, "datasets: expected ids of datasets"),
        ({"tags": 3}, "tags: expected short texts, got '3'"),
        ({"tags": [["a"]]}, "tags: expected short texts"),
        ({"tags": ["x" * 101]}, "tags: expected short texts"),
        ({"pipeline_tag": []}, "pipeline_tag: expected a text"),
    ],
)
def test_bad_metadata(change: dict[str, Any], problem: str) -> None:
    """Each is named by its key."""
    (found,) = metadata_problems({**GOOD, **change})

    assert problem in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\nlicense: {\n---\n", "the metadata cannot be read"),
        ("---\n- a\n---\n", "the metadata cannot be read"),
        ("---\nlicense: my-own\ntags: 3\n---\n", "tags: expected short texts, got '3'; license:"),
    ],
)
def test_a_card_on_the_disk(tmp_path: Path, text: str, message: str) -> None:
    """One line that says what and where, and what to do."""
    (tmp_path / "README.md").write_text(text)

    with pytest.raises(OutputError, match=re.escape(message)) as caught:
        check_metadata(tmp_path / "README.md")

    assert f"slack-ties card {tmp_path}" in caught.value.hint


def test_a_card_without_metadata_is_allowed(tmp_path: Path) -> None:
    """As at the Hub."""
    (tmp_path / "README.md").write_text("# Tibetan")

    check_metadata(tmp_path / "README.md")
