"""Choose each method's settings by the validation splits of all seeds."""

from __future__ import annotations

from statistics import mean

from bench import Bench
from rows import Row, read_rows

__all__ = ["TRAINED", "choose"]

TRAINED = ("sft", "ct_then_sft")  # the methods that train and do not merge
# A fluent model's perplexity in X is at most this many times the CT model's.
FLUENT = 2.0


def choose(bench: Bench, method: str, sft: str, ct: int) -> dict[str, int]:
    """Return the trials to test, by the mean over seeds of their validation scores in X.

    "default" is the first one, "tuned" the most accurate, "fluent" the most accurate of the
    fluent ones, if there are any.
    """
    merges = _rows(bench, f"merges-{sft}-{ct}")
    limit = FLUENT * mean(row.perplexity for row in merges if row.method == "ct")
    if method in TRAINED:
        merges = _rows(bench, f"{method}-{sft}-{0 if method == 'sft' else ct}")
    of_trial: dict[int, list[Row]] = {}
    for row in merges:
        if row.method == method:
            of_trial.setdefault(int(row.setting), []).append(row)
    accuracy = {number: mean(r.accuracy for r in rows) for number, rows in of_trial.items()}
    perplexity = {number: mean(r.perplexity for r in rows) for number, rows in of_trial.items()}
    fluent = [number for number in accuracy if perplexity[number] <= limit]
    made = {"tuned": max(accuracy, key=accuracy.__getitem__)}
    if fluent:
        made["fluent"] = max(fluent, key=accuracy.__getitem__)
    return made if method in TRAINED else {"default": 0, **made}


def _rows(bench: Bench, name: str) -> list[Row]:
    tables = [each.table(f"trials of {name}") for each in bench.all_seeds()]
    return [row for table in tables for row in read_rows(table)]
