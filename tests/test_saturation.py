"""The experiment in experiments/saturation: its world, its merges, what it puts back, a run."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "saturation"
sys.path[:0] = [str(EXPERIMENT), str(EXPERIMENT.parent)]

from bench import Bench
from choose import choose
from claims import claims
from common.intervals import Interval
from common.markup import MISSING
from figures import FIGURES, draw
from intervals import Part, Scores
from methods import BY_NAME, MERGES, config, trials
from modes import MODES
from put_back import lost_share, put_back
from rows import Row, bits, read_rows, text_of, write_table
from score import score
from tables import TABLES, methods, sensitivity
from train import (
    IDS,
    new_model,
    task_batch,
    task_batches,
    tasks_of,
    tokenizer,
    train,
)
from world import END, RARE, TASKS, VOCABULARY, WORDS, foreign, stories, task


def test_words_are_all_different() -> None:
    """No word of one language is another's, but for what they share."""
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert foreign("e").isdisjoint(foreign("x") - foreign("e") - set(WORDS["y"].values()))
    assert set(WORDS["x"].values()) <= foreign("e")
    assert "the" in foreign("x")
    assert "anna" not in foreign("x")


def test_stories_keep_to_their_languages() -> None:
    """A story has the words of its languages; the base never sees the rare ones of X."""
    for language in "exy":
        told = {word for text in islice(stories(Random(0), {language: 1}), 50) for word in text}
        assert told.isdisjoint(foreign(language))
    rare = {WORDS["x"][word] for word in RARE}
    mixed = {"x": 1, "ex": 1, "e=x": 1}
    for_base = {w for text in islice(stories(Random(0), mixed, rare=False), 200) for w in text}
    for_ct = {w for text in islice(stories(Random(0), mixed), 200) for w in text}
    assert for_base.isdisjoint(rare)
    assert for_ct >= rare


def test_a_translation_says_the_same() -> None:
    """Sentences stand beside their translation, word for word but for the article."""
    text = next(stories(Random(3), {"e=x": 1}))
    back = {own: word for word, own in WORDS["x"].items()}
    sentences, current = [], list[str]()
    for word in text:
        if word in {".", "?", "="}:
            sentences += [tuple(back.get(w, w) for w in current if w != "the")] if current else []
            current = []
        else:
            current.append(word)
    assert sentences
    assert all(sentences.count(sentence) % 2 == 0 for sentence in sentences)


@pytest.mark.parametrize("kind", TASKS)
def test_tasks_can_be_answered(kind: str) -> None:
    """The answer follows from the story; the format is that of no story."""
    for seed in range(50):
        item = task(Random(seed), "e", kind)
        told, asked = " ".join(item.prompt).rsplit(" . ", 1)
        answer = item.answer[0]
        assert item.answer == [answer, END]
        assert asked.endswith("? answer :")
        if kind in {"where", "who", "colour"}:
            assert answer in told.split()
        same = task(Random(seed), "x", kind)
        assert same.answer[0] == WORDS["x"].get(answer, answer)
        assert set(same.prompt).isdisjoint(foreign("x"))
    told = {word for text in islice(stories(Random(0), {"e": 1}), 300) for word in text}
    assert {"task", "answer"}.isdisjoint(told)


def test_splits_have_no_task_in_common() -> None:
    """What is tuned on, chosen by and reported are different tasks, whatever their language."""
    back = {own: word for words in WORDS.values() for word, own in words.items()}

    def meant(seed: str, language: str, many: int) -> set[tuple[str, ...]]:
        words = ((*item.prompt, *item.answer) for item in tasks_of(seed, language, many))
        return {tuple(back.get(word, word) for word in some if word != "the") for some in words}

    full = MODES["full"]
    splits = [
        meant("sft 0", "e", 2000),
        *(meant(f"validation tasks {language}", language, full.validation) for language in "ex"),
        *(meant(f"test tasks {language}", language, full.test) for language in "exy"),
    ]
    assert sum(map(len, splits)) == len(set().union(*splits))


def test_a_score_is_what_greedy_decoding_says() -> None:
    """A model that has learned half of the tasks is right where it generates the answer."""
    items = tasks_of("test tasks x", "x", 20)
    _, labels = task_batch(items)
    answers = [[IDS[word] for word in item.answer] for item in items]
    assert [row[row != -100].tolist() for row in labels] == answers
    model = new_model(0, 32, 1)
    train(model, task_batches("order", items[::2], 10), 80, 1e-2, constant=True)
    found = score(model, "x", "test", 20)
    generated = []
    for item, answer in zip(items, answers, strict=True):
        prompt = torch.tensor([[IDS[word] for word in item.prompt]])
        said = model.generate(prompt, max_new_tokens=len(answer), do_sample=False)
        generated.append(said[0, prompt.shape[1] :].tolist() == answer)
    assert found.strict.tolist() == generated
    assert 5 <= sum(generated) < 20
    assert bool((found.right >= found.strict).all())


