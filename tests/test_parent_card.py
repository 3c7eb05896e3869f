"""Of a parent's card only ids are taken: it is somebody's text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slack_ties.models.license_texts import license_files
from slack_ties.models.parent_card import MOST_CARD, ParentCard, read_parent_card, stated_license

SEVERAL = [*[f"cc-by-nc-{i}.0" for i in (2, 3, 4)], *[f"llama{i}" for i in (2, 3, 4)], "gemma",
           "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0"]  # fmt: skip


def card_of(folder: Path, text: str | None) -> ParentCard:
    """Return what is taken of a card with this text."""
    if text is not None:
        (folder / "README.md").write_text(text, "utf-8")
    return read_parent_card(folder)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("license: llama2", "llama2"),
        ("license: [mit]", "mit"),
        ("license: openrail++", "openrail++"),
        ("license: other\nlicense_name: qwen-research\nlicense_link: x", "qwen-research"),
        ("license: other\nlicense_name: Tongyi Qianwen", "tongyi-qianwen"),
        ("license: other\nlicense_name: '**evil**'", "**evil**"),
        (
            "license: other\nlicense_name: mine\nlicense_link: https://x.example/l",
            "mine, https://x.example/l",
        ),
        ("license: other\nlicense_name: Llama 2 Community License", "llama2"),
        ("license: other\nlicense_link: https://ai.google.dev/gemma/terms", "gemma"),
        ("license_name: Gemma Terms of Use", "gemma"),
        # A link is a whole address, or it says nothing about the licence.
        ("license: other\nlicense_link: LICENSE", "other, LICENSE"),
        ("license_link: LICENSE", "other, LICENSE"),
        ("license: other\nlicense_link: main/LICENSE", "other, main/LICENSE"),
        ("license: other\nlicense_link: legalcode", "other, legalcode"),
        ("license: other\nlicense_link: mit", "other, mit"),
        ("license: other\nlicense_link: https://mit", "other, https://mit"),
        ("license: other\nlicense_link: http://www.opensource.org/license/MIT/", "mit"),
        # Of several licences, the name belongs to `other`, and none is left out.
        ("license: [mit, other]\nlicense_name: llama2", "mit-and-llama2"),
        ("license: [mit, other]\nlicense_name: mine", "mit, mine"),
        ("license: [mit, other]", "mit-and-other"),
        (
            "license: [mit, isc, bsd, gpl-2.0, gpl-3.0, cc0-1.0, gemma, qwen, zlib, llama2]",
            "mit-and-isc-and-bsd-and-gpl-2.0-and-gpl-3.0-and-cc0-1.0-and-gemma-and-qwen-and-zlib"
            "-and-llama2",
        ),
        (
            f"license: [{', '.join(f'cc-by-{i}.0' for i in (2, 3, 4))}, {', '.join(SEVERAL)}]",
            ", ".join(["cc-by-2.0", "cc-by-3.0", "cc-by-4.0", *SEVERAL])[:120].strip(),
        ),
        ("license: [mit, 'My own terms']", "mit, My own terms"),
        ("license: Creative Commons Attribution-NonCommercial 4.0 International", "cc-by-nc-4.0"),
        ("license: GPLv3", "gpl-3.0"),
        ("license: other", "other"),
        ("license: unknown", "unknown"),
        ("license: mit\nlicense_name: llama2", "mit"),
        ("language: bo", ""),
        ("license: [mit, llama2]", "mit-and-llama2"),
        ("license: Apache-2.0", "apache-2.0"),
        ("x: !!bool foo", ""),
        ("x: !!int ''", ""),
        ("x: !!timestamp foo", ""),
        ("a: &a [x]\nb: [*a]\nlicense: mit", ""),
        ("a: &a mit\nlicense: *a", "mit"),
        ("x: " + "y" * 150_000 + "\nlicense: mit", "mit"),
        ("x: " + "y" * 300_000 + "\nlicense: mit", ""),
        ("license: CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("license: Apache 2.0", "apache-2.0"),
        ("license: Apache-2.0-License", "apache-2.0"),
        ("license: MIT License", "mit"),
        ("license: My own terms", "My own terms"),
        ("license: '<b>mine</b>'", "<b>mine</b>"),
        ("license: " + "x" * 200, "x" * 120),
        ("license: 3", "3"),
        ("license: false", ""),
        ("license: {", ""),
        ("license: {mit: 1}", "{'mit': 1}"),
    ],
)
def test_the_license(tmp_path: Path, card: str, expected: str) -> None:
    """An id, several joined, or the card's own words: never nothing if something is stated."""
    assert card_of(tmp_path, f"---\n{card}\n---\n").license == expected


def test_empty_lines_may_come_first(tmp_path: Path) -> None:
    """The Hub's client reads such a card, too."""
    assert card_of(tmp_path, "\n\n---\nlicense: llama3\n---\n").license == "llama3"


