"""What the parents' licences ask to be passed on lies beside the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from slack_ties.errors import OutputError
from slack_ties.licenses import Resolution, Stated, find_license, resolve_license
from slack_ties.notice import is_pointer, missing_duties, write_notices
from slack_ties.record import MergeRecord, Parent

NOTICE = (
    "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, "
    "Inc. All Rights Reserved."
)


def merge_of(*licenses: str, **base: object) -> tuple[MergeRecord, Resolution]:
    """Return the record of a merge of models under these licences, and its licence."""
    parents = [
        Parent(f"a/{role}", role, (f"{i}" * 40,), license_)
        for i, (role, license_) in enumerate(zip(("base", "ct", "sft"), licenses, strict=False))
    ]
    parents[0] = replace(parents[0], **base)
    record = MergeRecord("slack_ties", "bfloat16", 1, tuple(parents), {})
    return record, resolve_license(parents)


def texts(folder: Path) -> dict[str, str]:
    """Return all files of a folder."""
    return {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base in a folder, with its licence, its notice and its policy of use."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "LICENSE.txt").write_bytes(b"LLAMA 3.1 COMMUNITY LICENSE\r\n\xc2\xa9 Meta\r\n")
    (folder / "NOTICE").write_text("made by the base's makers\n")
    (folder / "USE_POLICY.md").write_text("be good\n")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a merged model."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_texts_of_a_parent_in_a_folder(base: Path, out: Path) -> None:
    """Its licence as LICENSE, its notice and the required sentence in Notice, its policy."""
    names = ("LICENSE.txt", "NOTICE", "USE_POLICY.md")
    record, found = merge_of("llama3.1", "llama3.1", model=str(base), commits=("",), texts=names)

    written = write_notices(out, record, found)

    assert texts(out) == {
        "LICENSE": "LLAMA 3.1 COMMUNITY LICENSE\n© Meta\n",
        "Notice": (
            f"{NOTICE}\n\n"
            "The weights of this model are changed ones: it was made by merging\n"
            "- base (llama3.1)\n"
            f"- a/ct at commit {'1' * 40} (llama3.1)\n\n"
            "From the notice of base:\n\nmade by the base's makers\n"
        ),
        "USE_POLICY.md": "be good\n",
    }
    assert {path.name for path in written} == set(texts(out))
    assert write_notices(out, record, found) == []  # the second time there is nothing to do


def test_texts_of_a_parent_on_the_hub(base: Path, out: Path, api: HfApi) -> None:
    """Those of the commit that was merged, though the repository has moved on."""
    api.create_repo("me/base", private=False)
    api.upload_folder(repo_id="me/base", folder_path=base)
    commit = api.model_info("me/base").sha
    api.upload_file(path_or_fileobj=b"new", path_in_repo="LICENSE.txt", repo_id="me/base")
    record, found = merge_of(
        "llama3.1", model="me/base@main", commits=(commit,), texts=("LICENSE.txt", "NOTICE")
    )

    write_notices(out, record, found, api=api)

    assert texts(out)["LICENSE"] == "LLAMA 3.1 COMMUNITY LICENSE\n© Meta\n"
    assert "From the notice of me/base:" in texts(out)["Notice"]


def test_no_parent_has_the_text(out: Path) -> None:
    """LICENSE says where it is and that it belongs there; Notice needs no text."""
    record, found = merge_of("llama3.1", "llama3.1")

    write_notices(out, record, found)

    assert is_pointer(out / "LICENSE")
    assert texts(out)["LICENSE"] == (
        "Llama 3.1 Community License Agreement\n"
        "https://github.com/meta-llama/llama-models/blob/main/models/llama3_1/LICENSE\n\n"
        "This file only says where the text of the licence is. No model that was merged came "
        "with it.\nThe licence asks to pass on a copy: put the text in the place of this.\n"
    )
    assert texts(out)["Notice"].startswith(f"{NOTICE}\n")


def test_a_text_that_cannot_be_had(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The Hub is not there, and neither is the cache: said once, and LICENSE says where it is."""
    record, found = merge_of("llama3.1", texts=("LICENSE", "NOTICE"))

    write_notices(out, record, found, api=HfApi(endpoint="http://127.0.0.1:9"))

    assert is_pointer(out / "LICENSE")
    said = [record.message for record in caplog.records if record.name == "slack_ties"]
    assert len(said) == 1  # NOTICE is not asked for any more
    assert "LICENSE of 'a/base': " in said[0]
    assert said[0].endswith("LICENSE will only say where the text is")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"x" * 1_000_001, b""])
