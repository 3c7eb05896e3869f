"""How much is done, and about how long the rest takes: on a terminal, in a log, and never."""

from __future__ import annotations

import io
import logging
import time
from types import SimpleNamespace

import pytest

from slack_ties import progress
from slack_ties.progress import Progress, end_progress, without_progress


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal as standard error, wide enough."""
    stream = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setenv("COLUMNS", "200")
    return stream


def screen(stream: io.StringIO) -> str:
    """Return what a terminal shows on its last line."""
    shown = ""
    for part in stream.getvalue().rpartition("\n")[2].split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip()


def test_the_rate_is_shown_where_it_is_asked_for(clock: list[float]) -> None:
    """Once a speed can be measured, it comes before the time that is left."""
    with Progress("read", 40_400_000_000, quiet=True, rate=True) as shown:
        shown.at(200_000_000)
        assert str(shown) == "read 0.2 of 40.4 GB"
        clock[0] += 100
        shown.at(3_200_000_000)
        assert str(shown) == "read 3.2 of 40.4 GB, 30.0 MB/s, about 21 min left"


def test_answers_of_an_earlier_run_are_not_part_of_the_speed(clock: list[float]) -> None:
    """What is known in the middle of a job counts as done, but not for the time that is left."""
    with Progress("answered", 10_000, quiet=True, unit="requests") as shown:
        shown.at(10)
        clock[0] += 20
        shown.skip(4_990)
        assert str(shown) == "answered 5,000 of 10,000 requests"
        shown.at(5_000)
        clock[0] += 20
        shown.at(5_100)
        clock[0] += 20
        shown.at(5_200)
        assert str(shown) == "answered 5,200 of 10,000 requests, about 16 min left"


def test_the_time_that_is_left(clock: list[float]) -> None:
    """It is known once the speed is; what an earlier run did is not part of the speed."""
    with Progress("merged", 13_500_000_000, done=1_500_000_000, quiet=True) as shown:
        assert str(shown) == "merged 1.5 of 13.5 GB"
        clock[0] += 7
        shown.at(1_600_000_000)
        clock[0] += 57
        shown.at(3_500_000_000)
        assert str(shown) == "merged 3.5 of 13.5 GB, about 5 min left"
        clock[0] += 1000  # it rests: the speed is that of the last minutes
        shown.at(3_600_000_000)
        clock[0] += 60
        shown.at(5_600_000_000)
        assert str(shown).endswith("about 4 min left")
        clock[0] += 60
        shown.at(13_400_000_000)
        assert str(shown).endswith("13.4 of 13.5 GB, less than a minute left")
        shown.at(13_500_000_000)
        assert str(shown) == "merged 13.5 of 13.5 GB"


def test_a_job_that_counts_something_else(clock: list[float]) -> None:
    """Requests are counted as such, and the time that is left is stated in the same way."""
    with Progress("answered", 2400, quiet=True, unit="requests") as shown:
        shown.at(100)
        clock[0] += 60
        shown.at(1100)
        assert str(shown) == "answered 1,100 of 2,400 requests, about 1 min left"


def test_no_time_is_stated_before_the_speed_is_known(clock: list[float]) -> None:
    """Not in the first seconds, and not from the time before the first bytes."""
    with Progress("downloaded", 52_500_000, quiet=True) as shown:
        clock[0] += 30  # the connection takes long
        shown.at(300_000)
        assert str(shown) == "downloaded 0.3 of 52.5 MB"
        clock[0] += 5
        shown.at(20_300_000)
        assert str(shown) == "downloaded 20.3 of 52.5 MB"
        clock[0] += 6
        shown.at(22_500_000)
        assert str(shown) == "downloaded 22.5 of 52.5 MB, less than a minute left"


def test_nothing_is_written_where_no_line_was(clock: list[float], terminal: Terminal) -> None:
    """The end of a short job and a log line leave a terminal as it is."""
    with Progress("merged", 4_000_000) as shown:
        clock[0] += 0.1
        shown.at(4_000_000)
        with without_progress():
            pass

    assert terminal.getvalue() == ""


def test_a_command_that_ends_shows_no_more(clock: list[float], terminal: Terminal) -> None:
    """Its last line begins on a line of its own, whatever its threads still do."""
    with Progress("uploaded", 4_000_000) as shown:
        clock[0] += 1
        shown.at(1_000_000)
        end_progress()
        terminal.write("Stopped")
        clock[0] += 1
        shown.at(2_000_000)

    assert screen(terminal) == "Stopped"


def test_two_jobs_on_a_terminal(clock: list[float], terminal: Terminal) -> None:
    """They share one line, and a log line is printed above it whole."""
    with Progress("merged", 4_000_000) as one, Progress("uploaded", 2_000_000) as two:
        clock[0] += 1
        one.at(2_000_000)
        two.at(1_000_000)
        assert screen(terminal) == "  merged 2.0 of 4.0 MB; uploaded 1.0 of 2.0 MB"
        with without_progress():
            terminal.write("  uploading model-2\n")
        assert "\r  uploading model-2\n" in terminal.getvalue()
        clock[0] += 1
        one.at(3_000_000)
        assert screen(terminal).startswith("  merged 3.0 of 4.0 MB")
    assert screen(terminal) == ""


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
def test_a_narrow_terminal(
    clock: list[float], terminal: Terminal, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """The line never becomes two; with --quiet there is none."""
    monkeypatch.setenv("COLUMNS", "12")
    monkeypatch.setattr(progress.LOG, "level", level)
    with Progress("merged", 4_000_000) as shown:
        clock[0] += 1
        shown.at(2_000_000)
        assert screen(terminal) == ("  merged 2." if level == logging.INFO else "")


def test_in_a_file_or_a_notebook(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """A line after ten seconds, then one every half minute, and none for a short job."""
    caplog.set_level("INFO", logger="slack_ties")
    with Progress("downloaded", 4_000_000) as shown:
        for _ in range(95):
            clock[0] += 1
            shown.at(shown.done + 10_000)

    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "  downloaded 0.1 of 4.0 MB",
        "  downloaded 0.4 of 4.0 MB, about 6 min left",
        "  downloaded 0.7 of 4.0 MB, about 6 min left",
    ]


def test_two_jobs_in_a_log(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """They share one line, also while one begins again and again; after the end there is none."""
    caplog.set_level("INFO", logger="slack_ties")
    with Progress("read", 4_000_000, rate=True) as read:
        for _ in range(5):
            with Progress("merged", 2_000_000) as merged, Progress("sent", 9, quiet=True) as sent:
                for _ in range(9):
                    clock[0] += 1
                    read.at(read.done + 20_000)
                    merged.at(merged.done + 10_000)
                    sent.at(1)
        end_progress()
        clock[0] += 100
        read.at(4_000_000)

    assert [record.getMessage() for record in caplog.records] == [
        "  read 0.2 of 4.0 MB; merged 0.0 of 2.0 MB",
        "  read 0.8 of 4.0 MB, 20.0 kB/s, about 3 min left; merged 0.0 of 2.0 MB",
    ]


def test_without_any_logging(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook that has not set it up, the line is printed; with `quiet` it is not."""
    monkeypatch.setattr(progress.LOG, "level", logging.NOTSET)
    monkeypatch.setattr(progress.LOG, "isEnabledFor", lambda _: False)
    for quiet in (False, True):
        with Progress("merged", 4_000_000, quiet=quiet) as shown:
            clock[0] += 60
            shown.at(2_000_000)

    assert capsys.readouterr().err == "  merged 2.0 of 4.0 MB\n"
