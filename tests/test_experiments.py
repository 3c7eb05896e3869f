"""What experiments share in experiments/common: jobs, also those that fail."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import some_jobs
from common.jobs import Job, do_all


def making(folder: Path, name: str, *needs: str) -> Job:
    """Return a job that makes a file and needs others."""
    path = folder / name
    return Job(name, some_jobs.make, (path,), (path,), tuple(folder / need for need in needs))


def finished(out: str) -> list[str]:
    """Return the lines of progress without their times."""
    line = r"^ +\d+\.\d min  (\d+/\d+  .+?)  (?:failed after )?\d+ s$"
    return re.findall(line, out, re.MULTILINE)


def test_jobs_start_by_priority_as_soon_as_they_can(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The order is the list's, but for a job that waits for another; nothing is done twice."""
    (tmp_path / "there").touch()
    jobs = [
        making(tmp_path, "late", "early"),
        making(tmp_path, "there"),
        making(tmp_path, "first"),
        making(tmp_path, "early"),
        making(tmp_path, "last"),
    ]
    assert do_all(jobs, processes=1, note="a note") == []
    out, err = capfd.readouterr()
    assert out.startswith("4 jobs, 1 at once; a note\n")
    assert finished(out) == ["1/4  first", "2/4  early", "3/4  late", "4/4  last"]
    assert err == ""
    assert do_all(jobs, processes=1) == []
    assert capfd.readouterr() == ("", "")


def test_jobs_run_at_once(tmp_path: Path) -> None:
    """A job that ends only when another has begun does end."""
    one, two = tmp_path / "one", tmp_path / "two"
    jobs = [Job("one", some_jobs.wait_and_make, (one, two), (one,)), making(tmp_path, "two")]
    assert do_all(jobs, processes=2) == []


FAILURES = {
    "raises": (some_jobs.fail, ("no luck",), "RuntimeError: no luck"),
    "leaves": (some_jobs.leave, (), "SystemExit: no use"),
    "makes nothing": (some_jobs.make, (), "it ended, but did not make "),
    "ends": (some_jobs.end, (), "its process ended with exit code 7"),
    "is killed": (
        *(some_jobs.be_killed, ()),
        "its process was ended by signal 9; is there enough memory?",
    ),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failed_job_stops_only_what_needs_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    """Its error is shown once, with its title; the others are done, and the rest is returned."""
    if how == "is killed" and os.name != "posix":
        pytest.skip("Windows has no such signal")
    do, arguments, said = FAILURES[how]
    bad = Job("bad", do, arguments, (tmp_path / "bad",))
    after = making(tmp_path, "after", "bad")
    jobs = [bad, after, making(tmp_path, "good"), making(tmp_path, "better", "good")]
    assert do_all(jobs, processes=1) == [bad, after]
    out, err = capfd.readouterr()
    assert finished(out) == ["1/4  bad", "2/4  good", "3/4  better"]
    assert "  1/4  bad  failed after " in out
    assert err.count("bad failed:\n") == err.count(said) == 1
    assert err.count("Traceback") == (how in {"raises", "leaves"})
    assert "common" not in err  # a traceback begins in the job's own function
    assert err.endswith("1 of 4 jobs failed: bad; 1 more need what these make\n")


def test_a_missing_file_that_nothing_makes_is_found_first(tmp_path: Path) -> None:
    """No job is done before that error."""
    jobs = [making(tmp_path, "good"), making(tmp_path, "late", "never")]
    with pytest.raises(ValueError, match=r"late needs .*never: it is not there, and no job makes"):
        do_all(jobs, processes=1)
    assert not (tmp_path / "good").exists()


SCRIPT = """
import sys
from pathlib import Path

sys.path[:0] = sys.argv[1:3]
import some_jobs
from common.jobs import Job, do_all

if __name__ == "__main__":
    place = Path(sys.argv[3])
    first, never = place / "first", place / "never"
    jobs = [
        Job("first", some_jobs.make, (first,), (first,)),
        Job("never", some_jobs.wait_and_make, (never, place / "no"), (never,)),
    ]
    try:
        do_all(jobs, processes=1)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_ends_jobs_that_run(tmp_path: Path) -> None:
    """No job runs on, even if the main process alone gets the signal."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    process = subprocess.Popen(
        [sys.executable, script, EXPERIMENTS, Path(__file__).parent, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        # A job in a shell's background, as tests may be, ignores Ctrl-C from birth.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout
    assert [process.stdout.readline() for _ in range(2)][1].endswith("  1/2  first  0 s\n")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)  # the pipe ends when all that could write to it have ended
    assert process.returncode == 130
