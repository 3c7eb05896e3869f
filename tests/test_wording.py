"""Sizes and counts, as people read them."""

from __future__ import annotations

import pytest

from slack_ties.wording import counted, part_of, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (49_999, "50.0 kB"),
        (100_000, "0.1 MB"),
        (99_949_999, "99.9 MB"),
        (100_000_000, "0.1 GB"),
        (13_500_000_000, "13.5 GB"),
    ],
)
def test_a_size_is_never_nothing_of_a_unit(count: int, text: str) -> None:
    """Each size is in the unit that shows it."""
    assert size(count) == text


def test_a_part_has_the_unit_of_the_whole() -> None:
    """Also if the whole is small."""
    assert part_of(3_200_000_000, 13_500_000_000) == "3.2 of 13.5 GB"
    assert part_of(1_000, 2_000) == "1.0 of 2.0 kB"
    assert part_of(7, 12) == "7 of 12 bytes"


def test_one_has_no_plural() -> None:
    """One file, two files."""
    assert [counted(n, "file") for n in (0, 1, 2, 1_200)] == [
        *("0 files", "1 file", "2 files", "1,200 files")
    ]
