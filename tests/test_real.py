"""The experiment with real models: pages, skills, tasks, ingredients, merges."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mergekit.config import MergeConfiguration

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))

from real import ingredients
from real.methods import BY_NAME, DEFAULTS, DIAL, MERGES, TRIALS, config_of, passthrough
from real.options import folder_of
from real.pages import Page, Paragraph, read_pages, split_of, text_of
from real.run import jobs, unique
from real.seen import rows_of_seen, seen_of
from real.sizes import SIZES
from real.skills import SKILLS, Item, items_of, mixed
from real.tasks import chosen_items, skills_task, text_task, write_tasks
from slack_ties.harness.tasks import load_tasks

PAGE = """<html><head><meta name="x"><title>Not a paragraph</title></head><body>
<nav><p>No id, so no paragraph.</p></nav>
<h1 id="hd_id1"><a name="x"></a>{heading}</h1>
<p id="par_id1" class="paragraph">{first}<br>{second}</p>
<p id="par_id2">{open} <span class="switchinline"><span hidden="true" id="MAC1" class="MAC"><span
 class="menuitem">{mac}</span></span><span hidden="true" id="default1"><span
 class="menuitem">{menu}</span></span></span>.</p>
<p id="par_id2">{again}</p>
<p id="par_id3" class="code">print(1)</p>
<p id="par_id4"> </p>
{more}</body></html>"""
ENGLISH = {
    "heading": "Protecting  cells",
    "first": "Cells &amp; tables",
    "second": "stay as they are.",
    "open": "Choose",
    "mac": "LibreOffice - Preferences",
    "menu": "Tools - Options...",
    "again": "The same words stand below every table.",
    "more": '<p id="par_id9">In English alone.</p>',
}
BASQUE = {
    "heading": "Gelaxkak babestea",
    "first": "Gelaxkak eta taulak",
    "second": "dauden bezala.",
    "open": "Aukeratu",
    "mac": "LibreOffice - Hobespenak",
    "menu": "Tresnak \u2013 Aukerak\u2026",
    "again": "The same words stand below every table.",
    "more": "",
}


@pytest.fixture
def help_folder(tmp_path: Path) -> Path:
    """Return a folder with one page in two languages, and one in English alone."""
    for language, texts in (("en-US", ENGLISH), ("eu", BASQUE)):
        path = tmp_path / language / "text" / "scalc" / "guide" / "cells.html"
        path.parent.mkdir(parents=True)
        path.write_text(PAGE.format(**texts), "utf-8")
    (tmp_path / "en-US" / "text" / "other.html").write_text(PAGE.format(**ENGLISH), "utf-8")
    return tmp_path


def test_paragraphs_stand_beside_their_translation(help_folder: Path, tmp_path: Path) -> None:
    """By id, and by its turn if the page has it twice; hidden texts and code are left out."""
    cache = tmp_path / "cache" / "pages.jsonl"
    (page,) = read_pages(help_folder, "eu", cache)
    assert (page.path, page.program) == ("text/scalc/guide/cells.html", "scalc")
    assert page.english == (
        Paragraph("Protecting cells", (), heading=True),
        Paragraph("Cells & tables stay as they are."),
        Paragraph("Choose Tools - Options....", ("", "Tools - Options...")),  # one is hidden
        Paragraph("The same words stand below every table."),
    )
    assert [paragraph.text for paragraph in page.of("eu")] == [
        "Gelaxkak babestea",
        "Gelaxkak eta taulak dauden bezala.",
        "Aukeratu Tresnak \u2013 Aukerak\u2026.",
        "The same words stand below every table.",
    ]
    (help_folder / "eu" / "text" / "scalc" / "guide" / "cells.html").unlink()
    assert read_pages(help_folder, "eu", cache) == [page]


def test_text_that_nobody_has_translated_is_no_text_of_the_language(help_folder: Path) -> None:
    """A paragraph that is the same in both languages trains nothing and scores nothing."""
    pages = read_pages(help_folder, "eu", help_folder / "cache")
    assert text_of(pages, "eu") == [
        "Gelaxkak babestea\nGelaxkak eta taulak dauden bezala.\n"
        "Aukeratu Tresnak \u2013 Aukerak\u2026."
    ]
    assert text_of(pages, "en")[0].endswith("every table.")


def page_of(path: str, *pairs: tuple[str, str], menus: tuple[str, str] = ("", "")) -> Page:
    """Return a page with a heading and these paragraphs; the last has the menus."""
    english = [Paragraph(pair[0]) for pair in pairs]
    other = [Paragraph(pair[1]) for pair in pairs]
    if all(menus):
        english[-1] = Paragraph(pairs[-1][0], (menus[0],))
        other[-1] = Paragraph(pairs[-1][1], (menus[1],))
    heads = (Paragraph("Tables", heading=True), Paragraph("Taulak", heading=True))
    return Page(path, (heads[0], *english), (heads[1], *other))


WORDS = ("Press the red key.", "Sakatu tekla gorri hau.")
PROSE = (
    "Every changed paragraph appears beneath another coloured line.",
    "Aldatutako paragrafo bakoitza koloreztatutako lerro baten azpian agertzen da.",
)
MORE = (
    "Several columns together show values of another document.",
    "Zutabe batzuek elkarrekin beste dokumentu bateko balioak erakusten dituzte.",
)
MENU = ("Choose File > Save as now", "Aukeratu orain Fitxategia > Gorde honela")
MENUS = ("File > Save as", "Fitxategia > Gorde honela")


@pytest.fixture
def page() -> Page:
    """Return a page that has items of every skill."""
    path = "text/swriter/guide/tables.html"
    return page_of(
        path, WORDS, PROSE, MORE, MENU, menus=("File > Save as", "Fitxategia > Gorde honela")
    )


def one(page: Page, language: str, skill: str) -> list[Item]:
    """Return the items of a skill."""
    return items_of([page], language, skill, 9)


def test_items_are_about_the_same_paragraph_in_both_languages(page: Page) -> None:
    """The instruction is English, and the answer follows from the text."""
    instruction = "Write the first and the last word of the text as JSON."
    found = {item.prompt: item.answer for item in one(page, "eu", "words")}
    prompt = f"{instruction}\nText: {WORDS[1]}\nAnswer:"
    assert found[prompt] == '{"first": "Sakatu", "last": "hau"}'
    menu = "Which menu command does the text name? Write > between its parts."
    assert [(item.prompt, item.answer) for item in one(page, "en", "menu")] == [
        (f"{menu}\nText: {MENU[0]}\nAnswer:", "File > Save as")
    ]
    assert [item.answer for item in one(page, "eu", "menu")] == ["Fitxategia > Gorde honela"]
    (program,) = (item for item in one(page, "eu", "program") if PROSE[1] in item.prompt)
    asked = "Which program is the text about: Writer, Calc, Impress, Basic?"
    assert program.prompt == f"{asked}\nText: Taulak. {PROSE[1]}\nAnswer:"
    assert program.answer == "Writer"
    assert "coloured" not in [item.answer for item in one(page, "en", "longest")]
    for skill in SKILLS:
        assert len(one(page, "en", skill)) == len(one(page, "eu", skill)) > 0


def test_the_longest_word_is_one_word(page: Page) -> None:
    """No item has two longest words, and a paragraph must have one in both languages."""
    found = {item.prompt.split("Text: ")[1]: item.answer for item in one(page, "eu", "longest")}
    assert found[f"{PROSE[1]}\nAnswer:"] == "koloreztatutako"
    assert found[f"{WORDS[1]}\nAnswer:"] == "Sakatu"
    assert not any(MORE[1] in text for text in found)  # "together" is as long as "document"
    equal = page_of("text/scalc/a.html", ("One four five", "Bat lau bost hitzak"))
    assert one(equal, "en", "longest") == []


def test_the_missing_word_is_in_no_other_place(page: Page) -> None:
    """A choice of four, of which the text has none, and a gap where the right one was."""
    (item,) = (item for item in one(page, "eu", "cloze") if "Text: Aldatutako" in item.prompt)
    first, text, _ = item.prompt.split("\n")
    choices = first.removeprefix("Which word is missing: ").removesuffix("?").split(", ")
    assert len(set(choices)) == 4
    assert item.answer in choices
    assert text == f"Text: {PROSE[1].replace(item.answer, '___')}"
    assert all(choice not in text for choice in choices)


def test_untranslated_paragraphs_make_no_items() -> None:
    """Basque that is English says nothing about Basque."""
    assert one(page_of("text/scalc/a.html", (WORDS[0], WORDS[0])), "eu", "words") == []


def test_items_for_training_are_of_all_skills(page: Page) -> None:
    """As many of each as there are, in an order that the seed decides."""
    pages = [page, *(page_of(f"text/swriter/{i}.html", WORDS, PROSE, MORE) for i in range(6))]
    found = mixed(pages, 11, "sft 0", 2)
    counts = sorted((item.skill for item in found), key=SKILLS.index)
    assert {skill: counts.count(skill) for skill in SKILLS} == {
        "words": 3,
        "longest": 3,
        "menu": 1,
        "program": 2,
        "cloze": 2,
    }
    assert found == mixed(pages, 11, "sft 0", 2) != mixed(pages, 11, "sft 1", 2)


def test_a_page_is_in_one_split() -> None:
    """By its path alone, a fifth is held out."""
    paths = [f"text/scalc/{number}.html" for number in range(3000)]
    splits = [split_of(path) for path in paths]
    shares = {name: splits.count(name) / len(paths) for name in set(splits)}
    assert shares["validation"] == pytest.approx(2 / 30, abs=0.02)
    assert shares["test"] == pytest.approx(4 / 30, abs=0.02)
    assert split_of("text/scalc/guide/cells.html") == split_of("text/scalc/guide/cells.html")


@pytest.mark.parametrize("skill", SKILLS)
def test_a_text_that_a_training_page_repeats_is_seen(skill: str, page: Page) -> None:
    """Whatever an item adds to its paragraph or leaves out of it; each language for itself."""
    names = [f"text/swriter/{number}.html" for number in range(60)]
    trained = next(name for name in names if split_of(name) == "train")
    held = replace(page, path=next(name for name in names if split_of(name) == "test"))
    pairs = [(pair[0], f"{pair[1]} Bai.") for pair in (WORDS, PROSE, MORE, MENU)]
    elsewhere = page_of(trained, *pairs)  # the same English, other Basque
    for language, found in (("en", True), ("eu", False)):
        items = items_of([held], language, skill, 9)
        assert seen_of([held, elsewhere], language, items) == [found] * len(items)
    items = items_of([held], "eu", skill, 9)
    assert seen_of([held, replace(page, path=trained)], "eu", items) == [True] * len(items)


def test_what_is_seen_is_written_for_each_split(page: Page, tmp_path: Path) -> None:
    """A line for each split of a language whose pages have been read, a bit for each item."""
    pages = [replace(page, path=f"text/swriter/{number}.html") for number in range(60)]
    cache = tmp_path / "eu" / "pages.jsonl"
    cache.parent.mkdir()
    cache.write_text("".join(json.dumps(asdict(one)) + "\n" for one in pages), "utf-8")
    rows = list(rows_of_seen(SIZES["quick"], tmp_path))
    assert [(row.language, row.split) for row in rows] == [("eu", "validation"), ("eu", "test")]
    assert all(int(row.seen, 16) == 2**row.items - 1 for row in rows)  # all pages are alike
    assert list(rows_of_seen(SIZES["quick"], tmp_path / "none")) == []


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tasks of a language."""
    folder = tmp_path_factory.mktemp("tasks")
    pages = [
        page_of(f"text/swriter/{number}.html", WORDS, PROSE, MORE, MENU, menus=MENUS)
        for number in range(60)
    ]
    items = dict.fromkeys(SKILLS, 3)
    assert len(chosen_items(pages, "eu", "test", items)) == 15
    write_tasks(folder, pages, "eu", "test", items=items, texts=2, english=2)
    return folder


