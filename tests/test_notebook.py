"""Results in a notebook, in a console and when printed: what people look at, and nothing unescaped.

A notebook calls `_repr_html_` of the last value of a cell, and shows it as it is.
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tqdm
from huggingface_hub import HfApi

import slack_ties
from hub_server import Server, Token
from slack_ties.doctor.finding import NOTE, Diagnosis, Finding
from slack_ties.evaluation.answers import Answer, Answers, Tried
from slack_ties.merge.ready import _bars
from slack_ties.notebook import Shown, html_link
from slack_ties.publish.publish import Published
from slack_ties.publish.result import Result
from slack_ties.record import Parent
from slack_ties.report.report import ReportedModel
from slack_ties.sharing.differences import Difference, Verified
from slack_ties.sharing.pull import Pulled
from slack_ties.sharing.search import Listed, Recipes
from slack_ties.tuning.tuned import Tuned
from triple import Folders

EVIL = '<script>alert("x")</script>\x1b[31m\u202e'


TAGS = {
    *("table", "tr", "th", "td", "p", "pre", "b", "a", "bdi", "br", "code"),
    *("details", "summary", "iframe"),  # the page of a report
}


class _Tags(HTMLParser):
    """Collects the tags and the text of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - its name
        """Note a tag."""
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes the last one that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


