"""Results of evaluations: the file, the statistics, the table and the sentences."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evaluations import ENGLISH, TIBETAN, an_evaluation, model, right, score
from slack_ties.errors import OutputError
from slack_ties.evaluation.differences import (
    at_chance,
    comparable,
    difference_on,
    differences_of,
    mean_at_chance,
    mean_difference,
    mean_score,
)
from slack_ties.evaluation.file import (
    evaluation_as_json,
    is_of,
    read_evaluation,
    weights_digest,
    write_evaluation,
)
from slack_ties.evaluation.scores import Evaluated, Score, TaskScore
from slack_ties.evaluation.sentences import notes_of, sentences_of
from slack_ties.evaluation.shown import ShownEvaluation
from slack_ties.evaluation.statistics import (
    binomial_tail,
    mean_of_pairs,
    paired,
    sign_test,
    standard_error,
    students_t,
)
from slack_ties.record import MergeRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)

FLOATS = st.integers(-(10**6), 10**6).map(lambda one: one / 7)

PAIRS = st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=30)


# The file


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=20))
def test_every_digit_of_a_number_is_kept(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    """A file that is read has the very numbers that were written."""
    task = replace(TIBETAN, metric="f1", items=len(values), of=len(values))
    found = TaskScore({"f1": Score(values[0], abs(values[-1]))}, tuple(values), 1)
    written = an_evaluation(
        tasks=(task,), models=(Evaluated("OUT", "merged", {task.name: found}, "d" * 40, "float32"),)
    )
    path = write_evaluation(written, tmp_path_factory.getbasetemp() / "floats.json")
    assert vars(read_evaluation(path)) == vars(written)


def test_the_file_is_the_same_each_time(tmp_path: Path) -> None:
    """Equal evaluations give equal bytes, whatever the order of their mappings."""
    one = an_evaluation()
    turned = replace(
        one,
        models=tuple(replace(m, scores=dict(reversed([*m.scores.items()]))) for m in one.models),
        settings=dict(reversed([*one.settings.items()])),
    )
    first = write_evaluation(one, tmp_path / "one.json")
    second = write_evaluation(turned, tmp_path / "two.json")
    assert first.read_bytes() == second.read_bytes()
    assert write_evaluation(read_evaluation(first), tmp_path).read_bytes() == first.read_bytes()
    assert json.loads(first.read_text(encoding="utf-8")) == evaluation_as_json(one)


def _set(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


SCORES = ("models", 1, "scores", "arc_easy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("tasks", value=[]), "tasks: expected 1 to 500 of them, got 0"),
        (_set("models", value=7), "models: expected a list, got 7"),
        (_set("models", 0, "role", value="best"), "models[0].role: expected one of merged, base"),
        (
            _set("models", 1, "role", value="merged"),
            "expected one merged model, which is the first",
        ),
        (_set("models", 1, "commit", value="main"), "the base model: commit: expected 40 hex"),
        (_set("models", 1, "name", value="x" * 5000), "expected a text of 1 to 4,096 characters"),
        (_set("models", 1, "scores", "mmlu", value={"metrics": {}}), "got 'mmlu'"),
        (_set(*SCORES, "metrics", "acc", "value", value=math.nan), "expected a number, got nan"),
        (_set(*SCORES, "metrics", "acc", "value", value=True), "expected a number, got True"),
        (_set(*SCORES, "metrics", "acc", "value", value=0.9), "the mean of its values, 0.68, got"),
        (_set(*SCORES, "metrics", "acc", "stderr", value=-1), "expected a number from 0 on"),
        (_set(*SCORES, "metrics", value={}), "expected the metric 'acc'"),
        (_set(*SCORES, "values", value=[1, 0]), "expected 100 of them, got '2'"),
        (_set(*SCORES, "values", value="1" * 100), "values: expected a list, got '111"),
        (
            _set(*SCORES, "truncated", value=1.5),
            "expected a whole number from 0 to 10,000,000, got 1.5",
        ),
        (
            _set("tasks", 0, "items", value=200),
            "of: expected a whole number from 200 to 10,000,000, got 100",
        ),
        (
            _set("tasks", 0, "fewshot", value=10**50),
            "fewshot: expected a whole number from 0 to 10",
        ),
        (_set("tasks", 0, "x" * 9999, value=1), "tasks[0]: unknown key 'xxxx"),
        (_set("tasks", 0, "name", value="arc_easy"), "tasks: expected each task once"),
        (_set("tasks", 0, "dataset", value="../x"), "the id of a dataset on the Hub, got '../x'"),
        (_set("tasks", 0, "about", value="bo"), "about: expected one of 'language', 'english'"),
        (_set("tasks", 0, "note", value="x"), "tasks[0]: unknown key 'note'"),
        (_set("tasks", 0, value={}), "tasks[0]: the key 'name' is missing"),
        (_set("tasks", 0, value="x"), "tasks[0]: expected keys and values, got 'x'"),
        (_set("settings", value=[]), "settings: expected keys and values, got []"),
        (_set("models", 1, "scores", value=3), "models[1].scores: expected keys and values, got 3"),
        (
            _set(*SCORES, "metrics", "acc", value=0.5),
            "models[1].scores['arc_easy'].metrics['acc']: expected keys and values, got 0.5",
        ),
        (_set("settings", "limit", value="x"), "settings.limit: expected a whole number"),
        (_set("versions", "torch", value=2.6), "versions.torch: expected a text, got 2.6"),
        (_set("settings", "deep", value=[[[[[[1]]]]]]), "settings.deep: expected a number"),
    ],
)
def test_a_wrong_file_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    """A file that somebody edited is refused in one line that says what is wrong."""
    path = write_evaluation(an_evaluation(), tmp_path)
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(OutputError) as error:
        read_evaluation(tmp_path)
    assert said in str(error.value)
    assert len(str(error.value)) < 400 + len(str(tmp_path))
    assert str(error.value).startswith(f"{path} is no evaluation of slack-ties: ")
    assert error.value.hint == f"slack-ties evaluate {tmp_path} --overwrite"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "no JSON from line 1, column 2 on"),
        ("[]", r"it: expected keys and values, got \[\]"),
        ("{}", "the key 'evaluation' is missing"),
        ("[" * 100_000, "nested too deeply"),
        ('{"evaluation": 2}', "expected evaluation version 1, got 2"),
        (f'{{"evaluation": "{9999 * "x"}"}}', "expected evaluation version 1, got .x{299}\n"),
        ("\ud800", "no UTF-8 text from byte 0 on"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    """A file that is no evaluation is refused, not a traceback."""
    (tmp_path / "evaluation.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(OutputError, match=said):
        read_evaluation(tmp_path)


def _places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values of a JSON document, of long lists those of the first."""
    items = [*(data.items() if isinstance(data, dict) else [])]
    items += [*enumerate(data[:2])] if isinstance(data, list) else []
    return [at, *(place for key, one in items for place in _places(one, (*at, key)))]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.data())
