"""What is made of the rows of the experiment with real models: effects, tables, figures, a page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from lm_eval.api.model import hash_args
from sqlitedict import SqliteDict

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "experiments"))

from common import intervals
from common.markup import MISSING
from common.rows import as_bits, write_rows
from real.advice import Advice
from real.begins import Begins, begins, is_begun, rows_of_answers
from real.curves import at_same_bits, beside_curve, ct_dial, slack_dial
from real.effects import Claim, claims, tuned
from real.figures import FIGURES, draw
from real.methods import BY_NAME, DEFAULTS, MERGES, SLACKS
from real.rows import Row, figures_of, rows_of_candidates, rows_of_reports, rows_of_scores
from real.scores import Part, Scores, measured
from real.seen import Seen, unseen
from real.sizes import SIZES, Size
from real.skills import SKILLS
from real.tables import RESULTS, TABLES, cells, main_table, verdicts
from real.tasks import skills_task, text_task

SMALL = replace(
    SIZES["full"],
    ct_steps=(10, 20),
    ct_main=20,
    test=dict.fromkeys(SKILLS, 8),
    validation=dict.fromkeys(SKILLS, 4),
    seeds=3,
)
# Items right of 40, and bits per byte.
MODELS = {
    "base": (0, 3.0),
    "ct": (0, 1.0),
    "sft": (10, 3.0),
    "ct_then_sft": (18, 1.1),
    "slack_ties": (16, 1.05),
    "task_arithmetic": (8, 1.0),
    "ties_sum": (4, 1.02),
    "ties": (0, 1.04),
    "linear": (20, 1.5),
    "trimmed": (6, 1.02),
    "dare_ties": (0, 1.04),
    "layer_swap": (9, 1.3),
    "widen": (12, 1.04),
}
SAME = "task arithmetic at the same bits per byte"
OURS = "slack_ties is better than task arithmetic"
WEIGHTS = {
    1.0: (0, 0.0),
    0.85: (4, 0.04),
    0.7: (8, 0.08),
    0.55: (12, 0.2),
    0.4: (13, 0.3),
}  # more than at 1


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Draw less often than the page does: verdicts here are far from the ends of intervals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "DRAWS", 2000)
        intervals._draws.cache_clear()  # noqa: SLF001 - it holds draws of other tests
        yield
    intervals._draws.cache_clear()  # noqa: SLF001


def row(language: str, seed: int, part: Part, right: int, bits: float) -> Iterator[Row]:
    """Yield the rows of a model: its first items are right, in English twice as many."""
    about = (language, seed, part.ct, part.sft, part.method, part.values)
    for split, items, share in (("validation", 20, 0.5), ("test", 40, 1.0)):
        first = as_bits([item < right * share for item in range(items)])
        yield Row(*about, split, language, items, first, bits)
    yield Row(*about, "test", "en", 20, as_bits([item < right for item in range(20)]), "")


def every(size: Size, language: str, seed: int) -> Iterator[tuple[Part, int, float]]:
    """Yield all models of a size: part, items right, bits per byte."""
    main = (size.ct_main, size.sft_main)
    for name, found in MODELS.items():
        if name in {"base", "ct", "sft", "ct_then_sft"}:
            of = {"base": (0, 0), "ct": (main[0], 0), "sft": (0, main[1])}
            yield Part(name, "", *of.get(name, main)), *found
    for merge in MERGES:
        right, bits = MODELS.get(merge.name, (13, 1.2))
        weight = float(merge.values.split()[0].removeprefix("ct_weight="))
        more, cost = WEIGHTS[weight]
        if merge.name == "slack_ties" and weight == 1.0:
            slack = float(merge.values.split("slack=")[1])
            more, cost = round(20 * (slack - 0.2)), (slack - 0.2) / 5
        yield Part(merge.name, merge.values, *main), right + more, bits + cost
    for ct, items in ((10, main[1]), *((main[0], items) for items in (100, 10_000))):
        yield Part("ct_then_sft", "", ct, items), 14, 1.2
        for merge in DEFAULTS:
            if merge.name in {"slack_ties", "task_arithmetic", "ties_sum", "ties"}:
                right = 16 if merge.name == "slack_ties" else 12
                yield Part(merge.name, merge.values, ct, items), right, 1.1 + 0.01 * seed
    del language


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of results in which everything was measured."""
    folder = tmp_path_factory.mktemp("real") / "full"
    write_results(folder, {"eu": (0, 1, 2), "sl": (0, 1, 2)})
    return folder


