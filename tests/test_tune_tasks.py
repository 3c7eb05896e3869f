"""A search by tasks of lm-eval: what it chooses by, what it proves, and methods side by side."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions
from transformers import AutoModelForCausalLM, AutoTokenizer

from command import Invoke
from eval_tasks import ENGLISH, TIBETAN, make_tasks, questions, write_task
from slack_ties.errors import OutputError, RecipeError, SlackTiesError
from slack_ties.evaluation.scores import Task, TaskScore
from slack_ties.evaluation.statistics import mean_of
from slack_ties.harness.items import contents_of
from slack_ties.harness.score import How, score_model
from slack_ties.harness.tasks import load_tasks
from slack_ties.merge.merge import merge_models
from slack_ties.recipe.read import read_recipe
from slack_ties.tuning import task_metric
from slack_ties.tuning.means import Means
from slack_ties.tuning.search import Search
from slack_ties.tuning.split import Halves, split_tasks
from slack_ties.tuning.study import Study, TrialResult
from slack_ties.tuning.tune import tune_config
from slack_ties.tuning.tuned import Tuned
from slack_ties.tuning.verdict import verdict_of
from triple import Folders

METHODS = ("slack_ties", "ties", "chat-vector")
ITEMS = 16  # of each task: enough for the machinery, not for a decision

QUESTIONS = [f"Is {number} a number?" for number in range(84)]

Calls = list[dict[str, tuple[int, ...]]]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small tasks: lm-eval reads its list of tasks anew for each folder."""
    folder = make_tasks(tmp_path_factory.mktemp("tasks"), items=ITEMS)
    item = {"question": "a", "choices": ["b", "c"], "answer": 0}
    other = {**item, "answer": 1}
    write_task(folder, "double", [item, other, item, *[item] * 4])
    write_task(folder, "same", [item] * 8)
    less = [{"metric": "acc", "aggregation": "mean", "higher_is_better": False}]
    write_task(folder, "less", [item] * 8, metric_list=less)
    whole = [{"metric": "f1", "aggregation": "f1", "higher_is_better": True}]
    write_task(folder, "corpus", [item] * 8, metric_list=whole)
    yes = [{"question": one, "choices": ["no", "yes"], "answer": 1} for one in QUESTIONS]
    write_task(folder, "yes", yes)
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The items that each model was asked, in the order of the models."""
    calls: Calls = []

    def score(
        *given: Any, items: Mapping[str, tuple[int, ...]], **how: Any
    ) -> dict[str, TaskScore]:
        calls.append({name: tuple(some) for name, some in items.items()})
        return score_model(*given, items=items, **how)

    monkeypatch.setattr(task_metric, "score_model", score)
    return calls


def make_config(folders: Folders, path: Path, **more: Any) -> Path:
    """Write a config of slack_ties that names the role of each model."""
    models = [
        {"model": str(folders.ct), "parameters": {"weight": 1.0, "density": 0.5}},
        {"model": str(folders.sft), "parameters": {"weight": 1.0, "density": 0.5, "slack": 0.1}},
    ]
    roles = {"base": [str(folders.base)], "ct": [str(folders.ct)], "sft": [str(folders.sft)]}
    data = {
        "merge_method": "slack_ties",
        "base_model": str(folders.base),
        "models": models,
        "parameters": {"normalize": False},
        "out_dtype": "bfloat16",
        "slack_ties": {"recipe": 1, "roles": roles},
        **more,
    }
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture
def config(triple: Folders, tmp_path: Path) -> Path:
    """The config of the triple."""
    return make_config(triple, tmp_path / "a.yml")


def tune(config: Path, tasks: Path, **how: Any) -> Tuned:
    """Run a search by both tasks, in batches."""
    given = {"metric": "names", "include": [tasks], "batch_size": "8", "quiet": True, **how}
    return tune_config(config, **given)


# The halves


def split(items: list[str], *, seed: int = 0) -> Halves:
    """Return the halves of one task."""
    return split_tasks({"a": items}, seed=seed)["a"]


def test_halves_are_disjoint_complete_and_fixed_by_the_seed() -> None:
    """Each item is in one half; the halves are equal; another seed gives others."""
    items = [f"item {number}" for number in range(101)]

    selection, held_out = split(items)

    assert not set(selection) & set(held_out)
    assert sorted((*selection, *held_out)) == list(range(101))
    assert abs(len(selection) - len(held_out)) == 1
    assert split(items) == (selection, held_out)
    assert selection[:6] == (0, 2, 6, 7, 8, 9)  # on every machine
    assert split(items, seed=1) != (selection, held_out)
    shuffled = items[::-1]
    chosen = {shuffled[i] for i in split(shuffled)[0]}
    assert chosen == {items[i] for i in selection}  # the content decides, not the position


def test_the_same_item_is_never_in_both_halves() -> None:
    """Duplicates stay together, in other tasks too, and the halves stay about equal."""
    items = [f"item {number % 7}" for number in range(70)] + ["one", "two"]
    tasks = {"a": items, "b": items[3:9], "c": ["two", "three", "four", "item 5"]}

    found = split_tasks(tasks, seed=0)

    chosen, held_out = (
        {tasks[name][i] for name, halves in found.items() for i in halves[half]} for half in (0, 1)
    )
    assert not chosen & held_out
    for name, (one, other) in found.items():
        assert sorted((*one, *other)) == list(range(len(tasks[name])))
    assert abs(len(found["a"][0]) - len(found["a"][1])) <= 10


def test_a_task_without_items_for_one_half_is_refused() -> None:
    """One item, however often it is there."""
    with pytest.raises(SlackTiesError, match="has 1 item, expected 2 or more"):
        split_tasks({"a": ["x", "y"], "b": ["x", "x", "x"]}, seed=0)


def test_an_item_of_lm_eval_is_told_by_its_content(tasks: Path) -> None:
    """Two items with equal fields are one item; one with another answer is another."""
    (contents,) = contents_of(load_tasks(["double"], include=[tasks])).values()

    assert contents[0] == contents[2] != contents[1]
    assert len(contents) == 3


# A search


def test_three_methods_stopped_and_taken_up_give_the_same_table(
    config: Path, tasks: Path, tmp_path: Path, asked: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held-out items reach no candidate; afterwards only two, once; a third run asks nothing."""
    how = {"search": Search(slack=(0.0, 0.2), methods=METHODS), "metric": TIBETAN}
    whole = tune(config, tasks, study=tmp_path / "whole.json", **how)
    halves = split_tasks(contents_of(load_tasks([TIBETAN], include=[tasks])), seed=0)
    selection = {name: half for name, (half, _) in halves.items()}
    held_out = {name: half for name, (_, half) in halves.items()}

    assert len(whole.results) == 9
    assert {one.method for one in whole.results} == {"", "ties", "task_arithmetic"}
    looks = 1 if whole.best is whole.results[0] else 2
    assert asked == [selection] * 9 + [held_out] * looks
    asked.clear()

    class Stop(task_metric.TaskMetric):
        """Is stopped at the sixth candidate."""

        def measure(self, made: Any) -> Any:
            """Ask, or stop."""
            if len(asked) == 5:
                raise KeyboardInterrupt
            return super().measure(made)

    with monkeypatch.context() as patched:
        patched.setattr(task_metric, "TaskMetric", Stop)
        with pytest.raises(KeyboardInterrupt):
            tune(config, tasks, study=tmp_path / "half.json", **how)
    assert asked == [selection] * 5
    assert "held_out" not in json.loads((tmp_path / "half.json").read_text("utf-8"))
    asked.clear()

    again = tune(config, tasks, study=tmp_path / "half.json", **how)

    assert asked == [selection] * 4 + [held_out] * looks
    assert again.results == whole.results
    assert again.as_text() == whole.as_text()
    assert (tmp_path / "half.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    page = again.page.read_bytes()
    asked.clear()
    third = tune(config, tasks, study=tmp_path / "half.json", **how)
    assert asked == []
    assert third.as_text() == whole.as_text()
    assert third.page.read_bytes() == page


def prefer(study: Path, number: int, score: float = 2.0) -> None:
    """Make one trial the best one, and forget all held-out scores."""
    data = json.loads(study.read_text("utf-8"))
    data["trials"][number]["score"] = score
    data.pop("held_out", None)
    study.write_text(json.dumps(data), "utf-8")


def test_a_search_stopped_before_the_last_held_out_score_asks_only_for_that(
    config: Path, tasks: Path, tmp_path: Path, asked: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score of the config as it is stays in the study."""
    study = tmp_path / "s.json"
    how = {"search": Search(slack=(0.3,)), "metric": TIBETAN, "study": study}
    tune(config, tasks, **how)
    prefer(study, 1)
    whole = tune(config, tasks, **how)
    prefer(study, 1)
    asked.clear()

    class Stop(task_metric.TaskMetric):
        """Is stopped at the second held-out score."""

        def measure_held_out(self, made: Any) -> Any:
            """Ask, or stop."""
            if asked:
                raise KeyboardInterrupt
            return super().measure_held_out(made)

    with monkeypatch.context() as patched:
        patched.setattr(task_metric, "TaskMetric", Stop)
        with pytest.raises(KeyboardInterrupt):
            tune(config, tasks, **how)
    assert len(json.loads(study.read_text("utf-8"))["held_out"]) == 1
    asked.clear()

    again = tune(config, tasks, **how)

    assert len(asked) == 1
    assert again.as_text() == whole.as_text()
    assert len(again.verdict.held_out) == 2


def test_a_search_stopped_in_its_first_trial_does_not_name_a_file_that_is_not_there(
    config: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that the same command begins again, and that the answers are lost."""

    class Stop(task_metric.TaskMetric):
        """Is stopped."""

        def measure(self, made: Any) -> Any:  # noqa: ARG002 - as the class
            """Stop."""
            raise KeyboardInterrupt

    monkeypatch.setattr(task_metric, "TaskMetric", Stop)

    with pytest.raises(KeyboardInterrupt):
        tune(config, tasks, metric=TIBETAN)

    assert caplog.records[-1].getMessage() == (
        "  stopped: no trial is finished, so the same command begins again; answers of a trial "
        "that is not finished are not kept"
    )
    assert sorted(path.name for path in config.parent.iterdir()) == ["a.yml"]


@pytest.mark.parametrize("method", ["", "ties", "linear", "dare_ties"])
def test_scores_are_those_of_the_merged_folder(
    method: str, config: Path, tasks: Path, tmp_path: Path
) -> None:
    """To the last digit, item by item, also of another method; the config is one of mergekit."""
    methods = (method,) if method else ()
    search = Search(slack=(0.2,), weight=(0.5,), ct_weight=(0.75,), methods=methods)
    found = tune(config, tasks, metric=f"{TIBETAN},{ENGLISH}", search=search)
    trial = found.results[1]
    assert trial.method == method

    # The tuned config of this trial: the same search, if it were the best.
    prefer(found.study, 1)
    best = tune(config, tasks, metric=f"{TIBETAN},{ENGLISH}", search=search)
    assert best.best.key == trial.key
    recipe = read_recipe(best.config)
    assert recipe.method == (method or "slack_ties")
    assert recipe.models_of("sft") == read_recipe(config).models_of("sft")
    stock = {key: value for key, value in recipe.data.items() if key != "slack_ties"}
    MergeConfiguration.model_validate(stock)
    seed = 0 if method == "dare_ties" else None
    assert (f"{method} draws random numbers: merge it with --random-seed 0" in best.notes) is (
        seed == 0
    )
    options = MergeOptions(random_seed=seed, quiet=True)
    merge_models(best.config, tmp_path / "out", options=options)
    loaded = load_tasks([TIBETAN, ENGLISH], include=[tasks])
    halves = split_tasks(contents_of(loaded), seed=0)
    for half, result in enumerate((trial, best.verdict.held_out[-1])):
        items = {name: both[half] for name, both in halves.items()}
        scores = score_model(tmp_path / "out", loaded, how=How(batch_size="8"), items=items)
        assert dict(result.items) == {name: one.values for name, one in scores.items()}
        for name, one in scores.items():
            assert result.parts[name] == one.metrics["acc"].value
            assert result.errors[name] == pytest.approx(one.metrics["acc"].stderr)
    assert (trial.score, best.best.score) == (found.results[1].score, 2.0)
    assert trial.score == pytest.approx(sum(trial.parts.values()) / 2)
    assert trial.errors[""] == pytest.approx(
        math.hypot(trial.errors[TIBETAN], trial.errors[ENGLISH]) / 2
    )


# Worlds


def same_as(folder: Path, copy: Path) -> Path:
    """Copy a model."""
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_where_all_candidates_are_equal_nothing_is_decided(
    triple: Folders, tasks: Path, tmp_path: Path
) -> None:
    """The SFT model is the base: table, page and config say so, and the config stays as it is."""
    folders = Folders(triple.base, triple.ct, same_as(triple.base, tmp_path / "same"))
    config = make_config(folders, tmp_path / "a.yml")

    found = tune(config, tasks, search=Search(slack=(0.0, 0.2, 0.4)))

    line = "nothing is decided: all 4 trials answer every item alike, so the config stays as it is"
    assert f"result: {line}" in found.as_text()
    assert "the best of several trials is lucky too" in found.as_text()
    assert re.search("; (nothing is decided|.*guessing)", found.summary())
    assert f"{line[:1].upper()}{line[1:]}." in found.page.read_text("utf-8")
    assert "A bar is one standard error to each side." in found.page.read_text("utf-8")
    assert f"# {line}" in found.config.read_text("utf-8")
    assert found.verdict.decided is False
    assert found.best is found.results[0]
    before, after = read_recipe(config).data, read_recipe(found.config).data
    assert {**after, "slack_ties": 0} == {**before, "slack_ties": 0}


def test_equal_perplexities_decide_nothing(triple: Folders, tmp_path: Path) -> None:
    """The same world without items."""
    folders = Folders(triple.base, triple.ct, same_as(triple.base, tmp_path / "same"))
    text = tmp_path / "text.txt"
    text.write_text("བོད་སྐད་" * 9, "utf-8")

    found = tune_config(
        make_config(folders, tmp_path / "a.yml"),
        metric="perplexity",
        text=text,
        search=Search(slack=(0.0, 0.2)),
        quiet=True,
    )

    line = "nothing is decided: all 3 trials have the same score, so the config stays as it is"
    assert f"result: {line}" in found.as_text()
    assert f"{line[:1].upper()}{line[1:]}." in found.page.read_text("utf-8")
    assert f"# {line}" in found.config.read_text("utf-8")


@pytest.fixture(scope="module")
def taught(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folders, Path]:
    """A triple whose SFT model learnt to answer yes, and a task where yes is right."""
    folder = tmp_path_factory.mktemp("taught")
    model = AutoModelForCausalLM.from_pretrained(triple.base, dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(triple.sft)
    texts = [f"{one} yes" for one in QUESTIONS[::4]]
    batch = tokens(texts, return_tensors="pt", padding=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=batch["input_ids"]).loss.backward()
        optimizer.step()
    model.save_pretrained(folder / "sft")
    tokens.save_pretrained(folder / "sft")
    return Folders(triple.base, triple.ct, folder / "sft")


def test_a_better_candidate_is_decided_on_held_out_items(
    taught: Folders, tasks: Path, tmp_path: Path
) -> None:
    """Without the SFT model the config guesses; with it, it knows: by more than the interval."""
    ct, sft = str(taught.ct), str(taught.sft)
    models = [
        {"model": ct, "parameters": {"weight": 0.0}},
        {"model": sft, "parameters": {"weight": 0.01}},
    ]
    config = make_config(
        taught, tmp_path / "a.yml", merge_method="task_arithmetic", models=models, parameters={}
    )

    found = tune(config, tasks, metric="yes", search=Search(weight=(0.5, 1.0)))

    assert found.best.values["weight"] >= 0.5
    assert found.summary().endswith(f"{found.name_of(found.best)}: {found.config}")
    assert found.verdict.decided is True
    before, after = found.verdict.held_out
    assert (before.score, after.score) == (pytest.approx(0.5, abs=0.5), 1.0)
    said = found.verdict.lines[0]
    assert said == (
        "decided: the best of 3 trials is better than the config as it is on 40 held-out items, "
        "which no trial was chosen by"
    )
    assert f"# {said}" in found.config.read_text("utf-8")
    text = found.as_text()
    assert "100.0 ±0.0" in text
    assert "HELD-OUT" in text.splitlines()[0]
    assert "few" not in text
    assert found.verdict.guessing is False
    assert not found.means.is_guess(found.best)
    assert found.verdict.speaks_for_best
    assert read_recipe(found.config).method == "task_arithmetic"


def test_a_second_choice_on_the_same_held_out_items_is_said(
    config: Path, tasks: Path, tmp_path: Path
) -> None:
    """Another grid with another winner: the held-out half was looked at before."""
    study = tmp_path / "s.json"
    how = {"study": study, "metric": TIBETAN}
    tune(config, tasks, search=Search(slack=(0.0,)), **how)
    prefer(study, 1)
    tune(config, tasks, search=Search(slack=(0.0,)), **how)
    data = json.loads(study.read_text("utf-8"))
    data["trials"].append({**data["trials"][1], "values": {"slack": 0.3}, "score": 3.0})
    study.write_text(json.dumps(data), "utf-8")

    again = tune(config, tasks, search=Search(slack=(0.0, 0.3)), **how)

    assert again.best.key == "slack 0.3"
    assert "the held-out items were used for 1 other choice before" in again.as_text()


def test_optuna_compares_methods_and_goes_on_where_it_was(
    config: Path, tasks: Path, tmp_path: Path, asked: Calls
) -> None:
    """Three trials, then five: the first three are not run again."""
    how = {"study": tmp_path / "s.json", "metric": TIBETAN}
    search = Search(trials=3, methods=("slack_ties", "task_arithmetic"))
    first = tune(config, tasks, search=search, **how)
    before = len(asked)

    second = tune(config, tasks, search=replace(search, trials=5), **how)

    assert second.results[: len(first.results)] == first.results
    new = [one for one in second.results if one.key not in {r.key for r in first.results}]
    assert len(asked) - before <= len(new) + 1  # and the new best one, on held-out items
    assert before == len(first.results) + len(first.verdict.held_out)


def test_each_subject_counts_alike_in_the_score(
    config: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task in the language is half of the score beside two English ones, errors too."""
    about = {TIBETAN: "language", "yes": "english", ENGLISH: "english"}
    monkeypatch.setattr(task_metric, "chosen_tasks", lambda *_: (list(about), about))

    found = tune(config, tasks, metric=",".join(about), search=Search(slack=(0.4,)))

    first, second = found.results
    parts = dict(first.parts)
    assert parts["english"] == pytest.approx((parts["yes"] + parts[ENGLISH]) / 2)
    assert parts["language"] == parts[TIBETAN]
    assert first.score == pytest.approx((parts["language"] + parts["english"]) / 2)
    errors = first.errors
    assert errors["english"] == pytest.approx(math.hypot(errors["yes"], errors[ENGLISH]) / 2)
    both = math.hypot(errors["language"], errors["english"])
    assert errors[""] == pytest.approx(both / 2)
    difference = found.means.difference(second, first)
    assert difference is not None
    assert difference.mean == pytest.approx(second.score - first.score)
    held_out = found.verdict.held_out[0]
    apart = [held_out.parts[name] for name in ("language", "english")]
    assert held_out.score == pytest.approx(sum(apart) / 2)
    head = found.as_text().splitlines()[0]
    assert "LANGUAGE" in head
    assert "ENGLISH" in head
    assert "mean: of language and english, which count alike" in found.as_text()
    assert f"language: the tasks in the language: {TIBETAN}" in found.as_text()
    assert f"english: mean of the tasks in English: yes and {ENGLISH}" in found.as_text()


def test_where_all_candidates_guess_it_is_said_and_no_merge_is_proposed(
    invoke: Invoke, config: Path, tasks: Path
) -> None:
    """In the terminal, in JSON, on the page and in the config; chance is in percent there."""
    how = ["--metric", TIBETAN, "--include-path", str(tasks), "--batch-size", "8"]
    how += ["--slack", "0,0.3", "--limit", "12"]

    shown = invoke("tune", str(config), *how)

    assert shown.exit_code == 0, shown.stderr
    said = "(no trial scores better than guessing on these 6 items|"
    said += "with these 6 items, no trial can be told from guessing): do not choose by these tasks"
    assert re.search(f"result: {said}", shown.stdout)
    lines = shown.stdout.splitlines()
    assert all(re.search(r"\d ~ ", line) for line in lines[1:4])
    assert lines[4].split() == ["guessing", "25.0", "25.0"]
    assert "~ not better than guessing, as far as the items show" in lines
    assert f"{TIBETAN}: acc of 6 items; guessing scores 25.0 %" in lines
    out = config.with_name(f"a-tuned-{TIBETAN}.yml")
    assert re.search(f"# {said}", out.read_text("utf-8"))
    page = config.with_name(f"a-tune-{TIBETAN}.html").read_text("utf-8")
    assert "do not choose by these tasks." in page
    assert "<td>guessing</td><td>25.0</td>" in page
    assert "slack-ties merge" not in shown.stderr
    more = "# other tasks, or more items: no --limit, and another --study"
    assert f"Next: slack-ties tune {config} --metric TASKS  {more}\n" in shown.stderr
    data = json.loads(invoke("tune", str(config), *how, "--json", "-q").stdout)
    assert data["verdict"]["guessing"] is True
    assert [one["guess"] for one in data["results"]] == [True] * 3
    assert data["chance"] == {"score": 0.25}


def test_a_score_is_in_percent_wherever_people_read_it(
    config: Path, tasks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Progress, table and config have the same number; the page is named as the user asked."""
    caplog.set_level("INFO", logger="slack_ties")

    found = tune(config, tasks, search=Search(slack=(0.4,)))

    first, second = found.results
    shown = f"{100 * first.score:.1f} ±{100 * first.errors['']:.1f}"
    assert f"  as the config: mean {shown} %" in [one.getMessage() for one in caplog.records]
    rows = found.rows()
    assert rows[1][1].removesuffix(" ~") == shown
    assert re.fullmatch(r"\+?-?[\d.]+ \(-?[\d.]+ to [\d.]+\)", rows[2][4])  # without its error
    assert "on the same items (its 95 % interval)" in found.as_text()
    best = f"{100 * found.best.score:.1f} ±{100 * found.best.errors['']:.1f} %"
    head = found.config.read_text("utf-8").splitlines()[0]
    assert head == f"# The best of `slack-ties tune` by names: {found.best.key} ({best})"
    page = found.page.read_text("utf-8")
    assert "<title>Search by names: a.yml</title>" in page
    assert "<h1>Search by names</h1>" in page
    assert second.key == "slack 0.4"


def trial_of(score: float, language: int, english: int) -> TrialResult:
    """Return a trial with 40 items in the language and in English, so many of them right."""
    right = {TIBETAN: language, ENGLISH: english}
    items = {name: (1.0,) * some + (0.0,) * (40 - some) for name, some in right.items()}
    parts = {name: some / 40 for name, some in right.items()}
    return TrialResult({"slack": score}, mean_of(list(parts.values())), parts, items=items)


def test_one_subject_at_the_level_of_guessing_is_named() -> None:
    """English is answered, the language is guessed; then the best one guesses held-out items."""
    scored = [("language", TIBETAN), ("english", ENGLISH)]
    means = Means(
        tuple(
            Task(name, "1", 0, 80, 80, "acc", True, chance=0.25, about=about)
            for about, name in scored
        )
    )
    study = Study(Path("s.json"), {})
    results = [trial_of(0.1, 9, 38), trial_of(0.2, 14, 39)]

    found = verdict_of(results, [trial_of(0.1, 12, 38), trial_of(0.2, 10, 39)], study, means)
    unlucky = verdict_of(results, [trial_of(0.1, 9, 38), trial_of(0.2, 10, 10)], study, means)
    single = Means(means.tasks[:1])
    few = [trial_of(0.1, 9, 0), trial_of(0.2, 12, 0)]
    nothing = verdict_of(few[:1], few[:1], study, single)

    few_items = "with these 40 items, no trial can be told from guessing"
    assert found.lines[0] == f"{TIBETAN}: {few_items}, so only the other tasks tell trials apart"
    assert found.guessing is False
    better = "the best trial does not score better than guessing on these 80 items"
    assert unlucky.lines[1] == f"held-out: {better}: do not choose by these tasks"
    assert unlucky.guessing is True
    assert not unlucky.speaks_for_best
    assert nothing.lines[0] == (
        "the config as it is does not score better than guessing on these 40 items: do not choose "
        "by these tasks"
    )


def test_tasks_means_those_of_the_language_and_english_ones(
    triple: Folders, tmp_path: Path
) -> None:
    """For Tibetan in its script; a name may stand beside it."""
    facts = {"recipe": 1, "language": {"tag": "bo", "name": "Tibetan"}}
    recipe = read_recipe(make_config(triple, tmp_path / "bo.yml", slack_ties=facts))

    names, about, usual = task_metric.named_tasks("tasks, mine", recipe)

    assert usual
    assert "belebele_bod_Tibt" in names
    assert names[-1] == "mine"
    assert {about.get(name) for name in names} == {"language", "english", None}


# Mistakes


def test_what_cannot_be_tuned_by_tasks_is_refused_before_a_model_is_read(
    tasks: Path, tmp_path: Path
) -> None:
    """The models of this config are nowhere."""
    config = make_config(Folders(Path("no/b"), Path("no/c"), Path("no/s")), tmp_path / "a.yml")
    text = tmp_path / "text.txt"
    text.write_text("a text")
    with pytest.raises(SlackTiesError, match=r"neither a metric nor a task.*'perplexity'") as told:
        tune(config, tasks, metric="perplexty")
    assert "kept, perplexity" in told.value.hint
    with pytest.raises(SlackTiesError, match=r"no task 'names_boo'.*'names_bo'"):
        tune(config, tasks, metric="names_boo")
    with pytest.raises(SlackTiesError, match="'kept' cannot be combined"):
        tune(config, tasks, metric=f"kept,{TIBETAN}")
    with pytest.raises(SlackTiesError, match=r"--text and --text-sft are for --metric perplexity"):
        tune(config, tasks, text=text)
    with pytest.raises(SlackTiesError, match=r"--limit is for tasks of lm-eval"):
        tune_config(config, limit=3)
    with pytest.raises(SlackTiesError, match=r"--include-path is for tasks"):
        tune_config(config, include=[tasks])
    with pytest.raises(RecipeError, match="does not say its language"):
        tune(config, tasks, metric="tasks")
    with pytest.raises(SlackTiesError, match="less is better in its metric acc"):
        tune(config, tasks, metric="less")
    with pytest.raises(SlackTiesError, match="its metric f1 is no mean of its items"):
        tune(config, tasks, metric="corpus")
    with pytest.raises(SlackTiesError, match="'same' has 1 item, expected 2 or more"):
        tune(config, tasks, metric="same")
    with pytest.raises(RecipeError, match=r"scores only slack_ties and ties, not task_arithmetic"):
        tune_config(config, search=Search(methods=METHODS))
    with pytest.raises(RecipeError, match=r"unknown merge method 'tie'.*'ties'"):
        tune(config, tasks, search=Search(methods=("tie",)))


def test_files_that_cannot_be_written_are_refused_before_tasks_are_loaded(tmp_path: Path) -> None:
    """The folder of tasks and the models of this config are nowhere; nothing is left behind."""
    config = make_config(Folders(Path("no/b"), Path("no/c"), Path("no/s")), tmp_path / "a.yml")
    nowhere = tmp_path / "nowhere"
    proc = Path("/proc/x.json")  # not writable, for root either
    in_proc = "cannot write '/proc/x.json'"

    for how in ({"output": proc}, {"study": proc}):
        if proc.parent.is_dir():
            with pytest.raises(OutputError, match=in_proc):
                tune(config, nowhere, **how)
    with pytest.raises(OutputError, match=r"there is no folder '.*nowhere' for b\.yml") as told:
        tune(config, nowhere, output=nowhere / "b.yml")
    assert told.value.hint == f"mkdir -p {nowhere}"
    with pytest.raises(OutputError, match=r"there is no folder '.*nowhere' for b\.json"):
        tune(config, nowhere, study=nowhere / "b.json")
    with pytest.raises(OutputError, match="is a folder, expected a file for the results"):
        tune(config, nowhere, study=tmp_path)
    (tmp_path / "a-tune-names.html").mkdir()
    with pytest.raises(OutputError, match="is not a page of slack-ties tune"):
        tune(config, nowhere)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-tune-names.html", "a.yml"]


# A Python in which lm-eval is not installed; it runs the commands one after the other.
WITHOUT = """
import importlib.metadata, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lm_eval":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
found = importlib.metadata.version

def version(name):
    if name == "lm_eval":
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

importlib.metadata.version = version
from slack_ties.cli.main import main

_, config, *metrics = sys.argv
for metric in metrics:
    sys.argv = ["slack-ties", "tune", config, "--slack", "0", "-q", *metric.split()]
    try:
        main()
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr)
"""


def test_without_lm_eval_the_pip_line_is_said(config: Path) -> None:
    """Unless the name is nearly that of a metric; perplexity needs no lm-eval."""
    text = config.with_name("text.txt")
    text.write_text("བོད་སྐད་" * 9, "utf-8")
    metrics = ["belebele_bod_Tibt", "perplexty", f"perplexity --text {text.name}"]

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, config.name, *(f"--metric {one}" for one in metrics)],
        cwd=config.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    missing, wrong, works, _ = done.stderr.split("exit ")
    assert 'pip install "slack-ties[eval]"' in missing
    assert "unknown metric 'perplexty'. Did you mean 'perplexity'?" in wrong
    assert works.startswith("1")
    assert done.stdout == "a-tuned-perplexity.yml\n"


def test_a_model_that_does_not_fit_in_memory_is_refused_before_it_is_merged(
    config: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study holds nothing then."""
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)

    with pytest.raises(SlackTiesError, match=r"the merged model takes about .* in memory"):
        tune(config, tasks)

    assert sorted(path.name for path in config.parent.iterdir()) == ["a.yml"]


def test_a_study_of_other_halves_is_refused(config: Path, tasks: Path, tmp_path: Path) -> None:
    """Another seed, another limit: its scores are of other items."""
    how = {"study": tmp_path / "s.json", "search": Search(slack=()), "metric": TIBETAN}
    tune(config, tasks, **how)

    with pytest.raises(OutputError, match="belongs to another seed"):
        tune(config, tasks, seed=1, **how)
    with pytest.raises(OutputError, match=r"belongs to other tasks, other items"):
        tune(config, tasks, limit=8, **how)
    with pytest.raises(OutputError, match="differs in --chat-template"):
        tune(config, tasks, chat_template=True, **how)


def test_a_study_of_another_question_is_refused(config: Path, tmp_path: Path) -> None:
    """The user edits the task file, and leaves its version and its items."""
    how = {"search": Search(slack=()), "metric": TIBETAN}
    write_task(tmp_path, TIBETAN, questions(4))
    tune(config, tmp_path, **how)
    tune(config, tmp_path, **how)  # the same file is the same in another search

    write_task(tmp_path, TIBETAN, questions(4), doc_to_text="{{question}}:")

    with pytest.raises(OutputError, match="or an edited task file"):
        tune(config, tmp_path, **how)


def test_few_items_are_said_to_decide_nothing(config: Path, tasks: Path) -> None:
    """In the table, on the page and in the config."""
    found = tune(config, tasks, metric=TIBETAN, search=Search(slack=()))

    line = f"{TIBETAN}: 8 items in a half; with fewer than 20, hardly any difference can be decided"
    assert f"note: {line}" in found.as_text()
    assert line in found.page.read_text("utf-8")
    assert f"# {line}" in found.config.read_text("utf-8")
    assert "only the config as it is was tried" in found.as_text()


def test_tasks_with_the_same_items_are_named(config: Path, tmp_path: Path) -> None:
    """Their errors are not independent, as the error of the mean supposes."""
    items = questions(4)
    write_task(tmp_path, "one", items)
    write_task(tmp_path, "two", items, doc_to_text="{{question}}:")

    found = tune(config, tmp_path, metric="one,two", search=Search(slack=()))

    line = "one and two have items in common, so the error of the mean is larger than it says"
    assert f"note: {line}" in found.as_text()


def test_the_command_compares_methods_by_tasks(invoke: Invoke, config: Path, tasks: Path) -> None:
    """The table names the methods; JSON has the differences, and no single items."""
    how = ["--metric", TIBETAN, "--include-path", str(tasks), "--batch-size", "8"]
    search = ["--method", "slack_ties,chat-vector", "--slack", "0.2", "--weight", "1"]

    shown = invoke("tune", str(config), *how, *search)

    assert shown.exit_code == 0, shown.stderr
    assert "task_arithmetic: weight 1" in shown.stdout
    own = "slack_ties: slack 0.1, density 0.5, weight 1, ct weight 1"
    assert f"as the config ({own})" in shown.stdout
    data = json.loads(invoke("tune", str(config), *how, *search, "--json", "-q").stdout)
    assert [one["method"] for one in data["results"]] == ["", "", "task_arithmetic"]
    assert data["results"][2]["difference"]["items"] == ITEMS // 2
    assert "items" not in data["results"][0]
    assert invoke("tune", str(config), *how, "--batch-size", "0").exit_code == 2
