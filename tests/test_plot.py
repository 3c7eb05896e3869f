"""Pictures for the card: the same each time, each with its sentence, or the reason for none."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest

from slack_ties.card.shown import show_report
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import OutputError, SlackTiesError
from slack_ties.explore.report import make_report
from slack_ties.merge.merge import merge_models
from slack_ties.report.file import read_report
from slack_ties.report.pictures import LOST, SLACKS, check_plot, draw_pictures
from slack_ties.report.report import Report, ReportedModel
from slack_ties.rule.tally import Tally
from triple import Folders

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def merged(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model with a report."""
    out = tmp_path_factory.mktemp("plot") / "out"
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    merge_models(make_config("bo", choices), out, quiet=True, report=True)
    return out


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python find no matplotlib."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_the_card_shows_pictures_with_a_sentence_each(merged: Path) -> None:
    """Two files that are there, each with words for those who do not see it."""
    path = write_card(merged)

    text = path.read_text("utf-8")
    section = text.partition("### What the merge kept and lost")[2].partition("The exact config")[0]
    images = re.findall(r"!\[(.+)\]\((.+)\)\n\n(.+)\n", section)
    assert [image for _, image, _ in images] == [f"images/{LOST}", f"images/{SLACKS}"]
    for _, image, sentence in images:
        assert (merged / image).read_bytes().startswith(PNG)
        assert (merged / image).stat().st_size < 100_000
        assert sentence.endswith(".")
    assert "Plain TIES (slack 0) drops" in images[0][2]
    assert "do not say how good the model is" in section


def test_pictures_are_the_same_each_time(merged: Path, tmp_path: Path) -> None:
    """So that a card that is made again changes no file."""
    report = read_report(merged)

    first = [path.read_bytes() for path in draw_pictures(report, tmp_path / "a")]

    assert first == [path.read_bytes() for path in draw_pictures(report, tmp_path / "b")]


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_the_pip_command_is_said(
    merged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error where pictures are asked for; the card does without them."""
    with pytest.raises(SlackTiesError, match="need matplotlib") as caught:
        check_plot()
    assert caught.value.hint == 'pip install "slack-ties[plot]"'
    (tmp_path / "report.json").write_bytes((merged / "report.json").read_bytes())

    with caplog.at_level(logging.WARNING, "slack_ties"):
        shown = show_report(tmp_path)

    assert [one.image for one in shown] == ["", ""]
    assert "Plain TIES" in shown[0].text
    assert 'pip install "slack-ties[plot]"' in caplog.text


def test_a_damaged_report_is_left_out_of_the_card(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning; so is none at all, without."""
    assert show_report(tmp_path) == []
    (tmp_path / "report.json").write_text("{}")

    with caplog.at_level(logging.WARNING, "slack_ties"):
        assert show_report(tmp_path) == []

    assert "shows nothing of the report" in caplog.text


def test_odd_names_and_nothing_to_draw(tmp_path: Path) -> None:
    """Names are no mathematics; figures without values give empty pictures."""
    models = (ReportedModel("a$b$_c", "ct"), ReportedModel("$x", "sft", varied=True))
    report = Report("c", "slack_ties", models, {"model.layers.0.mlp.x": Tally.empty([False, True])})

    paths = draw_pictures(report, tmp_path)

    assert [path.name for path in paths] == [LOST, SLACKS]


@pytest.mark.parametrize("name", [LOST, SLACKS])
def test_a_picture_of_somebody_else_stays(name: str, merged: Path, tmp_path: Path) -> None:
    """`report` refuses before a model is read; the card does without; --overwrite replaces it."""
    theirs = tmp_path / "images" / name
    theirs.parent.mkdir()
    theirs.write_bytes(PNG + b"a photograph")
    nowhere = tmp_path / "nowhere.yml"
    config = (merged / "mergekit_config.yml").read_text("utf-8")
    nowhere.write_text(config.replace("/triple", "/gone"), "utf-8")
    with pytest.raises(OutputError, match=re.escape(name)) as caught:
        make_report(nowhere, tmp_path, quiet=True, pictures=True)
    assert "--overwrite" in caught.value.hint
    assert not (tmp_path / "report.json").exists()

    make_report(merged / "mergekit_config.yml", tmp_path, quiet=True)
    shown = show_report(tmp_path)
    assert [one.image for one in shown] == ["", ""]
    assert theirs.read_bytes() == PNG + b"a photograph"

    how = {"quiet": True, "pictures": True}
    make_report(merged / "mergekit_config.yml", tmp_path, overwrite=True, **how)
    assert b"photograph" not in theirs.read_bytes()
    make_report(merged / "mergekit_config.yml", tmp_path, **how)  # its own: without a word
    assert [one.image for one in show_report(tmp_path)] == [f"images/{LOST}", f"images/{SLACKS}"]