def test_lm_eval_loads_the_tasks_and_compares_strings(tasks: Path) -> None:
    """Spaces around an answer do not count, all else does; English has every second item."""
    names = [skills_task("eu", "test"), skills_task("en-eu", "test"), text_task("eu", "test")]
    loaded = load_tasks(names, include=[tasks])
    assert {task.name: task.items for task in loaded.tasks} == dict(
        zip(names, (15, 8, 2), strict=True)
    )
    task = loaded.loaded[names[0]]
    docs = list(task.test_docs())
    assert [doc["skill"] for doc in docs] == [skill for skill in SKILLS for _ in range(3)]
    lines = (tasks / f"{names[1]}.jsonl").read_text("utf-8").splitlines()
    english = [json.loads(line) for line in lines]
    assert [doc["skill"] for doc in english] == [doc["skill"] for doc in docs[::2]]
    asked = docs[6]
    assert task.doc_to_text(asked).endswith("\nAnswer:")
    assert task.doc_to_target(asked) == "Fitxategia > Gorde honela"
    task.build_all_requests(rank=0, world_size=1)
    answers = {0: f" {docs[0]['answer']} ", 6: asked["answer"].lower(), 9: "Writer"}
    for instance in task.instances:
        instance.resps = [answers.get(instance.doc_id, "")]
    task.apply_filters()
    right = [
        task.process_results(instance.doc, [instance.filtered_resps["stripped"]])["exact_match"]
        for instance in sorted(task.instances, key=lambda instance: instance.doc_id)
    ]
    assert [place for place, is_right in enumerate(right) if is_right] == [0, 9]


