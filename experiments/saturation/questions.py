"""Jobs that answer: they merge and score, and write rows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import chain, product

import torch
from safetensors.torch import load_file

from bench import Bench
from choose import TRAINED, choose
from methods import BY_NAME, MERGES, trials
from put_back import WHAT, lost_share, put_back
from rows import Row, read_rows, text_of, write_table

__all__ = ["compare_product", "find_cause", "merge_three", "test_chosen", "try_grid", "try_merges"]


def try_merges(bench: Bench, sft: str, ct: int) -> None:
    """Try every merge method's settings on the validation split."""
    model = bench.load(f"ct-x-{ct}")
    rows = bench.scored(model, Row(bench.seed, sft, ct, "ct"), "validation", "x")
    for method in MERGES:
        for number, values in enumerate(trials(method, bench.mode.trials)):
            bench.merge(model, method, values, sft, ct)
            row = Row(bench.seed, sft, ct, method.name, str(number), text_of(values))
            rows += bench.scored(model, row, "validation", "x")
    write_table(bench.table(f"trials of merges-{sft}-{ct}"), rows)


def test_chosen(bench: Bench, sft: str, ct: int) -> None:
    """Score on the test split the parts, and what the validation splits have chosen."""
    model, rows = bench.load("base"), list[Row]()
    rows += bench.scored(model, Row(bench.seed, sft, ct, "base"), "test", "xe")
    model = bench.load(f"ct-x-{ct}")
    rows += bench.scored(model, Row(bench.seed, sft, ct, "ct"), "test", "xe")
    model = bench.load(f"sft-{sft}")
    rows += bench.scored(model, Row(bench.seed, sft, ct, "sft", "merged"), "test", "xe")
    for method in MERGES:
        tries = trials(method, bench.mode.trials)
        scored: dict[int, list[Row]] = {}
        for setting, number in choose(bench, method.name, sft, ct).items():
            if number not in scored:
                bench.merge(model, method, tries[number], sft, ct)
                row = Row(bench.seed, sft, ct, method.name, "", text_of(tries[number]))
                scored[number] = bench.scored(model, row, "test", "xe")
            rows += [replace(row, setting=setting) for row in scored[number]]
    for name in TRAINED:
        tested = read_rows(bench.table(f"tests of {name}-{sft}-{0 if name == 'sft' else ct}"))
        for setting, number in choose(bench, name, sft, ct).items():
            found = [row for row in tested if row.setting == str(number)]
            rows += [replace(row, ct=ct, setting=setting) for row in found]
    write_table(bench.table(f"tests-{sft}-{ct}"), rows)


def try_grid(bench: Bench, sft: str, ct: int) -> None:
    """Score slack_ties at every slack and density, with and without division."""
    model, rows, mode = bench.load("base"), list[Row](), bench.mode
    for normalize in (False, True):
        method = replace(BY_NAME["slack_ties"], fixed={"normalize": normalize})
        for density, slack in product(mode.densities, mode.slacks):
            values = {"density": density, "slack": slack}
            bench.merge(model, method, values, sft, ct)
            text = text_of({**values, "normalize": int(normalize)})
            row = Row(bench.seed, sft, ct, method.name, "grid", text)
            rows += bench.scored(model, row, "validation", "x")
    write_table(bench.table(f"sensitivity-{sft}-{ct}"), rows)


def find_cause(bench: Bench, sft: str, ct: int) -> None:
    """Count what the SFT model loses to sign election, and put it back."""
    model, rows = bench.load("base"), list[Row]()
    base, of_ct, of_sft = map(bench.weights, ("base", f"ct-x-{ct}", f"sft-{sft}"))
    for name in ("ties", "ties_sum", "trimmed"):
        method = BY_NAME[name]
        bench.merge(model, method, method.default, sft, ct)
        merged = {key: value.clone() for key, value in model.state_dict().items()}
        for what in WHAT:
            changed = put_back(
                merged,
                base,
                of_ct,
                of_sft,
                what=what,
                by="ct" if name == "trimmed" else "sft",
                density=method.default["density"],
                seed=bench.seed,
            )
            model.load_state_dict(changed)
            row = Row(bench.seed, sft, ct, name, what, text_of(method.default))
            rows += bench.scored(model, row, "test", "x")
    share = {"seed": bench.seed, "sft": sft, "ct": ct, **lost_share(base, of_ct, of_sft)}
    write_table(bench.table(f"lost-{sft}-{ct}"), [share])
    write_table(bench.table(f"put_back-{sft}-{ct}"), rows)


def merge_three(bench: Bench, sft: str) -> None:
    """Merge two CT models and the SFT model; beside it, each pair."""
    model, rows, ct = bench.load("base"), list[Row](), bench.mode.three_ct
    for method in MERGES:
        values = method.default
        row = Row(bench.seed, sft, ct, method.name, "default", text_of(values))
        bench.merge(model, method, values, sft, ct, languages="xy")
        rows += bench.scored(model, row, "test", "xye")
        for language in "xy":
            bench.merge(model, method, values, sft, ct, languages=language)
            pair = replace(row, setting="default, pair")
            rows += bench.scored(model, pair, "test", language)
    method = BY_NAME["slack_ties"]
    slack = method.default["slack"]
    bench.merge(model, method, method.default, sft, ct, languages="xy", slack_of_ct=slack)
    row = Row(bench.seed, sft, ct, method.name, "slack on all", text_of(method.default))
    rows += bench.scored(model, row, "test", "xye")
    write_table(bench.table(f"three-{sft}"), rows)


def compare_product(bench: Bench) -> None:
    """Merge by the commands that users type, and compare with what is scored here."""
    sft, ct = bench.mode.cells[-1]
    place = bench.model("product")
    shutil.rmtree(place, ignore_errors=True)
    config, merged = place / "qtx.yml", place / "merged"
    models = {"base": "base", "ct": f"ct-x-{ct}", "sft": f"sft-{sft}"}
    roles = [(f"--{role}", str(bench.model(name))) for role, name in models.items()]
    chosen = list(chain(*roles))
    for words in (
        # qtx: of the codes that ISO 639 leaves to private use.
        ("config", "qtx", "--output", str(place), *chosen, "--quiet"),
        ("merge", str(config), str(merged), "--quiet"),
    ):
        subprocess.run(
            [sys.executable, "-m", "slack_ties", *words], check=True, capture_output=True
        )
    model, method = bench.load("base"), BY_NAME["slack_ties"]
    bench.merge(model, method, method.default, sft, ct)
    scored, made = model.state_dict(), load_file(merged / "model.safetensors")
    same = scored.keys() == made.keys() and all(torch.equal(scored[n], made[n]) for n in scored)
    if not same:
        msg = f"{merged}: not the weights that were scored"
        raise ValueError(msg)
    by = "slack-ties config, slack-ties merge"
    row = {"seed": bench.seed, "sft": sft, "ct": ct, "command": by, "same": same}
    write_table(bench.table("product"), [row])