def test_whatever_the_file_has_it_is_shown_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A value of any kind at any place of the file gives one error, or texts that are shown."""
    content = evaluation_as_json(an_evaluation())
    place = data.draw(st.sampled_from(_places(content)))
    value = data.draw(VALUES)
    if place:
        _set(*place, value=value)(content)
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(content if place else value), encoding="utf-8")
    try:
        found = read_evaluation(path)
    except OutputError:
        return
    assert found.as_text().replace("\n", "").isprintable()
    assert found.as_html()
    assert notes_of(found) is not None
    assert differences_of(found) is not None


def test_a_missing_or_huge_file(tmp_path: Path) -> None:
    """A folder without the file says so; a huge file is not read."""
    with pytest.raises(OutputError, match=r"there is no evaluation\.json in"):
        read_evaluation(tmp_path)
    with (tmp_path / "evaluation.json").open("wb") as file:
        file.truncate(50_000_001)
    with pytest.raises(OutputError, match="more than 50,000,000 bytes"):
        read_evaluation(tmp_path)


def test_a_wrong_evaluation_is_not_written(tmp_path: Path) -> None:
    """What could not be read again is not written."""
    wrong = an_evaluation(models=(model("merged", 60, 70), model("merged", 1, 1)))
    with pytest.raises(OutputError, match="one merged model"):
        write_evaluation(wrong, tmp_path)
    nan = an_evaluation(settings={"seed": math.nan})
    with pytest.raises(OutputError, match=r"settings\.seed: expected a number, got nan"):
        write_evaluation(nan, tmp_path)
    with pytest.raises(OutputError, match="cannot write"):
        write_evaluation(an_evaluation(), tmp_path / "none" / "evaluation.json")
    assert not [*tmp_path.iterdir()]


def test_an_evaluation_belongs_to_weights() -> None:
    """An evaluation is one of a merge only if it names the checksum of its weights."""
    record = MergeRecord("ties", "float32", 1, (), {}, files={"a": "1", "b": "2"})
    digest = weights_digest(record)
    assert weights_digest(replace(record, files={"b": "2", "a": "1"})) == digest
    assert is_of(an_evaluation(settings={"weights": digest}), record)
    assert not is_of(an_evaluation(), record)
    assert not is_of(an_evaluation(settings={"weights": ""}), replace(record, files={}))


# Statistics


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (100, 1.984), (10**6, 1.960)],
)
def test_quantiles_of_student(freedom: int, quantile: float) -> None:
    """The quantiles are those of the printed tables."""
    assert students_t(freedom) == pytest.approx(quantile, rel=2e-3 if freedom < 5 else 3e-4)


def test_the_sign_test_by_hand() -> None:
    """Five of five wins are not enough for 5 %, six of six are."""
    assert sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(0, 6) == pytest.approx(2 / 64)
    assert sign_test(1, 7) == pytest.approx(2 * 9 / 256)
    assert sign_test(3, 3) == 1
    assert sign_test(0, 0) == 1


@given(st.integers(0, 200), st.integers(0, 200), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
def test_tails_are_sums_of_the_binomial_distribution(k: int, n: int, share: float) -> None:
    """The tail is the sum of its terms, as integers give them."""
    assume(k <= n)
    exact = math.fsum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k, n + 1))
    assert binomial_tail(k, n, share) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("least", "tail"), [(0, 1), (4_990_001, 1), (5_000_001, 0.5)])
def test_a_tail_of_the_most_items_takes_no_time(least: int, tail: float) -> None:
    """A file that says that a task has ten million items does not hold up who reads it."""
    assert binomial_tail(least, 10_000_000, 0.5) == pytest.approx(tail, abs=1e-3)
    assert binomial_tail(10_000_000 - 1, 10_000_000, 0.5) == 0


def test_a_difference_by_hand() -> None:
    """Eight items: one lost, five won, two equal."""
    found = paired([1, 1, 1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1, 1, 0])
    assert (found.wins, found.losses, found.items) == (5, 1, 8)
    assert found.mean == 0.5
    assert found.stderr == pytest.approx(math.sqrt(4 / 7 / 8))
    # With one more win and one more loss: mean 4 / 10, squares 8 - 10 * 0.16.
    half = 2.2622 * math.sqrt((8 - 1.6) / 9 / 10)
    assert found.low == pytest.approx(0.4 - half, abs=1e-4)
    assert found.high == pytest.approx(min(1, 0.4 + half), abs=1e-4)
    assert not found.decided


@pytest.mark.parametrize("items", range(1, 9))
def test_few_items_decide_nothing_by_luck(items: int) -> None:
    """If one model has all items and the other none, that counts from six items on."""
    found = paired([1.0] * items, [0.0] * items)
    assert found.low < found.high == 1
    assert found.decided == (items >= 6)
    assert paired([0.5] * items, [0.1] * items).low < 0.4
    assert not paired([0.5] * items, [0.5] * items).decided


def test_both_tests_must_agree() -> None:
    """An interval alone decides nothing: the sign test, or the sixth item, can be missing."""
    wins, losses, equal = 20, 9, 971
    found = paired(
        [1.0] * wins + [0.0] * (losses + equal), [0.0] * wins + [1.0] * losses + [0.0] * equal
    )
    assert found.low > 0
    assert sign_test(wins, losses) == pytest.approx(0.0614, abs=1e-4)
    assert not found.decided

    five, six = (paired([1.0] * items, [0.2] * items) for items in (5, 6))
    assert five.low > 0
    assert not five.decided
    assert six.decided


@given(BITS)
def test_laws_of_differences_of_bits(bits: list[tuple[bool, bool]]) -> None:
    """Swapped models swap the signs; the interval has a width and contains the mean."""
    first, second = ([float(one[i]) for one in bits] for i in (0, 1))
    found, swapped = paired(first, second), paired(second, first)
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx(
        (-found.mean, -found.high, -found.low)
    )
    assert swapped.decided == found.decided
    assert -1 <= found.low < found.high <= 1
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    assert not paired(first, first).decided
    assert found.stderr == standard_error([a - b for a, b in zip(first, second, strict=True)])


@given(PAIRS)
def test_laws_of_differences_of_numbers(pairs: list[tuple[float, float]]) -> None:
    """They hold for every metric, and no few items decide."""
    first, second = zip(*pairs, strict=True)
    found = paired(first, second)
    assert found.low < found.high
    slack = 1e-9 * max(1.0, *map(abs, first), *map(abs, second))
    assert found.low - slack <= found.mean <= found.high + slack
    assert not found.decided or found.wins + found.losses >= 6
    moved = paired([one * 4 for one in first], [one * 4 for one in second])
    assert moved.decided == found.decided or found.binary or moved.binary


@pytest.mark.parametrize("items", [6, 10, 25])
@pytest.mark.parametrize("differ", [0.1, 0.5, 1.0])
def test_equal_models_are_told_apart_in_at_most_5_percent(items: int, differ: float) -> None:
    """Counted over all outcomes: models that are equally good differ decidedly in 5 % at most."""
    total = 0.0
    for wins in range(items + 1):
        for losses in range(items + 1 - wins):
            equal = items - wins - losses
            found = paired(
                [1.0] * wins + [0.0] * (losses + equal),
                [0.0] * wins + [1.0] * losses + [0.0] * equal,
            )
            ways = math.comb(items, wins) * math.comb(items - wins, losses)
            likely = (differ / 2) ** (wins + losses) * (1 - differ) ** equal
            total += ways * likely * found.decided
    assert total <= 0.05


def test_a_difference_needs_the_same_items() -> None:
    """Different numbers of items, or none, are refused."""
    for first, second in (([1.0], [1.0, 0.0]), ([], [])):
        with pytest.raises(ValueError, match="expected values of the same items"):
            paired(first, second)
    with pytest.raises(ValueError, match="at least one task"):
        mean_of_pairs([])


@given(BITS)
def test_the_mean_of_one_task_is_that_task(bits: list[tuple[bool, bool]]) -> None:
    """The mean over one task says the same as the task."""
    one = paired([float(a) for a, _ in bits], [float(b) for _, b in bits])
    mean = mean_of_pairs([one])
    assert (mean.low, mean.high, mean.mean) == pytest.approx((one.low, one.high, one.mean))
    assert mean.decided == one.decided or abs(one.low) < 1e-9 or abs(one.high) < 1e-9


# Differences


def test_differences_of_models() -> None:
    """The merged model is better in Tibetan, worse than the SFT model in English."""
    found = differences_of(an_evaluation())
    signs = {key: one.sign for key, one in found.items()}
    assert signs == {
        ("belebele_bod_Tibt", 1): 1,
        ("belebele_bod_Tibt", 2): 1,
        ("belebele_bod_Tibt", 3): 1,
        ("arc_easy", 1): 0,
        ("arc_easy", 2): 1,
        ("arc_easy", 3): -1,
    }
    assert found["arc_easy", 3].paired.mean == pytest.approx(-0.2)
    assert found["arc_easy", 3].model == "org/sft"


def test_less_can_be_better() -> None:
    """A smaller perplexity is the better one."""
    task = replace(TIBETAN, metric="word_perplexity", more_is_better=False, chance=None)
    low, high = (
        Evaluated("m", role, {task.name: score([a + i % 7 for i in range(100)], task.metric)})
        for role, a in (("merged", 1.0), ("sft", 5.0))
    )
    found = difference_on(task, low, high)
    assert found
    assert found.sign == 1
    assert found.paired.high < 0


def test_scores_that_are_no_means_are_not_compared() -> None:
    """A score that is not the mean of the items' values is not compared item by item."""
    task = replace(TIBETAN, metric="mcc")
    merged = Evaluated("m", "merged", {task.name: TaskScore({"mcc": Score(0.9)}, (1.0,) * 100)})
    other = Evaluated("b", "base", {task.name: score([0.0] * 100, "mcc")})
    assert difference_on(task, merged, other) is None
    assert difference_on(task, other, merged) is None
    none = Evaluated("c", "ct", {})
    assert difference_on(task, none, other) is None
    empty = Evaluated("d", "ct", {task.name: TaskScore({"mcc": Score(0.1)})})
    assert difference_on(task, empty, empty) is None


