"""The tasks of a language are there, in its script; our own tasks run in the real lm-eval."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from slack_ties.catalogue.languages import list_languages, unlisted_language
from slack_ties.catalogue.tasks import (
    LanguageTasks,
    english_tasks,
    list_tasks,
    list_tasks_text,
    packs,
    task_facts,
    tasks_for,
)
from slack_ties.errors import CatalogueError
from slack_ties.harness.facts import facts_of
from triple import Folders

ROOT = Path(__file__).parent.parent
EVERY = list_tasks()
TAGS = [one.language.tag for one in EVERY]

# Names of tasks that say their script: ..._bod_Tibt, ..._uig_arab, ..._mn_Mong, ..._por_latn_braz.
SCRIPT = re.compile(r"_[a-z]{2,3}_([A-Z][a-z]{3}|[a-z]{4})(_[a-z]{4})?$")
SCRIPTS = {"arab", "beng", "cyrl", "deva", "ethi", "grek", "hans", "hant", "laoo", "latn", "mong"}
SCRIPTS |= {"orya", "sinh", "taml", "telu", "thai", "tibt"}

# Tasks of lm-eval in Cyrillic for languages that have another script here.
CYRILLIC = re.compile(r"kaz(akh|_)|khk|_kk\b|_mn\b|multiblimp_kaz")

LETTERS = ("vocabulary", "reading", "response")
TOPICS = ("topic_sentence", "topic_passage")
CODES = {"bo": "bo", "ug": "ug", "kk_Arab": "kk", "mn_Mong": "mn"}  # ours: that of MiLiC-Eval
FOLDERS = {
    "vocabulary": "vocabulary",
    "reading": "reading_comprehension",
    "response": "response_selection",
    "topic_sentence": "text_classification_sentence",
    "topic_passage": "text_classification_passage",
}
SPLITS = {"train_1": 6, "test": 4}  # rows of each file of the tests


@pytest.fixture(scope="session")
def manager() -> TaskManager:
    """lm-eval with its own tasks and ours."""
    return TaskManager(include_path=list(packs()))


def named(tasks: LanguageTasks) -> Iterator[str]:
    """Yield all names of a language's tasks."""
    yield from (*tasks.default, *tasks.more)


def script(name: str) -> str:
    """Return the script that the name of a task says, in lower case; "" if it says none."""
    match = SCRIPT.search(name)
    return match[1].lower() if match and match[1].lower() in SCRIPTS else ""


@pytest.mark.parametrize("tasks", EVERY, ids=TAGS)
def test_lm_eval_has_every_task(tasks: LanguageTasks, manager: TaskManager) -> None:
    """Each name is one of the installed lm-eval, or of our pack; the default is multiple choice."""
    assert [one for one in named(tasks) if one not in manager.task_index] == []
    assert len(set(named(tasks))) == len([*named(tasks)])
    assert 1 <= len(tasks.default) <= 3
    for one in tasks.default:
        assert manager.task_index[one].cfg["output_type"] == "multiple_choice"
    assert not set(tasks.english) & set(named(tasks))


def test_every_language_has_an_entry() -> None:
    """Also one that finds all its tasks by its codes."""
    text = (ROOT / "src/slack_ties/catalogue/tasks.toml").read_text("utf-8")
    catalogue = {triple.language.tag for triple in list_languages()}

    assert set(TAGS) == catalogue == set(re.findall(r"^\[language\.(.+)\]$", text, re.MULTILINE))


@pytest.mark.parametrize("tasks", EVERY, ids=TAGS)
def test_a_task_has_the_script_of_its_language(tasks: LanguageTasks) -> None:
    """If its name says a script, it is that one."""
    said = {one: script(one) for one in named(tasks) if script(one)}

    assert said == dict.fromkeys(said, tasks.language.script.lower())


@pytest.mark.parametrize("tag", ["mn-Mong", "kk-Arab"])
def test_no_cyrillic_for_another_script(tag: str) -> None:
    """The Kazakh and Mongolian tasks of lm-eval are in Cyrillic: only ours are offered."""
    assert all(one.startswith("milic_") for one in named(tasks_for(tag)))
    assert "in Cyrillic: another script" in tasks_for(tag).note
    assert not any(CYRILLIC.search(one) for one in named(tasks_for(tag)))


