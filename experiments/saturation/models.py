"""Jobs that make models: the base, CT models, SFT models, and CT models that get SFT."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

from transformers import LlamaForCausalLM

from bench import Bench
from modes import TEXTS, WORDS
from rows import Row, text_of, write_table
from score import score
from train import new_model, story_batches, task_batches, tasks_of, train

__all__ = ["make_base", "make_ct", "make_ct_then_sft", "make_sft"]

BASE_MIXTURE = {"e": 0.40, "x": 0.04, "y": 0.04, "ex": 0.18, "ey": 0.18, "e=x": 0.08, "e=y": 0.08}
BASE_RATE, BASE_TEXTS, CT_RATE = 3e-3, 64, 1e-3
TASKS_PER_STEP = 32


def make_base(bench: Bench) -> None:
    """Pre-train the base model: much E, some text in two languages, little X and Y."""
    model = new_model(bench.seed, bench.mode.hidden, bench.mode.layers)
    seed = f"base {bench.seed}"
    batches = story_batches(seed, BASE_MIXTURE, BASE_TEXTS, WORDS, rare=False)
    train(model, batches, bench.mode.base_steps, BASE_RATE)
    bench.save(model, "base")


def make_ct(bench: Bench, language: str, cts: Sequence[int]) -> None:
    """Go on pre-training on a language, with some E, and take a model at each budget."""
    mixture = {language: 0.68, "e": 0.17, f"e{language}": 0.10, f"e={language}": 0.05}
    batches = story_batches(f"ct {language} {bench.seed}", mixture, TEXTS, WORDS)
    take = {step: partial(bench.save, name=f"ct-{language}-{step}") for step in cts}
    train(bench.load("base"), batches, max(cts), CT_RATE, constant=True, at=take)


def make_sft(bench: Bench, sft: str) -> None:
    """Tune the base on tasks in E; keep the trial that is best on E's validation split."""
    found: list[tuple[float, LlamaForCausalLM]] = []

    def keep(model: LlamaForCausalLM) -> None:
        right = score(model, "e", "validation", bench.mode.validation).right
        found.append((right.float().mean().item(), copy.deepcopy(model)))

    _tune(bench, "base", sft, 0, "sft", keep)
    best = max(found, key=lambda pair: pair[0])
    bench.save(best[1], f"sft-{sft}")


def make_ct_then_sft(bench: Bench, sft: str, ct: int) -> None:
    """Tune the CT model on the same tasks: CT, then SFT."""
    _tune(bench, f"ct-x-{ct}", sft, ct, "ct_then_sft")


def _tune(
    bench: Bench,
    start: str,
    sft: str,
    ct: int,
    method: str,
    keep: Callable[[LlamaForCausalLM], None] | None = None,
) -> None:
    """Tune a model at each rate, and score it after each number of steps: these are trials."""
    mode = bench.mode
    items = tasks_of(f"sft {bench.seed}", "e", mode.sft[sft])
    validated: list[Row] = []
    tested: list[Row] = []

    def take(model: LlamaForCausalLM, rate: float, step: int) -> None:
        values = text_of({"rate": rate, "steps": step})
        row = Row(bench.seed, sft, ct, method, str(len(validated)), values)
        validated.extend(bench.scored(model, row, "validation", "x"))
        tested.extend(bench.scored(model, row, "test", "xe"))
        if keep:
            keep(model)
        model.train()

    for rate in mode.sft_rates:
        batches = task_batches(f"order {bench.seed}", items, TASKS_PER_STEP)
        at = {step: partial(take, rate=rate, step=step) for step in mode.sft_steps}
        train(bench.load(start), batches, max(mode.sft_steps), rate, constant=True, at=at)
    # Of the tests only those of the trials count that the validation split chooses.
    write_table(bench.table(f"tests of {method}-{sft}-{ct}"), tested)
    write_table(bench.table(f"trials of {method}-{sft}-{ct}"), validated)