@pytest.fixture(scope="module")
def results(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """What the functions return, from a merge of real models."""
    folder = tmp_path_factory.mktemp("notebook")
    choices = slack_ties.Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    (config,) = slack_ties.write_configs(["bo"], folder / "configs", choices=choices)
    made = slack_ties.make_report(config, folder / "report", quiet=True)
    out = folder / "out"
    record = slack_ties.merge_models(config, out, quiet=True)
    search = slack_ties.Search(slack=(0.0, 0.2))
    return {
        "languages": slack_ties.list_languages(),
        "plan": slack_ties.plan_merge(config),
        "record": record,
        "pair": made,
        "report": made.report,
        "comparison": slack_ties.compare_merges(folder / "report", folder / "report"),
        "tuned": slack_ties.tune_config(config, search=search, quiet=True),
        "verified": slack_ties.verify_model(out, quiet=True),
        "recipe": slack_ties.adapt_recipe(
            slack_ties.plan_merge(config).recipe, language="ug", ct=str(triple.ct)
        ),
    }


def test_each_result_has_html_text_and_one_line(results: dict[str, Shown]) -> None:
    """The line is short, the text fits a screen, and the HTML is complete."""
    for name, result in results.items():
        line, text, html = repr(result), str(result), result._repr_html_()

        assert re.fullmatch(r"<\w+: .+>", line), name
        assert len(line) < 400, name
        assert "MergeRecord(" not in text, name
        assert text.count("\n") < 80, name
        page = _Tags(html)
        assert page.open == [], name
        assert page.tags <= TAGS, name
        assert len(page.text) > 20, name


def test_html_shows_the_numbers_of_the_command(results: dict[str, Shown]) -> None:
    """A report has its sentences and legends, a comparison its rows, a search its trials."""
    report = _Tags(results["report"]._repr_html_()).text
    for line in results["comparison"].meanings().items():
        assert line[1] in _Tags(results["comparison"]._repr_html_()).text
    assert "Suggested slack" in report or "little for a slack to rescue" in report
    assert "share of entries that trimming keeps" in report
    tuned = results["tuned"]
    assert isinstance(tuned, Tuned)
    shown = _Tags(tuned._repr_html_()).text
    assert all(f"{one.score:.4f}" in shown for one in tuned.results)
    assert "More is better." in shown
    assert "all 21 tensors have the same bytes" in str(results["verified"])
    assert "Llama-2-7b-bod" in _Tags(results["languages"]._repr_html_()).text


def test_a_report_and_its_folder_are_a_pair(results: dict[str, Shown]) -> None:
    """`report, folder = make_report(...)` works, and so does the pair as the end of a cell."""
    report, folder = results["pair"]

    assert report is results["report"]
    assert (folder / "report.html").is_file()
    assert str(folder / "report.html") in results["pair"]._repr_html_()


def evil(results: dict[str, Shown]) -> list[Shown]:
    """Return results in which every name is what somebody on the Hub might choose."""
    recipe, record, report = results["recipe"], results["record"], results["report"]
    parents = (Parent(EVIL, "ct", ("a" * 40,), license=EVIL),)
    published = Published(EVIL, f"https://{EVIL}", "c" * 40, (EVIL,), collection=EVIL)
    answer = Answer(EVIL, problem=EVIL)
    models = tuple(ReportedModel(EVIL, one.role, varied=one.varied) for one in report.models)
    return [
        Recipes([Listed(EVIL, (EVIL,), (EVIL,), EVIL, EVIL, EVIL, 1, 1)]),
        Pulled(replace(recipe, where=EVIL, text=EVIL), EVIL, "b" * 40, (EVIL,)),
        replace(recipe, where=EVIL, text=EVIL),
        replace(record, parents=parents, method=EVIL),
        replace(report, models=models, config=EVIL),
        replace(results["comparison"], names=(EVIL, EVIL)),
        replace(results["plan"], config=EVIL, warnings=(EVIL,)),
        published,
        Result(Path(EVIL), replace(record, parents=parents), Path(EVIL), published),
        Answers((EVIL,), (Tried(EVIL, EVIL, (answer,), EVIL),), 1, left_out={EVIL: EVIL}),
        Verified(EVIL, "d" * 40, "", 1, 1, (Difference(EVIL, EVIL, EVIL),), (EVIL,)),
    ]


def test_names_of_others_are_text(results: dict[str, Shown]) -> None:
    """No tag, no escape sequence and no mark that turns the direction of the text."""
    for result in evil(results):
        html, text, line = result._repr_html_(), str(result), repr(result)

        assert "script" not in _Tags(html).tags, line
        assert "alert" in _Tags(html).text, line
        for shown in (html, text, line):
            assert "\x1b" not in shown
            assert "\u202e" not in shown


def test_the_page_of_a_report_is_apart(results: dict[str, Shown]) -> None:
    """Its pictures are in a frame that runs no scripts and keeps its style to itself."""
    html = results["pair"]._repr_html_()

    assert "<iframe sandbox srcdoc=" in html
    assert "<svg" not in html
    assert "<style" not in html
    assert "&lt;svg" in html


def test_answers_keep_their_script_and_lines() -> None:
    """Joiners stay, the direction is that of the text, and a cut answer says so."""
    answer = Answer("नम\u200cस्ते\nदो", 9, ended=False)

    html = Answers(("?",), (Tried("merged", "m", (answer,)),), 9)._repr_html_()

    assert '<bdi dir="auto">नम\u200cस्ते<br>दो</bdi> [cut after 9 tokens]' in html


def test_commands_in_sentences_are_code() -> None:
    """Nobody sees the backticks; a sign of HTML between them stays a sign, and a link whole."""
    hint = f"`slack-ties plan CONFIG` or `a <b>`{EVIL}"

    html = Diagnosis((Finding("memory", NOTE, "`chat`, `try`", hint),))._repr_html_()

    assert "<code>chat</code>, <code>try</code>" in html
    assert "<code>slack-ties plan CONFIG</code> or <code>a &lt;b&gt;</code>" in html
    assert "`" not in html
    assert "script" not in _Tags(html).tags
    assert html_link("https://hub/`a`").startswith('<a href="https://hub/`a`" ')


def test_a_search_is_a_table(hub: Server) -> None:
    """Also if it finds nothing."""
    hub.hub.tokens["a"] = Token("a")

    found = slack_ties.search_recipes(api=HfApi(endpoint=hub.url, token="a"))

    assert list(found) == []
    assert repr(found) == "<Recipes: 0 published recipes>"
    assert "<th" in found._repr_html_()


class _Notebook(io.StringIO):
    """Standard error of a notebook: no terminal."""


class _Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


@pytest.mark.parametrize(
    ("stream", "least", "most"),
    [(_Notebook(), 15, 25), (_Terminal(), 1000, 1010)],
    ids=["notebook", "terminal"],
)
def test_a_bar_is_short_in_a_notebook(stream: io.StringIO, least: int, most: int) -> None:
    """A notebook and a log file keep every update of a bar: they get each twentieth of its way."""
    for _ in tqdm.tqdm(
        range(1000), desc="Executing graph", file=_bars(stream, quiet=False), mininterval=0
    ):
        pass

    text = stream.getvalue()
    assert least <= text.count("\r") <= most
    assert "  0%" in text
    assert "100%" in text
    assert text.endswith("\n")


def test_a_quiet_merge_has_no_bar() -> None:
    """Other text is written."""
    stream = _Notebook()

    print("\rmerging  50%", file=_bars(stream, quiet=True), end="")
    print("a warning", file=_bars(stream, quiet=True), end="")

    assert stream.getvalue() == "a warning"
    assert sys.stderr is not stream


def test_a_merge_in_a_notebook_writes_few_lines(triple: Folders, tmp_path: Path) -> None:
    """All bars of a merge together, in a process whose standard error is no terminal."""
    choices = slack_ties.Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    (config,) = slack_ties.write_configs(["bo"], tmp_path / "configs", choices=choices)
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        slack_ties.merge_models(config, tmp_path / "out")
        written = sys.stderr.getvalue()
    finally:
        sys.stderr = before

    # Our own lines go to the log; mergekit's bars are not shown beside them.
    assert "Executing graph" not in written
    assert len(re.split(r"[\r\n]", written)) < 21