@pytest.mark.parametrize(
    ("tag", "default"),
    [
        ("mn", "belebele_khk_Cyrl"),  # outside the catalogue, and in its usual script
        ("kk", "belebele_kaz_Cyrl"),
        ("kk-Cyrl", "belebele_kaz_Cyrl"),
        ("bod", "belebele_bod_Tibt"),
        ("Tibetan", "belebele_bod_Tibt"),
        ("uk-Cyrl", "belebele_ukr_Cyrl"),
        ("sr-Latn", "global_piqa_parallel_cloze_srp_latn"),  # Belebele has Serbian in Cyrillic
        ("hi", "belebele_hin_Deva"),
        ("hi-Latn", "belebele_hin_Latn"),
        ("pt-BR", "belebele_por_Latn"),
        ("zh-Hant", "belebele_zho_Hant"),
        ("nn", "global_piqa_parallel_cloze_nno_latn"),
        ("hy", "belebele_hye_Armn"),
        ("fo", "global_piqa_parallel_cloze_fao_latn"),
        ("la", "multiblimp_lat"),
    ],
)
def test_a_language_outside_the_catalogue(tag: str, default: str, manager: TaskManager) -> None:
    """Its tasks follow from its codes, and its script from its tag, if it has one."""
    tasks = tasks_for(tag)

    assert tasks.default[0] == default
    assert all(one in manager.task_index for one in named(tasks))
    assert tasks_for(tasks.language) == tasks


def test_multiblimp_is_only_for_the_usual_script() -> None:
    """Its names have no script: a tag with a script may mean another one."""
    assert "multiblimp_kaz" in tasks_for("kk").more
    assert not any("multiblimp" in one for one in named(tasks_for("kk-Cyrl-KZ")))


def test_families_are_those_of_lm_eval(manager: TaskManager) -> None:
    """All of each family: a new lm-eval with more languages makes this test fail."""
    patterns = (
        r"belebele_[a-z]{3}_[A-Z][a-z]{3}",
        r"global_piqa_(non)?parallel_cloze_[a-z]{3}_.+",
        r"multiblimp_[a-z]{3}",
    )
    theirs = {
        one for one in manager.all_tasks if any(re.fullmatch(pattern, one) for pattern in patterns)
    }

    known = {one for one in theirs if task_facts(one).source}
    assert theirs == known
    assert len(theirs) == 123 + 131 + 136 + 101


def test_numbers_of_items(manager: TaskManager) -> None:
    """Those of lm-eval's README are ours, and a task of which nothing is known says nothing."""
    readme = Path(str(manager.task_index["multiblimp_gle"].yaml_path)).with_name("README.md")
    rows = re.findall(
        r"^\| ([a-z]{3}) +\|[^|]+\| (\d+) +\|", readme.read_text("utf-8"), re.MULTILINE
    )

    assert len(rows) == 101
    for code, items in rows:
        assert task_facts(f"multiblimp_{code}").items == int(items)
    assert task_facts("belebele_bod_Tibt").items == 900
    assert task_facts("milic_reading_bo").items == 200
    assert "accept the terms" in task_facts("milic_reading_bo").needs
    assert (task_facts("xcopa_ta").items, task_facts("no_such_task").source) == (0, "")


def test_english_is_english_and_short() -> None:
    """Two multiple-choice tasks, whose number of items is known."""
    assert english_tasks() == ("belebele_eng_Latn", "arc_challenge")
    assert [task_facts(one).items for one in english_tasks()] == [900, 1172]
    assert tasks_for("en").english == ("arc_challenge",)  # the other one is its default


def test_what_each_task_is_about() -> None:
    """The card tells what a merge is for from what it should keep."""
    about = tasks_for("bo").about

    assert about["belebele_bod_Tibt"] == about["milic_topic_sentence_bo"] == "language"
    assert about["belebele_eng_Latn"] == about["arc_challenge"] == "english"