@pytest.mark.parametrize(
    ("right_items", "items", "chance", "guesses"),
    [
        (3, 3, 0.25, False),  # 0.25 ** 3 is below 2.5 %
        (2, 2, 0.25, True),
        (33, 100, 0.25, True),
        (35, 100, 0.25, False),
        (0, 100, 0.25, True),
        (60, 100, 0.5, True),
        (25, 100, None, False),
    ],
)
def test_chance(right_items: int, items: int, chance: float | None, guesses: bool) -> None:  # noqa: FBT001
    """A score is at chance if the exact interval of its items does not lie above chance."""
    task = replace(TIBETAN, items=items, of=items, chance=chance)
    assert at_chance(task, Score(right_items / items)) == guesses


def test_chance_of_other_scores() -> None:
    """A score above 1 has its normal interval; where less is better, nothing is said."""
    task = replace(TIBETAN, chance=25.0)
    assert at_chance(task, Score(27.0, 1.5))
    assert not at_chance(task, Score(27.0, 0.5))
    assert not at_chance(replace(task, more_is_better=False), Score(27.0, 1.5))


def test_means_of_tasks() -> None:
    """Tasks count alike, and their errors are independent."""
    tasks = (TIBETAN, replace(ENGLISH, about="language"))
    evaluation = an_evaluation(tasks=tasks)
    assert comparable(evaluation, "language") == tasks
    assert comparable(evaluation, "english") == ()
    merged, base, _, sft = evaluation.models
    mean = mean_score(merged, tasks)
    assert mean
    assert mean.score.value == pytest.approx(0.65)
    errors = [merged.scores[task.name].metrics["acc"].stderr for task in tasks]
    assert mean.score.stderr == pytest.approx(math.sqrt(sum(e * e for e in errors if e)) / 2)
    assert mean.chance == 0.25
    assert not mean_at_chance(mean, tasks)
    assert mean_at_chance(replace(mean, score=Score(0.30)), tasks)
    assert not mean_at_chance(replace(mean, score=Score(0.32)), tasks)
    better, mixed = (mean_difference(merged, other, tasks) for other in (base, sft))
    assert better
    assert better.sign == 1
    assert better.paired.mean == pytest.approx((0.34 + 0.02) / 2)
    assert mixed
    assert mixed.paired.mean == pytest.approx(0.05)
    assert mixed.sign == 0
    assert mean_difference(merged, replace(base, scores={}), tasks) is None
    assert mean_score(replace(base, scores={}), tasks) is None


