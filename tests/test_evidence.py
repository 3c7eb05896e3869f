"""Tables, figures and claims of the experiment, from rows made here."""

from __future__ import annotations

import csv
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "saturation"
sys.path[:0] = [str(EXPERIMENT), str(EXPERIMENT.parent)]

from claims import claims, difference
from common.markup import MISSING
from costs import points
from figures import FIGURES, draw
from intervals import Part, Scores
from methods import BY_NAME
from rows import Row, bits, write_table
from slack_ties.config.defaults import RECOMMENDED
from tables import (
    TABLES,
    against_training,
    election,
    grid,
    methods,
    perplexity_ratios,
    put_back,
    saturation,
    sensitivity,
    three,
    verdicts,
)

SEEDS, ITEMS, CTS = range(3), 40, (75, 150, 600)
CELLS = [(sft, ct) for sft in ("plenty", "scarce") for ct in CTS]
# Share of right answers by method, at each CT budget.
SHARES = {
    "base": (0.0, 0.0, 0.0),
    "ct": (0.0, 0.0, 0.0),
    "sft": (0.3, 0.3, 0.3),
    "ct_then_sft": (0.4, 0.5, 0.6),
    "ties": (0.3, 0.5, 0.1),
    "ties_sum": (0.4, 0.4, 0.3),
    "slack_ties": (0.5, 0.5, 0.5),
    "trimmed": (0.4, 0.5, 0.6),
    "soup": (0.2, 0.2, 0.2),
}
LOST = (0.1, 0.2, 0.4)


def row(cell: tuple[str, int], method: str, setting: str, share: float, **more: str | float) -> Row:
    """Return a row whose first tasks are right, as many as `share` says."""
    right = bits([item < round(share * ITEMS) for item in range(ITEMS)])
    perplexity = 6.0 if method == "slack_ties" else 4.0
    defaults: dict[str, object] = {"seed": 0, "language": "x", "perplexity": perplexity}
    made = {**defaults, **more, "items": ITEMS, "accuracy": share, "strict": share / 2}
    return Row(sft=cell[0], ct=cell[1], method=method, setting=setting, right=right, **made)  # type: ignore[arg-type]


