"""The table of parameters: what it accepts, and what it says when it does not."""

from __future__ import annotations

import pytest

from slack_ties.rule.parameters import PARAMETERS

TABLE = {parameter.name: parameter for parameter in PARAMETERS}


def test_defaults_are_those_of_stock_ties() -> None:
    """Changing only the name of the method from `ties` changes no default; slack is off."""
    from mergekit.merge_methods import get  # noqa: PLC0415 - heavy

    stock = {p.name: p.default for p in get("ties").spec.parameters}
    ours = {p.name: p.default for p in get("slack_ties").spec.parameters}

    assert ours.pop("slack") == 0
    assert {name: stock[name] for name in ours} == ours
    assert set(stock) - set(ours) == {"int8_mask", "rescale"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("density", 0, 0.0),
        ("density", 1, 1.0),
        ("slack", "2e-1", 0.2),  # YAML 1.1 reads 2e-1 as text
        ("weight", -3, -3.0),
        ("lambda", 0.5, 0.5),
        ("normalize", True, True),
        ("normalize", 0, False),
    ],
)
def test_accepts(name: str, value: object, expected: float) -> None:
    """Numbers, numbers as text, and truth values come out as the parameter's type."""
    checked = TABLE[name].check(value)

    assert (checked, type(checked)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("density", 1.0001),
        ("density", -1e-9),
        ("slack", float("nan")),
        ("slack", True),
        ("weight", float("inf")),
        ("weight", None),
        ("weight", [1]),
        ("lambda", "a lot"),
        ("normalize", 2),
        ("normalize", "yes"),
    ],
)
def test_refuses(name: str, value: object) -> None:
    """The message names the parameter and what was found."""
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got "):
        TABLE[name].check(value)
