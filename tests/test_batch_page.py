"""The page of a batch and its CSV: what they say of each task, and what is never in them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from batches import COMMIT, RECORD, Made, evaluated, in_language, ran, scored
from evaluations import ENGLISH, TIBETAN, an_evaluation, model, right
from slack_ties.batch.page.page import page_of, write_page
from slack_ties.batch.page.public_text import public_text
from slack_ties.errors import OutputError
from slack_ties.evaluation.scores import Evaluated, Evaluation
from slack_ties.record import Parent

TOKEN = "hf_" + "Ab3" * 12

OUT = Path("/b/merges").absolute()

# Elements that need no end.
VOID = {"meta", "br", "link", "img", "input"}


class Page(HTMLParser):
    """What is in a page: its elements, and the texts of its tables' cells."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "caption":
            self.captions.append("")
        if tag == "tr":
            self.tables[-1].append([])
        if tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Check that elements end in their order."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Add a text to its cell."""
        if {"td", "th"} & set(self.open):
            cells = self.tables[-1][-1]
            cells[-1] = " ".join(f"{cells[-1]} {data}".split())
        if "caption" in self.open:
            self.captions[-1] += data

    def links(self) -> list[str]:
        """Return where its links lead."""
        return [attrs["href"] or "" for tag, attrs in self.elements if tag == "a"]


def written(made: Made) -> tuple[Page, list[dict[str, str]]]:
    """Write the page of a batch; return it and the rows of the CSV."""
    write_page(made.out, made.tasks, made.states)
    text = (made.out / "batch.csv").read_text("utf-8")
    return Page((made.out / "batch.html").read_text("utf-8")), [*csv.DictReader(io.StringIO(text))]