def test_a_debian_package_is_read_without_dpkg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its help pages, its licence and its checksum are kept, and nothing else of it."""
    for name in ("en-us", "eu"):
        inside = {
            f"./usr/share/libreoffice/help/{name}/text/scalc/a.html": b"<p>",
            f"./usr/share/libreoffice/help/{name}/media/a.svg": b"<svg>",
            f"./usr/share/doc/libreoffice-help-{name}/copyright": b"MPL-2.0",
        }
        package = tmp_path / "packages" / f"libreoffice-help-{name}_1_all.deb"
        package.parent.mkdir(exist_ok=True)
        package.write_bytes(deb_of(inside))
    monkeypatch.setenv("PATH", "")
    ingredients.fetch_help(["eu"], tmp_path)
    ingredients.fetch_help(["eu"], tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert "help/eu/text/scalc/a.html" in files
    assert "help/en-US/text/scalc/a.html" in files
    assert not any(name.endswith((".svg", ".part")) for name in files)
    assert (tmp_path / "licenses" / "libreoffice-help-eu.txt").read_text() == "MPL-2.0"
    sources = json.loads((tmp_path / "licenses" / "sources.json").read_text())
    assert set(sources) == {f"libreoffice-help-{name}_1_all.deb" for name in ("en-us", "eu")}


def test_a_package_that_is_not_here_or_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without apt-get the error says what to download, and to where."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"packages.debian.org/libreoffice-help-en-us into"):
        ingredients.fetch_help(["eu"], tmp_path)
    (tmp_path / "packages" / "libreoffice-help-en-us_1_all.deb").write_bytes(b"<html>")
    with pytest.raises(SystemExit, match="is not a Debian package"):
        ingredients.fetch_help(["eu"], tmp_path)


def deb_of(files: dict[str, bytes]) -> bytes:
    """Return a Debian package: an `ar` archive with data.tar.xz."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    made = b"!<arch>\n"
    for name, content in parts.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        made += head + content + b"\n" * (len(content) % 2)
    return made


