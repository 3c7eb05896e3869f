"""Trials of slacks with the same effect are one merge: which are, is said, and they run once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slack_ties.report.report import Report, ReportedModel
from slack_ties.rule.tally import KEPT, PROTECTED, Tally
from slack_ties.tuning.alike import mark_of, result_of, say_alike
from slack_ties.tuning.candidates import Candidate
from slack_ties.tuning.metrics import Made, Measured
from slack_ties.tuning.study import TrialResult, open_study


def made(kept: int, protected: int) -> Made:
    """Return a merge that keeps and protects so many of 20 entries of the SFT model."""
    tally = Tally.empty([False, True])
    tally.entries[:] = 20
    tally.counts[:, KEPT] = [10, kept]
    tally.counts[1, PROTECTED] = protected
    tally.positions[0] = 20
    models = (ReportedModel("ct", "ct"), ReportedModel("sft", "sft", varied=True))
    report = Report("a.yml", "slack_ties", models, {"layers.0.mlp.weight": tally})
    return Made(report, pytest.fail)


def result(slack: float, in_effect: float | None, **values: float) -> TrialResult:
    """Return a trial of a slack."""
    return TrialResult({"slack": slack, **values}, 0.5, {}, in_effect=in_effect)


def test_slacks_with_one_effect_are_named() -> None:
    """0.1 to 0.2 protect the same quarter; the config as it is, 0.15, is one of them."""
    config = TrialResult({}, 0.5, {}, in_effect=0.25)
    rows = [config, result(0.0, 0.0), result(0.05, 0.06), result(0.1, 0.247), result(0.2, 0.254)]

    said = say_alike(rows, {"slack": 0.15, "density": 0.5})

    assert said == [
        "slack 0.1, 0.15 and 0.2 give nearly the same merge: in effect each is 0.25, so do not "
        "choose between them by their scores"
    ]


def test_only_trials_with_the_same_other_values_are_alike() -> None:
    """The same effect at another density, or an effect that was not counted, says nothing."""
    rows = [result(0.1, 0.2, density=0.4), result(0.2, 0.2, density=0.6), result(0.3, None)]
    rows += [result(0.3, 0.2, density=0.6)]

    said = say_alike(rows, {})

    assert [line.partition(":")[0] for line in said] == [
        "slack 0.2 and 0.3 give nearly the same merge (with density 0.6)"
    ]


def test_one_merge_has_one_mark() -> None:
    """Numbers of kept and of protected entries, and weights, tell merges apart; nothing else."""
    own = {"weight": 1.0, "slack": 0.1, "ct weight": 1.0}
    marks = [
        mark_of(Candidate(values={"slack": 0.2}), made(8, 5), own),
        mark_of(Candidate(values={"slack": 0.3, "weight": 1.0}), made(8, 5), own),
        mark_of(Candidate(values={"slack": 0.3}), made(8, 6), own),
        mark_of(Candidate(values={"slack": 0.3}), made(9, 5), own),
        mark_of(Candidate(values={"slack": 0.3, "weight": 0.5}), made(8, 5), own),
        mark_of(Candidate(values={"slack": 0.3, "ct weight": 0.5}), made(8, 5), own),
        mark_of(Candidate("ties"), made(8, 5), own),
    ]

    assert marks[0] == marks[1]
    assert len(set(marks)) == 6
    assert not mark_of(Candidate(values={"slack": 0.3}), made(8, 5), {})  # weight is a gradient
    assert not mark_of(Candidate(values={"slack": 0.3}), made(8, 5), {"weight": 1.0})  # CT's is


def test_the_study_keeps_the_share_in_effect(tmp_path: Path) -> None:
    """A search that goes on knows it; a file without it is read too."""
    study = open_study(tmp_path / "s.json", {})
    study.add(result_of(Candidate(values={"slack": 0.2}), Measured(0.5, {"ct": 0.5}), made(8, 5)))

    (again,) = open_study(tmp_path / "s.json", {}).results.values()
    data = json.loads((tmp_path / "s.json").read_text("utf-8"))
    del data["trials"][0]["in_effect"]
    (tmp_path / "s.json").write_text(json.dumps(data), "utf-8")
    (old,) = open_study(tmp_path / "s.json", {}).results.values()

    assert again.in_effect == np.float64(0.25)
    assert old.in_effect is None
