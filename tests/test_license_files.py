"""What the parents' licences ask to be passed on lies beside the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from slack_ties.card.license_files import is_pointer, missing_duties, write_notices
from slack_ties.errors import OutputError
from slack_ties.licenses.known import Stated, find_license, list_licenses
from slack_ties.licenses.resolve import Resolution, resolve_license
from slack_ties.licenses.texts import licenses_of, standard_text
from slack_ties.models.license_texts import license_files
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
            "This model has changed weights. It was made by merging these models:\n"
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
        "This file only says where the text of the licence is. It could not be taken from "
        "the models that were merged.\n"
        "The licence asks to pass on a copy: put the text in the place of this.\n"
    )
    assert texts(out)["Notice"].startswith(f"{NOTICE}\n")


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    """A folder may have the name of a licence; its files are no texts of the model."""
    (tmp_path / "LICENSE").mkdir()
    (tmp_path / "NOTICE").write_text("A notice.")

    assert license_files(tmp_path) == ("NOTICE",)


def test_a_text_that_cannot_be_had(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The Hub is not there, and neither is the cache: said once, and LICENSE says where it is."""
    record, found = merge_of("llama3.1", texts=("LICENSE", "NOTICE"))

    write_notices(out, record, found, api=HfApi(endpoint="http://127.0.0.1:9"))

    assert is_pointer(out / "LICENSE")
    said = [record.message for record in caplog.records if record.name == "slack_ties"]
    assert len(said) == 1  # NOTICE is not asked for any more
    assert "LICENSE of 'a/base': " in said[0]
    assert said[0].endswith("the file is not copied")
    assert f"the notice of {record.parents[0].names[0]} in Notice" in missing_duties(
        out, found, record
    )


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


@pytest.mark.parametrize(
    "content",
    ["Copyright \u00a9 Universit\u00e4t\n".encode("latin-1"), "mine\n".encode("utf-16")],
)
def test_what_cannot_be_read_is_not_replaced(out: Path, content: bytes) -> None:
    """A Notice of an editor that does not write UTF-8 is nobody's to throw away."""
    (out / "Notice").write_bytes(content)
    record, found = merge_of("llama3.1", "llama3.1")

    with pytest.raises(OutputError, match="cannot be read as UTF-8 text"):
        write_notices(out, record, found)

    assert (out / "Notice").read_bytes() == content


def test_long_notices_of_parents_are_kept(base: Path, out: Path) -> None:
    """What was written here can be read again, however long it is; and added to."""
    (base / "NOTICE").write_text("long\n" * 190_000)
    record, found = merge_of("llama3.1", model=str(base), commits=("",), texts=("NOTICE",))
    write_notices(out, record, found)
    notice = out / "Notice"
    notice.write_text(notice.read_text("utf-8") + "mine" * 100_000, "utf-8")

    assert write_notices(out, record, found) == []
    assert missing_duties(out, found, record) == [
        "the words 'Built with Llama' in README.md",
    ]


def test_links_out_of_a_parents_folder_are_not_followed(base: Path, out: Path) -> None:
    """A clone of a stranger's repository may hold links to anything here."""
    secret = base.parent / "id_rsa"
    secret.write_text("-----BEGIN PRIVATE KEY-----")
    for name in ("LICENSE.txt", "NOTICE"):
        (base / name).unlink()
        (base / name).symlink_to(secret)
    names = ("LICENSE.txt", "NOTICE")
    record, found = merge_of("llama3.1", model=str(base), commits=("",), texts=names)

    write_notices(out, record, found)

    assert is_pointer(out / "LICENSE")
    assert not [text for text in texts(out).values() if "PRIVATE KEY" in text]


def test_the_text_of_another_license_goes(base: Path, out: Path) -> None:
    """It was put there by us, for another licence than is stated now; a person's stays."""
    record, found = merge_of(
        "apache-2.0", "mit", model=str(base), commits=("",), texts=("LICENSE.txt",)
    )
    write_notices(out, record, found)
    assert texts(out)["LICENSE"].startswith("LLAMA 3.1")
    other = resolve_license(record.parents, Stated("cc-by-4.0"))

    write_notices(out, record, other)

    assert texts(out)["LICENSE"].startswith("Attribution 4.0 International\n")
    write_notices(out, record, resolve_license(record.parents, Stated("other", "mine", "LICENSE")))
    assert "LICENSE" not in texts(out)
    (out / "LICENSE").write_text("by hand")
    write_notices(out, record, other)
    assert texts(out)["LICENSE"] == "by hand"


