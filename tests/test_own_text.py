"""What a person wrote into a card is found again, and an edit elsewhere is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slack_ties.card.own_text import PLACES, place, read_own_text, read_text_file, sealed
from slack_ties.errors import OutputError
from slack_ties.licenses.known import Stated

HEAD = "---\nlanguage:\n- bo\nlicense: mit\ntags:\n- merge\n---\n\n# Tibetan\n\n"
CARD = sealed(HEAD + "".join(f"## {name}\n\n{place(name, '')}\n\n" for name in PLACES))


def test_nothing_written() -> None:
    """A card as it was made."""
    own = read_own_text(CARD)

    assert (own.places, own.metadata, own.edited) == ({}, {}, False)
    assert own.license == Stated("mit")
    assert own.tags == ("merge",)


@given(st.sampled_from(PLACES), st.text(min_size=1).filter(str.strip))
def test_any_text_is_found_again(name: str, text: str) -> None:
    """Typed between the comments or given as a file, in any script, with any marks."""
    text = text.replace("\r", "").strip()
    if not text.strip() or "<!--" in text or "---" in text:
        return
    typed = CARD.replace(place(name, ""), place(name, text))

    own = read_own_text(typed)

    assert own.places == {name: text}
    assert not own.edited
    assert read_own_text(typed.replace("\n", "\r\n")).edited is False


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Tibetan", "# Tibetan and more"),
        ("- bo", "- dz"),
        ("## contact\n", "## contact\n\nme\n"),
        ("\n---\n\n#", "\n---\nMy introduction.\n#"),
        ("sha256:", "sha1:"),
        ("language:", "language"),
        ("tags:", "# a comment\ntags:"),
        ("# Tibetan\n", f"# Tibetan\n\n{place('training', 'mine')}\n"),
        (f"{place('more', '')}\n", f"{place('more', 'one')}\n{place('more', 'two')}\n"),
        ("license: mit", "license: [mit, llama2]"),
        ("<!-- end of your text -->\n\n## in-language", "## in-language"),
        ("- bo", "- {1: a, b: c}"),
        ("- bo", "- &a [*a]"),
    ],
)
def test_an_edit_elsewhere_is_noticed(old: str, new: str) -> None:
    """In the text, in the metadata, or of the last line."""
    assert old in CARD

    assert read_own_text(CARD.replace(old, new, 1)).edited


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- merge", "- merge\n- mine"),
        ("license: mit", "license: llama2"),
        ("license: mit", "thumbnail: x.png\nlicense: mit"),
        ("\n\n## ", "\n\n\n\n## "),
        ("# Tibetan\n", "# Tibetan  \n"),
        (place("more", ""), ""),
    ],
)
def test_what_is_no_edit(old: str, new: str) -> None:
    """Tags, a licence and keys that a person adds; white space; a place that is taken out."""
    assert old in CARD

    assert not read_own_text(CARD.replace(old, new)).edited


def test_what_a_person_added_to_the_metadata() -> None:
    """Keys that are not made here, all tags and datasets, and the licence with name and link."""
    card = CARD.replace(
        "license: mit",
        "license: other\nlicense_name: mine\nlicense_link: LICENSE\nthumbnail: x.png\n"
        "datasets: a/b\nnew_version: me/new",
    ).replace("- merge", "- merge\n- mine")

    own = read_own_text(card)

    assert own.metadata == {"thumbnail": "x.png", "new_version": "me/new"}
    assert (own.tags, own.datasets) == (("merge", "mine"), ("a/b",))
    assert own.license == Stated("other", "mine", "LICENSE")


def test_what_yaml_does_not_read_as_text() -> None:
    """Numbers, dates and datasets with keys are texts all the same; the rest is named."""
    card = CARD.replace("- merge", "- 2024\n- 2024-05-01\n- no\n- [a]\ndatasets:\n- name: a/b")

    own = read_own_text(card)

    assert own.tags[:2] == ("2024", "2024-05-01")
    assert own.datasets == ("a/b",)
    assert own.lost == ("'False' in tags", "\"['a']\" in tags")


@pytest.mark.parametrize(
    "card", ["", "mine", "---\n{\n---\nx", "---\n- a\n---\n", "---\ntags: 3\n---\n"]
)
def test_a_card_of_a_persons_own(card: str) -> None:
    """Written by hand from the first line: edited, and nothing in it fails."""
    own = read_own_text(card)

    assert own.edited
    assert own.places == {}


def test_a_text_from_a_file(tmp_path: Path) -> None:
    """With or without the mark that some editors put first, and the line ends of any system."""
    (tmp_path / "x.md").write_bytes("\ufeffབོད་\r\nyes\r\n".encode())

    assert read_text_file(tmp_path / "x.md") == "བོད་\nyes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b" \n", "has 0 characters, expected 1 to 100,000"),
        (b"x" * 100_001, "has 100,001 characters"),
        (place("description", "x").encode(), "contains the comments that a card has"),
        (b"x\n<!-- end of your text -->\n", "contains comments of a card that slack-ties made"),
        (sealed("x").encode(), "contains comments of a card that slack-ties made"),
    ],
)
def test_a_file_that_is_no_text_for_a_card(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """One line."""
    if content is not None:
        (tmp_path / "x.md").write_bytes(content)

    with pytest.raises(OutputError, match=re.escape(message)):
        read_text_file(tmp_path / "x.md")
