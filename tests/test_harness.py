"""The harness: the real lm-eval in this process, with tasks and data on this disk."""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pytest
import torch
from filelock import FileLock
from huggingface_hub import CommitOperationAdd, HfApi
from packaging.requirements import Requirement
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from eval_tasks import EMPTY, ENGLISH, ON_HUB, TIBETAN, make_tasks, questions, write_task
from hub_server import Server
from slack_ties.errors import (
    CheckpointError,
    GatedError,
    HubError,
    NotOnHubError,
    OutputError,
    SlackTiesError,
)
from slack_ties.evaluation.scores import TaskScore
from slack_ties.files import sha256_of
from slack_ties.harness import extra
from slack_ties.harness.answers import answers_file
from slack_ties.harness.extra import check_lm_eval
from slack_ties.harness.score import How, Loaded, score_model
from slack_ties.harness.tasks import LoadedTasks, load_tasks
from slack_ties.hub.retries import Retries
from slack_ties.hub.timeouts import timeouts
from triple import Folders

CPU = How()
LM_EVAL = Path(sys.executable).with_name("lm_eval")
MULTIPLE_CHOICE, KINDS = (TIBETAN, ENGLISH), ("continues", "text", "writes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks of all kinds."""
    path = make_tasks(tmp_path_factory.mktemp("tasks"))
    items = questions(12)
    text = {"doc_to_target": "{{choices[answer]}}", "doc_to_choice": None}
    greedy = [{"metric": "acc"}]
    write_task(path, "continues", items, **text, output_type="loglikelihood", metric_list=greedy)
    write_task(
        path,
        "text",
        items,
        doc_to_text="",
        doc_to_target="question",
        doc_to_choice=None,
        output_type="loglikelihood_rolling",
        metric_list=[{"metric": "bits_per_byte"}],
    )
    write_task(
        path,
        "writes",
        items,
        **text,
        output_type="generate_until",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 8},
        metric_list=[{"metric": "exact_match"}],
        filter_list=[
            {"name": "first", "filter": [{"function": "take_first"}]},
            {"name": "lower", "filter": [{"function": "lowercase"}, {"function": "take_first"}]},
        ],
    )
    return path


@pytest.fixture(scope="module")
def tasks(folder: Path) -> LoadedTasks:
    """The task in Tibetan and the one in English."""
    return load_tasks(["names"], include=[folder])


@pytest.fixture(scope="module")
def whole(triple: Folders, tasks: LoadedTasks) -> dict[str, TaskScore]:
    """The scores of the SFT model."""
    return score_model(triple.sft, tasks, how=CPU)


def in_memory(path: Path, *, stop_at: int = 0) -> tuple[Loaded, list[int]]:
    """Return a model in memory, and a list of the sizes of the batches that it has read.

    At batch `stop_at` the user presses Ctrl-C.
    """
    batches: list[int] = []

    def count(_: Any, given: tuple[torch.Tensor]) -> None:
        if stop_at and len(batches) == stop_at:
            raise KeyboardInterrupt
        batches.append(len(given[0]))

    model = AutoModelForCausalLM.from_pretrained(path)
    model.register_forward_pre_hook(count)
    return Loaded(model, AutoTokenizer.from_pretrained(path)), batches


