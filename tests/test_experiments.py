"""What experiments share in experiments/common: jobs, also those that fail, intervals, rows."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import some_jobs
from common.intervals import Interval, bootstrap, correlation, rank_correlation
from common.jobs import Job, do_all
from common.rows import as_bits, read_rows, right_of, text_of, write_rows
from common.stamp import about, check_same, write_versions


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
    "leaves": (some_jobs.leave, (), "bad failed:\nno use\n"),
    "calls": (some_jobs.call, (), "raise SystemExit(3)' ended with exit code 3: it said why above"),
    "fills the disk": (some_jobs.fill, (), "there is no space left on the disk: make room"),
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
    assert err.count("Traceback") == (how == "raises")
    assert "common" not in err  # a traceback begins in the job's own function
    waiting = "not started, because they need what these make: 1"
    assert err.endswith(f"1 of 4 jobs failed: bad; {waiting}. The same command tries again.\n")


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


def test_intervals_by_hand() -> None:
    """Nothing varies: no interval. Two seeds: tasks alone vary. Four: as wide as Student's t."""
    same = np.full((3, 10), 0.25)
    found = bootstrap(same)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    two = np.array([[0.0] * 8, [1.0] * 8])
    assert bootstrap(two) == Interval(0.5, 0.5, 0.5)
    means = [0.2, 0.4, 0.6, 0.9]
    found = bootstrap(np.array([[mean] * 8 for mean in means]))
    half = 3.182 * np.std(means, ddof=1) / 2
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    items = np.tile([1.0, 0.0] * 200, (4, 1))
    found = bootstrap(items)
    # The binomial standard error of 400 items is 0.025.
    assert found.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)
    assert bootstrap(items) == found
    verdicts = [Interval(0, *ends).verdict for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))]
    assert verdicts == ["holds", "opposite", "undecided"]


def test_a_correlation_by_hand() -> None:
    """It is the mean of the seeds' own, by Fisher's z; a seed in which nothing varies has none."""
    seeds = np.repeat([3, 8, 9, 11], 5)
    one = np.tile(np.arange(5.0), 4)
    line = correlation(seeds, one, 2 * one)
    assert (line.value, line.low, line.high) == pytest.approx((1.0, 1.0, 1.0), abs=1e-3)
    chance = Random(0)
    other = np.array([chance.random() for _ in seeds])
    other[seeds == 11] = 0.5
    of_seeds = [np.corrcoef(one[seeds == seed], other[seeds == seed])[0, 1] for seed in (3, 8, 9)]
    found = correlation(seeds, one, other)
    assert found.value == pytest.approx(np.tanh(np.mean(np.arctanh(of_seeds))))
    assert found.low < found.value < found.high


def test_a_rank_correlation_by_hand() -> None:
    """Spearman's by 1 - 6 d^2 / (n^3 - n), its mean, and ends as wide as three seeds make them."""
    seeds = np.repeat([0, 1, 2, 3], 5)
    one = np.array([10.0, 20.0, 30.0, 40.0, 50.0] * 4)
    orders = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0], [3.0, 2.0, 1.0, 4.0, 5.0]
    of_seeds = [1.0, 1 - 6 * 4 / 120, 1 - 6 * 8 / 120]
    other = np.concatenate([*(np.exp(order) for order in orders), [7.0] * 5])  # the last has none
    found = [rank_correlation(seeds[s], one[s], other[s]) for s in map(slice, (5, 10, 15))]
    assert [f.value for f in found] == pytest.approx([of_seeds[0], 0.9, 0.8])
    assert found[1].low == found[1].high  # two seeds tell nothing about others
    # The lowest 2.5 % of draws have the worst seed three times (1 in 27), 0.2 below the mean.
    widening = 4.303 / 1.960 * math.sqrt(3 / 2)
    assert (found[2].low, found[2].high) == pytest.approx((0.8 - 0.2 * widening, 1.0))
    assert rank_correlation(seeds, one, other) == found[2]


def test_equal_values_share_a_rank() -> None:
    """Ranks 1, 2.5, 2.5, 4 beside 1, 2, 3, 4: 4.5 / root of 4.5 times 5."""
    one, other = np.array([0.1, 0.3, 0.3, 0.9]), np.array([5.0, 6.0, 7.0, 8.0])
    assert rank_correlation(np.zeros(4), one, other).value == pytest.approx(math.sqrt(0.9))


@pytest.mark.parametrize("correlate", [correlation, rank_correlation])
def test_what_does_not_vary_has_no_correlation(correlate: Callable[..., Interval]) -> None:
    """That is an error, and not a number."""
    seeds, one = np.zeros(3), np.arange(3.0)
    with pytest.raises(ValueError, match="no seed in which both values vary"):
        correlate(seeds, one, np.ones(3))


@dataclass(frozen=True)
class Scored:
    """A row of some experiment."""

    seed: int
    model: str
    share: float
    right: str


def test_rows_come_back(tmp_path: Path) -> None:
    """What is written is what is read, of dataclasses as of mappings; bits count from item 0."""
    assert as_bits([True, False, True]) == "5"
    assert right_of("5", 4).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert text_of({"density": 0.5, "slack": 0.25}) == "density=0.5 slack=0.25"
    rows = [Scored(0, "a, b", 0.25, "5"), Scored(1, "c", 1e-7, "f0")]
    path = tmp_path / "folder" / "rows.csv"
    write_rows(path, rows)
    assert path.read_bytes().startswith(b'seed,model,share,right\n0,"a, b",0.25,5\n')
    assert read_rows(path, Scored) == rows
    write_rows(path, [asdict(row) for row in rows[:1]])
    assert read_rows(path, Scored) == rows[:1]
    write_rows(tmp_path / "none.csv", [])
    assert [each.name for each in tmp_path.rglob("*")] == ["folder", "rows.csv"]


def test_the_work_of_another_version_is_refused(tmp_path: Path) -> None:
    """Whatever differs: a budget, a file of the code, a package. The same facts go on."""
    code, work = tmp_path / "code.py", tmp_path / "work"
    code.write_text("one")
    facts = about({"seeds": 1}, [code], ["numpy"])
    assert facts["numpy"] == np.__version__
    check_same(work, facts)
    check_same(work, about({"seeds": 1}, [code], ["numpy"]))
    code.write_text("two")
    for other in (about({"seeds": 1}, [code], ["numpy"]), facts | {"mode": {"seeds": 2}}):
        with pytest.raises(SystemExit, match="work is the work of another version: delete it"):
            check_same(work, other)
    with pytest.raises(SystemExit, match=r"^no-such-package is not installed: pip install no-such"):
        about({}, [], ["no-such-package"])
    write_versions(work, facts)
    written = json.loads((work / "versions.json").read_text("utf-8"))
    assert written.keys() == {*facts, "date", "python", "machine"}