@pytest.mark.parametrize("key", [key for key in BY_NAME if not key.startswith("widen")])
def test_mergekit_takes_every_config(key: str) -> None:
    """Also layer swapping, whose slices cover each layer once; the base is that of the triple."""
    made = config_of(BY_NAME[key], Path("base"), Path("ct"), Path("sft"))
    config = MergeConfiguration.model_validate(made)
    models = {str(model.model.path) for model in config.referenced_models()}
    plain = BY_NAME[key].method in {"linear", "slices"}
    assert models == {"ct", "sft"} | (set() if plain else {"base"})
    if config.slices:
        ranges = [each.sources[0].layer_range for each in config.slices]
        assert [layer for first, end in ranges for layer in range(first, end)] == list(range(30))
    MergeConfiguration.model_validate(passthrough(Path("ct")))


def test_every_method_has_the_same_number_of_trials() -> None:
    """Its defaults, and the same weights of the CT model."""
    tuned = {merge.name for merge in TRIALS}
    for name in tuned:
        every = {merge.values for merge in (*DEFAULTS, *TRIALS) if merge.name == name}
        weights = sorted(float(text.split()[0].removeprefix("ct_weight=")) for text in every)
        assert weights == sorted([1.0, *DIAL])
    assert tuned == {merge.name for merge in DEFAULTS} - {"layer_swap", "widen"}
    assert len({merge.key for merge in MERGES}) == len(BY_NAME)