def write_results(folder: Path, seeds: Mapping[str, tuple[int, ...]]) -> None:
    """Write the rows of these languages and seeds."""
    scores, reports, tried = [], [], []
    for language, many in seeds.items():
        for seed in many:
            for part, right, bits in every(SMALL, language, seed):
                scores += row(language, seed, part, right, bits)
                if part.method in {"slack_ties", "ties", "ties_sum"} and part.values:
                    reports.append(report_of(language, seed, part, right, bits))
            for name, right, bits in (("uniform 1", 4, 1.0), ("uniform 0.5", 8, 1.2)):
                part = Part("candidate", name, 20, 1000)
                tried += list(row(language, seed, part, right, bits))[:1]
            tried += list(row(language, seed, Part("candidate", "odd", 20, 1000), 10, 1.1))[:2]
    folder.mkdir(parents=True)
    write_rows(folder / "scores.csv", scores)
    write_rows(folder / "reports.csv", reports)
    write_rows(folder / "candidates.csv", tried)
    begun = [
        Begins(language, seed, part.ct, part.sft, part.method, part.values, 40, "ffffffffff")
        for language, many in seeds.items()
        for seed in many
        for part, *_ in every(SMALL, language, seed)
    ]
    write_rows(folder / "begins.csv", begun)
    # Of the test split, every item but the first and the last four.
    seen = as_bits([0 < item < 36 for item in range(40)])
    write_rows(folder / "seen.csv", [Seen(language, "test", 40, seen) for language in seeds])
    (folder / "versions.json").write_text(json.dumps({"mode": asdict(SMALL)}), "utf-8")


def report_of(language: str, seed: int, part: Part, right: int, bits: float) -> dict[str, object]:
    """Return a row of reports.csv with a figure that says skill, and one that says bits."""
    about = {"language": language, "seed": seed, **asdict(part)}
    ours = part.method == "slack_ties"
    named = {name: about[name] for name in ("language", "seed", "ct", "sft", "method", "values")}
    said = {"suggested_slack": 0.1 if ours else "", "suggested_in_effect": 0.15 if ours else ""}
    return {**named, "energy_lost": -right, "ct_cost": bits, "density_inner": "", **said}


@pytest.fixture(scope="module")
def found(results: Path) -> dict[tuple[str, str], Claim]:
    """Return all claims by language and text."""
    return {(claim.language, claim.text): claim for claim in claims(Scores(results))}


def value(claim: Claim) -> float:
    """Return the difference of a claim."""
    assert claim.found
    return claim.found.interval.value


def test_a_merge_beside_its_parents(found: dict[tuple[str, str], Claim]) -> None:
    """slack_ties is right in 16 of 40, the SFT model in 10, the CT model in none."""
    beside = found["eu", "slack_ties is better than the SFT model"]
    assert value(beside) == pytest.approx(6 / 40)
    assert (beside.verdict, beside.found and beside.found.seeds) == ("holds", 3)
    assert value(found["all", "slack_ties is better than the CT model"]) == pytest.approx(0.4)
    words = found["eu", "slack_ties is better than the SFT model at `words`"]
    assert (value(words), words.verdict) == (0.0, "undecided")  # both have the first eight right
    longest = found["eu", "slack_ties is better than the SFT model at `longest`"]
    assert (value(longest), longest.verdict) == (pytest.approx(6 / 8), "holds")
    assert found["eu", "TIES is better than the SFT model"].verdict == "opposite"


