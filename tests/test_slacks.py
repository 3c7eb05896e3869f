"""Slacks where many deltas are equal: suggestion, table, file, page and chart agree."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from html import unescape
from pathlib import Path

import pytest
import torch
import yaml

from slack_ties.config.choices import Choices
from slack_ties.config.write import write_configs
from slack_ties.explore.report import make_report
from slack_ties.report.figures import Figures
from slack_ties.report.report import Report
from slack_ties.report.rows import percent
from slack_ties.report.series import slack_curves
from slack_ties.report.slacks import COST, Slacks, slacks_of
from slack_ties.report.terminal import summarise
from slack_ties.rule.tally import FIRST_OF_GRID, GRID, TIES
from triple import Folders, llama

UNIT = 2.0**-9  # with whole multiples of it up to 256, bfloat16 holds bases and models exactly

TIED = 12  # the magnitude, in units, of the equal SFT deltas


def make_tied(folder: Path, large: float, equal: float = 0.2) -> Folders:
    """Make a triple of bfloat16: a third of the SFT deltas is 0, a share `equal` has one magnitude.

    A share `large` of them is larger than that one. The CT deltas are several times as large.
    """
    random = torch.Generator().manual_seed(0)

    def integers(shape: torch.Size, low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=random).float()

    def signs(shape: torch.Size) -> torch.Tensor:
        return integers(shape, 0, 2) * 2 - 1

    base = llama().bfloat16()
    models = {name: deepcopy(base) for name in ("base", "ct", "sft")}
    for one, ct, sft in zip(*(model.parameters() for model in models.values()), strict=True):
        start = integers(one.shape, -100, 101)
        place = torch.rand(one.shape, generator=random)
        size = integers(one.shape, 1, 8)
        size = torch.where(place < large + equal, torch.tensor(float(TIED)), size)
        size = torch.where(place < large, integers(one.shape, 20, 40), size)
        size = torch.where(place > 2 / 3, torch.tensor(0.0), size)
        with torch.no_grad():
            one.copy_(UNIT * start)
            sft.copy_(UNIT * (start + size * signs(one.shape)))
            ct.copy_(UNIT * (start + integers(one.shape, 45, 90) * signs(one.shape)))
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return Folders(folder / "base", folder / "ct", folder / "sft")


def make_tied_report(folder: Path, large: float = 0.04, equal: float = 0.2) -> tuple[Report, Path]:
    """Return the report of such a triple, with the config's own defaults."""
    made = make_tied(folder, large, equal)
    choices = Choices(base=str(made.base), ct=str(made.ct), sft=str(made.sft))
    (config,) = write_configs(["bo"], folder / "configs", choices=choices)
    return make_report(config, folder / "report", quiet=True)


SHARES = [(0.04, 0.2), (0.08, 0.4)]


@pytest.fixture(scope="module", params=SHARES, ids=["within the cost", "beyond the cost"])
def tied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> object:
    """A report in which slack 0.05, or 0.1, to 0.2 or 0.4 protect the same entries."""
    folder = tmp_path_factory.mktemp("tied")
    return sum(request.param), *make_tied_report(folder, *request.param)


def steps_of(report: Report) -> Slacks:
    """Return the steps of a report that has some."""
    found = slacks_of(report)
    assert found is not None
    return found


def test_equal_deltas_make_slacks_the_same(tied: tuple[float, Report, Path]) -> None:
    """Asked for 0.1 or 0.2, the merge protects the same entries: all equal deltas vote together."""
    share, report, _ = tied

    effects = {step.slack: step.in_effect for step in steps_of(report).steps}

    assert [effects[one] for one in (0.1, 0.15, 0.2)] == pytest.approx([share] * 3, abs=0.01)
    assert effects[0] == 0
    assert effects[0.02] < 0.05