def test_the_list_of_a_language() -> None:
    """The default, English, then more; a line each, with the number of items if it is known."""
    lines = list_tasks_text("ug").splitlines()

    assert lines[:2] == ["Uyghur, which `evaluate` runs:", "  uleval"]
    assert [line.split() for line in lines[2:4]] == [
        ["milic_reading_ug", "200", "items", "*"],
        ["milic_vocabulary_ug", "900", "items", "*"],
    ]
    assert lines.index("English, which `evaluate` runs too:") < lines.index("Uyghur, more:")
    assert ["multiblimp_uig", "758", "items"] in [line.split() for line in lines]
    assert lines[-3:] == [
        "*  accept the terms at huggingface.co/datasets/pkupie/milic-eval",
        "+  each item is one word to guess",
        "Belebele has no Uyghur. The examples of uleval, celep1 and ulut are taken from the items.",
    ]
    assert str(tasks_for("ug")) == list_tasks_text("ug")
    assert list_tasks_text("lo").splitlines()[-1] == "  arc_challenge      1,172 items"


@pytest.mark.parametrize("tag", TAGS)
def test_a_list_fits_a_terminal(tag: str) -> None:
    """Each line of tasks has at most 80 characters; every mark is explained."""
    text = list_tasks_text(tag)

    assert [line for line in text.splitlines() if line[:2] == "  " and len(line) > 80] == []
    used = {line.split()[-1] for line in text.splitlines() if line[-1:] in set("*+#~")}
    assert used == {line[0] for line in text.splitlines() if line[:1] in set("*+#~")}


@pytest.mark.parametrize("tag", ["eo", "mn-Phag", "qaa"])
def test_a_language_without_tasks(tag: str) -> None:
    """The error says how to bring own tasks."""
    language = unlisted_language(tag)

    with pytest.raises(CatalogueError, match=f"no task of lm-eval is known for .*{tag}") as error:
        tasks_for(language)

    assert "--tasks NAMES --include-path FOLDER" in error.value.hint


def test_what_is_no_language() -> None:
    """The error is that of the catalogue."""
    with pytest.raises(CatalogueError, match="not a language tag"):
        tasks_for("no language")


WORDS = ["མཚོ", "རི་བོ", "གནམ་གྲུ", "དེབ", "ཁང་པ"]
LABELS = [("sports", "体育"), ("politics", "政治"), ("it's art", "艺术")]


def row(kind: str, number: int) -> dict[str, Any]:
    """Return a row as MiLiC-Eval documents it; one with a choice has four or five options."""
    word, found = WORDS[number % 5], {"id": f"{kind}-{number}"}
    if kind in TOPICS:
        english, chinese = LABELS[number % 3]
        return {**found, "text": f"{word} " * 200, "label": {"en": english, "zh": chinese}}
    options = WORDS[: 4 + number % 2]
    answer = "ABCDE"[number % len(options)]
    own: dict[str, Any] = {"word": word}
    if kind != "vocabulary":
        own = {"context": [f"A: {word}", "B: རེད།"]}
    if kind == "reading":
        own["question"] = "ག་རེ་རེད།"
    return {**found, **own, "options": options, "answer": answer}


@pytest.fixture(scope="session")
def milic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files as MiLiC-Eval documents them."""
    folder = tmp_path_factory.mktemp("milic")
    for kind, name in FOLDERS.items():
        for code in CODES.values():
            (folder / name / code).mkdir(parents=True)
            for split, count in SPLITS.items():
                rows = [row(kind, number) for number in range(count)]
                text = json.dumps(rows, ensure_ascii=False)
                (folder / name / code / f"{split}.json").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def local(milic: Path, tmp_path_factory: pytest.TempPathFactory) -> TaskManager:
    """The tasks of the pack, which read that folder: as its README says for a copy of the data."""
    folder = tmp_path_factory.mktemp("local")
    (pack,) = packs()
    for tag, code in CODES.items():
        for kind, name in FOLDERS.items():
            file = f"milic_{kind}_{tag}.yaml"
            told = {
                "include": str(pack / tag / file),
                "dataset_kwargs": {"source": str(milic), "folder": f"{name}/{code}"},
            }
            (folder / file).write_text(yaml.safe_dump(told), "utf-8")
    return TaskManager(include_path=str(folder), include_defaults=False)


def test_the_pack_has_every_task_and_group(manager: TaskManager) -> None:
    """Five tasks and a group for each language; lm-eval says nothing of them."""
    ours = [one for one in manager.all_tasks if one.startswith("milic_")]

    kinds = (*LETTERS, *TOPICS)
    tasks = {f"milic_{kind}_{tag}" for kind in kinds for tag in CODES}
    assert set(ours) == tasks | {f"milic_{tag}" for tag in CODES}
    for tag in CODES:
        group = manager.task_index[f"milic_{tag}"].cfg
        assert set(group["task"]) == {f"milic_{kind}_{tag}" for kind in kinds}
    assert all(manager.task_index[one].cfg["metadata"]["version"] == 1.0 for one in tasks)


def test_the_pack_reads_the_documented_files(manager: TaskManager) -> None:
    """Those of one language and task each, at the dataset's top."""
    for tag, code in CODES.items():
        for kind, folder in FOLDERS.items():
            told = manager.task_index[f"milic_{kind}_{tag}"].cfg
            assert told["dataset_path"] == "pkupie/milic-eval"
            assert told["dataset_kwargs"] == {
                "source": "pkupie/milic-eval",
                "folder": f"{folder}/{code}",
            }