def found_in(table: list[list[str]], name: str) -> dict[str, str]:
    """Return the cells of a row by their headings."""
    row = next(row for row in table if row[0].split()[:1] == [name])
    return dict(zip(table[0], row, strict=True))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A batch without tasks in a folder that is not yet there."""
    out = tmp_path / "merges"
    out.mkdir()
    return Made(out)


@pytest.fixture
def sweep(made: Made) -> Made:
    """Two languages with three values of slack: scores, a failure, a task that waits."""
    for slack, right_of_100 in ((0, 45), (0.1, 58), (0.2, 63)):
        result = [ran(f"ME/bo-{slack}"), evaluated(scored(right_of_100, 70))]
        made.add(f"bo-slack-{slack}", "bo", results=result, settings={"slack": slack})
    uyghur = [ran(), evaluated(in_language("uig_Arab", scored(45, 70)))]
    made.add("ug-slack-0", "ug", results=uyghur, settings={"slack": 0})
    made.add("ug-slack-0.1", "ug", "failed", settings={"slack": 0.1}, why="no space left")
    made.add("ug-slack-0.2", "ug", "waiting", settings={"slack": 0.2}, since="")
    return made


def test_each_task_has_a_row_with_all_facts(made: Made) -> None:
    """Name, state, language, time, repository, licence, size and parents of a task that is done."""
    card = made.out / "bo"
    card.mkdir()
    (card / "README.md").write_text("---\nlicense: other\nlicense_name: own-1.0\n---\n", "utf-8")
    made.add("bo", "bo", results=[ran("ME/Llama-2-7b-bo")])

    page, (line,) = written(made)

    row = found_in(page.tables[0], "bo")
    assert row == {
        "name": "bo card",
        "state": "done",
        "language": "Tibetan (bo) བོད་སྐད་",
        "since": "2026-11-28 11:04",
        "took": "4 min",
        "on the Hub": "ME/Llama-2-7b-bo commit 0123456",
        "licence": "own-1.0",
        "size": "6.74B bfloat16, 13.5 GB",
        "merged from": "base meta-llama/Llama-2-7b-hf at 0123456 CT org/ct at 0123456 "
        "SFT org/sft at 0123456 by slack_ties",
    }
    assert "https://huggingface.co/ME/Llama-2-7b-bo" in page.links()
    assert f"https://huggingface.co/ME/Llama-2-7b-bo/tree/{COMMIT}" in page.links()
    assert f"https://huggingface.co/org/ct/tree/{COMMIT}" in page.links()
    assert "bo/README.md" in page.links()
    assert line["licence"] == "own-1.0"
    assert (line["seconds"], line["parameters"]) == ("270.0", "6738415616")
    assert line["models"].startswith(f"base:meta-llama/Llama-2-7b-hf@{COMMIT} CT:org/ct@{COMMIT}")


def test_tasks_that_are_not_done_say_their_state_and_the_next_step(made: Made) -> None:
    """Without a result: the state, why, what to type, and the repository that is to be."""
    then = "slack-ties doctor"
    made.add("bo", "bo", "failed", why="no access", then=then, publish="ME/bo")
    made.add("ug", "ug", "stopped", why="time limit of 2 h reached")
    made.add("my-config", "", "waiting", since="")
    made.add("lo", "lo", "new", since="")
    made.add("mn-Mong", "mn-Mong", "running", [ran("ME/mn")])

    page, lines = written(made)
    (table,) = page.tables

    assert found_in(table, "bo")["state"] == f"failed no access Next: {then}"
    assert found_in(table, "bo")["on the Hub"] == "ME/bo not published yet"
    assert found_in(table, "ug")["state"] == "stopped time limit of 2 h reached"
    assert found_in(table, "my-config")["state"] == "waiting"
    assert found_in(table, "lo")["state"] == "not started"
    assert found_in(table, "mn-Mong")["on the Hub"] == "ME/mn commit 0123456"  # a step is complete
    text = (made.out / "batch.html").read_text("utf-8")
    assert "5 tasks: 1 running, 1 waiting, 1 failed, 1 stopped, 1 not started." in text
    assert "No model of this batch has been evaluated" in text
    assert [line["state"] for line in lines] == ["failed", "stopped", "waiting", "new", "running"]
    assert (lines[0]["why"], lines[0]["next"]) == ("no access", then)


def test_languages_by_settings_name_the_best_score_and_what_is_decided(sweep: Made) -> None:
    """58 and 63 of 100 are not decided; 45 and 63 are; a task without a score shows its state."""
    page, _ = written(sweep)
    matrix = page.tables[0]

    assert matrix[0] == ["language", "scored on", "slack 0", "slack 0.1", "slack 0.2", "chance"]
    tibetan, english, uyghur, _ = matrix[1:]
    assert tibetan[0].startswith("Tibetan (bo)")
    assert tibetan[1:] == [
        "belebele_bod_Tibt in the target language",
        "45.0 ±5.0 -18.0 (-25.7 to -9.6) worse",
        "58.0 ±5.0 -5.0 (-10.0 to +0.2) not decided",
        "63.0 ±4.9 best score",
        "25.0",
    ]
    assert english == ["arc_easy in English", *["70.0 ±4.6 best score"] * 3, "25.0"]
    assert uyghur[2:] == ["45.0 ±5.0", "failed", "waiting", "25.0"]
    assert "#task-5" in page.links()
    assert ("tr", "task-5") in [(tag, attrs.get("id")) for tag, attrs in page.elements]


def test_scores_stand_beside_those_of_the_parents(made: Made) -> None:
    """With differences, their intervals and marks; the CSV has the same numbers with all digits."""
    made.add("bo", "bo", results=[ran(), evaluated(an_evaluation())])

    page, lines = written(made)

    head, tibetan, english = page.tables[1]
    assert head == ["name", "scored on", "merged", "base", "CT", "SFT", "chance", "items", "shots"]
    assert tibetan[:4] == [
        "bo",
        "belebele_bod_Tibt in the target language",
        "60.0 ±4.9",
        "26.0 ±4.4 + ~ +34.0 (+23.6 to +43.0)",
    ]
    assert english[-4].startswith("90.0 ±3.0 - -20.0 (-27.9")
    first, second = lines
    assert (first["task"], second["task"]) == (TIBETAN.name, ENGLISH.name)
    assert float(first["merged"]) == 0.6
    assert float(first["merged_stderr"]) == pytest.approx(0.0492365963917331)
    assert float(first["more_than_base"]) == pytest.approx(0.34)
    assert 0.23 < float(first["more_than_base_low"]) < 0.24
    assert (first["than_base"], second["than_sft"]) == ("better", "worse")
    assert second["than_base"] == "not decided"
    assert (first["chance"], first["items"], first["licence"]) == ("0.25", "100", "llama2")


def test_where_the_best_score_is_a_guess_nothing_is_called_best(made: Made) -> None:
    """Scores that cannot be told from guessing are marked, and not compared."""
    for slack, number in ((0, 20), (0.1, 30)):
        result = [evaluated(scored(number, 70))]
        made.add(f"bo-slack-{slack}", "bo", results=result, settings={"slack": slack})

    page, _ = written(made)

    assert page.tables[0][1][2:] == ["20.0 ±4.0 ~", "30.0 ±4.6 ~", "25.0"]


def test_other_items_are_not_compared(made: Made) -> None:
    """A score on other items of a task has no place beside one on the first items."""
    few = replace(TIBETAN, items=50, docs="d" * 64)
    half = Evaluated("OUT", "merged", {few.name: right(40, 50)})
    other = Evaluation((few,), (half,))
    made.add("bo-slack-0", "bo", results=[evaluated(scored(60))], settings={"slack": 0})
    made.add("bo-slack-1", "bo", results=[evaluated(other)], settings={"slack": 1})

    page, _ = written(made)

    assert page.tables[0][1][2:] == ["60.0 ±4.9", "done", "25.0"]


def test_several_tasks_of_a_language_are_compared_in_the_mean(made: Made) -> None:
    """The table of settings has their mean; the table of scores has each of them."""
    second = replace(TIBETAN, name="second", docs="e" * 64)
    for slack, number in ((0, 60), (0.1, 80)):
        merged = model("merged", number)
        scores = {**merged.scores, second.name: right(number)}
        both = Evaluation((TIBETAN, second), (replace(merged, scores=scores),))
        made.add(f"bo-slack-{slack}", "bo", results=[evaluated(both)], settings={"slack": slack})

    page, _ = written(made)

    assert page.tables[0][1][1:] == [
        "mean of 2 tasks in the target language",
        "60.0 ±3.5 -20.0 (-25.5 to -13.7) worse",
        "80.0 ±2.8 best score",
        "25.0",
    ]
    assert [row[0] for row in page.tables[2][2:4]] == [
        "second in the target language",
        "mean of 2 tasks in the target language",
    ]


def test_two_runs_of_a_language_have_a_row_each(made: Made) -> None:
    """The name of the run tells them apart; a config has no language."""
    for name, language in (("bo", "bo"), ("bo-small", "bo"), ("my", "")):
        for slack in (0, 0.1):
            made.add(f"{name}-slack-{slack}", language, settings={"slack": slack})

    page, _ = written(made)

    assert [row[0].split()[-1] for row in page.tables[0][1:]] == ["bo", "bo-small", "my"]


HOSTILE = [
    "</code><script>alert(1)</script>",
    "<img src=https://evil.example/x.png onerror=alert(1)>",
    "{{ 7 * 191 }}{% raw %}",
    "\u202egnp.exe \x1b[31m red\x00",
    '" autofocus onfocus="alert(1)',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_others_stay_texts(made: Made, text: str) -> None:
    """Markup in an error, a setting, a licence or a task's name is shown, not obeyed."""
    plain = " ".join(c for c in text.split())
    task = replace(TIBETAN, name=re.sub(r"[\x00-\x1f]", " ", text))
    merged = Evaluated("OUT", "merged", {task.name: right(60)})
    result = [ran("ME/bo", url="javascript:alert(1)"), evaluated(Evaluation((task,), (merged,)))]
    for slack in (0, text):
        made.add(
            f"bo-slack-{slack == 0:d}", text, "failed", result, settings={"slack": slack}, why=plain
        )
    (made.out / "bo-slack-1").mkdir()
    card = f"---\nlicense: other\nlicense_name: {text.translate({0: None, 27: None})!r}\n---\n"
    (made.out / "bo-slack-1" / "README.md").write_text(card, "utf-8")

    page, _ = written(made)

    raw = (made.out / "batch.html").read_text("utf-8")
    raw += page_of([], text)  # a folder may have any name
    known = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "a", "div"}
    known |= {"table", "caption", "span", "thead", "tbody", "tr", "th", "td", "small", "abbr"}
    assert sum(tag == "script" for tag, _ in Page(page_of([], text)).elements) == 1
    assert {tag for tag, _ in page.elements} <= known | {"bdi", "br", "code", "time", "script"}
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert not any(link.startswith("javascript:") for link in page.links())
    assert "1337" not in raw
    assert not set("\u202e\x1b\x00") & set(raw)


