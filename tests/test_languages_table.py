"""`slack-ties languages` fits the terminal, and finds what can be merged with what one has."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import unicodedata
from itertools import groupby

import pytest

import slack_ties
from command import PROGRAM, Invoke
from slack_ties.catalogue.languages import find_triple, list_languages
from slack_ties.plan.expected import expect

KEYS = [triple.key for triple in list_languages()]


def columns(line: str) -> int:
    """Return how wide a terminal shows a line."""
    return sum(
        0 if unicodedata.combining(c) or unicodedata.category(c) in {"Mn", "Mc"} else 1
        for c in line
    )


def shown_keys(output: str) -> list[str]:
    """Return the keys in the order of a table."""
    return [
        line.split()[0]
        for line in output.splitlines()
        if line[:2] == "  " and line.split()[0] in KEYS
    ]


def on_terminal(width: int, *words: str) -> list[str]:
    """Return what the command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    variables = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        [PROGRAM, "languages", *words], stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 65536):
            output += part
    except OSError:  # Linux: the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return output.decode("utf-8").splitlines()


def test_python_shows_the_facts_of_the_command(invoke: Invoke) -> None:
    """print() and a notebook have the words of each line, the language, and the explanations."""
    table, _, explained = str(slack_ties.list_languages()).partition("\n\n")
    printed = {line.split()[0]: line.split() for line in table.splitlines()}
    lines = invoke("languages").stdout.split("\n\n")

    for line in lines[0].splitlines():
        if key := next(iter(shown_keys(line)), ""):
            assert [word for word in printed[key] if word in line.split()] == line.split()
            assert find_triple(key).language.name.split()[0] in printed[key]
    assert explained == lines[1]
    assert "forbids commercial use" in slack_ties.list_languages()._repr_html_()


def test_it_fits_a_terminal_of_80_columns() -> None:
    """No line is longer, no key is cut off, and all triples are there."""
    lines = on_terminal(80)

    assert [line for line in lines if columns(line) > 80] == []
    assert sorted(shown_keys("\n".join(lines))) == sorted(KEYS)
    assert lines[0].split()[-1] == "LICENCE"


def test_a_wide_terminal_shows_more() -> None:
    """The CT model and the whole licence, if there is room."""
    lines = on_terminal(200, "lo")

    assert lines[0].split()[-2:] == ["CT", "MODEL"]
    assert lines[2].endswith("tongyi-qianwen-research  sail/Sailor-0.5B")


def test_the_first_line_of_a_language_needs_least(invoke: Invoke) -> None:
    """What can be downloaded by anybody comes first, and the smallest of it."""
    keys = shown_keys(invoke("languages").stdout)
    tags = [find_triple(key).language.tag for key in keys]
    first = {tag: keys[tags.index(tag)] for tag in tags}

    assert (first["bo"], first["lo"], first["eu"]) == (
        "bo-qwen2.5-1.5b",
        "lo",
        "eu-llama-2-7b-chat",
    )
    for key in keys:
        triple = find_triple(key)
        costs = [expect(one) for one in (find_triple(first[triple.language.tag]), triple)]
        better, this = ((cost.gated is True, cost.download) for cost in costs)
        assert better <= this
    assert len(list(groupby(tags))) == len(set(tags))


def test_the_next_step_is_the_first_line(invoke: Invoke) -> None:
    """After a name, it is the merge that needs least, and it is accepted."""
    result = invoke("languages", "tibetan")

    typed = result.stdout.rpartition("Next: slack-ties ")[2].partition("#")[0].split()
    assert typed == ["config", "bo-qwen2.5-1.5b"]
    assert invoke(*typed).exit_code == 0


def test_a_bare_key_means_what_it_meant(invoke: Invoke) -> None:
    """The order of the table changes no key: `bo` is the model of the paper."""
    assert find_triple("bo").key == find_triple("tibetan").key == "bo"
    assert invoke("config", "bo", "-q").stdout.split()[-1].endswith("bo.yml")