def test_the_pack_has_no_data() -> None:
    """It is task files, one function and a page."""
    (pack,) = packs()
    files = [path for path in pack.rglob("*") if path.is_file() and path.suffix != ".pyc"]

    assert {path.suffix for path in files} == {".yaml", ".py", ".md"}
    assert sum(path.stat().st_size for path in files) < 30_000


@pytest.mark.parametrize("kind", LETTERS)
def test_an_item_with_letters(kind: str, local: TaskManager) -> None:
    """The whole item is in the text; the choices are as many letters as it has options."""
    task = local.load(f"milic_{kind}_bo")["tasks"][f"milic_{kind}_bo"]
    four, five = list(task.test_docs())[:2]

    text = task.doc_to_text(five)
    assert text.endswith("D. དེབ\nE. ཁང་པ\nAnswer:")
    assert text.count("\n\n") == 0
    for key in ("word", "question"):
        assert five.get(key, "") in text
    assert all(turn in text for turn in five.get("context", ()))
    assert task.doc_to_choice(four) == ["A", "B", "C", "D"]
    assert task.doc_to_choice(five) == ["A", "B", "C", "D", "E"]
    assert (task.doc_to_target(four), task.doc_to_target(five)) == (0, 1)
    assert task.config.num_fewshot == (5 if kind == "vocabulary" else None)


@pytest.mark.parametrize("kind", TOPICS)
def test_an_item_with_a_topic(kind: str, local: TaskManager) -> None:
    """The choices are the labels of all items; a long text is cut."""
    task = local.load(f"milic_{kind}_bo")["tasks"][f"milic_{kind}_bo"]
    doc = next(iter(task.test_docs()))

    assert task.doc_to_choice(doc) == ["it's art", "politics", "sports"]
    assert task.doc_to_target(doc) == 2
    text = task.doc_to_text(doc)
    assert text.endswith("\nTopics: it's art, politics, sports\nAnswer:")
    assert len(text.split("\n")[1]) == len("Text: ") + 512


@pytest.mark.parametrize("tag", CODES)
def test_lm_eval_scores_the_pack(tag: str, local: TaskManager, triple: Folders) -> None:
    """Each task of a language on a small model, with examples before each item."""
    names = [f"milic_{kind}_{tag}" for kind in FOLDERS]
    tasks = list(local.load(names)["tasks"].values())
    model = HFLM(pretrained=str(triple.base), device="cpu", dtype="float32", batch_size=4)

    found = simple_evaluate(
        model=model,
        tasks=tasks,
        task_manager=local,
        bootstrap_iters=0,
        log_samples=True,
    )

    assert set(found["results"]) == set(names)
    for name in names:
        assert found["results"][name]["acc,none"] in {0, 0.25, 0.5, 0.75, 1}
        assert found["n-samples"][name]["effective"] == SPLITS["test"]
    (text, _), *_ = found["samples"][f"milic_vocabulary_{tag}"][0]["arguments"]
    assert (text.count("Answer: "), text.count("Answer:")) == (5, 6)
    assert text.count("\n\n") == 5


OFFLINE = """
from lm_eval.tasks import TaskManager
from slack_ties.catalogue.tasks import packs
tasks = TaskManager(include_path=list(packs()), include_defaults=False)
print(*(len(task.test_docs()) for task in tasks.load(["milic_bo"])["tasks"].values()))
"""