@pytest.mark.parametrize("name", SIZES)
def test_every_job_finds_what_it_needs(name: str, tmp_path: Path) -> None:
    """Of all sizes, each need is what an earlier job makes."""
    made: set[Path] = set()
    for job in unique(jobs(SIZES[name], tmp_path, "cpu")):
        assert set(job.needs) <= made, job.title
        made |= set(job.makes)
    assert len({path for path in made if path.parent.name == "scores"}) > 10


RUN = Path(__file__).parent.parent / "experiments" / "real" / "run.py"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--processes", "0"], "argument --processes: expected 1 or more, got 0"),
        (["--processes", "two"], "argument --processes: expected 1 or more, got two"),
        (["--device", "tpu"], "argument --device: expected cpu or cuda, got tpu"),
        (["--device", "cuda"], "PyTorch sees no GPU here: --device cpu"),
    ],
)
def test_a_wrong_option_is_refused_before_the_work(
    tmp_path: Path, given: list[str], said: str
) -> None:
    """In one line, and nothing is written."""
    command = [sys.executable, str(RUN), "quick", "--work", str(tmp_path), *given]
    nothing = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=nothing)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.splitlines()[-1] == f"run.py: error: {said}"
    assert list(tmp_path.iterdir()) == []


def test_without_slack_ties_the_experiment_says_what_to_read(tmp_path: Path) -> None:
    """In one line, and nothing is written."""
    command = [sys.executable, "-S", str(RUN), "quick", "--work", str(tmp_path)]
    bare = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=bare)
    assert found.returncode == 1
    assert found.stderr.startswith(f"slack_ties is not installed for {sys.executable}: see ")
    assert (found.stderr.count("\n"), list(tmp_path.iterdir())) == (1, [])


def test_another_base_has_folders_of_its_own() -> None:
    """Its models and rows do not mix with those of the base that the page is about."""
    assert folder_of(SIZES["quick"], "") == "quick"
    assert folder_of(SIZES["quick"], "HuggingFaceTB/SmolLM2-135M") == (
        "quick-HuggingFaceTB-SmolLM2-135M"
    )
    assert folder_of(SIZES["gpu"], "/models/one two/") == "gpu-models-one-two"