def test_other_metrics_have_no_mean() -> None:
    """Perplexities and scores of 0 to 100 are in no mean."""
    less = replace(TIBETAN, more_is_better=False)
    assert comparable(an_evaluation(tasks=(less, ENGLISH)), "language") == ()
    large = model("base", scores={TIBETAN.name: score([30.0] * 100)})
    models = (model("merged", 60, 70), large)
    assert comparable(an_evaluation(models=models), "language") == ()


# The table


def _shown(**fields: Any) -> ShownEvaluation:
    return ShownEvaluation(**vars(an_evaluation(**fields)))


def test_the_table() -> None:
    """The table has a row for each task, a column for each model, and marks with a legend."""
    lines = _shown().as_text().splitlines()
    assert lines[:18] == [
        "merged  OUT",
        "base    org/base",
        "CT      org/ct",
        "SFT     org/sft",
        "",
        "         merged       base            CT          SFT     chance  items  shots",
        "in the target language",
        "  belebele_bod_Tibt",
        "      60.0 ±4.9  26.0 ±4.4 +~  45.0 ±5.0 +  30.0 ±4.6 +~    25.0    100      0",
        "in English",
        "  arc_easy",
        "      70.0 ±4.6  68.0 ±4.7     40.0 ±4.9 +  90.0 ±3.0 -     25.0    100      0",
        "",
        "± one standard error",
        "scores in percent",
        "shots: examples before each item",
        "+ the merged model is better than this one, by more than the uncertainty",
        "- the merged model is worse than this one, by more than the uncertainty",
    ]
    assert "chance alone can give 5 % of comparisons a + or -; here are 6" in lines
    assert max(map(len, lines)) <= 79


