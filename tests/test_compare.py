"""Two merges side by side: settings and figures, from reports that are there or are made."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from evaluations import ENGLISH, TIBETAN, an_evaluation, model, right
from slack_ties.config.choices import Choices
from slack_ties.config.write import write_configs
from slack_ties.errors import OutputError, RecipeError
from slack_ties.evaluation.file import weights_digest, write_evaluation
from slack_ties.evaluation.scores import Evaluated
from slack_ties.explore.compare import compare_merges
from slack_ties.explore.report import make_report
from slack_ties.merge.merge import merge_models
from slack_ties.record import read_record
from slack_ties.report.figures import Figures
from slack_ties.rule.tally import CONFIG, RESCUED
from triple import Folders


@pytest.fixture
def configs(triple: Folders, tmp_path: Path) -> tuple[Path, Path]:
    """Two configs of a triple that differ in slack alone."""
    paths = []
    for slack in (0.0, 0.3):
        choices = Choices(
            base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft), slack=slack
        )
        paths += write_configs(["bo"], tmp_path / f"slack-{slack}", choices=choices)
    return paths[0], paths[1]


def test_marks_what_differs(configs: tuple[Path, Path]) -> None:
    """Slack does, and what follows from it; density and the deltas do not."""
    found = compare_merges(*configs, quiet=True)

    differing = {row.name for row in found.rows if row.about == "the SFT model" and row.differs}
    assert differing >= {"slack", "slack in effect", "lost, config", "entries rescued"}
    assert not differing & {"model", "weight", "density", "delta norm", "lost, TIES"}
    lines = found.as_text().splitlines()
    assert [line for line in lines if line.startswith("* slack  ")]
    assert max(map(len, lines)) < 80
    legends = "\n".join(lines).partition("\n\n")[2].splitlines()
    assert legends[0].startswith("* differs")
    explained = [line[2:24].strip() for line in legends[1:]]
    plain = {"method", "model", "lambda", "normalize"}
    assert set(explained) == {row.name for row in found.rows} - plain
    assert len(explained) == len(set(explained))


def test_figures_are_those_of_the_reports(configs: tuple[Path, Path], tmp_path: Path) -> None:
    """From report.json where there is one; its models need not be there then."""
    reports = [make_report(one, tmp_path / f"r{i}", quiet=True)[0] for i, one in enumerate(configs)]

    found = compare_merges(tmp_path / "r0", tmp_path / "r1" / "report.json")

    rows = {(row.about, row.name): row for row in found.rows}
    for name, level in (("lost, config", CONFIG),):
        row = rows["the SFT model", name]
        assert (row.one, row.other) == tuple(Figures(r.total, 1).lost(level) for r in reports)
    rescued = rows["the SFT model", "entries rescued"]
    assert rescued.one == 0 < rescued.other == Figures(reports[1].total, 1).losses(RESCUED)


def test_a_model_of_the_hub_is_shown_by_its_name(
    configs: tuple[Path, Path], tmp_path: Path
) -> None:
    """A long commit does not hide it: the commit has a row of its own."""
    for place, config in enumerate(configs):
        make_report(config, tmp_path / f"r{place}", quiet=True)
        file = tmp_path / f"r{place}" / "report.json"
        data = json.loads(file.read_text("utf-8"))
        data["models"][0]["model"] = "meta-llama/Llama-2-7b-hf@" + f"{place}123456789" * 4
        file.write_text(json.dumps(data), "utf-8")

    found = compare_merges(tmp_path / "r0", tmp_path / "r1")

    shown = [line.split() for line in found.as_text().splitlines()]
    assert ["model", *["meta-llama/Llama-2-7b-hf"] * 2] in shown
    assert ["*", "commit", "0123456", "1123456"] in shown


def test_models_that_one_merge_lacks_are_dashes(
    configs: tuple[Path, Path], triple: Folders, tmp_path: Path
) -> None:
    """Every row is there, with nothing on one side."""
    alone = tmp_path / "alone.yml"
    alone.write_text(
        f"merge_method: slack_ties\nbase_model: {triple.base}\nmodels:\n"
        f"- model: {triple.sft}\n  parameters: {{weight: 1.0, slack: 0.3}}\n"
    )

    found = compare_merges(configs[1], alone, quiet=True)

    ct = [row for row in found.rows if row.about == "the CT model"]
    assert ct
    assert all(row.other is None for row in ct)


def test_both_are_checked_before_the_first_is_read(
    configs: tuple[Path, Path], tmp_path: Path
) -> None:
    """A folder without anything, a config that cannot be read."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="has neither"):
        compare_merges(configs[0], tmp_path / "empty")
    other = tmp_path / "damaged.yml"
    other.write_text("merge_method: linear\nmodels:\n- a\n")
    with pytest.raises(RecipeError, match=r"models\[0\]"):
        compare_merges(configs[0], other)