def test_numbers_are_those_of_lm_eval(folder: Path, triple: Folders, tmp_path: Path) -> None:
    """All metrics, standard errors and values of items of `lm_eval run`, to the last digit."""
    names = [*MULTIPLE_CHOICE, *KINDS]
    words = "run --model hf --device cpu --batch_size 4 --num_fewshot 2 --limit 10 --log_samples"
    paths = ["--include_path", folder, "--output_path", tmp_path, "--tasks", ",".join(names)]
    done = subprocess.run(
        [LM_EVAL, *words.split(), *paths, "--model_args", f"pretrained={triple.sft}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("**/results_*.json")
    theirs = json.loads(path.read_text("utf-8"))

    loaded = load_tasks(names, include=[folder], limit=10, fewshot=2)
    ours = score_model(triple.sft, loaded, how=How(batch_size="4"))

    for task in loaded.tasks:
        found = theirs["results"][task.name]
        expected = {
            key: value for key, value in found.items() if "," in key and "_stderr" not in key
        }
        assert expected
        for key, value in expected.items():
            metric, filter_name = key.split(",")
            score = ours[task.name].metrics[metric if filter_name == "none" else key]
            stderr = found[f"{metric}_stderr,{filter_name}"]
            assert score.value == value
            assert score.stderr == (None if stderr == "N/A" else stderr)
        assert (task.fewshot, task.items) == (theirs["n-shot"][task.name], 10)
        assert task.version == str(theirs["versions"][task.name])
        (logged,) = tmp_path.glob(f"**/samples_{task.name}_*.jsonl")
        rows = [json.loads(line) for line in logged.read_text("utf-8").splitlines()]
        metric, _, filter_name = task.metric.partition(",")
        rows = [one for one in rows if one["filter"] == (filter_name or "none")]
        rows.sort(key=lambda one: one["doc_id"])
        assert task.docs == sha256_of("\n".join(one["doc_hash"] for one in rows))
        means = metric != "bits_per_byte"
        assert ours[task.name].values == (tuple(one[metric] for one in rows) if means else ())


def test_a_model_in_memory_scores_as_its_folder(
    triple: Folders, tasks: LoadedTasks, whole: dict[str, TaskScore]
) -> None:
    """`tune` needs no file; and a second model on the same tasks does not see the first one."""
    model, _ = in_memory(triple.sft)
    other = score_model(triple.ct, tasks, how=CPU)
    before = random.getstate(), torch.get_rng_state().tolist()

    assert score_model(model, tasks, how=CPU) == whole
    assert (random.getstate(), torch.get_rng_state().tolist()) == before
    assert other != whole


def test_values_are_of_the_items_in_their_order(
    triple: Folders, tasks: LoadedTasks, whole: dict[str, TaskScore]
) -> None:
    """Their mean is the score; some items alone have the values that they have among all."""
    some = score_model(triple.sft, tasks, how=CPU, items={TIBETAN: [7, 2, 3], ENGLISH: [11]})

    for name in MULTIPLE_CHOICE:
        values = whole[name].values
        assert len(values) == 12
        assert sum(values) / 12 == whole[name].metrics["acc"].value
        assert whole[name].truncated == 0
    assert some[TIBETAN].values == tuple(whole[TIBETAN].values[i] for i in (2, 3, 7))
    assert some[ENGLISH].values == (whole[ENGLISH].values[11],)
    assert some[ENGLISH].metrics["acc"].stderr is None


@pytest.mark.parametrize("wrong", [[], [12], [-1, 3]])
def test_items_that_are_not_there(triple: Folders, tasks: LoadedTasks, wrong: list[int]) -> None:
    """No item at all would be all items for lm-eval."""
    with pytest.raises(SlackTiesError, match=f"task '{TIBETAN}': expected items from 0 to 11"):
        score_model(triple.sft, tasks, how=CPU, items={TIBETAN: wrong})


def test_what_is_known_of_a_task(folder: Path, tasks: LoadedTasks) -> None:
    """Its metric, its chance level, its items; and of its data only what is on the Hub."""
    about = {"names": "language", "writes": "english"}
    loaded = load_tasks(["names*", "names", "writes"][1:], include=[folder], limit=3, about=about)
    tibetan, english, writes = loaded.tasks

    assert (tibetan.name, tibetan.about, tibetan.metric) == (TIBETAN, "language", "acc")
    assert (tibetan.items, tibetan.of, tibetan.chance) == (3, 12, 0.25)
    assert (tibetan.dataset, tibetan.subset, tibetan.more_is_better) == ("", "", True)
    assert (writes.metric, writes.chance, writes.about) == ("exact_match,first", None, "english")
    assert (loaded.items, loaded.count_requests()) == (9, 4 * 3 + 4 * 3 + 3)
    assert loaded.count_requests({TIBETAN: [1], "writes": [0, 1]}) == 4 + 12 + 2
    assert len({tibetan.docs, english.docs, tasks.tasks[0].docs}) == 3


def test_a_name_twice_and_a_pattern(folder: Path, tasks: LoadedTasks) -> None:
    """A task that two names mean is scored once, in the place of the first."""
    loaded = load_tasks([ENGLISH, "names", TIBETAN, "names_b?"], include=[folder])

    assert [task.name for task in loaded.tasks] == [ENGLISH, TIBETAN]
    assert {task.docs for task in loaded.tasks} == {task.docs for task in tasks.tasks}


def test_chance_of_unequal_choices(tmp_path: Path) -> None:
    """Guessing scores the mean over the items, and more where several answers are right."""
    items = questions(4)
    items[0]["choices"] = items[0]["choices"][:2]
    write_task(tmp_path, "two", items)
    write_task(tmp_path, "several", questions(4), doc_to_target="{{[0, 1, 1]}}")

    two, several = load_tasks(["two", "several"], include=[tmp_path]).tasks

    assert two.chance == pytest.approx((1 / 2 + 3 / 4) / 4)
    assert several.chance == pytest.approx(1 / 2)


# Answers that are kept


def test_a_run_that_was_stopped_goes_on(
    triple: Folders, tasks: LoadedTasks, whole: dict[str, TaskScore], tmp_path: Path
) -> None:
    """The second run asks only for the answers that the first one lacks; the numbers are equal."""
    cache, at = tmp_path / "answers.sqlite", list[int]()
    with pytest.raises(KeyboardInterrupt):
        score_model(in_memory(triple.sft, stop_at=30)[0], tasks, how=CPU, cache=cache)

    (model, batches), kept = in_memory(triple.sft), list[int]()
    found = score_model(model, tasks, how=CPU, cache=cache, done=at.append, kept=kept.append)

    assert found == whole
    assert at[0] >= 30
    assert kept == at[:1]
    assert at == list(range(at[0], 97))
    assert len(batches) <= 96 - 30

    model, batches = in_memory(triple.sft)
    at.clear()
    kept.clear()
    found = score_model(model, tasks, how=CPU, cache=cache, done=at.append, kept=kept.append)
    assert found == whole
    assert (at, kept, batches) == ([96], [96], [])


def test_without_kept_answers_each_answer_is_counted(triple: Folders, tasks: LoadedTasks) -> None:
    """The caller can show how much is done."""
    at: list[int] = []
    score_model(triple.sft, tasks, how=CPU, done=at.append)

    assert at == list(range(1, tasks.count_requests() + 1))


def test_a_damaged_file_of_answers(
    triple: Folders,
    tasks: LoadedTasks,
    whole: dict[str, TaskScore],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is deleted with a warning, and made anew."""
    cache = tmp_path / "answers.sqlite"
    score_model(triple.sft, tasks, how=CPU, cache=cache)
    content = cache.read_bytes()

    for damaged in (b"no database at all", content[: len(content) // 2]):
        cache.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "slack_ties"):
            assert score_model(triple.sft, tasks, how=CPU, cache=cache) == whole
        assert "is damaged" in caplog.text

    caplog.clear()
    assert score_model(triple.sft, tasks, how=CPU, cache=cache) == whole
    assert caplog.text == ""


def test_an_answer_that_cannot_be_read(triple: Folders, tasks: LoadedTasks, tmp_path: Path) -> None:
    """SQLite finds no fault with it: the error names the file to delete."""
    cache = tmp_path / "answers.sqlite"
    score_model(triple.sft, tasks, how=CPU, cache=cache)
    with closing(sqlite3.connect(cache)) as opened, opened:
        opened.execute("UPDATE unnamed SET value = x'00ff'")

    with pytest.raises(
        OutputError, match=r"cannot use the kept answers in '.*answers\.sqlite': "
    ) as caught:
        score_model(triple.sft, tasks, how=CPU, cache=cache)
    assert caught.value.hint.startswith(f"rm {cache}")


def test_two_at_once_take_turns(
    triple: Folders,
    tasks: LoadedTasks,
    whole: dict[str, TaskScore],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The second one waits, says so, and then has the answers of the first."""
    cache, found = tmp_path / "answers.sqlite", list[Any]()
    score_model(triple.sft, tasks, how=CPU, cache=cache)
    model, batches = in_memory(triple.sft)
    other = FileLock(f"{cache}.lock")
    work = threading.Thread(
        target=lambda: found.append(score_model(model, tasks, how=CPU, cache=cache))
    )

    with caplog.at_level(logging.INFO, "slack_ties"):
        with other:
            work.start()
            while "another process scores the same model" not in caplog.text:
                assert work.is_alive()
                work.join(0.05)
        work.join()

    assert (found, batches) == ([whole], [])


def test_the_place_of_answers_names_all_they_depend_on(
    triple: Folders, tmp_path: Path, own_assets: Path
) -> None:
    """Another model, another way to run it, or a changed file of weights: another place."""
    model = tmp_path / "model"
    AutoModelForCausalLM.from_pretrained(triple.sft).save_pretrained(model)
    ways = [CPU, How(dtype="float32"), How(batch_size="2"), How(chat_template=True)]
    before = [answers_file(model, how) for how in ways]
    after = ("README.md", "slack_ties.json", "evaluation.json", "examples.json", "report.json")
    for name in (*after, "results.json", "slack_ties_intact.json"):  # files written after the merge
        (model / name).write_text("{}", "utf-8")

    assert len({*before, answers_file(triple.sft, CPU), answers_file("a/b@1", CPU)}) == 6
    assert [answers_file(model, how) for how in ways] == before
    assert answers_file(model, How(batch_size="1")) == before[0]
    assert before[0].is_relative_to(own_assets)
    assert before[0].parent.is_dir()

    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    others = [*before, answers_file(model, CPU)]
    for name in ("tokenizer.json", "chat_template.jinja", "model.safetensors.index.json"):
        (model / name).write_text("{}", "utf-8")
        others.append(answers_file(model, CPU))
    assert len({*others}) == len(others)


@pytest.fixture
def own_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub client's folder for files of other programs, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets"


def test_items_of_which_the_model_reads_only_the_end(triple: Folders, tmp_path: Path) -> None:
    """They are counted once each, also when their answers are kept ones."""
    items = questions(5)
    items[1]["question"] *= 30
    items[4]["question"] *= 30
    write_task(tmp_path, "long", items)
    write_task(
        tmp_path,
        "writes",
        items,
        doc_to_choice=None,
        doc_to_target="{{choices[answer]}}",
        output_type="generate_until",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 8},
        metric_list=[{"metric": "exact_match"}],
    )
    loaded = load_tasks(["long", "writes"], include=[tmp_path])

    for cache in (None, tmp_path / "answers.sqlite", tmp_path / "answers.sqlite"):
        found = score_model(triple.base, loaded, how=How(batch_size="3"), cache=cache)
        assert {name: score.truncated for name, score in found.items()} == {"long": 2, "writes": 2}


# What is refused, before a model is read


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("names_bod", "lm-eval has no task 'names_bod'. Did you mean 'names_bo'?", "lm-eval ls"),
        ("names_x*", "lm-eval has no task 'names_x*'", "lm-eval ls tasks"),
        (EMPTY, f"task '{EMPTY}' has no items in its data", "correct the task's file"),
        ("humaneval", "task 'humaneval' runs programs that the model writes", "another task"),
        ("mmmu_val_art", "task 'mmmu_val_art' asks about pictures or sound", "another task"),
    ],
)
def test_tasks_that_cannot_be_run(folder: Path, name: str, said: str, hint: str) -> None:
    """One line names the task and says why."""
    with pytest.raises(SlackTiesError) as caught:
        load_tasks([TIBETAN, name], include=[folder])

    assert said in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("belebele_bod_Tib", "belebele_bod_Tibt"),
        ("belebel", "belebele_bod_Tibt"),  # not the group of all languages
        ("belebele_khm_khmr", "belebele_khm_Khmr"),
        ("arc_chalenge", "arc_challenge"),
        ("hellaswagg", "hellaswag"),
    ],
)
def test_a_mistyped_task(name: str, meant: str) -> None:
    """A task that fits the merge is offered rather than another one, or a group."""
    about = dict.fromkeys(["belebele_bod_Tibt", "arc_easy"], "language")
    with pytest.raises(SlackTiesError) as caught:
        load_tasks([name], about=about)

    assert str(caught.value) == f"lm-eval has no task {name!r}. Did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset_kwargs": {"data_files": "gone.jsonl"}}, "its data is missing: "),
        ({"test_split": "nonsense"}, "cannot be loaded: KeyError: 'nonsense'"),
        ({"doc_to_text": "!function gone.text"}, "cannot be loaded: ImportError: "),
        ({"doc_to_text": "{{gone}}", "doc_to_target": "gone"}, "cannot be loaded: "),
        ({"metric_list": [{"metric": "bertscore", "aggregation": "mean"}]}, "the metric"),
        ({"output_type": "multiple"}, "cannot be loaded: ValueError: "),
    ],
)
def test_wrong_task_files(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """One line names the task and what lm-eval says of it."""
    write_task(tmp_path, "wrong", questions(4), **changes)

    with pytest.raises(SlackTiesError) as caught:
        load_tasks(["wrong"], include=[tmp_path])

    assert str(caught.value).startswith("task 'wrong'")
    assert said in str(caught.value)
    assert caught.value.hint


def test_a_metric_that_is_a_program_on_the_hub(tmp_path: Path) -> None:
    """Also of a task that asks for it only when it computes its score."""
    (tmp_path / "own.py").write_text(
        "import evaluate\n\ndef score(*_):\n    return evaluate.load('rouge').compute()\n", "utf-8"
    )
    write_task(tmp_path, "late", questions(4), process_results="!function own.score")

    with pytest.raises(SlackTiesError, match="task 'late' needs the metric 'rouge', a program"):
        load_tasks(["late"], include=[tmp_path])


def test_a_damaged_task_file(tmp_path: Path) -> None:
    """lm-eval passes over it, so that its task is not known: the error names the file."""
    write_task(tmp_path, "damaged", questions(4)).write_text("task: damaged\n  x: [", "utf-8")

    with pytest.raises(SlackTiesError, match=r"the task file '.*damaged\.yaml' cannot be read: "):
        load_tasks(["damaged"], include=[tmp_path])


def test_folders_of_tasks_that_are_not_there(tmp_path: Path) -> None:
    """A folder that does not exist, and one without a task file."""
    with pytest.raises(SlackTiesError, match="there is no folder"):
        load_tasks(["names"], include=[tmp_path / "gone"])
    with pytest.raises(SlackTiesError, match="has no task file"):
        load_tasks(["names"], include=[tmp_path])


def test_more_examples_than_there_are(folder: Path) -> None:
    """The task has four items for examples."""
    with pytest.raises(SlackTiesError, match=f"task '{TIBETAN}': it cannot be asked with 5 exam"):
        load_tasks([TIBETAN], include=[folder], fewshot=5)


def test_data_on_a_hub_that_cannot_be_reached(folder: Path) -> None:
    """One line names the task, its dataset and the Hub."""
    with pytest.raises(HubError) as caught:
        load_tasks([ON_HUB], include=[folder])

    named = f"task '{ON_HUB}': its dataset 'somebody/names': cannot reach http://127.0.0.1:9"
    assert str(caught.value).startswith(named)


def test_data_on_a_hub_that_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up within the time limit of the command."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("datasets.config.HF_ENDPOINT", url)
        with pytest.raises(HubError, match="did not answer in time"), timeouts(Retries(timeout=1)):
            load_tasks([ON_HUB], include=[folder])


@pytest.fixture
def dataset(api: HfApi, hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dataset on a Hub of the test, which no other test has downloaded."""
    items, repo_id = questions(3), f"me/{tmp_path.name}"
    api.create_repo(repo_id)
    files = {"test.jsonl": items[:-4], "train.jsonl": items[-4:]}
    api.create_commit(
        repo_id,
        [
            CommitOperationAdd(name, "\n".join(json.dumps(one) for one in part).encode())
            for name, part in {**files, "README.md": [{}]}.items()
        ],
        commit_message="Add items",
    )
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.url)
    return repo_id


@pytest.mark.usefixtures("own_cache")
def test_data_of_the_hub_is_kept_here(
    tmp_path: Path, dataset: str, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second time it needs no network; what was never downloaded is not here."""
    write_task(tmp_path, "on_hub", None, dataset_path=dataset)
    write_task(tmp_path, "other", None, dataset_path="me/other")
    (online,) = load_tasks(["on_hub"], include=[tmp_path]).tasks
    commit = api.dataset_info(dataset).sha
    for name in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{name}.HF_HUB_OFFLINE", True)

    (offline,) = load_tasks(["on_hub"], include=[tmp_path]).tasks
    with pytest.raises(HubError) as caught:
        load_tasks(["other"], include=[tmp_path])

    assert online == offline
    assert (online.dataset, online.items, online.subset) == (dataset, 3, "")
    assert online.commit == commit
    here = "task 'other': its dataset 'me/other' is not on this disk, and HF_HUB_OFFLINE is set"
    assert str(caught.value) == here
    assert caught.value.hint.startswith("unset HF_HUB_OFFLINE")


@pytest.mark.usefixtures("own_cache")
def test_a_part_of_a_dataset_that_is_not_here(
    tmp_path: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another part was downloaded: without network, this one needs it; or there is no such part."""
    write_task(tmp_path, "on_hub", None, dataset_path=dataset)
    write_task(tmp_path, "other_part", None, dataset_path=dataset, dataset_name="tha_Thai")
    load_tasks(["on_hub"], include=[tmp_path])

    with pytest.raises(SlackTiesError, match=f"dataset '{dataset}' has no part 'tha_Thai'") as none:
        load_tasks(["other_part"], include=[tmp_path])
    for name in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{name}.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError) as caught:
        load_tasks(["other_part"], include=[tmp_path])

    assert none.value.hint.endswith("# choose another task")
    named = f"task 'other_part': the part 'tha_Thai' of its dataset '{dataset}'"
    assert str(caught.value) == f"{named} is not on this disk, and HF_HUB_OFFLINE is set"
    assert caught.value.hint.startswith("unset HF_HUB_OFFLINE")


def test_only_files_of_the_user_are_to_be_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task of lm-eval whose data is not as its file says: choose another task."""
    file = write_task(tmp_path, "wrong", questions(4), test_split="nonsense")
    hints = []
    for own in (tmp_path / "lm_eval", file.parent):
        monkeypatch.setattr("lm_eval.__file__", str(own / "__init__.py"))
        with pytest.raises(SlackTiesError, match="cannot be loaded: KeyError: 'nonsense'") as got:
            load_tasks(["wrong"], include=[tmp_path])
        hints.append(got.value.hint)

    assert hints[0].startswith("correct the task's file: ")
    assert hints[1].endswith("# choose another task")


@pytest.mark.usefixtures("own_cache")
def test_data_that_the_hub_does_not_give(tmp_path: Path, dataset: str, hub: Server) -> None:
    """A dataset behind a gate, and one that does not exist."""
    write_task(tmp_path, "gated", None, dataset_path=dataset)
    write_task(tmp_path, "gone", None, dataset_path="me/gone")
    state = hub.hub.repo(dataset, hub.hub.tokens["hf_writer"])
    hub.hub.save(dataset, {**state, "gated": "manual"})

    with pytest.raises(GatedError) as gated:
        load_tasks(["gated"], include=[tmp_path])
    with pytest.raises(NotOnHubError, match="task 'gone': its dataset 'me/gone' is not on"):
        load_tasks(["gone"], include=[tmp_path])

    assert f"{hub.url}/datasets/{dataset}" in gated.value.hint


def test_without_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra, or another version of it, is one line with what to install."""
    assert check_lm_eval().startswith("0.4.")
    for found, said in [(None, "which is not installed"), ("0.4.9", "lm-eval 0.4.9 is installed")]:

        def version(_: str, found: str | None = found) -> str:
            if found is None:
                raise extra.PackageNotFoundError
            return found

        monkeypatch.setattr(extra, "version", version)
        with pytest.raises(SlackTiesError, match=said) as caught:
            load_tasks([TIBETAN])
        assert caught.value.hint == 'pip install "slack-ties[eval]"'


def test_lm_eval_without_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who installs lm_eval without [hf] gets the same step."""
    monkeypatch.delitem(sys.modules, "slack_ties.private.lm_eval")
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", None)

    with pytest.raises(SlackTiesError, match=r"lm-eval 0\.4\.\d+ cannot be imported: ") as caught:
        load_tasks([TIBETAN])
    assert caught.value.hint == 'pip install "slack-ties[eval]"'


def test_downloads_stay_as_the_user_set_them() -> None:
    """lm-eval asks for the largest speed and memory when it is imported; we do not."""
    code = "import os, sys; before = dict(os.environ); from slack_ties.harness.extra import "
    code += "import_lm_eval; import_lm_eval(); print('lm_eval' in sys.modules, "
    code += "[name for name in os.environ if name.startswith('HF_') and name not in before])"

    unset = {name: value for name, value in os.environ.items() if not name.startswith("HF_XET")}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120, env=unset)

    assert done.stdout == "True []\n"


def test_bounds_of_lm_eval_are_those_of_the_extra() -> None:
    """What we accept is what `pip install "slack-ties[eval]"` installs."""
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8")
    (ours,) = map(Requirement, tomllib.loads(project)["project"]["optional-dependencies"]["eval"])
    least, below = (".".join(map(str, one)) for one in (extra.LEAST, extra.BELOW))

    assert {*ours.specifier} == {*Requirement(f"x>={least},<{below}").specifier}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (How(device="cuda:7"), "there is no device 'cuda:7'"),
        (How(device="tpu"), "the device is 'tpu', expected cpu, cuda, cuda:NUMBER or mps"),
        (How(dtype="int3"), "the dtype is 'int3', expected one of auto, float32"),
        (How(batch_size="0"), "the batch size is '0', expected a number from 1, or auto"),
    ],
)
def test_ways_to_run_that_do_not_exist(
    triple: Folders, tasks: LoadedTasks, how: How, said: str
) -> None:
    """lm-eval would take another device without a word."""
    with pytest.raises(SlackTiesError) as caught:
        score_model(triple.sft, tasks, how=how)

    assert said in str(caught.value)