def test_the_table_of_one_model() -> None:
    """With the merged model alone there is one column, and names stand in their rows."""
    one = _shown(models=(model("merged", 60, 20, dtype="bfloat16", commit="d" * 40),))
    lines = one.as_text().splitlines()
    assert lines[0] == "merged  OUT at commit ddddddd, bfloat16"
    assert lines[4] == "  belebele_bod_Tibt  60.0 ±4.9      25.0    100      0"
    assert lines[6] == "  arc_easy           20.0 ±4.0 ~    25.0    100      0"
    assert "decided" not in one.as_text()
    assert repr(one) == "<Evaluation: OUT: 2 tasks, 1 model>"


def test_the_table_of_other_scores() -> None:
    """A perplexity is no percentage, a missing score is a dash, a mean has a row."""
    task = replace(TIBETAN, metric="word_perplexity", more_is_better=False, chance=None, about="")
    both = (replace(ENGLISH, name="one"), replace(ENGLISH, name="two"))
    scores = {"one": right(80), "two": right(70)}
    low, high = (
        Evaluated(
            f"org/{role}-{n}",
            role,
            {**scores, task.name: score([a + i % 7 for i in range(100)], task.metric)},
        )
        for n, (role, a) in enumerate([("merged", 1.0), ("ct", 5.0)])
    )
    third = replace(high, name="org/ct-2", scores=scores)
    text = _shown(tasks=(task, *both), models=(low, high, third)).as_text()
    assert "CT 1    org/ct-1" in text
    assert "mean of 2 tasks" in text
    assert text.count("75.0 ±3.1") == 3
    assert "3.95 ±0.2  7.95 ±0.2 +" in text
    assert "less is better in belebele_bod_Tibt" in text
    assert "scores in percent, except of belebele_bod_Tibt" in text
    assert "The CT 2 model has no score of belebele_bod_Tibt." in text