def test_a_text_of_another_license_is_not_taken(base: Path, out: Path) -> None:
    """Neither as the text of the one that is asked for, nor as its policy of use."""
    names = ("LICENSE.txt", "USE_POLICY.md")
    record, found = merge_of("mit", "llama3.1", model=str(base), commits=("",), texts=names)
    assert found.license == Stated("llama3.1")

    write_notices(out, record, found)

    assert is_pointer(out / "LICENSE")
    assert "USE_POLICY.md" not in texts(out)


def test_a_text_below_the_pointer_stays(out: Path) -> None:
    """Pasted where the pointer says that it belongs."""
    record, found = merge_of("gemma", "gemma")
    write_notices(out, record, found)
    pasted = texts(out)["LICENSE"] + "Gemma Terms of Use, the text\n"
    (out / "LICENSE").write_text(pasted)

    write_notices(out, record, found)

    assert texts(out)["LICENSE"] == pasted
    assert not is_pointer(out / "LICENSE")


def test_an_adapters_texts(base: Path, out: Path, tmp_path: Path, api: HfApi) -> None:
    """A model and its adapter each have their licence; both texts are looked for."""
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "LICENSE").write_text("Apache, the text")
    for name, folder in (("me/base", base), ("me/lora", lora)):
        api.create_repo(name, private=False)
        api.upload_folder(repo_id=name, folder_path=folder)
    commits = tuple(api.model_info(name).sha for name in ("me/base", "me/lora"))
    record, found = merge_of(
        "mit",
        model="me/base+me/lora",
        commits=commits,
        adapter_license="apache-2.0",
        adapter_texts=("LICENSE",),
    )

    write_notices(out, record, found, api=api)

    assert texts(out)["LICENSE"] == "Apache, the text"
    assert f"- me/lora at commit {commits[1]} (apache-2.0)" in texts(out)["Notice"]


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
    assert "under the terms of all of these at once" in texts(out)["LICENSE"]
    assert not is_pointer(out / "LICENSE")
    assert is_pointer(out / "LICENSE-llama2")


def test_an_open_license_that_no_parent_has_as_a_text(out: Path) -> None:
    """The standard text is written, with the models' authors as its owners."""
    record, found = merge_of("mit", "mit")

    write_notices(out, record, found)

    lines = texts(out)["LICENSE"].splitlines()
    assert lines[:3] == ["MIT License", "", "Copyright (c) the authors of a/base, a/ct"]
    assert lines[-1] == "SOFTWARE."
    assert not is_pointer(out / "LICENSE")
    assert write_notices(out, record, found) == []


def test_one_file_for_one_license(out: Path) -> None:
    """A licence stated later takes LICENSE, and the text that a person pasted moves there."""
    record, found = merge_of("llama2", "")
    write_notices(out, record, found)
    assert is_pointer(out / "LICENSE-llama2")
    (out / "LICENSE-llama2").write_text("LLAMA 2 COMMUNITY LICENSE AGREEMENT, pasted")
    stated = resolve_license(record.parents, Stated("llama2"))

    write_notices(out, record, stated)

    assert {name for name in texts(out) if name.startswith("LICENSE")} == {"LICENSE"}
    assert texts(out)["LICENSE"] == "LLAMA 2 COMMUNITY LICENSE AGREEMENT, pasted"
    write_notices(out, record, resolve_license(record.parents, Stated("mit")))
    assert texts(out)["LICENSE"].startswith("MIT License")
    assert texts(out)["LICENSE-llama2"] == "LLAMA 2 COMMUNITY LICENSE AGREEMENT, pasted"


MINE = Stated("other", "my-terms", "LICENSE")


@pytest.mark.parametrize("end", ["", ".md"])
@pytest.mark.parametrize(
    "new", [Stated("llama2"), Stated("mit"), Stated("other", "theirs", "https://x.example/terms")]
)
def test_the_text_of_the_license_before_is_kept_by_its_name(
    out: Path, new: Stated, end: str
) -> None:
    """LICENSE is never the text of a licence that the model had before; it comes back with it."""
    record, _ = merge_of("llama2", "")
    mine, other = (resolve_license(record.parents, one) for one in (MINE, new))
    (out / f"LICENSE{end}").write_text("My Custom Terms")
    write_notices(out, record, mine)
    before = texts(out)
    assert before[f"LICENSE{end}"] == "My Custom Terms"

    write_notices(out, record, other, before=mine)

    assert texts(out)[f"LICENSE-my-terms{end}"] == "My Custom Terms"
    assert texts(out).get("LICENSE") != "My Custom Terms"
    assert ("LICENSE" in texts(out)) == (new.id != "other")
    assert f"LICENSE{end}" not in texts(out) or not end
    write_notices(out, record, other, before=other)
    write_notices(out, record, mine, before=other)
    assert {name: text for name, text in texts(out).items() if "mit" not in name} == before


