"""Run the experiment: `python experiments/saturation/run.py [quick|full]`.

Train, merge and score, some jobs at once, each with one thread. What is done is not done
again: stop it when you like, and start it again. Results are in results/ beside this file.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import stamp
from common.jobs import Job, do_all
from modes import MODES, Mode
from slack_ties.files import write_whole

if TYPE_CHECKING:
    from bench import Bench

HERE = Path(__file__).resolve().parent
TABLES = {
    "trials": "trials of *.csv",
    "tests": "tests-*.csv",
    "sensitivity": "sensitivity-*.csv",
    "put_back": "put_back-*.csv",
    "lost": "lost-*.csv",
    "three": "three-*.csv",
    "product": "product.csv",
}
CODE = "bench choose methods models put_back questions rows score train world".split()


def jobs(mode: Mode, work: Path) -> list[Job]:
    """Return all jobs, in the order in which they are started if nothing is missing."""
    import models
    import questions
    from bench import Bench

    made: list[Job] = []
    benches = [Bench(mode, work, seed) for seed in range(mode.seeds)]

    def add(
        do: Callable[..., None],
        *arguments: Any,
        makes: Sequence[str],
        needs: Sequence[str] = (),
        of_all: Sequence[str] = (),
    ) -> None:
        """Add a job for each seed; models and tables by their names, `of_all` for all seeds."""
        for bench in benches:
            paths = tuple(_path(bench, name) for name in makes)
            needed = [_path(bench, name) for name in needs]
            needed += [_path(each, name) for each in benches for name in of_all]
            words = (do.__name__.replace("_", " "), *arguments)
            title = f"seed {bench.seed}: {' '.join(map(str, words))}"
            made.append(Job(title, do, (bench, *arguments), paths, tuple(needed)))

    add(models.make_base, makes=["base"])
    for language, cts in (("x", mode.cts), ("y", (mode.three_ct,))):
        folders = [f"ct-{language}-{ct}" for ct in cts]
        add(models.make_ct, language, cts, makes=folders, needs=["base"])
    for sft in mode.sft:
        names = [f"sft-{sft}", f"trials of sft-{sft}-0.csv"]
        add(models.make_sft, sft, makes=names, needs=["base"])
    for sft, ct in mode.cells:
        cell, pair = f"{sft}-{ct}", (f"sft-{sft}", f"ct-x-{ct}")
        then = f"trials of ct_then_sft-{cell}.csv"
        add(models.make_ct_then_sft, sft, ct, makes=[then], needs=pair)
        add(questions.try_merges, sft, ct, makes=[f"trials of merges-{cell}.csv"], needs=pair)
        add(questions.find_cause, sft, ct, makes=[f"put_back-{cell}.csv"], needs=pair)
        if ct in mode.grid_cts:
            add(questions.try_grid, sft, ct, makes=[f"sensitivity-{cell}.csv"], needs=pair)
    for sft, ct in mode.cells:
        tried = (f"ct_then_sft-{sft}-{ct}", f"merges-{sft}-{ct}", f"sft-{sft}-0")
        of_all = [f"trials of {name}.csv" for name in tried]
        add(questions.test_chosen, sft, ct, makes=[f"tests-{sft}-{ct}.csv"], of_all=of_all)
    for sft in mode.sft:
        needs = [f"sft-{sft}", *(f"ct-{language}-{mode.three_ct}" for language in "xy")]
        add(questions.merge_three, sft, makes=[f"three-{sft}.csv"], needs=needs)
    sft, ct = mode.cells[-1]
    needs = [f"sft-{sft}", f"ct-x-{ct}"]
    add(questions.compare_product, makes=["product.csv"], needs=needs)
    return made


def _path(bench: Bench, name: str) -> Path:
    return bench.work / f"seed-{bench.seed}" / name


def be_quiet() -> None:
    """Set up a process for jobs: one thread, no bars, and the Hub left alone."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    import slack_ties.method  # noqa: F401 - registers it, should the start-up hook be off

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def run(mode: Mode, work: Path, results: Path, *, processes: int) -> None:
    """Do all unfinished jobs, and write the results; none while a job fails."""
    stamp.check_same(work, about(mode))
    note = "those of base models take minutes"
    if do_all(jobs(mode, work), processes=processes, set_up=be_quiet, note=note):
        sys.exit(1)
    collect(mode, work, results)
    print(f"Results are in {os.path.relpath(results)}.")


def about(mode: Mode) -> dict[str, object]:
    """Return all that the rows depend on: budgets, versions, and the code."""
    return stamp.about(asdict(mode), [HERE / f"{name}.py" for name in CODE])


def collect(mode: Mode, work: Path, results: Path) -> None:
    """Put the rows of all jobs together: one file for each question."""
    results.mkdir(parents=True, exist_ok=True)
    for name, pattern in TABLES.items():
        parts = sorted(work.glob(f"seed-*/{pattern}"))
        lines = [line for path in parts for line in path.read_text("utf-8").splitlines()[1:]]
        if parts:
            head = parts[0].read_text("utf-8").splitlines()[0]
            write_whole(results / f"{name}.csv", "\n".join([head, *lines, ""]))
    stamp.write_versions(results, about(mode))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"expected a number of at least 1, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("mode", nargs="?", default="quick", choices=MODES)
    cores = os.cpu_count() or 1
    parser.add_argument("--processes", type=_positive, default=cores, help="jobs at once")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for models")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for rows")
    chosen = parser.parse_args()
    mode = MODES[chosen.mode]
    try:
        run(mode, chosen.work / mode.name, chosen.results / mode.name, processes=chosen.processes)
    except KeyboardInterrupt:
        print("stopped: the same command goes on where it was", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