def test_more_ct_and_few_items(found: dict[tuple[str, str], Claim]) -> None:
    """TIES falls from 12 to 0 of 40 items, slack_ties stays at 16."""
    assert value(found["sl", "TIES falls from 10 to 20 CT steps"]) == pytest.approx(12 / 40)
    assert found["sl", "slack_ties falls from 10 to 20 CT steps"].verdict == "undecided"
    less = found["sl", "From 10 to 20 CT steps slack_ties loses less than TIES"]
    assert value(less) == pytest.approx(12 / 40)
    few = found["eu", "slack_ties is better than CT, then SFT, of 100 SFT items"]
    assert value(few) == pytest.approx(2 / 40)
    main = found["eu", "slack_ties is better than CT, then SFT, of 1000 SFT items"]
    assert (value(main), main.verdict) == (pytest.approx(-2 / 40), "undecided")


def test_a_method_beside_task_arithmetic_of_the_same_bits(
    results: Path, found: dict[tuple[str, str], Claim]
) -> None:
    """At 1.05 bits, between 1.04 (12 items) and 1.08 (16), task arithmetic has 13 of 40 right."""
    claim = found["eu", "slack_ties is better than task arithmetic at the same bits per byte"]
    assert value(claim) == pytest.approx((16 - 13) / 40)
    scores = Scores(results)
    beyond = at_same_bits(scores, "eu", scores.part("linear"), ct_dial(scores))
    assert not beyond.difference
    assert beyond.note == "outside the curve: 3 with more bits"
    above = found["eu", f"{OURS} at the same bits, mean over all CT weights"]
    # 16 beside 13, 20 beside 16 1/3, 24 beside 17 2/3, 28 beside 20 1/2; the last is outside.
    assert value(above) == pytest.approx((3 + 11 / 3 + 19 / 3 + 7.5) / 4 / 40)
    assert above.verdict == "holds"
    itself = at_same_bits(scores, "all", scores.part("task_arithmetic"), ct_dial(scores))
    assert {seed: one.tolist() for seed, one in itself.difference.items()} == dict.fromkeys(
        range(3), [0.0] * 80
    )


def test_a_curve_is_straight_between_its_points() -> None:
    """A seed that a point of the curve lacks does not count; fewer bits are outside, too."""
    ones, zeros = np.ones(2), np.zeros(2)
    curve = [{0: (2.0, ones), 1: (2.0, ones), 2: (2.0, ones)}, {0: (1.0, zeros), 1: (1.0, zeros)}]
    found = beside_curve({0: (1.25, ones), 1: (0.9, ones), 2: (1.5, ones)}, curve)
    assert {seed: one.tolist() for seed, one in found.difference.items()} == {0: [0.75, 0.75]}
    assert found.note == "outside the curve: 1 with fewer bits"
    assert beside_curve({0: (1.25, ones)}, curve[:1]).difference == {}
    back = [{0: (1.1, zeros)}, {0: (1.0, ones)}, {0: (1.2, 3 * ones)}]
    assert beside_curve({0: (1.1, zeros)}, back).difference[0].tolist() == pytest.approx([-2, -2])


def test_what_validation_chooses(results: Path, tmp_path: Path) -> None:
    """The trial with the most items right of those with at most 1.1 times the CT model's bits."""
    scores = Scores(results)
    chosen = tuned(scores, "eu", "task_arithmetic", 1.1)
    assert chosen
    assert chosen.part == scores.part("task_arithmetic", "ct_weight=0.7")
    assert (chosen.tried, chosen.seeds) == (5, 3)
    none = tuned(scores, "eu", "linear", 1.1)
    assert none
    assert none.part is None
    write_results(tmp_path / "part", {"eu": (0,)})
    path = tmp_path / "part" / "scores.csv"
    lines = [line for line in path.read_text("utf-8").splitlines() if "ct_weight=0.7" not in line]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    assert tuned(Scores(tmp_path / "part"), "eu", "task_arithmetic", 1.1) is None


