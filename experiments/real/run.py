"""Run the experiment: `python experiments/real/run.py [quick|full|gpu]`.

Fetch weights and text, train, merge and score, some jobs at once. What is done is not done again:
stop it when you like, and start it again. Rows are in results/ beside this file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    from common import stamp
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed for {sys.executable}: see experiments/real/README.md")
from common.jobs import Job, do_all
from common.rows import write_rows
from real.ingredients import LICENSES
from real.options import HERE, folder_of, options
from real.rows import rows_of_candidates, rows_of_reports, rows_of_scores
from real.seen import rows_of_seen
from real.sizes import SIZES, Size

# What models and items depend on. Merges may be added to methods.py while the work goes on.
CODE = "ingredients learn pages sizes skills tasks".split()
PACKAGES = (*stamp.PACKAGES, "lm-eval", "gguf")


def jobs(size: Size, work: Path, device: str, base: str = "") -> Iterator[Job]:
    """Yield all jobs, the most important first."""
    from real import ingredients
    from real.bench import Bench, make_tasks
    from real.candidates import CONFIRMED, FAVOURITES

    home = work / ingredients.BASE
    if base:
        yield Job("get the base model", ingredients.use_base, (base, work), (home,))
    else:
        yield Job("fetch the base model", ingredients.fetch_base, (work,), (home,))
    texts = tuple(work / ingredients.HELP / language for language in size.languages)
    yield Job("fetch the texts", ingredients.fetch_help, (size.languages, work), texts)
    for language, pages in zip(size.languages, texts, strict=True):
        bench = Bench(size, work, language, 0, device)
        done = bench.tasks / "done"
        yield Job(f"{language}: write tasks", make_tasks, (bench,), (done,), (pages,))
    benches = {
        language: [Bench(size, work, language, seed, device) for seed in range(size.seeds)]
        for language in size.languages
    }
    # A part of the work already says something about every question: the first language's seeds,
    # then one seed of other budgets, of other languages and of other values, then the rest.
    first, *others = benches.values()
    for bench in first:
        yield from _main(bench)
        yield from _first(bench)
    yield from _ct(first[0], max(size.ct_steps))  # the longest job
    yield from _saturation(first[0])
    for bench in first:
        yield from _candidates(bench, FAVOURITES)
        yield from _candidates(bench, CONFIRMED, "test")
    for seeds in others:
        yield from _short(seeds[0], size.ct_main, size.sft_main)
        yield from _first(seeds[0])
    yield from _values(first[0])
    for part in (_scarce, _candidates):
        yield from part(first[0])
    for part in (_main, _first, _saturation, _values, _scarce, _dials, _candidates):
        for bench in (bench for seeds in benches.values() for bench in seeds):
            yield from part(bench)


def _main(bench: Any) -> Iterator[Job]:
    """Yield what is compared at the main budgets: the parts, CT then SFT, merges at defaults."""
    from real.methods import DEFAULTS

    size = bench.size
    yield from _train(bench, size.ct_main, size.sft_main)
    yield from _parts(bench, size.ct_main, size.sft_main)
    yield from _merges(bench, size.ct_main, size.sft_main, [merge.key for merge in DEFAULTS])


def _first(bench: Any) -> Iterator[Job]:
    """Yield the slacks that reports suggest, and trials of what is compared at the same bits."""
    from real.methods import FIRST, OURS, SUGGESTED, TRIALS

    size = bench.size
    chosen = [merge for merge in TRIALS if merge.name in FIRST]
    chosen += [merge for merge in OURS if merge.sft["slack"] in SUGGESTED]
    keys = [merge.key for merge in chosen if size.dials]
    yield from _merges(bench, size.ct_main, size.sft_main, keys)


def _values(bench: Any) -> Iterator[Job]:
    """Yield slack_ties with other values of each parameter."""
    from real.methods import OURS

    size = bench.size
    keys = [merge.key for merge in OURS if size.dials]
    yield from _merges(bench, size.ct_main, size.sft_main, keys)


def _dials(bench: Any) -> Iterator[Job]:
    """Yield the other trials of each method."""
    from real.methods import MERGES

    size = bench.size
    keys = [merge.key for merge in MERGES] if size.dials else []
    yield from _merges(bench, size.ct_main, size.sft_main, keys)


def _candidates(bench: Any, chosen: Sequence[str] = (), split: str = "validation") -> Iterator[Job]:
    """Yield other rules, all or some, on a split."""
    from real.bench import try_candidate
    from real.candidates import CANDIDATES, slug

    size = bench.size
    ct, sft = bench.ct(size.ct_main), bench.sft(size.sft_main)
    needs = (bench.base, ct, sft, bench.tasks / "done")
    for candidate in (chosen or CANDIDATES) if size.dials else ():
        name = slug(candidate, split)
        title = f"{bench.language} seed {bench.seed}: candidate {candidate}, {split}"
        arguments = (bench, name, candidate, ct, sft, split)
        yield Job(title, try_candidate, arguments, (bench.scores(name),), needs)


def _saturation(bench: Any) -> Iterator[Job]:
    """Yield merges at their defaults for the other CT budgets."""
    size = bench.size
    for steps in size.ct_steps:
        if steps != size.ct_main:
            yield from _short(bench, steps, size.sft_main)


def _scarce(bench: Any) -> Iterator[Job]:
    """Yield merges at their defaults with other numbers of SFT items, beside CT, then SFT."""
    size = bench.size
    for items in size.sft_items:
        if items != size.sft_main:
            yield from _short(bench, size.ct_main, items)


def _short(bench: Any, steps: int, items: int) -> Iterator[Job]:
    """Yield the parts, CT then SFT, and some merges at their defaults, at any budgets."""
    from real.methods import DEFAULTS

    yield from _train(bench, steps, items)
    yield from _parts(bench, steps, items)
    keys = [merge.key for merge in DEFAULTS if merge.name in SHORT]
    yield from _merges(bench, steps, items, keys)


SHORT = ("slack_ties", "task_arithmetic", "ties_sum", "ties")


def _train(bench: Any, steps: int, items: int) -> Iterator[Job]:
    from real.bench import make_sft

    at, seed = f"{bench.language} seed {bench.seed}", bench.seed
    pages = (bench.base, bench.tasks / "done")
    yield from _ct(bench, steps)
    sft = bench.sft(items)
    arguments = (bench, bench.base, items, sft)
    yield Job(f"seed {seed}: SFT, {items} items", make_sft, arguments, (sft,), pages)
    then = bench.then(steps, items)
    arguments = (bench, bench.ct(steps), items, then)
    title = f"{at}: SFT, {items} items, after CT of {steps}"
    yield Job(title, make_sft, arguments, (then,), (*pages, bench.ct(steps)))


def _ct(bench: Any, steps: int) -> Iterator[Job]:
    """Yield a CT model, after those that it goes on from."""
    from real.bench import make_ct

    before = max((ct for ct in bench.size.ct_steps if ct < steps), default=0)
    if before:
        yield from _ct(bench, before)
    needs = (bench.base, bench.tasks / "done", *((bench.ct(before),) if before else ()))
    title = f"{bench.language} seed {bench.seed}: CT, {steps} steps"
    yield Job(title, make_ct, (bench, steps, before), (bench.ct(steps),), needs)


def _parts(bench: Any, steps: int, items: int) -> Iterator[Job]:
    from real.bench import score
    from real.methods import passthrough

    found = {
        "base": bench.base,
        f"ct-{steps}": bench.ct(steps),
        f"sft-{items}": bench.sft(items),
        f"then-{steps}-{items}": bench.then(steps, items),
    }
    for name, model in found.items():
        title = f"{bench.language} seed {bench.seed}: score {name}"
        arguments = (bench, name, passthrough(model))
        needs = (model, bench.tasks / "done")
        yield Job(title, score, arguments, (bench.scores(name),), needs)


def _merges(bench: Any, steps: int, items: int, keys: list[str]) -> Iterator[Job]:
    from real.bench import report_merge, score_merge
    from real.methods import BY_NAME

    ct, sft = bench.ct(steps), bench.sft(items)
    needs = (bench.base, ct, sft, bench.tasks / "done")
    at = f"{bench.language} seed {bench.seed}"
    for key in keys:
        name = f"{steps}-{items}-{key}"
        arguments = (bench, name, key, ct, sft)
        yield Job(f"{at}: merge {name}", score_merge, arguments, (bench.scores(name),), needs)
        if BY_NAME[key].method in ("slack_ties", "ties"):
            made = (bench.report(name),)
            yield Job(f"{at}: report of {name}", report_merge, arguments, made, needs)


def be_quiet() -> None:
    """Set up a process for jobs: one thread, no bars, and the Hub left alone."""
    import logging

    import torch
    import transformers

    import slack_ties.method  # noqa: F401 - registers it, should the start-up hook be off

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)


def unique(every: Iterator[Job]) -> list[Job]:
    """Return jobs without those that make what an earlier one makes."""
    found: dict[tuple[Path, ...], Job] = {}
    for job in every:
        found.setdefault(job.makes, job)
    return list(found.values())


def main() -> None:
    """Read the command line, and run."""
    chosen = options(__doc__)
    size = SIZES[chosen.size]
    work = chosen.work.resolve() / folder_of(size, chosen.base)
    if not chosen.base:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_ASSETS_CACHE"] = str(work / "answers")
    facts = stamp.about(asdict(size), [HERE / f"{name}.py" for name in CODE], PACKAGES)
    if chosen.base:
        facts["base"] = chosen.base
    stamp.check_same(work, facts)
    processes = chosen.processes or ((os.cpu_count() or 1) if chosen.device == "cpu" else 1)
    every = unique(jobs(size, work, chosen.device, chosen.base))
    try:
        left = do_all(every, processes=processes, set_up=be_quiet)
    except KeyboardInterrupt:
        print("stopped: the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
    finally:
        results = chosen.results / folder_of(size, chosen.base)
        results.mkdir(parents=True, exist_ok=True)
        collect(size, work, results, facts)
    if left:
        sys.exit(1)


def collect(size: Size, work: Path, results: Path, facts: dict[str, object]) -> None:
    """Write the rows of all that is scored so far."""
    tables = {
        "scores": list(rows_of_scores(work)),
        "candidates": list(rows_of_candidates(work, size.ct_main, size.sft_main)),
        "reports": list(rows_of_reports(work)),
        "seen": list(rows_of_seen(size, work)),
    }
    for name, rows in tables.items():
        if rows:
            write_rows(results / f"{name}.csv", rows)
    sources = work / LICENSES / "sources.json"
    made = {"sources": json.loads(sources.read_text("utf-8"))} if sources.exists() else {}
    stamp.write_versions(results, {**facts, **made})


if __name__ == "__main__":
    main()