def test_the_tokenizer_knows_every_word() -> None:
    """A word is a token, and text comes back as it was."""
    item = task(Random(0), "x", "where")
    text = " ".join(item.prompt)
    assert tokenizer().decode(tokenizer()(text)["input_ids"]) == text


def test_methods_get_the_same_number_of_trials() -> None:
    """The first trial is the method's defaults; the others lie in its ranges."""
    for method in MERGES:
        tried = trials(method, 12)
        assert len(tried) == 12
        assert tried[0] == method.default
        for values in tried[1:]:
            assert values.keys() == method.ranges.keys()
            for name, (low, high) in method.ranges.items():
                assert low <= values[name] <= high
    assert BY_NAME["slack_ties"].default == {
        "density": 0.5,
        "sft_weight": 1.0,
        "lambda": 1.0,
        "slack": 0.2,
    }


def test_a_config_names_what_was_chosen() -> None:
    """Slack and the weight are the SFT model's, density is everybody's, the rest the merge's."""
    values = {"density": 0.4, "sft_weight": 1.5, "lambda": 0.9, "slack": 0.1}
    made = config(BY_NAME["slack_ties"], values, Path("base"), [Path("ct")], Path("sft"))
    assert made == {
        "merge_method": "slack_ties",
        "dtype": "float32",
        "base_model": "base",
        "models": [
            {"model": "ct", "parameters": {"weight": 1.0, "density": 0.4}},
            {"model": "sft", "parameters": {"weight": 1.5, "density": 0.4, "slack": 0.1}},
        ],
        "parameters": {"normalize": False, "lambda": 0.9},
    }


BASE = {"w": torch.zeros(2, 5)}
CT = {"w": torch.tensor([[5.0, -5.0, 5.0, 5.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0]])}
SFT = {"w": torch.tensor([[4.0, 3.0, -2.0, -1.0, -0.5], [0.5, 0.4, 0.3, 0.2, 0.1]])}


def test_lost_entries_by_hand() -> None:
    """The one important entry of ten is 4, which agrees; with 20 % also 3, which is outvoted."""
    found = lost_share(BASE, CT, SFT)
    assert found["top_lost"] == 0.0
    lost = 3.0**2 + 2.0**2 + 1.0**2 + 0.5**2
    whole = lost + 4.0**2 + 0.5**2 + 0.4**2 + 0.3**2 + 0.2**2 + 0.1**2
    assert found["energy_lost"] == pytest.approx(lost / whole)
    assert found["ratio"] == pytest.approx(math.sqrt(106 / whole))
    turned = {"w": -CT["w"]}
    assert lost_share(BASE, turned, SFT)["top_lost"] == 1.0


def test_putting_back_by_hand() -> None:
    """Only the lost important entries change, or as many others, by chance but repeatably."""
    merged, turned = {"w": torch.full((2, 5), 9.0)}, {"w": -CT["w"]}

    def changed(what: str, by: str = "sft", seed: int = 0) -> torch.Tensor:
        parts = (merged, BASE, turned, SFT)
        return put_back(*parts, what=what, by=by, density=1.0, seed=seed)["w"]

    assert torch.equal(changed("as merged"), merged["w"])
    expected = merged["w"].clone()
    expected[0, 0] = 4.0
    assert torch.equal(changed("lost"), expected)
    expected[0, 0] = -5.0
    assert torch.equal(changed("lost", by="ct"), expected)
    assert torch.equal(changed("kept"), merged["w"])  # there is no important entry that is kept
    places = {
        (changed("random", seed=seed) != 9.0).flatten().nonzero().item() for seed in range(40)
    }
    assert 0 not in places
    assert len(places) > 3
    assert torch.equal(changed("random"), changed("random"))


def test_rows_come_back(tmp_path: Path) -> None:
    """What is written is what is read; bits count from item 0."""
    assert bits([True, False, True]) == "5"
    assert text_of({"density": 0.5, "slack": 0.25}) == "density=0.5 slack=0.25"
    row = Row(0, "scarce", 75, "ties", "tuned", "density=0.5", "x", 3, 0.25, 0.5, 1.5, "5")
    write_table(tmp_path / "rows.csv", [row])
    assert read_rows(tmp_path / "rows.csv") == [row]
    assert not (tmp_path / "rows.csv.part").exists()


def test_settings_are_chosen_by_the_mean_over_seeds(tmp_path: Path) -> None:
    """The best trial by the mean, and the best of those that write the language well enough."""
    mode = replace(MODES["smoke"], seeds=2)
    scores = {0: (0.2, 3.0), 1: (0.6, 9.0), 2: (0.5, 4.0)}
    for seed in range(2):
        rows = [Row(seed, "plenty", 1, "ct", language="x", perplexity=3.0)]
        rows += [
            Row(seed, "plenty", 1, "ties", str(n), accuracy=a + seed * 0.1, perplexity=p)
            for n, (a, p) in scores.items()
        ]
        write_table(Bench(mode, tmp_path, seed).table("trials of merges-plenty-1"), rows)
    found = choose(Bench(mode, tmp_path, 0), "ties", "plenty", 1)
    assert found == {"default": 0, "tuned": 1, "fluent": 2}


