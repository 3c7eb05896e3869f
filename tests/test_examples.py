"""A model card shows answers that a person chose: as they are, and as what they are."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from markdown_it import MarkdownIt

from command import Invoke
from evaluations import an_evaluation
from hub_server import Server
from slack_ties.card.examples import EXAMPLES_FILE, MOST_EXAMPLES
from slack_ties.card.own_text import read_own_text
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import OutputError
from slack_ties.evaluation.answers import Answer, Answers, Tried, answers_as_json, digest_of_weights
from slack_ties.evaluation.file import write_evaluation
from slack_ties.merge.merge import merge_models
from slack_ties.publish.destination import Destination
from slack_ties.publish.publish import plan_publish, publish_model
from slack_ties.record import read_record
from slack_ties.trying.try_prompts import try_prompts
from triple import Folders

EVIL = (
    "```\n\x1b[31m# a heading\n<script>alert(1)</script>\n````\n"
    "<!-- your text: more (x) -->\nnot yours\n<!-- end of your text -->\u202e\n"
    'from transformers import AutoModelForCausalLM, AutoTokenizer\n\nname = "evil/model"'
)


@pytest.fixture(scope="module")
def made(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model with its card; not to be changed."""
    out = tmp_path_factory.mktemp("examples") / "out"
    choices = Choices(str(triple.base), str(triple.ct), str(triple.sft))
    merge_models(make_config("bo", choices), out, quiet=True)
    write_card(out)
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def answers_of(folder: Path, *texts: str) -> Answers:
    """Return answers of a merged model and of its CT model, each of them the prompt again."""
    record = read_record(folder)
    said = tuple(Answer(text, 9, ended=False) for text in texts)
    return Answers(
        prompts=texts,
        models=(
            Tried("merged", str(folder), said, dtype="bfloat16", chat=True),
            Tried("ct", record.parents[1].model, said, dtype="float16"),
        ),
        max_tokens=9,
        versions={"transformers": "5.1"},
        date="2026-01-02",
        weights=digest_of_weights(record.files),
    )


def written(path: Path, answers: Answers) -> Path:
    """Write answers as `slack-ties try -o` does."""
    path.write_text(answers_as_json(answers), "utf-8")
    return path


def test_the_card_shows_real_answers_and_keeps_them(
    invoke: Invoke, out: Path, triple: Folders
) -> None:
    """From `try` to the card; they stay when the card is made again, and name no folder."""
    assert invoke("try", out, "བོད་སྐད", "--max-tokens", 8, "-o", "answers.json").exit_code == 0
    result = invoke("card", out, "--examples", "answers.json")
    assert result.exit_code == 0, result.stderr
    card = (out / "README.md").read_text("utf-8")

    assert "## Examples\n\nExamples, chosen by the person who made this model." in card
    assert "do not measure how good they are. Each model wrote its likeliest token each" in card
    assert re.search(r"Made \d{4}-\d\d-\d\d with transformers \S+ and torch \S+\.", card)
    headings = re.findall(r"^(?:This|Base|CT|SFT) model.*:$", card, re.MULTILINE)
    assert [one.partition(" (")[0] for one in headings] == [
        *("This model", "Base model ./base", "CT model ./ct", "SFT model ./sft")
    ]
    assert headings[0] == "This model (with its chat template, cut after 8 tokens):"
    assert "as plain text" in headings[1]
    for file in ("README.md", EXAMPLES_FILE):
        assert str(triple.base.parent) not in (out / file).read_text("utf-8")
        assert str(out) not in (out / file).read_text("utf-8")
    assert not read_own_text(card).edited
    assert "no evaluation of this model is known" in card.lower()

    (out / "answers.json").unlink(missing_ok=True)
    write_card(out, texts={"more": "My text."})
    again = (out / "README.md").read_text("utf-8")
    assert again.replace("My text.\n", "") == card
    (out / EXAMPLES_FILE).unlink()
    write_card(out)
    assert "## Examples" not in (out / "README.md").read_text("utf-8")


def test_whatever_a_model_wrote_is_text(out: Path, tmp_path: Path) -> None:
    """No markup, no comment of ours, no escape sequence of an answer has an effect."""
    write_card(out, examples=written(tmp_path / "a.json", answers_of(out, EVIL, "سلم")))
    card = (out / "README.md").read_text("utf-8")

    tokens = MarkdownIt().parse(card.partition("\n---\n")[2])
    fences = [one.content for one in tokens if one.type == "fence"]
    assert len([one for one in fences if "<script>" in one]) == 3
    shown = next(one for one in fences if "<script>" in one)
    assert shown.startswith("```\n\\x1b[31m# a heading\n<script>")
    assert not [one for one in tokens if one.type == "html_block" and "<script" in one.content]
    assert not [one for one in tokens if one.type == "heading_open" and "heading" in one.content]
    assert not {"\x1b", "\u202e"} & set(card)
    own = read_own_text(card)
    assert (own.places, own.edited) == ({}, False)
    assert '<div dir="auto">\n\n```text\nسلم\n```\n\n</div>' in card
    assert 'name = "out"' in card


def test_scores_come_before_chosen_examples(out: Path, tmp_path: Path) -> None:
    """What was measured stands above what a person chose."""
    weights = digest_of_weights(read_record(out).files)
    write_evaluation(an_evaluation(settings={"weights": weights}), out)
    write_card(out, examples=written(tmp_path / "a.json", answers_of(out, "x")))
    card = (out / "README.md").read_text("utf-8")

    assert re.findall("^## (?:E|How it).*", card, re.MULTILINE) == [
        *("## Evaluation", "## Examples", "## How it was made")
    ]