def test_an_answer_may_go_on(tmp_path: Path) -> None:
    """A right answer that does not end, or has other spaces, begins with the right one."""
    assert is_begun(' {" first": "Bat"} eta', '{"first": "Bat"}')
    assert not is_begun(" Ez da Calc", "Calc")
    assert not is_begun("", "Calc")
    tasks = tmp_path / "eu" / "tasks"
    tasks.mkdir(parents=True)
    how = {"until": ["\n"], "do_sample": False}
    for name in (skills_task("eu", "test"), skills_task("en-eu", "test")):
        lines = [{"prompt": f"{name} {i}", "answer": "Calc"} for i in range(3)]
        (tasks / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
        (tasks / f"{name}.yaml").write_text(json.dumps({"generation_kwargs": how}), "utf-8")
    folder = tmp_path / "answers" / "slack-ties" / "evaluate" / "answers"
    folder.mkdir(parents=True)
    said = {
        "one": ("Calc", "Calc. Calc.", "Base"),
        "other": ("Base", "Calc", ""),
        "part": ("Calc",),
    }
    for file, answers in said.items():
        with SqliteDict(str(folder / f"{file}.sqlite"), autocommit=True) as kept:
            for name in (skills_task("eu", "test"), skills_task("en-eu", "test")):
                for i, answer in enumerate(answers):
                    kept[hash_args("generate_until", (f"{name} {i}", how))] = f" {answer}"
    rows = []
    for seed, right in ((0, "1"), (1, "2"), (2, "2")):  # the last two are alike
        about = ("eu", seed, 0, 1000, "sft", "", "test")
        rows += [Row(*about, "eu", 3, right, 1.0), Row(*about, "en", 3, right, "")]
    write_rows(tmp_path / "rows" / "scores.csv", rows)
    (found,) = rows_of_answers(tmp_path, tmp_path / "rows")
    assert (found.seed, found.method, found.begins) == (0, "sft", "3")


def test_what_begins_right_stands_beside_what_is_right(results: Path) -> None:
    """All answers of all models begin right here, so nothing is better than anything."""
    lines = [line.split(" | ") for line in begins(results).splitlines()]
    (sft,) = (line for line in lines if line[:2] == ["| eu", "the SFT model"])
    assert [cell.split()[0] for cell in sft[2:5]] == ["0.250", "1.000", "+0.000"]
    (same,) = (line for line in lines if line[:2] == ["| sl", SAME])
    assert same[4].split()[0] == "+0.000"


def test_items_of_texts_that_were_trained_on_are_left_out(results: Path) -> None:
    """Of five items slack_ties has the first right, as the SFT model; TIES has none."""
    lines = [line.split(" | ") for line in unseen(results).splitlines()]
    (sft,) = (line for line in lines if line[:2] == ["| eu", "the SFT model"])
    assert sft[2] == "5"
    assert [cell.split()[0] for cell in sft[3:6]] == ["0.250", "0.200", "+0.000"]
    (both,) = (line for line in lines if line[:2] == ["| all languages", "TIES"])
    assert [cell.split()[0] for cell in both[2:6]] == ["10", "0.000", "0.000", "+0.200"]


def test_what_reports_say_beside_what_was_measured(
    results: Path, found: dict[tuple[str, str], Claim]
) -> None:
    """A figure that falls with skill has rank correlation -1; the suggested slack is a merge."""
    advice = Advice(Scores(results))
    assert advice.names == ["energy_lost", "ct_cost"]
    link = advice.link("energy_lost")
    assert link.skill
    assert link.bits
    assert link.skill.value == pytest.approx(-1)
    assert (link.groups, link.merges) == (6, len(advice.rows))
    assert advice.link("ct_cost", main=True).merges < link.merges
    assert advice.suggested["sl", 2] == (0.1, 0.15)
    claim = found["eu", "The suggested slack is better than the default slack, 0.2"]
    assert value(claim) == pytest.approx(-2 / 40)
    claim = found["eu", "The suggested slack is better than slack 0"]
    assert value(claim) == pytest.approx((14 - 4) / 40)


def test_dials_are_merges_of_the_experiment(results: Path) -> None:
    """Each point of a dial is a config that the experiment runs."""
    scores = Scores(results)
    known = {(merge.name, merge.values) for merge in MERGES}
    for part in (*ct_dial(scores), *ct_dial(scores, "slack_ties"), *slack_dial(scores).values()):
        assert (part.method, part.values) in known
    assert list(slack_dial(scores)) == sorted([0.0, 0.2, *SLACKS])


def test_seeds_that_only_one_side_has_do_not_count(tmp_path: Path) -> None:
    """And with fewer than three, tables and verdicts say that they are of these models alone."""
    write_results(tmp_path / "part", {"eu": (0, 1, 2)})
    path = tmp_path / "part" / "scores.csv"
    lines = path.read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("eu,1,0,1000", "eu,2,0,1000"))]
    path.write_text("\n".join(kept) + "\n", "utf-8")
    scores = Scores(tmp_path / "part")
    assert scores.languages == ["eu"]
    every_claim = {claim.text: claim for claim in claims(scores)}
    beside = every_claim["slack_ties is better than the SFT model"].found
    assert beside
    assert beside.seeds == 1
    said = {few: set[str]() for few in (True, False)}
    for each in every_claim.values():
        if each.found:
            said[each.found.few].add(each.verdict)
    assert said[True] == {"holds for these models", "opposite for these models", "undecided"}
    assert said[False] == {"holds", "opposite", "undecided"}
    assert "With one or two seeds an interval is over items alone" in main_table(tmp_path / "part")
    assert "| eu | 0 | 4 of 4 | 9 of 9 | 37 of 37 |" in cells(tmp_path / "part")
    assert "| eu | 1 | 3 of 4 |" in cells(tmp_path / "part")
    assert "| sl | 0 | 0 of 4 |" in cells(tmp_path / "part")