def test_the_text_of_the_new_license_stays(out: Path) -> None:
    """A person puts the text into LICENSE first, and then states the licence."""
    record, found = merge_of("llama2", "")
    mine, llama = (resolve_license(record.parents, one) for one in (MINE, Stated("llama2")))
    write_notices(out, record, llama, before=found)
    (out / "LICENSE").write_text("My Custom Terms")

    write_notices(out, record, mine, before=llama)

    assert texts(out)["LICENSE"] == "My Custom Terms"
    (out / "LICENSE").write_text("LLAMA 2 COMMUNITY LICENSE AGREEMENT, pasted")
    (out / "LICENSE-llama2").unlink()
    write_notices(out, record, llama, before=mine)
    assert texts(out)["LICENSE"] == "LLAMA 2 COMMUNITY LICENSE AGREEMENT, pasted"
    write_notices(out, record, mine, before=llama)
    assert texts(out)["LICENSE-llama2"] == "LLAMA 2 COMMUNITY LICENSE AGREEMENT, pasted"
    assert "LICENSE" not in texts(out)


@pytest.mark.parametrize("content", [b"\xff", b"others"])
def test_a_text_that_cannot_move_stops_the_command(out: Path, content: bytes) -> None:
    """Nothing is written: the message says which file to move elsewhere."""
    record, _ = merge_of("llama2", "")
    mine, llama = (resolve_license(record.parents, one) for one in (MINE, Stated("llama2")))
    (out / "LICENSE").write_bytes(content)
    (out / "LICENSE-my-terms").write_text("My Custom Terms")

    with pytest.raises(OutputError, match="is for the licence my-terms, not for llama2") as caught:
        write_notices(out, record, llama, before=mine)

    hint = f"move {out / 'LICENSE'} elsewhere, then run the same command again"
    assert caught.value.hint == hint
    assert sorted(path.name for path in out.iterdir()) == ["LICENSE", "LICENSE-my-terms"]


def test_a_file_of_a_license_that_is_not_needed_goes(out: Path) -> None:
    """Written here for an earlier statement; one with a person's text stays."""
    record, found = merge_of("apache-2.0", "mit")
    write_notices(out, record, resolve_license(record.parents, Stated("cc-by-4.0")))
    assert {"LICENSE-apache-2.0", "LICENSE-mit"} <= texts(out).keys()
    (out / "LICENSE-bsd").write_text("by hand")

    write_notices(out, record, found)

    assert texts(out).keys() == {"LICENSE", "LICENSE-mit", "LICENSE-bsd", "Notice"}


@pytest.mark.parametrize("name", ["LICENSE.md", "LICENSE.txt"])
def test_a_license_with_an_ending_counts(out: Path, name: str) -> None:
    """A person's text under one of the usual names is used, and no second file is written."""
    record, found = merge_of("gemma", "gemma")
    (out / name).write_text("Gemma Terms of Use, by hand")

    write_notices(out, record, found)

    assert texts(out).keys() == {name, "Notice"}
    assert missing_duties(out, found, record) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("License.txt", b"the terms \xa9 Meta"),
        ("LICENSE_LLAMA", "the terms © Meta".encode()),
        ("COPYING", "the terms © Meta".encode("utf-16")),
        ("MODEL_LICENSE.md", "the terms © Meta".encode("utf-8-sig")),
    ],
)
def test_licenses_of_parents_under_other_names(
    base: Path, out: Path, name: str, content: bytes
) -> None:
    """Whatever the file is called, and in whichever encoding: it is passed on as UTF-8."""
    for path in base.iterdir():
        path.unlink()
    (base / name).write_bytes(content)
    names = license_files(base)
    record, found = merge_of("llama3.1", model=str(base), commits=("",), texts=names)

    write_notices(out, record, found)

    assert (names, texts(out)["LICENSE"]) == ((name,), "the terms © Meta")


def of_owners(folder: Path, *owners: str) -> list[Path]:
    """Return folders of models with a text of the MIT License, each of its owner."""
    models = []
    for i, owner in enumerate(owners):
        models.append(folder / f"model{i}")
        models[-1].mkdir()
        text = standard_text("mit", ["me"]).replace("the authors of me", owner)
        (models[-1] / "LICENSE").write_text(text)
    return models


def with_texts(record: MergeRecord, models: list[Path]) -> MergeRecord:
    """Return a record with these folders as its last models."""
    kept = record.parents[: len(record.parents) - len(models)]
    parents = (
        replace(parent, model=str(model), commits=("",), texts=("LICENSE",))
        for parent, model in zip(record.parents[len(kept) :], models, strict=True)
    )
    return replace(record, parents=(*kept, *parents))