def test_filters(invoke: Invoke) -> None:
    """By language, by the size of the download, and by what is open; all at once."""
    assert shown_keys(invoke("languages", "--under", "4GB").stdout) == [
        "id",
        "lo",
        "ms",
        "th",
        "vi",
    ]
    assert shown_keys(invoke("languages", "--under", "3.5GiB", "lao").stdout) == ["lo"]
    assert shown_keys(invoke("languages", "bo", "ug", "--under", "10000 MB").stdout) == [
        "bo-qwen2.5-1.5b",
        "ug-qwen2.5-1.5b",
    ]
    assert shown_keys(invoke("languages", "lo", "bo", "--open").stdout) == ["lo", "lo-qwen1.5-7b"]


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["--under", "500MB"], "The nearest is id: its download is 3.7 GB"),
        (["bo", "--under", "4GB"], "for bo fits --under 4.0 GB. The nearest is bo-qwen2.5-1.5b"),
        (
            ["bo", "--open"],
            "whether a model has a gate and its licence is not known",
        ),
        (["gl", "--open"], "The nearest is gl: its download is 48.2 GB and a model has a gate"),
        (["tibetian"], "Did you mean 'Tibetan'?"),
    ],
)
def test_a_filter_that_matches_nothing(words: list[str], nearest: str, invoke: Invoke) -> None:
    """It says so, names what comes nearest, and the next step shows that."""
    result = invoke("languages", *words)

    assert (result.exit_code, result.stdout) == (1, "")
    assert nearest in result.stderr
    step = result.stderr.split("Next: slack-ties ")[1].split(" #")[0]
    assert invoke(*step.split()).exit_code == 0


@pytest.mark.parametrize("size", ["0", "4G", "4gb", "4 GB", "4GiB", "0.5TB"])
def test_a_size_as_people_write_it(size: str, invoke: Invoke) -> None:
    """With or without B, in powers of 1000 and of 1024."""
    assert "Invalid value" not in invoke("languages", "--under", size).output


@pytest.mark.parametrize("size", ["", "GB", "4XB", "-4GB", "four"])
def test_what_is_no_size(size: str, invoke: Invoke) -> None:
    """It says what one looks like."""
    result = invoke("languages", f"--under={size}")

    assert result.exit_code == 2
    assert "expected a size such as 4GB, 4GiB or 500MB" in result.stderr


def test_a_number_without_a_unit_is_refused(invoke: Invoke) -> None:
    """4 could be bytes or GB: the message has what to type."""
    result = invoke("languages", "lo", "--under", "4")

    assert result.exit_code == 2
    assert "4 needs a unit: 4GB" in result.stderr


def test_no_doubt_has_a_colon() -> None:
    """Each stands after a key or after "not verified on the Hub yet:"."""
    assert [one.key for one in list_languages() if ":" in one.unverified] == []


def test_all_facts_as_json(invoke: Invoke) -> None:
    """Everything that the catalogue knows, and what follows from it."""
    (row,) = json.loads(invoke("languages", "lo", "--under", "4GB", "--json").stdout)

    assert row["key"] == "lo"
    assert row["language"]["endonym"] == "ລາວ"
    assert row["ct"]["size"] == 1_239_140_352
    assert row["ct"]["gated"] is False
    assert row["expected"] == {
        "download": 3_717_421_056,
        "download_is_least": False,
        "result": 1_239_140_352,
        "result_is_least": False,
        "license": "tongyi-qianwen-research",
        "noncommercial": True,
        "gated": False,
        "open": True,
    }
    assert sorted(one["key"] for one in json.loads(invoke("languages", "--json").stdout)) == sorted(
        KEYS
    )


def test_every_mark_is_explained(invoke: Invoke) -> None:
    """And none that does not occur."""
    every = invoke("languages").stdout.split("\n\n")[1]
    few = invoke("languages", "lo").stdout.split("\n\n")[1]

    assert [line.split()[0] for line in every.splitlines()] == [
        *("KEY", "DOWNLOAD", "+", "gate", "?", "n", "*"),
    ]
    assert [line.split()[0] for line in few.splitlines()] == [
        *("KEY", "DOWNLOAD", "n", "*", "lo:", "lo-qwen1.5-7b:"),
    ]


def test_the_function_chooses_as_the_command_does(invoke: Invoke) -> None:
    """By names, size and licence, in the same order; without arguments all are returned."""
    chosen = slack_ties.list_languages("lao", "thai", under=10**10, is_open=True)

    output = invoke("languages", "lao", "thai", "--under", "10GB", "--open").output
    assert [one.key for one in chosen] == shown_keys(output) == ["lo", "th"]
    assert len(slack_ties.list_languages()) == len(KEYS)
    with pytest.raises(slack_ties.SlackTiesError, match="The nearest is"):
        slack_ties.list_languages("tibetan", under=1000)