def test_the_suggestion_is_by_the_slack_in_effect(tied: tuple[float, Report, Path]) -> None:
    """Of slacks with the same merge it is the nearest to its effect, and never beyond the cost."""
    share, report, folder = tied
    is_little = share < 0.3  # of the entries: half of it is within the cost
    slacks = steps_of(report)

    data = json.loads((folder / "report.json").read_text("utf-8"))

    step = next(one for one in slacks.steps if one.slack == data["suggested_slack"])
    assert step.slack == (0.2 if is_little else 0.05)
    assert data["suggested_in_effect"] == step.in_effect
    assert max(step.cost, step.energy_cost) <= COST
    jump = next(one for one in slacks.steps if one.slack == 0.1)
    assert (jump.cost <= COST) == is_little
    reading = " ".join(data["reading"])
    assert f"Suggested slack: {step.slack:g} (in effect {step.in_effect:.2f})" in reading
    if not is_little:
        said = f"Slack 0.1 (in effect {jump.in_effect:.2f}) would cost {percent(jump.cost)} of its"
        assert said in reading
    names = "0.05, 0.1, 0.15 and 0.2" if is_little else "0.1, 0.15, 0.2, 0.3 and 0.4"
    assert f"Slack {names} give nearly the same merge here: with each of them" in reading
    assert "many of its deltas are equal" in reading


def test_table_file_page_chart_and_sentence_have_one_number(
    tied: tuple[float, Report, Path],
) -> None:
    """Each of them shows what the election of this slack counted, and nothing else."""
    _, report, folder = tied
    slacks = steps_of(report)
    sft, ct = Figures(report.inner, slacks.sft), Figures(report.inner, slacks.ct)
    levels = [TIES, *range(FIRST_OF_GRID, FIRST_OF_GRID + len(GRID))]
    at_ties = ct.losses(TIES)
    cost = [(ct.losses(level) - at_ties) / ct.count(1) for level in levels]
    energy = [ct.energy_cost(level) for level in levels]
    lost = [sft.top_lost(3, level) for level in levels]
    effect = [step.in_effect for step in slacks.steps]

    screen = summarise(report)
    rows = {
        name: re.findall(r"<?[\d.]+(?: %)?", screen.partition(f"\n{name}")[2].partition("\n")[0])
        for name in (
            "slack  ",
            "slack in effect  ",
            "SFT top 20 % lost",
            "cost to CT",
            "CT energy cost",
        )
    }
    page = unescape((folder / "report.html").read_text("utf-8"))
    data = json.loads((folder / "report.json").read_text("utf-8"))
    curves = [dict(points) for _, points in (*slack_curves(report)[0], *slack_curves(report)[1])]

    for name, values in (("cost to CT", cost), ("CT energy cost", energy)):
        assert rows[name] == [percent(one).replace("less than 0", "<") for one in values]
    assert rows["SFT top 20 % lost"] == [percent(one).replace("less than 0", "<") for one in lost]
    assert screen.count("slack in effect") == 2
    steps = data["slacks_without_embedding"]
    assert [step["ct_cost"] for step in steps] == cost
    assert [step["ct_energy_cost"] for step in steps] == energy
    assert [step["sft_top_lost"][3] for step in steps] == lost
    assert [step["in_effect"] for step in steps] == effect
    assert list(curves[-1].values()) == cost
    assert list(curves[-2].values()) == lost
    for step, *shares in zip(slacks.steps, lost, cost, energy, strict=True):
        cells = (f"{step.slack:g}", f"{step.in_effect:.2f}", *map(percent, shares))
        assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    number = [step.slack for step in slacks.steps].index(data["suggested_slack"])
    said = next(one for one in data["reading"] if one.startswith("Suggested slack"))
    assert percent(energy[number]) in said
    assert said in screen.replace("\n", " ")


def test_a_config_with_the_suggested_slack_has_its_figures(tmp_path: Path) -> None:
    """What the table says of a slack is what the merge with that slack does."""
    report, folder = make_tied_report(tmp_path)
    suggested = json.loads((folder / "report.json").read_text("utf-8"))["suggested_slack"]
    path = tmp_path / "again.yml"
    data = yaml.safe_load(next((tmp_path / "configs").iterdir()).read_text("utf-8"))
    for part in data["models"]:
        if "slack" in part["parameters"]:
            part["parameters"]["slack"] = suggested
    path.write_text(yaml.safe_dump(data), "utf-8")

    again, _ = make_report(path, tmp_path / "again", quiet=True)

    slacks = steps_of(report)
    step = next(one for one in slacks.steps if one.slack == suggested)
    assert Figures(again.inner, slacks.ct).cost(2) == step.cost
    assert Figures(again.inner, slacks.ct).energy_cost(2) == step.energy_cost
    assert Figures(again.inner, slacks.sft).slack == step.in_effect