def test_the_page_loads_nothing(sweep: Made) -> None:
    """No element loads anything; the policy allows one script, which is the one in the page."""
    page, _ = written(sweep)
    raw = (sweep.out / "batch.html").read_text("utf-8")

    assert not [tag for tag, attrs in page.elements if "src" in attrs or tag in {"link", "base"}]
    assert "url(" not in raw
    assert "@import" not in raw
    script = re.search(r"<script>(.*)</script>", raw, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = next(attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs) or ""
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy
    assert len(raw) < 30_000


def test_tables_are_fit_for_screen_readers_and_keyboards(sweep: Made) -> None:
    """Each table has a caption, headings say of what, and a wide table can be scrolled by keys."""
    page, _ = written(sweep)

    assert len(page.captions) == len(page.tables) == 3
    assert all(page.captions)
    heads = [attrs for tag, attrs in page.elements if tag == "th"]
    assert {attrs["scope"] for attrs in heads} == {"col", "row", "rowgroup"}
    wide = [attrs for tag, attrs in page.elements if attrs.get("class") == "wide"]
    ids = {attrs.get("id") for _, attrs in page.elements}
    assert len(wide) == 3
    for one in wide:
        assert one["tabindex"] == "0"
        assert one["aria-labelledby"] in ids
    languages = [attrs["lang"] for tag, attrs in page.elements if tag == "bdi" and "lang" in attrs]
    assert {*languages} == {"bo", "ug"}


def test_nothing_private_is_in_the_files(made: Made) -> None:
    """No token, no folder of this disk: paths begin in the folder of the batch."""
    inside = made.out.resolve() / "bo" / "model.safetensors"
    parents = (Parent("/data/secret project/base", "base", ("",), "mit"), *RECORD.parents[1:])
    record = replace(RECORD, parents=parents)
    made.add(
        "bo",
        "bo",
        "failed",
        [ran(record=record)],
        settings={"base": "/data/secret project/base"},
        why=f"cannot write '{inside}': {TOKEN} is refused, see https://huggingface.co/a/b",
        then=f"slack-ties run bo --base '/data/secret project/base' --out {made.out}/bo",
    )

    page, (line,) = written(made)

    for name in ("batch.html", "batch.csv"):
        text = (made.out / name).read_text("utf-8")
        for private in (TOKEN, str(made.out), "secret project", "somebody", "process 12"):
            assert private not in text
    said = "cannot write 'bo/model.safetensors': [token] is refused, see https://huggingface.co/a/b"
    assert line["why"] == said
    assert line["next"] == "slack-ties run bo --base 'base' --out bo"
    assert line["setting base"] == "base"
    assert "base ./base" in page.tables[0][1][-1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://huggingface.co/ME/x and ./a/b", "see https://huggingface.co/ME/x and ./a/b"),
        ("error:/home/me/x/y.yml", "error:y.yml"),
        ("--is=/home/me/ct=org/ct", "--is=ct=org/ct"),
        ("in 'C:\\Users\\me\\my models\\ct'", "in 'ct'"),
        ("file:///home/me/x failed", "x failed"),
        ("~/models/ct", "ct"),
        ("\\\\server\\share\\ct is not there", "ct is not there"),
        ("http://[::1]:80/a/b and 1/2 and and/or", "http://[::1]:80/a/b and 1/2 and and/or"),
        ("x AKIA" + "A1" * 8, "(left out, because it seems to hold an AWS key)"),
        (f"--out {OUT}", "--out ."),
        (f"in {OUT / 'bo' / 'x.yml'}", "in bo/x.yml"),
        ("a\nb\u202e", "a b\\u202e"),
        ("\udc80", "\\udc80"),
    ],
)
def test_texts_lose_what_is_private(text: str, shown: str) -> None:
    """Folders become last names, secrets go, and addresses stay."""
    assert public_text(text, OUT) == shown


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\uff1d", "\t=", " ="])
def test_no_cell_of_the_csv_is_a_formula(made: Made, begin: str) -> None:
    """A text that a spreadsheet would compute begins with an apostrophe; numbers stay numbers."""
    formula = f"{begin}HYPERLINK(1)"
    settings: dict[str, Any] = {"slack": -0.5, "what": formula}
    made.add("bo", formula, "failed", settings=settings, why=formula, then=f'{formula},"x"')

    _, (line,) = written(made)

    assert line["setting slack"] == "-0.5"
    for key in ("language", "setting what", "why"):
        assert line[key] == f"'{formula.strip()}"
    assert line["next"] == "'" + formula.strip() + ',"x"'


