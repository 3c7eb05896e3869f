"""Which answers begin with the right one: `python experiments/real/begins.py [quick|full|gpu]`.

In scores.csv an answer is right if it is the right one, and ends there. Here it counts if it begins
with the right one, and spaces do not count: this leaves out how an answer ends.
It reads the answers that `slack-ties evaluate` keeps in the work folder, and writes begins.csv.

A file of answers does not say whose they are. It is told by which of them are right, in the
language and in English. Models that are right in the same items cannot be told apart: they are
left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml
from numpy.typing import NDArray

from common.curves import Point, Vectors, beside_curve
from common.markup import table
from common.rows import as_bits, read_rows, right_of, write_rows
from real.curves import ct_dial
from real.methods import BY_NAME, DEFAULTS, DIAL
from real.rows import Row
from real.scores import ENGLISH, TITLES, Part, Scores, added, measured
from real.shown import name_of, noted, shown, shown_signed
from real.tasks import skills_task

__all__ = ["Begins", "begins", "is_begun", "rows_of_answers"]

HERE = Path(__file__).resolve().parent
OURS, DIALLED = "slack_ties", "task_arithmetic"


@dataclass(frozen=True)
class Begins:
    """A model, and which of its answers in the language begin with the right one."""

    language: str
    seed: int
    ct: int
    sft: int
    method: str
    values: str
    items: int
    begins: str  # as `right` of scores.csv


def is_begun(answer: str, wanted: str) -> bool:
    """Return whether an answer begins with the wanted one; spaces do not count."""
    return "".join(answer.split()).startswith("".join(wanted.split()))


def rows_of_answers(work: Path, results: Path) -> Iterator[Begins]:
    """Yield the rows of all models whose answers are kept and can be told from others."""
    models = _models(results)
    files = sorted(work.glob("answers/slack-ties/evaluate/answers/*.sqlite"))
    for language in sorted({row.language for rows in models.values() for row in rows}):
        names = [skills_task(of, "test") for of in (language, f"en-{language}")]
        tasks = [_items_of(work / language / "tasks", name) for name in names]
        for file in files:
            found = [_answers_of(file, *task) for task in tasks]
            if not all(found):
                continue
            wanted = [[item["answer"] for item in items] for items, _ in tasks]
            right = [
                as_bits(own.strip() == its for own, its in zip(answers, all_of, strict=True))
                for answers, all_of in zip(found, wanted, strict=True)
            ]
            rows = models.get((language, *right), [])
            if len(rows) == 1:
                (row,) = rows
                about = (row.language, row.seed, row.ct, row.sft, row.method, row.values)
                begun = as_bits(map(is_begun, found[0], wanted[0]))
                yield Begins(*about, len(found[0]), begun)


def _models(results: Path) -> Mapping[tuple[str, str, str], list[Row]]:
    """Return the rows of the test split by what was right in the language and in English."""
    every = [
        row
        for name in ("scores", "candidates")
        if (results / f"{name}.csv").exists()
        for row in read_rows(results / f"{name}.csv", Row)
        if row.split == "test"
    ]
    found: dict[tuple[str, str, str], list[Row]] = {}
    english = {_model_of(row): row.right for row in every if row.asked == ENGLISH}
    for row in every:
        if row.asked == row.language and _model_of(row) in english:
            key = row.language, row.right, english[_model_of(row)]
            found.setdefault(key, []).append(row)
    return found


def _model_of(row: Row) -> tuple[object, ...]:
    return row.language, row.seed, row.ct, row.sft, row.method, row.values


def _items_of(folder: Path, name: str) -> tuple[list[dict[str, str]], dict[str, object]]:
    """Return the items of a task, and how answers are generated."""
    lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
    task = yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))
    return [json.loads(line) for line in lines], task["generation_kwargs"]


def _answers_of(
    file: Path, items: Sequence[Mapping[str, str]], how: Mapping[str, object]
) -> list[str]:
    """Return the kept answers of a model to all items; nothing if one is missing."""
    from lm_eval.api.model import hash_args
    from sqlitedict import SqliteDict

    keys = [hash_args("generate_until", (item["prompt"], dict(how))) for item in items]
    with SqliteDict(str(file), flag="r") as kept:
        return [kept[key] for key in keys] if all(key in kept for key in keys) else []


def begins(results: Path) -> str:
    """Answers that begin with the right one (begins.csv, scores.csv)."""
    path = results / "begins.csv"
    vectors: dict[tuple[str, Part], dict[int, NDArray[np.float64]]] = {}
    for row in read_rows(path, Begins) if path.exists() else []:
        part = Part(row.method, row.values, row.ct, row.sft)
        vectors.setdefault((row.language, part), {})[row.seed] = right_of(row.begins, row.items)
    scores, lines, seeds = Scores(results), [], []
    for language in scores.languages:
        ours = vectors.get((language, scores.part(OURS)), {})
        for title, part in _compared(scores):
            theirs = vectors.get((language, part), {})
            found = measured(theirs)
            if not found:
                continue
            every = measured({s: v for s, v in scores.right(language, part).items() if s in theirs})
            own = part == scores.part(OURS)
            beside = None if own or not ours else measured(added((1, ours), (-1, theirs)))
            cells = [shown(every), shown(found), shown_signed(beside), str(found.seeds)]
            lines.append([name_of(language), title, *cells])
            seeds.append(found.seeds)
        above = measured(_above(scores, language, vectors))
        if above:
            title = f"{TITLES[DIALLED]} at the same bits per byte"
            last = [shown_signed(above), str(above.seeds)]
            lines.append([name_of(language), title, "", "", *last])
    head = ["language", "model", "items right", "begin with the right answer"]
    return noted(table([*head, "slack_ties minus it", "seeds"], lines), seeds)


def _above(scores: Scores, language: str, vectors: Mapping[tuple[str, Part], Vectors]) -> Vectors:
    """Return what slack_ties has more than task arithmetic at the same bits per byte."""

    def points(part: Part) -> dict[int, Point]:
        bits = scores.bits(language, part)
        own = vectors.get((language, part), {})
        return {seed: (float(np.exp(bits[seed][0])), own[seed]) for seed in own if seed in bits}

    return beside_curve(points(scores.part(OURS)), list(map(points, ct_dial(scores)))).difference


def _compared(scores: Scores) -> Iterator[tuple[str, Part]]:
    """Yield parents and merges at their defaults, and lighter CT models of two methods."""
    for name in ("sft", "ct", "ct_then_sft", *(merge.name for merge in DEFAULTS)):
        yield TITLES[name], scores.part(name)
    for merge in BY_NAME.values():
        weight = merge.ct.get("weight", 1.0)
        if merge.name in {OURS, DIALLED} and weight in DIAL:
            yield (
                f"{TITLES[merge.name]}, CT weight {weight:g}",
                scores.part(merge.name, merge.values),
            )


def main() -> None:
    """Read the command line, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("size", nargs="?", default="full")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for models")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for rows")
    chosen = parser.parse_args()
    work, results = chosen.work / chosen.size, chosen.results / chosen.size
    for path in (work / "answers", results / "scores.csv"):
        if not path.exists():
            parser.error(f"no {path}: python experiments/real/run.py {chosen.size}")
    rows = sorted(rows_of_answers(work, results), key=lambda row: (row.language, row.seed))
    write_rows(results / "begins.csv", rows)
    print(f"{len(rows)} models: {results / 'begins.csv'}")


if __name__ == "__main__":
    main()