@pytest.mark.parametrize("here", ["here", ""])
def test_the_pack_offline(here: str, milic: Path, tmp_path: Path) -> None:
    """The files in the Hub's cache are enough; if they are not there, the error says so."""
    cache = tmp_path / "hub" / "datasets--pkupie--milic-eval"
    commit = "0" * 40
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit, "utf-8")
    if here:
        shutil.copytree(milic, cache / "snapshots" / commit)
    variables = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        check=False,
        capture_output=True,
        text=True,
        env=variables,
    )

    assert done.stdout == ("4 4 4 4 4\n" if here else ""), done.stderr
    assert ("annot find the requested files in the local cache" in done.stderr) == (not here)


FACTS = """
import json
from slack_ties.harness.tasks import load_tasks
tasks = load_tasks(["milic_reading_bo", "milic_vocabulary_bo"]).tasks
print(json.dumps([(one.dataset, one.subset, one.commit) for one in tasks]))
"""


def test_the_pack_names_its_data(milic: Path, tmp_path: Path) -> None:
    """An evaluation says of which folder and commit the items are, and not that they are all."""
    cache, commit = tmp_path / "hub" / "datasets--pkupie--milic-eval", "ab" * 20
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit, "utf-8")
    shutil.copytree(milic, cache / "snapshots" / commit)

    done = subprocess.run(
        [sys.executable, "-c", FACTS],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )

    assert json.loads(done.stdout) == [
        ["pkupie/milic-eval", f"{folder}/bo", commit]
        for folder in ("reading_comprehension", "vocabulary")
    ]


def test_a_copy_of_the_data_is_not_the_hubs(local: TaskManager) -> None:
    """Nobody knows whether it was changed."""
    (task,) = local.load("milic_reading_bo")["tasks"].values()

    assert facts_of(task, limit=None, about="")[0].dataset == ""


def test_a_file_that_is_none_of_milic_eval(milic: Path, tmp_path: Path) -> None:
    """The error names the file, and what was expected."""
    shutil.copytree(milic / "vocabulary" / "bo", tmp_path / "vocabulary" / "bo")
    (tmp_path / "vocabulary" / "bo" / "test.json").write_text('{"rows": []}', "utf-8")
    (pack,) = packs()
    told = {
        "include": str(pack / "bo" / "milic_vocabulary_bo.yaml"),
        "dataset_kwargs": {"source": str(tmp_path), "folder": "vocabulary/bo"},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(told), "utf-8")
    own = TaskManager(include_path=str(tmp_path), include_defaults=False)

    with pytest.raises(ValueError, match=r"bo/test\.json: expected a list of objects"):
        own.load(["milic_vocabulary_bo"])


def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, triple: Folders
) -> None:
    """The two files of docs/tasks.md are a task that lm-eval finds, loads and scores."""
    page = (ROOT / "docs" / "tasks.md").read_text("utf-8")
    (tmp_path / "my_tasks").mkdir()
    for name, kind in (("countries_bo.jsonl", "json"), ("countries_bo.yaml", "yaml")):
        assert f"`my_tasks/{name}`" in page
        block = re.search(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        (tmp_path / "my_tasks" / name).write_text(block[1], "utf-8")
    monkeypatch.chdir(tmp_path)
    own = TaskManager(include_path="my_tasks", include_defaults=False)
    model = HFLM(pretrained=str(triple.base), device="cpu", dtype="float32", batch_size=4)

    found = simple_evaluate(
        model=model,
        tasks=list(own.load(["countries_bo"])["tasks"].values()),
        task_manager=own,
        bootstrap_iters=0,
    )

    assert found["n-samples"]["countries_bo"] == {"original": 3, "effective": 3}
    assert 0 <= found["results"]["countries_bo"]["acc,none"] <= 1


def test_the_page_has_every_language() -> None:
    """A row for each, with what `evaluate` runs for it."""
    page = (ROOT / "docs" / "tasks.md").read_text("utf-8")

    for tasks in EVERY:
        (line,) = re.findall(rf"^\| .+ \(`{tasks.language.tag}`\) \| (.+?) \|", page, re.MULTILINE)
        assert re.findall(r"`(.+?)`", line) == list(tasks.default)
