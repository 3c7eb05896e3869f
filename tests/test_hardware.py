"""Which machine of Hugging Face Jobs a merge gets, for how long, and at which price."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import JobHardwareInfo

from hub_jobs import HARDWARE
from slack_ties.batch.jobs.hardware import (
    Flavor,
    choose_flavor,
    estimate,
    flavors_of,
    hours,
    timeout_for,
)
from slack_ties.errors import SlackTiesError

GB = 1_000_000_000


@pytest.fixture
def flavors() -> list[Flavor]:
    """What the service offers."""
    return flavors_of(JobHardwareInfo(**one) for one in HARDWARE)


def test_prices_are_those_of_the_documentation(flavors: list[Flavor]) -> None:
    """The service gives the price of a minute, rounded; people know that of an hour."""
    assert [(one.name, one.price) for one in flavors][:4] == [
        ("cpu-basic", 0.01),
        ("cpu-upgrade", 0.03),
        ("t4-small", 0.4),
        ("l4x1", 0.8),
    ]
    upgrade = flavors[1]
    assert (upgrade.cores, upgrade.memory, upgrade.disk) == (8, 32 * GB, 50 * GB)


@pytest.mark.parametrize(
    ("need", "name"),
    [
        ({"memory": 4 * GB, "disk": 14 * GB}, "cpu-upgrade"),  # a 7B model
        ({"memory": 28 * GB, "disk": 14 * GB}, "cpu-xl"),
        ({"memory": 4 * GB, "disk": 45 * GB}, "cpu-xl"),
        ({"memory": 4 * GB, "disk": 14 * GB, "gpu": 15 * GB}, "t4-small"),
        ({"memory": 4 * GB, "disk": 14 * GB, "gpu": 17 * GB}, "l4x1"),
        ({"memory": 4 * GB, "disk": 14 * GB, "name": "cpu-basic"}, "cpu-basic"),
    ],
)
def test_the_machine(flavors: list[Flavor], need: dict[str, Any], name: str) -> None:
    """The cheapest that fits; a GPU only if one is needed; the user's, if it is named."""
    assert choose_flavor(flavors, **need).name == name


def test_small_machines_if_there_are_no_larger_ones(flavors: list[Flavor]) -> None:
    """A machine with few cores is better than none."""
    small = [one for one in flavors if one.name == "cpu-basic"]
    assert choose_flavor(small, memory=GB, disk=GB).name == "cpu-basic"


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (
            {"memory": 900 * GB, "disk": 0},
            "no machine .* has 900.0 GB of memory and 8.0 GB of disk",
        ),
        ({"memory": 0, "disk": 0, "gpu": 90 * GB}, "and 90.0 GB of GPU memory"),
        (
            {"memory": 0, "disk": 0, "name": "cpu-max"},
            "no machine 'cpu-max', expected one of",
        ),
    ],
)
def test_no_machine(flavors: list[Flavor], need: dict[str, Any], message: str) -> None:
    """The error says what is needed."""
    with pytest.raises(SlackTiesError, match=message) as error:
        choose_flavor(flavors, **need)

    assert error.value.hint.startswith("hf jobs hardware")


@pytest.mark.parametrize(
    "change",
    [
        {"ram": "much"},
        {"ram": ""},
        {"ephemeralStorage": "N/A"},
        {"unitCostUSD": "nothing"},
        {"unitCostUSD": -1.0},
        {"unitCostUSD": float("nan")},
        {"unitLabel": "moon"},
        {"cpu": None},
        {"name": None},
    ],
)
def test_a_machine_whose_description_cannot_be_read(change: dict[str, Any]) -> None:
    """It is left out, and no number is guessed."""
    assert flavors_of([JobHardwareInfo(**{**HARDWARE[0], **change})]) == []


def test_the_time_limit() -> None:
    """Three models of 13.5 GB: start, two reads and the upload, doubled, in half hours."""
    reads, sends = 3 * 13_476_839_424, 13_476_839_424
    seconds = 2 * (15 * 60 + 2 * reads / 50e6 + sends / 25e6)

    assert seconds < timeout_for(reads, sends) == 2 * 3600
    assert timeout_for(0, 0) == 1800
    assert timeout_for(0, 0, evaluations=1) == 1800 + 12 * 3600


def test_times_as_text() -> None:
    """As people write them."""
    assert [hours(one) for one in (7200, 5400, 90, 1)] == ["2 h", "90 min", "90 s", "1 s"]


def test_the_estimate(flavors: list[Flavor]) -> None:
    """Jobs of one kind are one line, and the sum is rounded up to cents."""
    upgrade, xl = flavors[1], next(one for one in flavors if one.name == "cpu-xl")

    made = estimate([(upgrade, 7200), (upgrade, 7200), (xl, 1800)])

    assert made.most == pytest.approx(0.12 + 0.5)
    assert [line.partition(" (")[0] for line in made.as_text().splitlines()[:2]] == [
        "2 jobs on cpu-upgrade",
        "1 job on cpu-xl",
    ]
    assert "At most $0.62 in total" in made.as_text()
    assert "At most $0.01 in total" in estimate([(upgrade, 60)]).as_text()
