"""The pictures of a search: what they mark, and that no text covers another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest

from slack_ties.tuning.study import TrialResult
from slack_ties.tuning.tune_charts import charts_of
from slack_ties.tuning.tuned import Tuned
from slack_ties.tuning.verdict import Verdict

WIDE, HIGH = 6.0, 11.0  # units of a letter of 11 px: more than most of them take


def trial(method: str, score: float, **values: float) -> TrialResult:
    """Return a trial with two tasks of 50 items."""
    right = round(50 * score)
    items = (1.0,) * right + (0.0,) * (50 - right)
    parts = {"task_bo": score + 0.02, "task_en": score - 0.02}
    return TrialResult(
        values,
        score,
        parts,
        method,
        {"": 0.05, "task_bo": 0.07, "task_en": 0.07},
        {"task_bo": items, "task_en": items},
    )


def search(results: Sequence[TrialResult], method: str = "") -> Tuned:
    """Return the result of a search whose last trial is the best."""
    best = results[-1]
    held_out = (trial("", 0.4), trial(best.method, 0.44, **best.values))
    paths = [Path(name) for name in ("a.yml", "a.json", "a.html")]
    verdict = Verdict(decided=False, lines=("nothing is decided",), held_out=held_out)
    columns = dict.fromkeys(("mean", "task_bo", "task_en"), "a score")
    as_it_is = {"slack": 0.1, "weight": 1.0}
    return Tuned(
        "mean", tuple(results), best, *paths, as_it_is, method, True, columns, "?", verdict
    )


LINES = search(
    [
        trial("", 0.4),
        *(trial("", 0.4 + slack / 3, slack=slack) for slack in (0.0, 0.01, 0.02, 0.2, 0.21, 0.3)),
    ]
)
METHODS = search(
    [
        trial("", 0.4),
        trial("", 0.42, slack=0.2),
        *(trial("task_arithmetic", 0.4 + weight / 50, weight=weight) for weight in (0.5, 1.0)),
        trial("a_very_long_name_of_a_method", 0.5, slack=0.15, density=0.123456, weight=1.23456),
    ],
    "slack_ties",
)


def boxes(svg: str) -> list[tuple[float, float, float, float, str]]:
    """Return the place of each text of a picture: left, top, right, bottom."""
    found = []
    pattern = r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]*)<'
    for x, y, anchor, text in re.findall(pattern, svg):
        width = WIDE * len(text)
        left = float(x) - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        found.append((left, float(y) - HIGH, left + width, float(y), text))
    return found


@pytest.mark.parametrize("found", [LINES, METHODS])
def test_no_text_covers_another_or_leaves_the_picture(found: Tuned) -> None:
    """Labels of trials that are close together are left out; long names are cut."""
    for _, svg in charts_of(found, shares=True):
        places = boxes(svg)
        assert len(places) > 5
        for one, other in combinations(places, 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1]
            assert apart or other[3] <= one[1], (one, other)
        for left, _, right, _, text in places:
            assert left >= -1, text
            assert right <= 412, text


def test_one_method_is_a_line_with_marks() -> None:
    """The score with error bars, the best point and both held-out scores; then all tasks."""
    (title, score), (of_parts, parts) = charts_of(LINES, shares=True)

    assert title == "mean by slack"
    assert of_parts == "task_bo and task_en by slack"
    assert score.count('<path class="bar s1"') == score.count('<circle class="dot f1"') == 7
    assert score.count('<circle class="ring"') == 2  # and its key
    assert score.count('<path class="held" d="M') == 4  # two diamonds, and their keys
    assert score.count('<path class="bar held"') == 2
    for text in ("best: 50.0 ±5.0", "held-out, best: 44.0 ±5.0", "held-out, config as it is: 40.0"):
        assert text in score
    assert parts.count('<circle class="dot') == 14
    assert parts.count('<path class="bar') == 14


def test_several_methods_have_a_row_for_each_trial() -> None:
    """With the score, each task and the held-out score."""
    ((title, drawn),) = charts_of(METHODS, shares=True)

    assert title == "mean of all trials"
    assert drawn.count('<circle class="dot') == 5 * 3 + 3  # and the keys
    assert "mean, held-out: 44 %" in drawn
    assert "* a_very_long_name_of_a_method" in drawn
    assert drawn.count("as the config (slack_ties: slack 0.1, weight 1)</text>") == 1


@pytest.mark.parametrize("method", ["", "task_arithmetic"])
def test_the_axis_of_shares_ends_at_0_and_100_percent(method: str) -> None:
    """Error bars that reach below 0 and above 100 % are cut there."""
    results = [trial("", 0.02), trial(method, 0.98, weight=2.0)]

    for _, svg in charts_of(search(results, "slack_ties"), shares=True):
        ticks = [float(text[:-2]) for *_, text in boxes(svg) if text.endswith(" %")]
        assert (min(ticks), max(ticks)) == (0, 100)


def test_two_texts_have_an_axis_each() -> None:
    """Perplexities of 900 and of 9 on one axis would show nothing."""
    results = [
        TrialResult({}, 90.0, {"text": 900.0, "text sft": 9.0}),
        TrialResult({"slack": 0.2}, 91.0, {"text": 890.0, "text sft": 9.3}),
    ]
    paths = [Path(name) for name in ("a.yml", "a.json", "a.html")]
    found = Tuned("perplexity", tuple(results), results[0], *paths, {"slack": 0.1})

    titles = [title for title, _ in charts_of(found, shares=False)]

    assert titles == ["perplexity by slack", "text by slack", "text sft by slack"]
