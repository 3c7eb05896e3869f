"""The result of a job in its log: whole or not at all, and never trusted."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slack_ties.batch.jobs.result import End, end_in, failure_lines, result_lines


def packed(text: str) -> str:
    """Return a text as it is in the lines of a result."""
    return base64.b64encode(zlib.compress(text.encode())).decode()


NOISE = ["slack-ties-result", "slack-ties-result 1/0 {}", "merging", ""]


@given(st.lists(st.dictionaries(st.text(), st.text(max_size=9000)), min_size=1, max_size=3))
def test_results_survive_the_log(results: list[dict[str, str]]) -> None:
    """Whatever their letters and their length; other lines between them are skipped."""
    lines = [line for part in result_lines(results) for line in (part, *NOISE[2:])]

    assert all(len(line) < 4100 and line.isascii() for line in lines)
    assert end_in(NOISE + lines) == End(tuple(results))


def test_reasons_survive_the_log() -> None:
    """A reason and the next step."""
    assert end_in(failure_lines("no access to ག", "ask")) == End(why="no access to ག", next="ask")


def test_the_last_whole_end_counts() -> None:
    """A job that the service tried twice has two ends in one log."""
    lines = failure_lines("no", "") + result_lines([{"a": 1}])
    random = "".join(f"{number * number}" for number in range(5_000))

    assert end_in(lines) == End(({"a": 1},))
    assert end_in(lines[:-1]) == End(why="no")
    long = result_lines([{"a": random}])
    assert len(long) > 2
    assert end_in(lines + long[:-1]) == End(({"a": 1},))


def test_tokens_are_not_handed_over() -> None:
    """Whatever printed one."""
    token = f"hf_{'a' * 30}"
    assert token not in "".join(failure_lines(token, ""))
    assert end_in(result_lines([{"a": token}])) == End(({"a": "[token]"},))
    assert end_in([f'slack-ties-failed 1/1 {{"why": "{token}"}}']) == End(why="[token]")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"results": []}',
        '{"results": {}}',
        '{"results": [1]}',
        '{"results": [{}, null]}',
        "[" * 100_000,
        "1" * 10_000,
    ],
)
def test_what_is_no_result(text: str) -> None:
    """It is nothing."""
    assert end_in([f"slack-ties-result 1/1 {packed(text)}"]) is None
    assert end_in([f"slack-ties-failed 1/1 {text}"]) in {None, End(why="it failed")}


def test_a_result_that_would_fill_the_memory() -> None:
    """It is not unpacked."""
    large = packed('{"results": [{}], "x": "' + "0" * 60_000_000 + '"}')
    parts = [large[at : at + 4000] for at in range(0, len(large), 4000)]
    lines = [f"slack-ties-result {i}/{len(parts)} {part}" for i, part in enumerate(parts, 1)]

    assert len(lines) < 30
    assert end_in(lines) is None


@pytest.mark.parametrize("text", ["!!!", "e30=", packed("{}")[:-8]])
def test_damaged_results(text: str) -> None:
    """What is not base64, not compressed or not whole is no result."""
    assert end_in([f"slack-ties-result 1/1 {text}"]) is None


@pytest.mark.parametrize(
    "lines",
    [
        ["2/2 []"],
        ["1/2 {", '1/1 "results"'],
        ["1/2 {", "3/3 }"],
        ["0/0 {}"],
        ["2/1 {}"],
        ["1/999 {}"],
    ],
)
def test_parts_out_of_order(lines: list[str]) -> None:
    """They are no result."""
    assert end_in([f"slack-ties-result {one}" for one in lines]) is None


def test_reasons_are_bounded_and_safe_to_print() -> None:
    """One line, without control characters."""
    told = json.dumps({"why": "a\n\x1b[2J" + "b" * 5000, "next": ["no text"]})

    end = end_in([f"slack-ties-failed 1/1 {told[:3000]}", f"slack-ties-failed 1/2 {told[:4000]}",
                  f"slack-ties-failed 2/2 {told[4000:]}"])  # fmt: skip

    assert end is not None
    assert end.why.startswith("a \\x1b[2Jbb")
    assert len(end.why) < 2100
    assert end.next == ""