def test_a_method_without_a_report(configs: tuple[Path, Path], triple: Folders) -> None:
    """Its settings are compared, and it is said that there are no figures; no model is read."""
    choices = Choices(
        base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft), method="breadcrumbs"
    )
    (other,) = write_configs(["bo"], configs[0].parent, choices=choices)
    for weights in triple.ct.glob("*.bin"):
        weights.rename(weights.with_suffix(".away"))

    try:
        found = compare_merges(configs[1], other, quiet=True)
    finally:
        for weights in triple.ct.glob("*.away"):
            weights.rename(weights.with_suffix(".bin"))

    rows = {(row.about, row.name): (row.one, row.other) for row in found.rows}
    assert rows["the merge", "method"] == ("slack_ties", "breadcrumbs")
    assert rows["the SFT model", "density"] == (0.5, 0.9)
    assert rows["the SFT model", "slack"] == (0.3, None)
    assert rows["the SFT model", "gamma"] == (None, 0.01)
    assert "only settings, no figures: breadcrumbs has no report" in found.as_text()
    assert not {"delta norm", "positions in conflict"} & {row.name for row in found.rows}


def test_a_report_of_somebody_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    """With what is wrong with it."""
    (tmp_path / "report.json").write_text(json.dumps({"report": 1}))

    with pytest.raises(OutputError, match="damaged"):
        compare_merges(tmp_path, tmp_path)


# Scores


def evaluated(folder: Path, number: int, **fields: Any) -> Path:
    """Write an evaluation in which the merged model has so many Tibetan items right."""
    folder.mkdir(exist_ok=True)
    models = (model("merged", number, 70),)
    return write_evaluation(an_evaluation(models=models, **fields), folder)


def test_scores_stand_side_by_side(configs: tuple[Path, Path], tmp_path: Path) -> None:
    """Below the figures of the reports: both scores, the paired difference, and what it says."""
    for name, config, number in (("a", configs[0], 60), ("b", configs[1], 40)):
        make_report(config, tmp_path / name, quiet=True)
        evaluated(tmp_path / name, number)

    found = compare_merges(tmp_path / "a", tmp_path / "b")

    tibetan, english = found.tasks
    assert (tibetan.one, tibetan.other, tibetan.said) == (0.6, 0.4, "0 is better")
    assert tibetan.difference == pytest.approx(0.2)
    assert 0 < (tibetan.low or 0) < 0.2 < (tibetan.high or 0)
    assert (english.difference, english.said) == (0, "not decided")
    assert found.rows[0].name == "method"
    lines = found.as_text().splitlines()
    start = lines.index("scores of the merged models")
    assert lines[start : start + 5] == [
        "scores of the merged models",
        "                     a               b  difference",
        "  belebele_bod_Tibt: 100 items, chance 25.0",
        "             60.0 ±4.9       40.0 ±4.9  +20.0 (+11.3 to +27.9)  a is better",
        "  arc_easy: 100 items, chance 25.0",
    ]
    assert "guessing" not in found.as_text()
    assert lines[start + 5].endswith("70.0 ±4.6       70.0 ±4.6  0.0 (-2.8 to +2.8)  not decided")
    assert max(map(len, lines)) < 80
    assert "a is better" in found.as_html()
    assert "tasks" in json.loads(json.dumps(asdict(found)))