def test_a_model_that_does_not_fit(triple: Folders, tasks: LoadedTasks, tmp_path: Path) -> None:
    """Both sizes are in the error, in the dtype of the run; nothing is loaded."""
    model = tmp_path / "large"
    AutoModelForCausalLM.from_pretrained(triple.sft).config.save_pretrained(model)
    entries = 1 << 41  # in a file without content on the disk
    head = {
        "lm_head.weight": {"dtype": "BF16", "shape": [entries], "data_offsets": [0, 2 * entries]}
    }
    text = json.dumps(head).encode()
    with (model / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 2 * entries)

    with pytest.raises(CheckpointError, match=r"weights take 4398\.0 GB, .* of memory are free"):
        score_model(model, tasks, how=CPU)
    with pytest.raises(CheckpointError, match=r"weights take 8796\.1 GB") as caught:
        score_model(model, tasks, how=How(dtype="float32"))
    assert "--dtype bfloat16" in caught.value.hint


def test_a_model_is_gone_after_its_scores(triple: Folders, tasks: LoadedTasks) -> None:
    """There is room for the next one, while the scores are kept."""
    model, _ = in_memory(triple.sft)
    gone = weakref.ref(model.model)
    found = score_model(model, tasks, how=CPU)
    del model
    gc.collect()
    assert (gone(), len(found)) == (None, 2)

    def in_memory_now() -> int:
        return sum(type(one) is LlamaForCausalLM for one in gc.get_objects())

    before = in_memory_now()
    score_model(triple.sft, tasks, how=CPU)
    assert in_memory_now() == before