def rows_of(seed: int) -> list[Row]:
    """Return the rows of tests.csv of a seed."""
    made = []
    for cell in CELLS:
        for method, shares in SHARES.items():
            share = shares[CTS.index(cell[1])]
            settings = ["default", "tuned", "fluent"] if method in BY_NAME else ["tuned", "fluent"]
            for setting in settings if method not in {"base", "ct"} else [""]:
                if (method, setting, cell) == ("ties", "fluent", ("plenty", 75)):
                    continue  # no trial of it was fluent
                made += [row(cell, method, setting, share, seed=seed, language=x) for x in "xe"]
    return made


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder of results in which every file has rows."""
    last = [cell for cell in CELLS if cell[1] == CTS[-1]]
    trials = [
        row(cell, method, "0", SHARES[method][CTS.index(cell[1])], seed=seed)
        for seed in SEEDS
        for cell in CELLS
        for method in ("ties", "ties_sum", "slack_ties", "trimmed")
    ]
    changed = {"as merged": 0.1, "lost": 0.4, "random": 0.2, "kept": 0.4}
    files = {
        "tests": [made for seed in SEEDS for made in rows_of(seed)],
        "trials": trials,
        "put_back": [
            row(cell, method, what, share, seed=seed)
            for seed in SEEDS
            for cell in last
            for method in ("ties", "ties_sum", "trimmed")
            for what, share in changed.items()
        ],
        "sensitivity": [
            row(cell, "slack_ties", "grid", slack, seed=seed, values=values)
            for seed in SEEDS
            for cell in last
            for slack in (0.0, 0.2)
            for normalize in (0, 1)
            for values in [f"density=0.5 slack={slack:g} normalize={normalize}"]
        ],
        "three": [
            row(cell, method, setting, SHARES[method][2], seed=seed, language=language)
            for seed in SEEDS
            for cell in last
            for method, setting in (
                *((name, "default") for name in ("ties", "ties_sum", "slack_ties", "trimmed")),
                ("slack_ties", "slack on all"),
                ("slack_ties", "default, pair"),
            )
            for language in "xye"
        ],
    }
    for name, rows in files.items():
        write_table(tmp_path / f"{name}.csv", rows)
    lost = [
        {"seed": seed, "sft": sft, "ct": ct, "ratio": 1.0, "top_lost": share, "energy_lost": 0.1}
        for seed in SEEDS
        for sft in ("plenty", "scarce")
        for ct, share in zip(CTS, LOST, strict=True)
    ]
    write_table(tmp_path / "lost.csv", lost)
    return tmp_path


def lines_of(table: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_what_is_compared_has_the_same_seeds(tmp_path: Path) -> None:
    """Of an unfinished run only the seeds that both sides have count, each with itself."""
    cell = ("plenty", 75)
    rows = [row(cell, "ties", "tuned", 0.1 * seed, seed=seed) for seed in (0, 2, 3)]
    rows += [row(cell, "soup", "tuned", 0.1 * seed + 0.05, seed=seed) for seed in (1, 2, 3)]
    rows += [row(cell, "della", "tuned", 0.5, seed=9)]
    write_table(tmp_path / "tests.csv", rows)
    scores = Scores(tmp_path / "tests.csv")
    effect = difference(("soup", "tuned"), ("ties", "tuned"), (cell,))
    assert scores.seeds(effect) == [2, 3]
    assert scores.accuracy(effect).value == pytest.approx(0.05)
    assert scores.perplexity(effect).value == pytest.approx(1.0)
    assert scores.can(effect)
    assert not scores.can(difference(("della", "tuned"), ("ties", "tuned"), (cell,)))
    assert not scores.can(difference(("soup", "tuned"), ("ties", "tuned"), ()))
    assert not scores.can([])


def test_a_perplexity_is_a_geometric_mean(tmp_path: Path) -> None:
    """Over seeds and cells; its ratio is that of the means."""
    cell = ("plenty", 75)
    perplexities = {"ties": (2.0, 8.0), "soup": (1.0, 4.0)}
    rows = [
        row(cell, method, "tuned", 0.5, seed=seed, perplexity=found[seed])
        for method, found in perplexities.items()
        for seed in (0, 1)
    ]
    write_table(tmp_path / "tests.csv", rows)
    scores = Scores(tmp_path / "tests.csv")
    found = scores.perplexity([(1, Part("ties", "tuned", (cell,)))])
    assert found.value == pytest.approx(4.0)
    ratio = scores.perplexity(difference(("ties", "tuned"), ("soup", "tuned"), (cell,)))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_table_of_saturation(results: Path) -> None:
    """A line for each cell, with the words read, what was lost, and an interval for each merge."""
    found = lines_of(saturation(results))
    assert len(found) == len(CELLS)
    assert found[2][:5] == ["plenty", "600", "1.23 M", "1.00", "40.0%"]
    shares = [float(cell.split()[0]) for cell in found[2][5:]]
    assert shares == [0.1, 0.3, 0.5, 0.6]
    assert all(re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", cell) for cell in found[2][5:])


def test_the_table_of_methods(results: Path) -> None:
    """The best first, slack_ties beside each; what was not fluent everywhere is marked."""
    tuned = {line[0]: line[1:] for line in lines_of(methods(results, "plenty", "tuned"))}
    assert next(iter(tuned)) == "slack_ties"  # 0.5 as two others, and the first of these
    assert tuned["slack_ties"][-1] == ""
    assert tuned["model soup"][1:4] == ["4.00", "0.200", "0.100"]
    assert tuned["model soup"][-1].startswith("+0.300 [+0.")
    assert tuned["CT, then SFT"][-1].startswith("+0.000 [-")
    fluent = {line[0]: line[1:] for line in lines_of(methods(results, "plenty", "fluent"))}
    assert fluent["TIES (in 2 of 3 cells)"][-1].startswith("+0.200 [+")


def test_what_slack_costs(results: Path) -> None:
    """The perplexity of slack_ties is one and a half times that of the others here."""
    found = lines_of(perplexity_ratios(results))
    assert len(found) == 16
    assert {cell.split()[0] for line in found for cell in line[3:]} == {"1.50"}


def test_what_the_election_costs(results: Path) -> None:
    """The accuracy that trimmed task arithmetic has more, by the share of entries lost."""
    drops = [0.0, 0.1, 0.3]
    expected = [
        (seed, share, pytest.approx(drop))
        for seed in SEEDS
        for share, drop in zip(LOST, drops, strict=True)
    ]
    assert points(results, "plenty") == expected
    first, *_ = lines_of(election(results))
    assert first[0] == "plenty"
    assert first[1].startswith("+0.300 [+0.")
    link = np.corrcoef(LOST, drops)[0, 1]
    assert first[2].startswith(f"{min(link, 0.9999):+.3f}")
    assert first[3] == "9"


def test_other_tables(results: Path) -> None:
    """Accuracies and perplexities stand where the head says."""
    assert lines_of(put_back(results))[0][3:] == [
        *("0.100 (4.00)", "0.400 (4.00)", "0.200 (4.00)", "0.400 (4.00)")
    ]
    grid = sensitivity(results, "scarce", 600, normalize=True)
    assert lines_of(grid) == [["0.5", "0.000 (6.00)", "0.200 (6.00)"]]
    assert sensitivity(results, "scarce", 75, normalize=True) == MISSING
    last = lines_of(against_training(results))[2]
    assert last[:5] == ["plenty", "600", "0.600", "0.500", "0.600"]
    assert last[6].startswith("-0.100 [-0.")
    assert (last[7].split()[0], last[8]) == ("+0.000", "1.50")
    merged = {line[0]: line[1:] for line in lines_of(three(results))}
    assert merged["slack_ties"][0].startswith("0.500 [")
    assert merged["slack_ties"][3:] == ["0.500", "0.500"]
    assert merged["TIES"][3:] == ["", ""]
    assert merged["DELLA"] == [""] * 5  # in tests.csv only, and not there


def test_claims_hold_fail_or_are_open(results: Path) -> None:
    """A verdict for each claim; one without rows is not left out but said not to be measured."""
    found = {each.claim.text: each.verdict for each in claims(results)}
    falls = "TIES falls from 75 to 600 CT steps, SFT data plenty"
    best = "TIES falls from 150 CT steps, its best by validation, to 600, SFT data plenty"
    assert (found[falls], found[best]) == ("holds", "holds")
    assert "slack_ties falls from 150" not in " ".join(found)
    lost = "TIES: putting lost important entries back helps more than as many"
    assert (found[f"{lost} random ones"], found[f"{lost} kept ones"]) == ("holds", "undecided")
    than = "slack_ties is better than"
    assert found[f"{than} TIES, both default, over all cells"] == "holds"
    assert found[f"{than} TIES, both fluent, over 5 of 6 cells"] == "holds"
    assert found[f"{than} DELLA, both tuned, over 0 of 6 cells"] == "not measured"
    trained = f"{than} CT, then SFT, both tuned, SFT data scarce"
    assert found[f"{trained}, all CT budgets"] == "undecided"
    assert found[f"{trained}, 600 CT steps"] == "opposite"
    assert f"| {lost} random ones | +0.200 [" in verdicts(results)
    (results / "three.csv").unlink()
    missing = {each.claim.text: each.verdict for each in claims(results)}
    assert missing.keys() == found.keys()
    assert missing[f"{than} TIES in Y, at defaults"] == "not measured"


def test_what_came_so_far_can_be_shown(results: Path, tmp_path: Path) -> None:
    """With files, methods and seeds missing there are tables and figures of the rest."""
    part = tmp_path / "part"
    rows = [r for r in rows_of(0) if r.method not in {"ties", "ct"}]
    rows += [r for r in rows_of(1) if r.ct == 75 and r.method != "slack_ties"]
    write_table(part / "tests.csv", rows)
    tables = {made.__name__: made(part) for made in TABLES}
    assert {name for name, text in tables.items() if text == MISSING} == {
        *("put_back", "three", "election")
    }
    shares = [cell.split(" ")[0] for cell in lines_of(tables["saturation"])[0][3:]]
    assert shares == ["", "", "0.300", "0.400", "0.500", "0.400"]
    assert "slack_ties" in methods(part, "plenty", "default")
    drawn = [path.stem for path in draw(part, tmp_path / "figures")]
    assert drawn == ["saturation", "methods", "against_training"]
    assert draw(tmp_path / "nothing", tmp_path / "figures") == []
    whole = [path.stem for path in draw(results, tmp_path / "figures")]
    assert whole == list(FIGURES)


def test_figures_are_the_same_bytes(results: Path, tmp_path: Path) -> None:
    """Drawn by another process they are the same, and hold no date."""
    mode = results.name
    command = [sys.executable, "-W", "ignore", str(EXPERIMENT / "figures.py"), mode]
    command += ["--results", str(results.parent), "--out", str(tmp_path / "other")]
    subprocess.run(command, check=True, capture_output=True)
    for path in draw(results, tmp_path / "one"):
        text = path.read_text("utf-8")
        assert "<dc:date>" not in text
        assert text == (tmp_path / "other" / path.name).read_text("utf-8")


def test_the_command_prints_every_table(results: Path) -> None:
    """`tables.py` shows all that the page shows."""
    command = [sys.executable, "-W", "ignore", str(EXPERIMENT / "tables.py"), results.name]
    command += ["--results", str(results.parent)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for made in TABLES:
        assert f"## {made.__doc__}" in printed
        assert made(results) in printed
    assert "nan" not in printed


COMMITTED = EXPERIMENT / "results" / "full"


def test_the_page_has_the_figures_of_the_committed_rows(tmp_path: Path) -> None:
    """Every figure of docs/evidence.md can be drawn from them, and the page shows it."""
    page = (Path(__file__).parent.parent / "docs" / "evidence.md").read_text("utf-8")
    for path in draw(COMMITTED, tmp_path):
        assert f"(evidence/{path.name})" in page
        assert (Path(__file__).parent.parent / "docs" / "evidence" / path.name).is_file()


def test_no_other_point_of_the_grid_is_better_at_no_higher_perplexity() -> None:
    """What docs/evidence.md says of the values that `slack-ties config` writes."""
    assert (RECOMMENDED["density"], RECOMMENDED["slack"]) == (0.5, 0.2)
    assert RECOMMENDED["normalize"] is False
    for sft, ct in itertools.product(("plenty", "scarce"), (300, 1200)):
        ours = grid(COMMITTED, sft, ct, normalize=False)[0.5, 0.2]
        for normalize in (False, True):
            for accuracy, perplexity in grid(COMMITTED, sft, ct, normalize=normalize).values():
                assert accuracy <= ours[0] or perplexity > ours[1]


def test_the_commands_gave_the_weights_that_were_scored() -> None:
    """One merge for each seed, by `slack-ties config` and `slack-ties merge`."""
    with (COMMITTED / "product.csv").open(encoding="utf-8", newline="") as file:
        assert [row["same"] for row in csv.DictReader(file)] == ["True"] * 6