@pytest.mark.parametrize(
    "stated",
    [
        "https://huggingface.co/ID/",
        "http://huggingface.co/ID",
        "https://www.huggingface.co/ID",
        "https://hf.co/ID",
        "https://hf-mirror.com/ID",
        "huggingface.co/ID",
        "HTTPS://HuggingFace.co/ID",
        "https://huggingface.co/ID/tree/main",
        "https://huggingface.co/ID/blob/main/README.md#use",
        "https://huggingface.co/ID?x=1",
        "https://huggingface.co/ID@main",
        "ID@main",
        "ID#x",
        "ID?x=1",
        "ID/",
        "/ID",
        "' ID '",
    ],
)
def test_a_base_model_by_its_address(tmp_path: Path, stated: str) -> None:
    """It is the same model as by its id."""
    name = "meta-llama/Llama-2-7b-hf"

    assert card_of(tmp_path, f"---\nbase_model: {stated.replace('ID', name)}\n---\n").made_from == (
        name,
    )


def test_other_addresses(tmp_path: Path) -> None:
    """A data set by its page, and a model whose id has one part; no other page is an id."""
    names = "https://huggingface.co/gpt2/tree/main, https://huggingface.co/datasets/me/data/viewer"
    card = f"---\ndatasets: [{names}, https://x.example/me/data, https://hf.co, a/b/c,"
    card += " https://hf.co/spaces/me/x, https://hf.co/papers/2307.09288]\n---\n"

    assert card_of(tmp_path, card).datasets == ("gpt2", "me/data")


@pytest.mark.parametrize(
    "card", [None, "no metadata", "---\n- a\n---\n", "---\n: : :\n---\n", "\0"]
)
def test_a_card_that_says_nothing(tmp_path: Path, card: str | None) -> None:
    """None, or one that no machine can read: then it says why."""
    found = card_of(tmp_path, card)

    assert replace(found, problem="") == ParentCard()
    assert found.problem.startswith("the lines between the two ---: ") == ("---" in (card or ""))


def test_a_card_of_great_length(tmp_path: Path) -> None:
    """Its metadata are read: they are at the beginning."""
    assert card_of(tmp_path, f"---\nlicense: mit\n---\n{'é' * MOST_CARD}").license == "mit"


@pytest.mark.parametrize("before", ["---\nx: ", "\n" * MOST_CARD + "---\nx: "])
def test_metadata_of_great_length(tmp_path: Path, before: str) -> None:
    """Metadata that are not read to their end could state a licence: the card has a problem."""
    found = card_of(tmp_path, f"{before}{'y' * MOST_CARD}\nlicense: llama2\n---\n")

    assert found == ParentCard(problem="its metadata have more than 1,000,000 bytes")
    assert stated_license(found) == "not read"


def test_ids(tmp_path: Path) -> None:
    """What it was made from and its data, as ids of the Hub: others are left out, and many."""
    found = card_of(
        tmp_path,
        """---
base_model: meta-llama/Llama-2-7b-hf
datasets:
- pkupie/mc2_corpus
- wikipedia
- pkupie/mc2_corpus
- ../../etc/passwd
- ../passwd
- "a/b/c"
- "[x](javascript:alert(1))"
- 3
- [a]
---
""",
    )
    many = "".join(f"- a/{i}\n" for i in range(1000))

    assert found.made_from == ("meta-llama/Llama-2-7b-hf",)
    assert found.datasets == ("pkupie/mc2_corpus", "wikipedia")
    assert len(card_of(tmp_path, f"---\ndatasets:\n{many}---\n").datasets) == 50


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["license", "license_name", "datasets", "base_model"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s, max_size=3)
        ),
    )
)
def test_nothing_else_comes_through(tmp_path: Path, data: dict[str, object]) -> None:
    """Whatever stands there, what is taken are ids, and one line for the licence."""
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump(data)}---\n", "utf-8")

    found = read_parent_card(tmp_path)

    for text in (*found.made_from, *found.datasets):
        assert not set(text) & set(" \n\t`*[]()<>|\"'\\")
        assert len(text) <= 200
    assert found.license.isprintable()
    assert len(found.license) <= 120


def test_datasets_with_keys(tmp_path: Path) -> None:
    """Some cards give a dataset's id as its name."""
    card = "---\ndatasets:\n- name: me/data\n  type: text\n- {type: text}\n---\n"

    assert card_of(tmp_path, card).datasets == ("me/data",)


def test_texts_of_licenses(tmp_path: Path) -> None:
    """By the names that repositories use; nothing of a folder that is not there."""
    for name in ("LICENSE.txt", "Notice", "USE_POLICY.md", "LICENSE.exe", "README.md"):
        (tmp_path / name).write_text("x")

    assert license_files(tmp_path) == ("LICENSE.txt", "Notice", "USE_POLICY.md")
    assert license_files(tmp_path / "none") == ()
