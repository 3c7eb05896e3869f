"""The texts of licences that the package ships are the licences', word by word."""

from __future__ import annotations

import hashlib
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import pytest

from slack_ties.licenses.known import find_license, hub_licenses
from slack_ties.licenses.texts import is_standard_text, standard_text

ROOT = Path(__file__).parents[1]

TEXTS = {
    "agpl-3.0": "8486a10c4393cee1c25392769ddd3b2d6c242d6ec7928e1414efff7dfb2f07ef",
    "apache-2.0": "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
    "bsd-2-clause": "8116e572e44a918ea5f1b589024fbc673ccddde7a53b3bf95b4eafab0fdcd41e",
    "bsd-3-clause": "f24d1328dbfffe7bf66aa877957db75e60629358357d8c366ccab616fef487ab",
    "cc-by-4.0": "f5b745ef98087f531e719ee8ca6a96809444573ecc7173c6fa68eaad39b3cc3f",
    "cc-by-nc-4.0": "c1ff5b40378d5dc3126d708bc9291a4c0c4101002f7bab9e344ec01e18b6e957",
    "cc-by-nc-sa-4.0": "38087a9b7837889d5562a989180189e6de6c78159fae5a85ea338f9c790b621d",
    "cc-by-sa-4.0": "2003829cf643d61b00a76088dd31bb11b8029546f24c56b39fd492adb9281483",
    "cc0-1.0": "a2010f343487d3f7618affe54f789f5487602331c0a8d03f49e9a7c547cf0499",
    "gpl-2.0": "8177f97513213526df2cf6184d8ff986c675afb514d4e68a404010521b880643",
    "gpl-3.0": "3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986",
    "isc": "4aca3373f1677ae2cba83e44f30b313992fbce6727ce2e172907d56ac43b0137",
    "mit": "002c2696d92b5c8cf956c11072baa58eaf9f6ade995c031ea635c6a1ee342ad1",
    "unlicense": "6b0382b16279f26ff69014300541967a356a666eb0b91b422f6862f6b7dad17e",
}


def words_from(first: str, text: str) -> list[str]:
    """Return the words of a text from its first sentence on: what stands above is the owner's."""
    return text[text.index(first) :].split()


def test_no_letter_of_a_shipped_text_was_changed() -> None:
    """Every file has the bytes of its source: we compared those with a second source."""
    folder = files("slack_ties.licenses").joinpath("standard")

    found = {
        one.name.removesuffix(".txt"): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.iterdir()
    }

    assert found == TEXTS
    assert found.keys() <= set(hub_licenses())


@pytest.mark.parametrize(
    ("license_id", "package", "first"),
    [
        ("mit", "pydantic", "Permission is hereby granted"),
        ("bsd-3-clause", "idna", "Redistribution and use"),
    ],
)
def test_it_is_the_text_that_packages_have(license_id: str, package: str, first: str) -> None:
    """A package under the same licence, installed here, has the same words."""
    paths = [one for one in distribution(package).files or () if "LICENSE" in str(one)]
    theirs = [one.read_text() for one in paths]

    ours = words_from(first, standard_text(license_id, ["x"]))

    assert len(ours) > 150
    assert ours in [words_from(first, text) for text in theirs if first in text]


def test_it_is_the_text_of_this_repository() -> None:
    """Our own LICENSE is the Apache License."""
    assert standard_text("apache-2.0", ["x"]).split() == (ROOT / "LICENSE").read_text().split()


@pytest.mark.parametrize("license_id", TEXTS)
def test_no_gap_is_left_in_a_text(license_id: str) -> None:
    """The owners' line is filled in, and the text is known again whoever they are."""
    text = standard_text(license_id, ["a/base", "a/ct"])

    assert "[fullname]" not in text
    assert is_standard_text(text)
    assert not is_standard_text(f"{text} by hand")


@pytest.mark.parametrize("license_id", ["llama2", "llama3.1", "gemma", "qwen", "bsd", "openrail"])
def test_texts_that_may_not_be_shipped(license_id: str) -> None:
    """There is none; the duty to pass on a copy stays."""
    assert standard_text(license_id, ["a/base"]) == ""
    assert find_license(license_id).copy