def test_the_same_batch_gives_the_same_bytes(sweep: Made) -> None:
    """Nothing of the time or of the machine is in the files; the CSV is UTF-8 with plain lines."""
    files = [sweep.out / "batch.html", sweep.out / "batch.csv"]
    written(sweep)
    first = [path.read_bytes() for path in files]
    written(sweep)

    assert [path.read_bytes() for path in files] == first
    assert b"\r" not in first[1]


def test_files_of_somebody_else_are_not_replaced(made: Made) -> None:
    """A batch.html or batch.csv that slack-ties did not write stays as it is."""
    made.add("bo", "bo")
    for name in ("batch.html", "batch.csv"):
        (made.out / name).write_text("mine", "utf-8")
        with pytest.raises(OutputError, match="is not of slack-ties"):
            written(made)
        assert (made.out / name).read_text("utf-8") == "mine"
        (made.out / name).unlink()
    written(made)


@pytest.mark.parametrize(
    "broken",
    [
        {"record": {"parents": 3}, "published": [1]},
        {"record": [], "published": {"repo_id": "../x", "url": "https://a@b/x", "commit": "0"}},
        {"evaluation": 1, "models": [{"name": "x"}], "tasks": {}},
        {"evaluation": 1, "models": 3},
    ],
)
def test_a_broken_marker_costs_only_its_own_facts(made: Made, broken: dict[str, Any]) -> None:
    """The task has its row, and the others have theirs."""
    made.add("bo", "bo", results=[broken])
    made.add("ug", "ug", results=[ran("ME/ug")], since="yesterday")

    page, lines = written(made)

    assert found_in(page.tables[0], "bo")["on the Hub"] == ""
    assert found_in(page.tables[0], "ug")["since"] == "yesterday"
    assert [line["url"] for line in lines] == ["", "https://huggingface.co/ME/ug"]