def test_long_texts_are_cut(out: Path, tmp_path: Path) -> None:
    """A card is no place for pages of text."""
    write_card(out, examples=written(tmp_path / "a.json", answers_of(out, "ཀ" * 5000)))
    card = (out / "README.md").read_text("utf-8")

    assert f"\n{'ཀ' * 1000} [...]\n" in card
    assert "ཀ" * 1001 not in card


def test_answers_of_another_merge_are_refused(out: Path, tmp_path: Path) -> None:
    """So are too many, a file without the merged model's answers, and one of another kind."""
    right = answers_of(out, "x")
    wrong = {
        "answers of another merge": replace(right, weights="0" * 64),
        "of another merge": replace(right, models=right.models[1:]),
        "a card shows up to 10": answers_of(out, *["x"] * (MOST_EXAMPLES + 1)),
    }
    for message, answers in wrong.items():
        file = written(tmp_path / "wrong.json", answers)
        with pytest.raises(OutputError, match=message) as raised:
            write_card(out, examples=file)
        assert raised.value.hint.startswith(f"slack-ties try {out} PROMPT -o {file}")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(OutputError, match="it has other content"):
        write_card(out, examples=tmp_path / "other.json")

    assert not (out / EXAMPLES_FILE).exists()


def test_examples_of_another_merge_in_the_folder_are_not_shown(
    out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says so; the card is written."""
    written(out / EXAMPLES_FILE, replace(answers_of(out, "x"), weights="0" * 64))
    write_card(out)
    (out / EXAMPLES_FILE).write_text("damaged")
    write_card(out)

    assert "## Examples" not in (out / "README.md").read_text("utf-8")
    again = f"slack-ties try {out} PROMPT -o {out / EXAMPLES_FILE}  #"
    assert f"are of another merge. Next: {again}" in caplog.text
    assert "it is not JSON" in caplog.text


def test_they_are_published_without_folders(
    out: Path, tmp_path: Path, hub: Server, api: HfApi, triple: Folders
) -> None:
    """examples.json is sent with the card that shows it."""
    write_card(out, examples=written(tmp_path / "a.json", answers_of(out, "ཀ")))

    api.create_repo("me/ct", private=False)
    api.upload_folder(repo_id="me/ct", folder_path=triple.ct)
    known = {str(triple.ct): "me/ct"}  # as with --is
    publish_model(out, Destination("me/tibetan"), license="mit", known_as=known, api=api)

    sent = Path(api.hf_hub_download("me/tibetan", EXAMPLES_FILE)).read_text("utf-8")
    assert [one["name"] for one in json.loads(sent)["models"]] == ["", "./ct"]
    assert str(triple.ct.parent) not in sent
    assert hub.hub.requests


def test_a_file_that_names_folders_is_not_published(
    out: Path, tmp_path: Path, hub: Server, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """What `try -o` wrote beside the model is shown without paths, and sent after `card` only."""
    raw = written(out / EXAMPLES_FILE, answers_of(out, "ཀ"))
    write_card(out)
    assert "CT model ./ct (as plain text" in (out / "README.md").read_text("utf-8")

    publish_model(out, Destination("me/tibetan"), license="mit", api=api)

    assert not api.file_exists("me/tibetan", EXAMPLES_FILE)
    assert f"Next: slack-ties card {out} --examples {raw}" in caplog.text
    assert caplog.text.count(f"{EXAMPLES_FILE} is not published") == 1
    write_card(out, examples=raw)
    publish_model(out, Destination("me/tibetan"), license="mit", api=api)
    assert api.file_exists("me/tibetan", EXAMPLES_FILE)
    sent = Path(api.hf_hub_download("me/tibetan", EXAMPLES_FILE)).read_text("utf-8")
    assert str(tmp_path) not in sent
    assert hub.hub.requests


def test_what_replaces_examples_that_are_not_published(
    out: Path,
    hub: Server,
    api: HfApi,
    caplog: pytest.LogCaptureFixture,
    invoke: Invoke,
) -> None:
    """Said once: ask this model again, where `card` would refuse the file; or delete it."""
    file = out / EXAMPLES_FILE
    file.write_text("damaged")
    plan_publish(out, Destination("me/tibetan"), license="mit", api=api)
    assert f"Next: rm {file}" in caplog.text
    caplog.clear()
    written(file, replace(answers_of(out, "x"), weights="0" * 64))

    plan_publish(out, Destination("me/tibetan"), license="mit", api=api)

    (line,) = [one for one in caplog.messages if "is not published" in one]
    again = f"slack-ties try {out} PROMPT -o {file}"
    assert f"it has answers of another merge. Next: {again}  # asks this model; or" in line
    assert invoke(*shlex.split(again)[1:], "--max-tokens", 2).exit_code == 0
    assert invoke("card", out, "--examples", file).exit_code == 0
    assert EXAMPLES_FILE in plan_publish(out, Destination("me/tibetan"), api=api).send
    assert hub.hub.requests


def test_a_published_merge_with_examples_is_tried_and_shown(out: Path, tmp_path: Path) -> None:
    """What `try` writes for the folder is accepted by the card of the same weights elsewhere."""
    found = try_prompts(out, "x", alone=True, max_tokens=2, output=tmp_path / "a.json")
    other = Path(shutil.copytree(out, tmp_path / "moved"))

    write_card(other, examples=tmp_path / "a.json")

    assert found.weights == digest_of_weights(read_record(other).files)
    assert "This model (with its chat template" in (other / "README.md").read_text("utf-8")