def test_names_of_others_do_no_harm() -> None:
    """Control characters of a name are visible in a terminal, and HTML is escaped."""
    bad = _shown(models=(model("merged", 60, 70, name="<script>\x1b[2J"),))
    assert "\x1b" not in bad.as_text()
    assert "\\x1b" in bad.as_text()
    assert "<script>" not in bad.as_html()
    assert "&lt;script&gt;" in bad.as_html()
    assert "<td" in bad.as_html()


# Sentences


def _said(*numbers: tuple[int, int], **fields: Any) -> str:
    roles = ("merged", "base", "ct", "sft")
    models = tuple(model(role, *pair) for role, pair in zip(roles, numbers, strict=False))
    return " ".join(sentences_of(an_evaluation(models=models, **fields), "Tibetan"))


def test_better_worse_and_undecided_are_said() -> None:
    """Each comparison is said once, by its rule."""
    first, second = sentences_of(an_evaluation(), "Tibetan")
    assert first == (
        "On belebele_bod_Tibt (in Tibetan), the merged model scores 60.0 % (the base 26.0 %, the "
        "CT model 45.0 %, the SFT model 30.0 %); guessing gives 25.0 %. It is better than the "
        "base, the CT model and the SFT model, by more than the uncertainty."
    )
    assert second.endswith(
        "It is better than the CT model, by more than the uncertainty. It is worse than the SFT "
        "model, by more than the uncertainty. Against the base nothing is decided."
    )


def test_all_at_chance_says_nothing_about_the_model() -> None:
    """If all models guess, no comparison is said, however large the difference."""
    said = _said((33, 20), (20, 30), (25, 25), (28, 22))
    assert (
        said.count(
            "With these 100 items, none of the models can be told from guessing: this says nothing "
            "about the model."
        )
        == 2
    )
    assert "better" not in said
    assert "worse" not in said


def test_scores_below_chance_are_not_better_than_guessing() -> None:
    """That is a fact of the scores, however few the items; of one above chance it is not known."""
    said = _said((25, 20), (20, 25), (25, 25), (25, 22))
    assert said.count("No model scores better than guessing: this says nothing about the") == 2
    assert "told from" not in said
    assert "The merged model does not score better than guessing: this" in _said((25, 70))


def test_few_items_cannot_tell_a_model_from_guessing() -> None:
    """One of two right is no sign of guessing, nor of anything else: more items are needed."""
    two = {TIBETAN.name: right(1, 2)}
    models = (model("merged", scores=two), model("ct", scores={TIBETAN.name: right(0, 2)}))
    task = replace(TIBETAN, items=2, of=900)
    (said,) = sentences_of(an_evaluation(tasks=(task,), models=models))
    assert said.endswith(
        "guessing gives 25.0 %. With these 2 items, none of the models can be told from guessing: "
        "this says nothing about the model. More items are needed."
    )
    (alone,) = sentences_of(an_evaluation(tasks=(task,), models=models[:1]))
    assert "the merged model cannot be told from guessing: this says nothing" in alone
    (all_of_it,) = sentences_of(an_evaluation(tasks=(replace(task, of=2),), models=models))
    assert "More items" not in all_of_it