def test_a_text_that_is_none(base: Path, out: Path, content: bytes) -> None:
    """A licence of a parent that is no text of sane length is not passed on."""
    (base / "LICENSE.txt").write_bytes(content)
    record, found = merge_of("llama3.1", model=str(base), commits=("",), texts=("LICENSE.txt",))

    write_notices(out, record, found)

    assert is_pointer(out / "LICENSE")


def test_what_a_person_put_there_stays(out: Path) -> None:
    """A LICENSE that is no pointer; and all of Notice, to which missing sentences are added."""
    (out / "LICENSE").write_text("the text, by hand")
    (out / "Notice").write_text("With thanks to my village.\n")
    record, found = merge_of("llama3.1", "llama3.1")

    write_notices(out, record, found)

    assert texts(out)["LICENSE"] == "the text, by hand"
    assert texts(out)["Notice"].startswith(f"With thanks to my village.\n\n{NOTICE}\n")


def test_a_pointer_gives_way_to_the_text(base: Path, out: Path) -> None:
    """When the text can be had later, it takes its place."""
    record, found = merge_of("llama3.1", "llama3.1")
    write_notices(out, record, found)
    record, found = merge_of(
        "llama3.1", "llama3.1", model=str(base), commits=("",), texts=("LICENSE.txt",)
    )

    write_notices(out, record, found)

    assert texts(out)["LICENSE"].startswith("LLAMA 3.1 COMMUNITY LICENSE")


def test_two_licenses_that_both_hold(out: Path) -> None:
    """LICENSE says so, and each has its own file or address."""
    record, found = merge_of("llama2", "cc-by-nc-4.0")

    write_notices(out, record, found)

    assert set(texts(out)) == {"LICENSE", "LICENSE-llama2", "Notice"}
    assert "https://creativecommons.org/licenses/by-nc/4.0/legalcode" in texts(out)["LICENSE"]
    assert "llama2 and cc-by-nc-4.0, both" in texts(out)["LICENSE"]
    assert not is_pointer(out / "LICENSE")
    assert is_pointer(out / "LICENSE-llama2")


def test_nothing_is_asked_for(out: Path) -> None:
    """Public domain."""
    record, found = merge_of("cc0-1.0", "cc0-1.0")

    write_notices(out, record, found)

    assert missing_duties(out, found) == []


def test_what_is_missing_is_named(out: Path) -> None:
    """Each duty by itself; none after the files and the card are there."""
    record, found = merge_of("llama3.1", "apache-2.0")
    stated = resolve_license(record.parents, Stated("other", "mine", "LICENSE"))

    assert missing_duties(out, found) == [
        "the sentence of the Llama 3.1 Community License Agreement in Notice",
        "LICENSE",
        "the words 'Built with Llama' in README.md",
    ]
    assert missing_duties(out, stated)[0] == "LICENSE"  # the text that the card promises
    write_notices(out, record, found)
    (out / "README.md").write_text("**Built with Llama**")
    assert missing_duties(out, found) == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """One line, no traceback."""
    record, found = merge_of("llama3.1")

    with pytest.raises(OutputError, match="cannot write"):
        write_notices(tmp_path / "none", record, found)


def test_the_sentences_are_the_licenses() -> None:
    """The one of this file is the one of the table."""
    assert find_license("llama3.1").notice == NOTICE