def test_differences_are_paired(tmp_path: Path) -> None:
    """Two methods that are right at the same tasks differ by exactly nothing."""
    rows = []
    for seed, right in enumerate(("f0", "3c", "99")):
        for method, perplexity in (("ties", 4.0), ("slack_ties", 2.0)):
            row = Row(seed, "plenty", 1, method, "tuned", "", "x", 8, 0.5, 0.5, perplexity, right)
            rows.append(row)
    write_table(tmp_path / "tests.csv", rows)
    scores = Scores(tmp_path / "tests.csv")
    one, other = (Part(name, "tuned", (("plenty", 1),)) for name in ("slack_ties", "ties"))
    assert scores.accuracy([(1, one), (-1, other)]) == Interval(0.0, 0.0, 0.0)
    alone = scores.accuracy([(1, one)])
    assert alone.value == 0.5
    assert alone.low < 0.5 < alone.high
    ratio = scores.perplexity([(1, one), (-1, other)])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert not scores.has(Part("ties", "tuned", (("scarce", 1),)))


def test_tables_without_results_say_so(tmp_path: Path) -> None:
    """A question that was not asked yet has no numbers."""
    assert {table(tmp_path) for table in TABLES} == {MISSING}
    assert methods(tmp_path, "plenty", "tuned") == MISSING
    assert claims(tmp_path) == []


def stopped_after(command: list[str], jobs: int) -> list[str]:
    """Run the command, press Ctrl-C after some jobs, and return which were done."""
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in a shell's background, as tests may be, ignores Ctrl-C from birth.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(jobs)]
    os.killpg(process.pid, signal.SIGINT)
    rest, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == "stopped: the same command goes on where it was\n"
    return [re.sub(r".*/\d+ |\d+ s$", "", line).strip() for line in (*lines, *rest.splitlines())]


def test_a_run_with_failed_jobs_has_no_results(tmp_path: Path) -> None:
    """A damaged base model fails the jobs that need it, each by name, and the command."""
    work, results = tmp_path / "work", tmp_path / "results"
    for seed in range(2):
        (work / "smoke" / f"seed-{seed}" / "base").mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", str(EXPERIMENT / "run.py"), "smoke"]
    command += ["--work", str(work), "--results", str(results), "--processes", "1"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stdout.count("failed after") == found.stderr.count("Traceback") == 8
    assert "seed 1: make sft scarce failed:\nTraceback" in found.stderr
    assert re.search(r"8 of \d+ jobs failed: .* what these make: \d+\. The same", found.stderr)
    assert not results.exists()


@pytest.mark.slow
def test_two_steps_of_everything(tmp_path: Path) -> None:
    """All of it runs, can be stopped, is not done twice, and merges as the commands do."""
    command = [sys.executable, "-W", "ignore", str(EXPERIMENT / "run.py"), "smoke"]
    command += ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    done = stopped_after(command, 5) if os.name == "posix" else []
    first = subprocess.run(command, check=True, capture_output=True, text=True)
    jobs = [re.sub(r".*/\d+ |\d+ s$", "", line).strip() for line in first.stdout.splitlines()]
    assert "seed 1: make base" in (*jobs, *done)
    assert set(jobs).isdisjoint(done)
    results = tmp_path / "results" / "smoke"
    with (results / "product.csv").open(encoding="utf-8") as file:
        assert [row["same"] for row in csv.DictReader(file)] == ["True", "True"]
    tested = read_rows(results / "tests.csv")
    assert {row.method for row in tested} == {
        *BY_NAME,
        *("base", "ct", "sft", "ct_then_sft"),
    }
    assert {row.items for row in tested} == {20}
    assert {row.language for row in read_rows(results / "three.csv")} == {"x", "y", "e"}
    assert json.loads((results / "versions.json").read_text("utf-8"))["mode"]["seeds"] == 2
    before = {path.name: path.read_bytes() for path in results.glob("*.csv")}
    (results / "tests.csv").unlink()
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "seed" not in again.stdout
    assert json.loads((tmp_path / "work/smoke/stamp.json").read_text("utf-8"))["code"]
    (tmp_path / "work/smoke/stamp.json").write_text("{}", "utf-8")
    other = subprocess.run(command, check=False, capture_output=True, text=True)
    assert other.returncode == 1
    assert "is the work of another version: delete it" in other.stderr
    assert {path.name: path.read_bytes() for path in results.glob("*.csv")} == before
    assert all(table(results) != MISSING for table in TABLES)
    assert len(claims(results)) > 40
    assert "| SFT alone |" in methods(results, "scarce", "tuned")
    assert sensitivity(results, "scarce", 2, normalize=True).count("\n") == 2
    drawn = {path.stem: path.read_bytes() for path in draw(results, tmp_path / "figures")}
    assert drawn.keys() == FIGURES.keys()
    again = {path.stem: path.read_bytes() for path in draw(results, tmp_path / "figures")}
    assert again == drawn
