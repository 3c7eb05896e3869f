"""The site: a page for each language, a gallery of reports, and links that lead somewhere."""

from __future__ import annotations

import csv
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import processes
from command import environment
from hub_server import Server, Token
from lao import upload_lao
from slack_ties.catalogue.languages import find_triple, list_languages
from slack_ties.cli.main import cli
from slack_ties.plan.expected import expect, terms_of
from slack_ties.report.figures import Figures
from slack_ties.report.page import PAGE_MARK
from slack_ties.rule.tally import CONFIG
from slack_ties.wording import size
from triple import Folders

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LIMIT = 300_000  # bytes of a file of the gallery
PAGES = sorted((DOCS / "languages").glob("*.md"))
TRIPLES = list_languages()


def page_of(tag: str) -> str:
    """Return the page of a language."""
    return (DOCS / "languages" / f"{tag}.md").read_text("utf-8")


def commands(text: str) -> list[str]:
    """Return the commands that a page says to type, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith("#")]


def parsed(command: str) -> dict[str, Any]:
    """Return how the command line understands a command, without running it."""
    program, name, *words = shlex.split(command)
    assert program == "slack-ties"
    return cli.commands[name].make_context(name, words).params


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program that writes the pages of languages."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    yield importlib.import_module("language_pages")
    for name in ("language_pages", "language_text", "gallery"):
        sys.modules.pop(name, None)


@pytest.fixture
def gallery(tool: ModuleType) -> ModuleType:
    """The program that has the reports of the gallery."""
    del tool
    return importlib.import_module("gallery")


def test_the_pages_of_languages_are_current(tool: ModuleType) -> None:
    """What the catalogue says is what the pages show; `make docs` renews them."""
    made = tool.make_pages()

    assert {path.name: path.read_text("utf-8") for path in PAGES} == made
    assert set(made) == {"README.md", *(f"{one.language.tag}.md" for one in TRIPLES)}


def test_the_id_of_a_model_keeps_its_letters(tool: ModuleType) -> None:
    """Also at the beginning of a sentence, which is capital otherwise."""
    text = tool.make_pages()["lo.md"]

    assert "\nsail/Sailor-0.5B calls itself apache-2.0" in text
    assert "Sail/" not in text


def test_a_page_that_is_not_current_is_found(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--check names what differs; without it, pages of languages that are gone go, too."""
    monkeypatch.setattr(tool, "FOLDER", tmp_path / "languages")
    monkeypatch.setattr(sys, "argv", ["language_pages.py"])
    tool.main()
    (tmp_path / "languages" / "lo.md").write_text(f"# Lao\n\n{tool.MARK}\n", "utf-8")
    (tmp_path / "languages" / "tlh.md").write_text(f"# Klingon\n\n{tool.MARK}\n", "utf-8")
    (tmp_path / "languages" / "mine.md").write_text("# Mine\n", "utf-8")

    monkeypatch.setattr(sys, "argv", ["language_pages.py", "--check"])
    with pytest.raises(SystemExit, match=r"not current: lo\.md, tlh\.md"):
        tool.main()
    monkeypatch.setattr(sys, "argv", ["language_pages.py"])
    tool.main()

    found = {path.name for path in (tmp_path / "languages").iterdir()}
    assert found == {*(path.name for path in PAGES), "mine.md"}
    assert (tmp_path / "languages" / "lo.md").read_text("utf-8") == page_of("lo")


@pytest.mark.parametrize("key", [one.key for one in TRIPLES])
def test_a_page_has_the_facts_of_a_triple(key: str) -> None:
    """Its models, download, licence and gate, what is not verified, and its config."""
    triple = find_triple(key)
    page, cost = page_of(triple.language.tag), expect(triple)
    (row,) = re.findall(rf"^\| `{re.escape(key)}` \|.*$", page, re.MULTILINE)

    assert size(cost.download) in row
    assert (cost.license or "not known") in row
    assert ("no commercial use" in row) is cost.noncommercial
    assert row.endswith({True: "| yes |", False: "| no |", None: "| not known |"}[cost.gated])
    for model in triple.models:
        assert f"[{model.id}](https://huggingface.co/{model.id})" in page
    assert [one for one in triple.unverified.split("; ") if one and f"- {one}\n" not in page] == []
    assert f"(../../merge_configs/{key}.yml)" in page
    assert [one for one in terms_of(triple).warnings if one[1:] not in page] == []


@pytest.mark.parametrize("tag", sorted({one.language.tag for one in TRIPLES}))
def test_the_commands_of_a_page_are_accepted(tag: str) -> None:
    """They are for the triple that needs least, and name a licence where none follows."""
    page = page_of(tag)
    typed = commands(page)
    understood = [parsed(one) for one in typed]
    ((key,),) = {one["lang"] for one in understood if "every" in one}
    triple = find_triple(key)
    options = [one for one in TRIPLES if one.language.tag == tag]
    least = min(options, key=lambda one: (expect(one).gated is True, expect(one).download))

    assert [shlex.split(one)[1] for one in typed] == [
        *("config", "plan", "run", "report", "try", "publish", "publish", "run"),
        *("evaluate", "evaluate"),
    ]
    assert triple == least
    licensed = bool(terms_of(triple).license)
    assert all(("--license ID" in one) is not licensed for one in typed if "publish" in one)
    repo = next(one for one in typed if " publish " in one).split()[3]
    assert repo.partition("/")[2].startswith(terms_of(triple).prefix.replace(" ", "-"))