def test_each_owner_stays_named(out: Path, tmp_path: Path) -> None:
    """Models under the MIT License have one text for each owner, and LICENSE has all of them."""
    record, found = merge_of("mit", "mit", "mit")
    record = with_texts(record, of_owners(tmp_path, "Alice Base", "Bob Sft", "Alice Base"))

    write_notices(out, record, found)

    lines = texts(out)["LICENSE"].splitlines()
    owners = [line for line in lines if line.startswith("Copyright (c)")]
    assert owners == ["Copyright (c) Alice Base", "Copyright (c) Bob Sft"]
    assert write_notices(out, record, found) == []
    (tmp_path / "model1" / "LICENSE").unlink()  # LICENSE is more than can be had now: it stays
    assert write_notices(out, record, found) == []


def test_the_owner_of_a_model_that_states_too_little_stays_named(out: Path, tmp_path: Path) -> None:
    """A CT model of Llama 2 that calls itself mit: its text is passed on, the licence is llama2."""
    record, found = merge_of("llama2", "mit")
    assert [one.id for one in found.duties] == ["llama2"]
    record = with_texts(record, of_owners(tmp_path, "Carol Ct"))

    write_notices(out, record, found)

    assert "Copyright (c) Carol Ct" in texts(out)["LICENSE-mit"]
    assert is_pointer(out / "LICENSE")
    assert write_notices(out, record, found) == []


def test_the_base_license_in_the_folder_of_a_ct_model(base: Path, out: Path) -> None:
    """A text is the one of the licence that it begins with, not of the one in the card."""
    (base / "LICENSE.txt").write_text("LLAMA 2 COMMUNITY LICENSE AGREEMENT\n")
    record, _ = merge_of("apache-2.0", model=str(base), commits=("",), texts=("LICENSE.txt",))
    stated = resolve_license(record.parents, Stated("llama2"))

    write_notices(out, record, stated)

    assert texts(out)["LICENSE"] == "LLAMA 2 COMMUNITY LICENSE AGREEMENT\n"
    assert "Apache License" in texts(out)["LICENSE-apache-2.0"]


SHIPPED = [one.id for one in list_licenses() if standard_text(one.id, ["me"])]


@pytest.mark.parametrize("license_id", SHIPPED)
def test_each_standard_text_is_recognized(base: Path, out: Path, license_id: str) -> None:
    """Of a model that calls itself llama2, a text of another licence does not become LICENSE."""
    text = standard_text(license_id, ["me"])
    (base / "LICENSE.txt").write_text(text)
    record, found = merge_of("llama2", model=str(base), commits=("",), texts=("LICENSE.txt",))

    write_notices(out, record, found)

    assert is_pointer(out / "LICENSE")
    assert licenses_of(text) == [license_id]


@pytest.mark.parametrize(
    ("license_id", "also"),
    [("mit", []), ("isc", []), ("bsd-2-clause", ["bsd-3-clause"])],
)
def test_a_text_that_begins_with_its_owner_is_recognized(license_id: str, also: list[str]) -> None:
    """Without the title, what follows the owner tells the licence."""
    text = "Copyright 2024 Carol\n\n" + "\n".join(
        standard_text(license_id, ["me"]).splitlines()[3:]
    )

    assert licenses_of(text) == [license_id, *also]


@pytest.mark.parametrize("content", [b"", b" \r\n\n", b"\xef\xbb\xbf"])
def test_a_notice_without_text(base: Path, out: Path, content: bytes) -> None:
    """There is nothing to pass on: publishing does not wait for it."""
    (base / "NOTICE").write_bytes(content)
    names = license_files(base)
    record, found = merge_of("llama3.1", model=str(base), commits=("",), texts=names)

    write_notices(out, record, found)

    assert names == ("LICENSE.txt", "USE_POLICY.md")
    assert "From the notice" not in texts(out)["Notice"]
    assert missing_duties(out, found, record) == ["the words 'Built with Llama' in README.md"]


@pytest.mark.parametrize(
    ("content", "passed_on"),
    [
        (b"\xa9 Universit\xe4t", "© Universität"),
        ("版权所有 阿里云".encode("gb18030"), "版权所有 阿里云"),
        (b"\0\1", "Not copied here, because it is not text: the file NOTICE of base"),
        (b"x" * 1_000_001, "Not copied here, because it has more than 1,000,000 bytes: the file"),
    ],
)
def test_a_notice_that_is_not_utf_8(
    base: Path, out: Path, content: bytes, passed_on: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read by its bytes; if it is no text, Notice says where it is. Both are said."""
    (base / "NOTICE").write_bytes(content)
    names = license_files(base)
    record, found = merge_of("llama3.1", model=str(base), commits=("",), texts=names)

    write_notices(out, record, found)

    assert f"From the notice of base:\n\n{passed_on}" in texts(out)["Notice"]
    assert missing_duties(out, found, record) == ["the words 'Built with Llama' in README.md"]
    assert "NOTICE of base " in caplog.text


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