def test_every_table_and_figure_shows_what_is_there(results: Path, tmp_path: Path) -> None:
    """All of a whole run, some of one seed, and none of a run that has begun."""
    for made in TABLES:
        text = made(results)
        assert "nan" not in text
        assert text != MISSING, made.__name__
    # The mean of the weights and the lightest CT model have more bits than the whole curve.
    left = (
        "Claims that were not measured: Against other methods, eu: 2; Against other methods, sl: 2"
    )
    assert left in verdicts(results)
    assert [path.stem for path in draw(results, tmp_path / "whole")] == list(FIGURES)
    one = tmp_path / "one"
    write_results(one, {"eu": (0,)})
    (one / "reports.csv").unlink()
    (one / "candidates.csv").unlink()
    (one / "seen.csv").unlink()
    (one / "begins.csv").unlink()
    missing = {made.__name__ for made in TABLES if made(one) == MISSING}
    assert missing == {"suggestions", "links", "candidates", "confirmed", "unseen", "begins"}
    assert "; The report's suggestion, eu: 2; Tuned, eu: 3." in verdicts(one)
    (one / "scores.csv").unlink()
    assert {made(one) for made in TABLES[1:]} == {MISSING}
    assert draw(one, tmp_path / "none") == []


def test_scores_become_rows(tmp_path: Path) -> None:
    """Of a model: a row for each split and language; names of files say what it was made of."""
    folder = tmp_path / "eu" / "seed-2" / "scores"
    folder.mkdir(parents=True)
    key = "slack_ties-ct_weight_1-density_0.5-slack_0.2"
    names = ("base", "ct-66", "sft-100", "then-66-100", f"66-100-{key}", "confirmed-slack_0_1")
    scores = {
        skills_task("eu", "test"): {"values": [1.0, 0.0, 1.0]},
        skills_task("en-eu", "test"): {"values": [0.0, 1.0]},
        text_task("eu", "test"): {"metrics": {"bits_per_byte": {"value": 1.5}}, "values": []},
    }
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps({"models": [{"scores": scores}]}))
    rows = list(rows_of_scores(tmp_path))
    assert [(r.ct, r.sft, r.method) for r in rows if r.asked == "eu"] == [
        *((66, 100, "slack_ties"), (0, 0, "base"), (66, 0, "ct"), (0, 100, "sft")),
        (66, 100, "ct_then_sft"),
    ]
    assert [r.values for r in rows][:2] == [BY_NAME[key].values] * 2
    assert asdict(rows[0])["right"] == "5"
    assert (rows[0].seed, rows[0].bits_per_byte, rows[1].right, rows[1].bits_per_byte) == (
        *(2, 1.5, "2", ""),
    )
    (other,) = (r for r in rows_of_candidates(tmp_path, 264, 1000) if r.asked == "eu")
    assert (other.method, other.values, other.ct) == ("candidate", "slack 0.1", 264)
    (folder / "odd-name.json").write_text("{}")
    with pytest.raises(ValueError, match="odd-name: expected the name of a part or a merge"):
        list(rows_of_scores(tmp_path))


