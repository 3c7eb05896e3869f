"""The other rule that experiments/saturation tries: its merges, its rows, its table, a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "saturation"
sys.path[:0] = [str(EXPERIMENT), str(EXPERIMENT.parent)]

from bench import Bench
from beside import other_rules
from common.markup import MISSING
from methods import BY_NAME
from modes import MODES
from rows import Row, bits, read_rows, write_table
from rules import OF_RULE, SHARES, WEIGHTS, merged, rules, try_rules
from train import new_model

ITEMS = 10


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench with three models that chance has made."""
    made = Bench(MODES["smoke"], tmp_path, 0)
    for seed, name in enumerate(("base", "ct-x-2", "sft-plenty")):
        made.save(new_model(seed, 16, 1), name)
    return made


def rule_of(method: str, **values: float) -> object:
    """Return the rule that has these values."""
    (found,) = (rule for name, held, rule in rules() if (name, held) == (method, values))
    return found


def test_the_rule_by_hand() -> None:
    """Where signs are opposite a share of the CT delta is added; elsewhere all of it is."""
    base = {"w": torch.tensor([[1.0, 1.0], [1.0, 1.0]])}
    ct = {"w": torch.tensor([[5.0, 5.0], [-3.0, 1.0]])}
    sft = {"w": torch.tensor([[2.0, 0.0], [2.0, 3.0]])}
    made = merged(base, ct, sft, rule_of("conflicts", ct_weight=1.0, share=0.5))["w"]
    assert made.tolist() == [[6.0, 2.0], [0.0, 3.0]]
    lighter = merged(base, ct, sft, rule_of("conflicts", ct_weight=0.7, share=0.25))["w"]
    assert lighter.flatten().tolist() == pytest.approx([4.8, 0.7, 1.3, 3.0])


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("name", ["task_arithmetic", "slack_ties"])
def test_a_merge_in_memory_is_mergekit_s(bench: Bench, name: str, weight: float) -> None:
    """Task arithmetic and slack_ties are the experiment's own merges, but for rounding."""
    method, model = BY_NAME[name], bench.load("base")
    values = {**method.default, "lambda": weight, "sft_weight": 1 / weight}
    bench.merge(model, method, values, "plenty", 2)
    parts = (bench.weights(part) for part in ("base", "ct-x-2", "sft-plenty"))
    held = {key: method.default[key] for key in ("density", "slack") if key in method.default}
    made = merged(*parts, rule_of(name, ct_weight=weight, **held))
    expected = model.state_dict()
    assert made.keys() == expected.keys()
    far = sum(int(((made[key] - expected[key]).abs() > 1e-5).sum()) for key in made)
    assert far == 0


def test_every_merge_has_a_row(bench: Bench) -> None:
    """Each has its values and which tasks of the validation split were right."""
    try_rules(bench, "plenty", 2)
    rows = read_rows(bench.table("rules-plenty-2"))
    assert len(rows) == 2 * len(WEIGHTS) + len(SHARES) * len(OF_RULE)
    assert len({(row.method, row.values) for row in rows}) == len(rows)
    assert {(row.language, row.items) for row in rows} == {("x", bench.mode.validation)}
    assert all(int(row.right, 16).bit_count() == round(row.accuracy * row.items) for row in rows)


def rows_of(seed: int, ct: int, perplexity: float) -> list[Row]:
    """Return a curve from 2 to 8 with 2 and 6 tasks right, and a rule with 7 at a perplexity."""
    found = {
        ("task_arithmetic", "ct_weight=1"): (2.0, 2),
        ("task_arithmetic", "ct_weight=0.4"): (8.0, 6),
        ("conflicts", "ct_weight=1 share=0.5"): (perplexity, 7),
    }
    return [
        Row(
            *(seed, "plenty", ct, method, "rule", values, "x", ITEMS, right / ITEMS, 0.0),
            perplexity=at,
            right=bits(item < right for item in range(ITEMS)),
        )
        for (method, values), (at, right) in found.items()
    ]


def test_rules_are_compared_at_the_same_perplexity(tmp_path: Path) -> None:
    """At 4, half way from 2 to 8 in logarithms, the curve has 4 right, and the rule 3 more."""
    assert other_rules(tmp_path) == MISSING
    rows = [row for seed in range(3) for row in rows_of(seed, 300, 4.0)]
    rows += [row for seed in range(3) for row in rows_of(seed, 1200, 16.0 if seed else 8.0)]
    write_table(tmp_path / "rules.csv", rows)
    head, _, *lines = other_rules(tmp_path).splitlines()
    assert [cell.strip() for cell in head.split("|")[4:9]] == [
        *("minus task arithmetic, all", "plenty, 300", "plenty, 1200", "seeds", "outside"),
    ]
    curve, _, rule = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert curve == ["task arithmetic, CT weight 1", "0.200", "2.00", "", "", "", "3", ""]
    assert rule[0] == "the rule, CT x 0.5 at conflicts, CT weight 1"
    assert rule[1] == "0.700"
    assert [cell.split(" ")[0] for cell in rule[3:6]] == ["+0.267", "+0.300", "+0.100"]
    assert rule[6:] == ["3", "2 of 6"]


@pytest.mark.slow
def test_a_run_of_rules(tmp_path: Path) -> None:
    """One command trains and merges what it needs, and does nothing twice."""
    command = [sys.executable, "-W", "ignore", str(EXPERIMENT / "rules.py"), "smoke"]
    command += ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    one = subprocess.run([*command, "--seeds", "1"], check=True, capture_output=True, text=True)
    assert "seed 0: try rules scarce 2" in one.stdout
    assert "seed 1" not in one.stdout
    path = tmp_path / "results" / "smoke" / "rules.csv"
    assert {row.seed for row in read_rows(path)} == {0}
    both = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "seed 0" not in both.stdout
    rows = read_rows(path)
    assert {(row.seed, row.sft, row.ct) for row in rows} == {
        (seed, sft, 2) for seed in range(2) for sft in ("plenty", "scarce")
    }
    assert (path.parent / "rules_versions.json").exists()
    assert "| the rule, CT x 0.5 at conflicts, CT weight 0.85 |" in other_rules(path.parent)