def test_scores_alone(tmp_path: Path) -> None:
    """Two evaluations are compared without reports; one of them cannot be."""
    one, other = evaluated(tmp_path / "a", 40), evaluated(tmp_path / "b", 60)

    found = compare_merges(one, other)
    assert found.rows == ()
    assert found.tasks[0].said == "1 is better"
    assert "b is better" in found.as_text()
    assert found.as_text().startswith("scores of the merged models\n")
    assert compare_merges(tmp_path / "a", tmp_path / "b").tasks == found.tasks
    assert found.summary().endswith("scores on 2 tasks")

    with pytest.raises(OutputError, match="is an evaluation, expected two of them"):
        compare_merges(one, tmp_path / "b" / "report.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"docs": "f" * 64}, "other items"),
        ({"docs": ""}, "other items"),
        ({"fewshot": 5}, "other examples"),
        ({"version": "2.0"}, "another version"),
    ],
)
def test_other_items_are_not_compared(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """Both scores are shown, with the reason why there is no difference."""
    one = evaluated(tmp_path / "a", 60)
    other = evaluated(tmp_path / "b", 40, tasks=(replace(TIBETAN, **change), ENGLISH))

    task = compare_merges(one, other).tasks[0]

    assert (task.one, task.other, task.difference, task.said) == (0.6, 0.4, None, said)
    assert task.texts() == ("60.0 ±4.9", "40.0 ±4.9", "-")


def test_what_a_score_is_worth_stands_beside_it(tmp_path: Path) -> None:
    """Chance, the number of items, that these are the first ones, and which score is no better."""
    tasks = (replace(TIBETAN, of=900), ENGLISH)
    one, other = (evaluated(tmp_path / name, n, tasks=tasks) for name, n in (("a", 30), ("b", 60)))

    found = compare_merges(one, other)

    lines = found.as_text().splitlines()
    assert lines[2] == "  belebele_bod_Tibt: the first 100 of 900 items, chance 25.0"
    assert lines[3].startswith("           30.0 ±4.6 ~     60.0 ±4.9    -30.0 (")
    assert "~ not better than guessing, as far as the items show" in lines
    assert max(map(len, lines)) < 80
    assert "the first 100 of 900 items, chance 25.0" in found.as_html()
    whole = evaluated(tmp_path / "c", 60)
    assert (
        compare_merges(one, whole)
        .tasks[0]
        .about()
        .startswith("the first 100 of 900 items and 100 items")
    )


def test_a_task_of_one_evaluation_alone(tmp_path: Path) -> None:
    """It is shown with a dash for the other, and in the order of subjects."""
    tasks = (ENGLISH, replace(TIBETAN, name="only_here"))
    scores = {"only_here": right(50), ENGLISH.name: right(70)}
    merged = (Evaluated("m", "merged", scores),)
    one = write_evaluation(an_evaluation(tasks=tasks, models=merged), tmp_path / "one.json")
    other = evaluated(tmp_path / "b", 40)

    found = compare_merges(one, other)

    assert [task.task for task in found.tasks] == ["only_here", "belebele_bod_Tibt", "arc_easy"]
    assert found.tasks[0].texts()[1:] == ("-", "-")


def test_a_stale_evaluation_is_left_out(
    configs: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scores of other weights, or a damaged file, are named and not compared."""
    merge_models(configs[0], tmp_path / "a", quiet=True)
    merge_models(configs[1], tmp_path / "b", quiet=True)
    weights = weights_digest(read_record(tmp_path / "a"))
    evaluated(tmp_path / "a", 60, settings={"weights": weights})
    evaluated(tmp_path / "b", 40)

    assert compare_merges(tmp_path / "a", tmp_path / "b", quiet=True).tasks == ()

    assert f"evaluation.json is not of these weights. Next: slack-ties evaluate {tmp_path}/b" in (
        caplog.text
    )
    (tmp_path / "b" / "evaluation.json").write_text("{")
    found = compare_merges(tmp_path / "a", tmp_path / "b", quiet=True)
    assert found.rows
    assert "is no evaluation of slack-ties: no JSON from line 1" in caplog.text
    assert f"Next: slack-ties evaluate {tmp_path}/b --overwrite\n" in caplog.text


def test_methods_without_reports_are_compared_by_scores(
    configs: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A method of which we make no report has settings and scores; without a config, scores."""
    for name, right_items in (("a", 60), ("b", 40)):
        evaluated(tmp_path / name, right_items)
        text = (
            configs[0].read_text("utf-8").replace("merge_method: slack_ties", "merge_method: sce")
        )
        (tmp_path / name / "mergekit_config.yml").write_text(text, "utf-8")

    found = compare_merges(tmp_path / "a", tmp_path / "b")

    assert len(found.tasks) == 2
    assert {row.name for row in found.rows} >= {"method", "weight", "density"}
    assert "delta norm" not in {row.name for row in found.rows}
    assert "only settings, no figures: sce has no report" in found.as_text()
    (tmp_path / "b" / "mergekit_config.yml").write_text("merge_method:", "utf-8")
    found = compare_merges(tmp_path / "a", tmp_path / "b")
    assert (found.rows, len(found.tasks)) == ((), 2)
    assert "only the scores are compared" in caplog.text