def test_names_that_are_written_from_right_to_left_say_so() -> None:
    """A browser and GitHub show them right beside English words."""
    right = {path.stem for path in PAGES if 'dir="rtl"' in path.read_text("utf-8")} - {"README"}

    assert right == {one.language.tag for one in TRIPLES if one.language.script == "Arab"}
    assert page_of("ug").count('<span lang="ug" dir="rtl">ئۇيغۇرچە</span>') == 1


def test_the_page_of_lao_can_be_typed(triple: Folders, tmp_path: Path, hub: Server) -> None:
    """From config to publish, in order, against a Hub that has small models under the real ids."""
    hub.hub.tokens.update({"c": Token("ME")})
    upload_lao(triple, tmp_path / "lao-models", hub)
    variables = environment(hub, tmp_path / "hf", "c")

    for command in commands(page_of("lo")):
        words = shlex.split(command)[1:]
        if words[0] != "evaluate":  # its data are not on this Hub
            done = processes.run(words, env=variables, cwd=tmp_path, merged=True)
            assert done.returncode == 0, f"{command}\n{done.stdout}"

    assert {"ME/Qwen1.5-0.5B-Lao", "ME/Qwen1.5-0.5B-Lao-Small"} <= set(hub.hub.repos())
    assert (tmp_path / "lao" / "report.html").is_file()


def test_the_first_page_has_commands_that_are_accepted() -> None:
    """All but the installation, which is not ours."""
    install, *typed = commands((DOCS / "index.md").read_text("utf-8"))

    assert install == "pip install slack-ties"
    assert [shlex.split(one)[1] for one in typed] == ["demo", "languages", "run", "publish"]
    for one in typed:
        parsed(one)


def test_the_gallery_is_small_and_private(gallery: ModuleType) -> None:
    """Its data draw pages that are ours, without a path of the disk where they were made."""
    page = (DOCS / "gallery.md").read_text("utf-8")
    pages = gallery.pages()

    assert set(pages) == {path.name for path in (DOCS / "gallery").glob("*.gz")}
    assert len(pages) == 3
    for name, text in pages.items():
        assert f"(gallery/{name})" in page
        assert PAGE_MARK in text
        assert len(text) < LIMIT
    assert [path for path in (DOCS / "gallery").iterdir() if path.stat().st_size > LIMIT] == []
    models = [one.model for report in gallery.gallery().values() for one in report.models]
    assert [one for one in models if one.startswith(("/", "~"))] == []


def test_the_real_report_is_that_of_the_experiment(gallery: ModuleType) -> None:
    """Its figures are those of the committed row of the same merge."""
    report = gallery.gallery()["basque-135m"]
    with (ROOT / "experiments/real/results/full/reports.csv").open(encoding="utf-8") as file:
        (row,) = (
            row
            for row in csv.DictReader(file)
            if (row["language"], row["seed"], row["ct"], row["sft"]) == ("eu", "0", "264", "1000")
            and row["method"] == "slack_ties"
            and row["values"] == "ct_weight=1 density=0.5 slack=0.2"
        )
    sft = Figures(report.total, 1)

    for name, found in (
        ("density", sft.density),
        ("slack", sft.slack),
        ("energy_lost", sft.energy_lost(CONFIG)),
        ("norm_ratio", Figures(report.total, 0).norm / sft.norm),
    ):
        assert found == pytest.approx(float(row[name]), rel=1e-5), name


def test_the_data_of_a_report_are_written_the_same_way(
    gallery: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read and is written again draws the same page."""
    before, reports = gallery.pages(), gallery.gallery()
    monkeypatch.setattr(gallery, "FOLDER", tmp_path / "gallery")

    for name, report in reports.items():
        gallery.write(name, report)

    assert gallery.pages() == before


class Page(HTMLParser):
    """The links, pictures and names of places in a page."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.nameless: list[str] = []  # pictures without a text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a tag has."""
        found = dict(attrs)
        self.links += filter(None, [found.get("href"), found.get("src")])
        self.places |= set(filter(None, [found.get("id"), found.get("name")]))
        if tag == "img" and not found.get("alt"):
            self.nameless.append(found.get("src") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_each_link_of_the_site_leads_somewhere(site: Path) -> None:
    """To a file of the site and a place in it, and each picture has a text."""
    pages = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    wrong = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin with the address of the site
            continue
        for link in page.links:
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            target = target / "index.html" if target.is_dir() else target
            places = pages[target].places if target in pages else set()
            if not target.is_file() or (to.fragment and unquote(to.fragment) not in places):
                wrong.append((path.relative_to(site).as_posix(), link))

    assert wrong == []
    assert [page.nameless for page in pages.values() if page.nameless] == []


@pytest.mark.slow
def test_the_site_has_its_pages(site: Path) -> None:
    """Each language by its name in the menu, each report as it was written, and the picture."""
    home = (site / "index.html").read_text("utf-8")

    assert 'src="picture.svg"' in home
    for one in TRIPLES:
        assert (site / "languages" / one.language.tag / "index.html").is_file()
        assert re.search(rf'<span class="md-ellipsis">\s*{re.escape(one.language.name)}\s*<', home)
        assert (site / "merge_configs" / f"{one.key}.yml").is_file()
        assert (site / "model_cards" / one.key / "index.html").is_file()
    drawn = (site / "gallery" / "basque-135m.html").read_text("utf-8")
    assert PAGE_MARK in drawn
    gallery_page = (site / "gallery" / "index.html").read_text("utf-8")
    assert 'href="basque-135m.html"' in gallery_page