def test_a_merged_model_at_chance_is_called_that() -> None:
    """If only the merged model guesses, that is said, and that it is worse."""
    said = _said((26, 70), (27, 70), (60, 70), (25, 70))
    assert "With these 100 items, the merged model cannot be told from guessing. It" in said
    assert "It is worse than the CT model, by more than the uncertainty." in said
    assert "Against the base and the SFT model nothing is decided." in said


def test_equal_models_decide_nothing() -> None:
    """If nothing is decided, nothing is called better."""
    said = _said((60, 60), (58, 61), (60, 60), (61, 59))
    assert said.count("Against the base, the CT model and the SFT model nothing is decided.") == 2
    assert "better" not in said
    text = _shown(models=(model("merged", 60, 60), model("base", 60, 60))).as_text()
    assert "no + and no -: nothing is decided" in text


def test_a_model_alone() -> None:
    """Without other models there is the score, and chance."""
    assert _said((60, 70)).endswith("scores 70.0 %; guessing gives 25.0 %.")
    assert "the merged model cannot be told from guessing" in _said((26, 70))


def test_scores_without_items_are_not_compared_in_words() -> None:
    """A corpus score is shown, and that it cannot be compared."""
    scores = {TIBETAN.name: TaskScore({"acc": Score(0.5)})}
    models = tuple(model(role, scores=scores) for role in ("merged", "ct"))
    said = sentences_of(an_evaluation(tasks=(TIBETAN,), models=models))
    assert said[0].endswith("It cannot be compared item by item with the CT model.")


def test_means_and_many_tasks_in_words() -> None:
    """Tasks of a subject have one sentence about their mean; of others three are named."""
    tasks = tuple(replace(TIBETAN, name=f"t{i}") for i in range(5))
    models = tuple(
        Evaluated(role, role, {task.name: right(number) for task in tasks})
        for role, number in (("merged", 50), ("sft", 40))
    )
    said = sentences_of(an_evaluation(tasks=tasks, models=models), "Tibetan")
    assert said == [
        "On 5 tasks in Tibetan, in the mean, the merged model scores 50.0 % (the SFT model "
        "40.0 %); guessing gives 25.0 %. It is better than the SFT model, by more than the "
        "uncertainty."
    ]
    others = tuple(replace(task, about="") for task in tasks)
    said = sentences_of(an_evaluation(tasks=others, models=models), "Tibetan")
    assert len(said) == 4
    assert said[-1] == "The table shows 2 more tasks."


def test_notes() -> None:
    """What weakens the results is said: first items, dtypes, cut items, missing scores."""
    cut = replace(right(50), truncated=12)
    models = (
        model("merged", 60, 70, dtype="bfloat16"),
        model("ct", scores={TIBETAN.name: cut}, dtype="float32"),
    )
    tasks = (TIBETAN, replace(ENGLISH, of=2376))
    settings = {"limit": 100, "chat_template": True}
    notes = notes_of(an_evaluation(tasks=tasks, models=models, settings=settings))
    assert notes == [
        "Only the first 100 items of arc_easy (of 2,376) were scored: these are not the scores of "
        "the whole benchmark.",
        "The models ran in different dtypes (merged bfloat16, CT float32): a part of a difference "
        "can come from that.",
        "Each item was put into the model's chat template, if the model has one.",
        "The CT model has no score of arc_easy.",
        "belebele_bod_Tibt: some of its 100 items have too many tokens, and the model did not see "
        "their beginning: 12 for the CT model.",
    ]
    assert notes_of(an_evaluation()) == []


def test_tasks_with_the_same_items_are_named() -> None:
    """Their errors are not independent, as the error of the mean supposes."""
    other = replace(TIBETAN, name="other")
    scores = {TIBETAN.name: right(60), "other": right(50)}
    one = model("merged", scores=scores)
    assert notes_of(an_evaluation(tasks=(TIBETAN, other), models=(one,))) == [
        "belebele_bod_Tibt and other have the same items: the uncertainty of their mean is larger "
        "than shown."
    ]