def report_json() -> dict[str, object]:
    """Return the parts of a report.json that figures are taken from."""
    shares = {"norm": 2.0, "density": 0.55, "slack": 0.3, "effective_weight": 0.9}
    lost = {"top_lost": {"config": [0.0, 0.0, 0.1, 0.2]}, "energy_lost": {"config": 0.05}}
    elections = {"lost": [[9, 9], [1, 1], [3, 4], [0, 0]], "lost_energy": [9.0, 0.5, 1.5, 0.0]}
    models = [
        {"kept": 50, "energy": 4.0, **elections, "shares": {**shares, "norm": 6.0, **lost}},
        {"kept": 50, "energy": 4.0, **elections, "shares": {**shares, **lost}},
    ]
    total = {"models": models, "pairs": [{"models": [0, 1], "cosine": 0.1}]}
    tops = [0.01, 0.05, 0.1, 0.2]
    return {"tops": tops, "total": total, "suggested_slack": None, "suggested_in_effect": None}


def test_figures_of_a_report(tmp_path: Path) -> None:
    """Costs are what the config's election takes more than TIES'; what is not there is empty."""
    found = figures_of(report_json())
    assert found["top_10_lost"] == pytest.approx(0.1)
    assert found["ct_cost"] == pytest.approx(5 / 50)
    assert found["ct_energy_cost"] == pytest.approx(1 / 4)
    assert found["norm_ratio"] == pytest.approx(3)
    assert {found["suggested_slack"], found["density_inner"]} == {""}
    both = {**report_json(), "suggested_slack": 0.0}
    both["without_embedding"] = both["total"]
    again = figures_of(both)
    assert again.keys() == found.keys()
    assert (again["norm_ratio_inner"], again["suggested_slack"]) == (pytest.approx(3), 0.0)
    path = tmp_path / "eu" / "seed-0" / "reports" / "66-100-ties-ct_weight_1-density_0.5.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(both))
    (line,) = rows_of_reports(tmp_path)
    assert (line["language"], line["method"], line["ct_cost"]) == ("eu", "ties", pytest.approx(0.1))


def test_figures_are_the_same_bytes(results: Path, tmp_path: Path) -> None:
    """Drawn by another process they are the same, and hold no date."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "experiments" / "real" / "figures.py")]
    command += ["full", "--results", str(results.parent), "--out", str(tmp_path / "other")]
    subprocess.run(command, check=True, capture_output=True)
    for path in draw(results, tmp_path / "one"):
        text = path.read_text("utf-8")
        assert "<dc:date>" not in text
        assert text == (tmp_path / "other" / path.name).read_text("utf-8")


COMMITTED = RESULTS / "full"


def test_the_page_has_the_figures_of_the_committed_rows(tmp_path: Path) -> None:
    """Every figure that can be drawn from them is in docs/evidence/, and the page shows it."""
    page = (ROOT / "docs" / "evidence.md").read_text("utf-8")
    for path in draw(COMMITTED, tmp_path):
        assert f"(evidence/{path.name})" in page
        assert (ROOT / "docs" / "evidence" / path.name).is_file()


def test_committed_rows_are_of_the_full_size() -> None:
    """Each row is a model of that size, and has one bit for each of its items."""
    scores = Scores(COMMITTED)
    assert scores.size == SIZES["full"]
    for language in scores.languages:
        assert measured(scores.right(language, scores.part("sft")))
    for part in scores.parts:
        assert part.ct in {0, *scores.size.ct_steps}
        assert part.sft in {0, *scores.size.sft_items}