def test_a_model_that_cannot_be_loaded(triple: Folders, tasks: LoadedTasks, tmp_path: Path) -> None:
    """One line names the folder and says what transformers says."""
    AutoModelForCausalLM.from_pretrained(triple.sft).save_pretrained(tmp_path / "model")

    with pytest.raises(CheckpointError, match=r"model '.*model': transformers cannot load it: "):
        score_model(tmp_path / "model", tasks, how=CPU)


def test_incomplete_weights_are_not_filled_with_chance(
    triple: Folders, tasks: LoadedTasks, tmp_path: Path
) -> None:
    """lm-eval would score a model of which transformers makes up a tensor; we refuse it."""
    model = Path(shutil.copytree(triple.sft, tmp_path / "model"))
    for file in model.glob("*.safetensors*"):
        file.unlink()
    tensors = dict(AutoModelForCausalLM.from_pretrained(triple.sft).state_dict())
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"its weights lack .*1\.mlp\.up_proj"):
        score_model(model, tasks, how=CPU)


def test_chat_templates(triple: Folders, tasks: LoadedTasks, whole: dict[str, TaskScore]) -> None:
    """A template changes what the model reads; a model without one is named."""
    with_template = How(chat_template=True)

    assert score_model(triple.sft, tasks, how=with_template) != whole
    with pytest.raises(SlackTiesError, match=r"model '.*base' has no chat template"):
        score_model(triple.base, tasks, how=with_template)


def test_an_answer_longer_than_the_model_reads(triple: Folders, tmp_path: Path) -> None:
    """lm-eval stops there without a message; ours names the task, the item and the model."""
    items = questions(2)
    items[1]["choices"][0] *= 40
    write_task(tmp_path, "long", items)

    said = r"task 'long', item 2: the answer .* has \d+ tokens in model '.*sft', which reads 128 at"
    with pytest.raises(SlackTiesError, match=said):
        score_model(triple.sft, load_tasks(["long"], include=[tmp_path]), how=CPU)


def test_lm_eval_is_quiet(triple: Folders, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No line, no bar, no warning of lm-eval, datasets and transformers."""
    loaded = load_tasks([TIBETAN, "writes"], include=[folder], fewshot=1)
    score_model(triple.sft, loaded, how=How(batch_size="auto"))

    assert capfd.readouterr() == ("", "")
