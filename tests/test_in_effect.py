"""Literal tensors in which shares in effect are not those of the config: what a report says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from slack_ties.report.figures import Figures
from slack_ties.report.file import report_as_json
from slack_ties.report.report import Report, ReportedModel
from slack_ties.report.sentences import read_figures
from slack_ties.report.slacks import slacks_of
from slack_ties.report.terminal import summarise
from slack_ties.rule.definition import slack_ties_merge
from slack_ties.rule.tally import GRID, Tally

LAYER, EMBEDDING, HEAD = (
    f"model.{name}.weight" for name in ("layers.0.mlp.up_proj", "embed_tokens", "lm_head")
)

# Of 20 SFT deltas, 10 are 0 and 4 have the size 4. The CT deltas are all 16: where the signs
# differ, TIES elects the CT model. Of the 4 equal SFT deltas, 2 have the other sign.
SFT = [8.0, 4, 4, -4, -4, 2, 1.75, 1.5, -1.25, -1, *[0] * 10]
CT = [16.0] * 20


def make_report(
    tensors: Mapping[str, tuple[list[float], list[float]]],
    *,
    slack: float = 0.2,
    density: float = 0.5,
) -> Report:
    """Return the report of the CT and SFT deltas of some tensors."""
    tallies = {}
    for name, models in tensors.items():
        tallies[name] = Tally.empty([False, True])
        slack_ties_merge(
            torch.zeros(len(models[0])),
            [torch.tensor(one) for one in models],
            weight=[1.0, 1.0],
            density=[density, density],
            slack=[0.0, slack],
            normalize=False,
            tally=tallies[name],
        )
    models = tuple(
        ReportedModel(role, role, role == "sft", {"density": density, "slack": of_role})
        for role, of_role in (("ct", 0.0), ("sft", slack))
    )
    return Report("a.yml", "slack_ties", models, tallies)


def read(report: Report) -> str:
    """Return the sentences of a report as one text."""
    return " ".join(read_figures(report).sentences)


def test_the_slack_in_effect_is_said_of_equal_slacks_too() -> None:
    """Slack 0.1, 0.15 and 0.2 are one merge: that the config's 0.2 is in effect 0.25 is said."""
    report = make_report({LAYER: (CT, SFT)})

    said = read(report)

    effects = [Figures(report.total, 1).slack_at(level) for level in range(4, 4 + len(GRID))]
    assert effects == [0, 0.05, 0.25, 0.25, 0.25, 0.3, 0.4, 0.5]
    assert (
        "In effect the CT model's density 0.5 is 1.00 and the SFT model's slack 0.2 is 0.25: many "
        "deltas are equal." in said
    )
    assert (
        "Slack changes in steps here: the share in effect is 0.05 at 0.05 and 0.25 at 0.1, because "
        "many deltas are equal." in said
    )
    assert "Slack 0.1, 0.15 and 0.2 give nearly the same merge here" in said


def test_the_suggestion_names_its_effect_and_what_was_counted() -> None:
    """Of equal slacks 0.2 says best what it does; 2 of 20 CT entries are a tenth of its energy."""
    reading = read_figures(make_report({LAYER: (CT, SFT)}))

    assert (reading.slack, reading.in_effect) == (0.2, 0.25)
    assert (
        "Suggested slack: 0.2 (in effect 0.25). It keeps all but 1 % of the SFT model's top-20 % "
        "from the election, and costs the CT model 10 % of its kept entries and 10 % of its energy."
        in " ".join(reading.sentences)
    )


def test_a_slack_above_what_is_changed_has_a_smaller_effect() -> None:
    """Where half of the deltas are 0, slack 0.6 is in effect 0.5; the reading says why."""
    said = read(make_report({LAYER: (CT, SFT)}, slack=0.6, density=0.7))

    assert "the SFT model's density 0.7 is 0.50: many deltas are 0." in said
    assert "the SFT model's slack 0.6 is 0.50: many deltas are 0 or trimmed." in said


def test_an_energy_beyond_the_limit_is_no_suggestion() -> None:
    """One CT entry has most of the energy: a slack that costs that entry is not suggested."""
    large = [100.0 if place == 3 else 1.0 for place in range(20)]  # where SFT has -4
    strong = [1024 * one for one in large]

    report = make_report({LAYER: (strong, SFT)}, density=1.0)

    found = slacks_of(report)
    assert found is not None
    step = next(one for one in found.steps if one.slack == 0.2)
    assert step.cost == pytest.approx(0.1)
    assert step.energy_cost == pytest.approx(10_001 / 10_019)
    assert step.ct_top_lost[0] == 1
    assert read_figures(report).slack == 0.05
    assert (
        "the most in the table that costs the CT model no more than 20 % of its kept entries or "
        "its energy" in read(report)
    )
    assert "Slack 0.1 (in effect 0.25) would cost 10 % of its kept entries and" in read(report)


@pytest.mark.parametrize(
    ("outer", "them"), [([EMBEDDING], "the embedding"), ([EMBEDDING, HEAD], "the embedding and")]
)
def test_an_embedding_does_not_decide_the_suggestion(outer: list[str], them: str) -> None:
    """Ten times as large, with another effect and cost of slack: figures without it stay the same.

    The totals are those of all tensors.
    """
    other = ([1600.0] * 200, [float(200 - place) for place in range(200)])
    layers = make_report({LAYER: (CT, SFT)})

    report = make_report({LAYER: (CT, SFT), **dict.fromkeys(outer, other)})

    assert slacks_of(report) == slacks_of(layers)
    assert slacks_of(report, report.total) != slacks_of(layers)
    one, both = (read_figures(one) for one in (layers, report))
    assert (both.slack, both.in_effect) == (one.slack, one.in_effect)
    data = report_as_json(report)
    alone = report_as_json(layers)
    assert data["slacks_without_embedding"] == alone["slacks"] == alone["slacks_without_embedding"]
    assert data["without_embedding"] == alone["total"]
    assert data["total"]["entries"] == 20 + 200 * len(outer)
    assert data["slacks"][5]["in_effect"] == pytest.approx(
        (5 + 40 * len(outer)) / (20 + 200 * len(outer))
    )
    ratio, inner = (
        Figures(tally, 0).norm / Figures(tally, 1).norm for tally in (report.total, report.inner)
    )
    assert one.sentences[0].startswith(f"The CT delta is {inner:.1f} times the SFT delta, with")
    pronoun = "them" if len(outer) > 1 else "it"
    assert both.sentences[0].startswith(
        f"The CT delta is {inner:.1f} times the SFT delta without {report.outer} "
        f"(with {pronoun}: {ratio:.0f}), with cosine"
    )
    assert report.outer.startswith(them)
    shown = summarise(report).replace("\n", " ")
    assert f"(0 is plain TIES), without {report.outer}. Cost:" in shown
    assert "without" not in summarise(layers)


def test_the_effect_without_the_embedding_is_said_where_it_differs() -> None:
    """0.2 is in effect 0.20 of all entries, and 0.25 of those outside the embedding."""
    other = ([1600.0] * 200, [float(200 - place) for place in range(200)])

    said = read(make_report({LAYER: (CT, SFT), EMBEDDING: other}))

    assert "the SFT model's slack 0.2 is 0.20 (0.25 without the embedding)" in said


def test_models_that_change_only_the_embedding_are_counted_by_it() -> None:
    """Nothing of the SFT model is in the layers, so nothing is left out."""
    report = make_report({LAYER: (CT, [0.0] * 20), EMBEDDING: (CT, SFT)})

    assert report.inner is report.total
    assert not report.outer
    assert slacks_of(report) == slacks_of(report, report.total)
