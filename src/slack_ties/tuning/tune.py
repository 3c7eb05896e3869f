"""A small search for a method, slack, density and the SFT model's weight: `slack-ties tune`.

We merge all candidates in memory while we read the tensors, and write no candidate to disk. The
score says something about the weights (`kept`), about the user's texts (`perplexity`), or about
tasks of lm-eval; not more.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from slack_ties.config.methods import METHODS, RANDOM, find_method
from slack_ties.config.write import write_recipes
from slack_ties.errors import RecipeError, SlackTiesError, nearest
from slack_ties.files import expanded, sha256_of
from slack_ties.models.state import local_state
from slack_ties.recipe.read import parse_recipe, read_recipe
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION, Recipe
from slack_ties.settings import Settings
from slack_ties.tuning.alike import say_alike
from slack_ties.tuning.candidates import Candidate, config_values, with_values
from slack_ties.tuning.metrics import METRICS, Metric
from slack_ties.tuning.paths import paths_for
from slack_ties.tuning.perplexity import read_text
from slack_ties.tuning.search import Search, check_optuna
from slack_ties.tuning.study import Study, TrialResult, open_study
from slack_ties.tuning.trials import SEED, Trials
from slack_ties.tuning.tune_page import write_tune_page
from slack_ties.tuning.tuned import Tuned
from slack_ties.tuning.verdict import Verdict, verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from slack_ties.settings import SettingsByName

__all__ = ["Tuned", "tune_config"]


def tune_config(  # noqa: PLR0913 - all by name
    config: str | Path,
    *,
    metric: str = "kept",
    search: Search | None = None,
    text: str | Path | None = None,
    text_sft: str | Path | None = None,
    output: str | Path | None = None,
    study: str | Path | None = None,
    overwrite: bool = False,
    include: Sequence[str | Path] = (),
    limit: int | None = None,
    fewshot: int | None = None,
    batch_size: str = "",
    chat_template: bool = False,
    seed: int = 0,
    **settings: Unpack[SettingsByName],
) -> Tuned:
    """Try values for a config, and write the best config beside it.

    Args:
        config: A merge config that says which model is the SFT model.
        metric: `kept`: the share of the top 20 % of the CT models and of the SFT models that the
            merge keeps, as a harmonic mean; runs no model; for `slack_ties` and `ties` only.
            `perplexity`: on `text`; with `text_sft`, the geometric mean of both. Or names of tasks
            of lm-eval, with commas; `tasks` are those of the config's language and the English
            ones. Candidates are compared on one half of the items of each task; the best one and
            the config as it was are then scored on the other half.
        search: What to try.
        text: A text in the language, UTF-8.
        text_sft: A text in a language or task that the SFT model must not lose, such as English.
        output: The file for the best config. If not given: CONFIG-tuned-METRIC.yml.
        study: The file that records the results, to continue later. If not given:
            CONFIG-tune-METRIC.json.
        overwrite: Replace `output` also if `tune` did not write it, or if it was edited; and a
            file CONFIG-tune-METRIC.html that is no page of a search.
        include: Folders with task files of yours, for lm-eval.
        limit: Use only the first items of each task.
        fewshot: Examples before each item; as each task says if not given.
        batch_size: Items at once, or auto; if empty: auto on a GPU, 1 on a CPU.
        chat_template: Put each item into the chat template of the model.
        seed: Decides which items are held out.
        settings: All of `Settings`, by name.

    Raises:
        SlackTiesError: A text, the config or a model cannot be used.
        OutputError: A file cannot be written, or `output` was edited, or is not of `tune`.

    """
    shared = Settings(**settings)
    search = search or Search()
    path = expanded(config)
    recipe = read_recipe(path)
    search = replace(search, methods=_methods(recipe, search))
    given = [expanded(one) if one else None for one in (text, text_sft)]
    how = _Tasks(
        tuple(expanded(one) for one in include), limit, fewshot, batch_size, chat_template, seed
    )
    files = paths_for(path, metric, output, study)
    files.check_replaced(overwrite=overwrite)
    scorer = _metric(metric, recipe, how)
    _check(recipe, scorer, given, search)
    texts = [read_text(one) for one in given if one]
    if search.trials:
        check_optuna()
    about: dict[str, Any] = {
        "config": sha256_of(recipe.text),
        "metric": metric,
        "models": local_state(recipe.models),
        "texts": [one.digest for one in texts],
        "random_seed": _seed(shared),
        **({"device": shared.device.partition(":")[0]} if scorer.runs_models else {}),
        **getattr(scorer, "about", {}),
    }
    if scorer.runs_models:
        again = shlex.join(["slack-ties", "tune", str(path), "--no-download"])
        shared = shared.with_download(f"--metric {metric}", f"{again}  # the metric is then kept")
    kept = open_study(files.study, about)
    scorer.prepare(texts, shared)
    trials = Trials(recipe, scorer, kept, shared)
    with trials.resumable():
        tried = trials.by_optuna(search) if search.trials else trials.by_grid(search)
        results = tuple(kept.results[one.key] for one in tried)
        best = (max if scorer.more_is_better else min)(results, key=lambda one: one.score)
        verdict = _verdict(results, best, scorer, trials, kept)
    files.check_replaced(overwrite=overwrite)  # a search takes long
    by = ", ".join(filter(None, (one.strip() for one in metric.split(","))))
    notes = [
        *getattr(scorer, "doubts", []),
        *say_alike(results, config_values(recipe)),
        *_on_seed(best, recipe, shared),
    ]
    tuned = parse_recipe(
        with_values(recipe, best, by, [*verdict.lines, *notes]), where=files.out.name
    )
    write_recipes({files.out: tuned}, overwrite=True)
    found = Tuned(
        scorer.name,
        results,
        best,
        files.out,
        files.study,
        files.page,
        config_values(recipe),
        recipe.method if search.methods else "",
        scorer.more_is_better,
        dict(scorer.legend),
        scorer.asks,
        verdict,
        tuple(notes),
        scorer.means,
        by,
    )
    write_tune_page(files.page, scorer, recipe, found)
    return found


class _Tasks(NamedTuple):
    """The options for tasks."""

    include: tuple[Path, ...]
    limit: int | None
    fewshot: int | None
    batch_size: str
    chat_template: bool
    seed: int


def _metric(name: str, recipe: Recipe, how: _Tasks) -> Metric:
    """Return the metric with this name, or that of tasks; tasks are loaded."""
    if name in METRICS:
        if given := [key for key, value in how._asdict().items() if value]:
            option = given[0].replace("include", "include-path").replace("_", "-")
            msg = f"--{option} is for tasks of lm-eval, and --metric is {name}"
            raise SlackTiesError(msg, hint="--metric TASKS  # names of tasks, or: tasks")
        made: Metric = METRICS[name]()
        return made
    from slack_ties.harness.extra import check_lm_eval  # noqa: PLC0415

    try:
        check_lm_eval()
    except SlackTiesError:
        if not (close := nearest(name, list(METRICS))):
            raise
        msg = f"unknown metric {name!r}.{close}"
        raise SlackTiesError(
            msg, hint=f"metrics: {', '.join(METRICS)}, or names of tasks"
        ) from None
    from slack_ties.tuning.task_metric import TaskMetric, TaskOptions  # noqa: PLC0415 - an extra

    return TaskMetric(name, TaskOptions(*how), recipe)


def _verdict(
    results: tuple[TrialResult, ...], best: TrialResult, metric: Metric, trials: Trials, kept: Study
) -> Verdict:
    """Score the best trial and the config as it is on held-out items, if there are any."""
    measure = getattr(metric, "measure_held_out", None)
    held_out = []
    if measure is not None:
        chosen = [Candidate(), Candidate(best.method, best.values)]
        held_out = trials.hold_out(chosen[: 1 if best is results[0] else 2], measure)
    return verdict_of(results, held_out, kept, metric.means)


def _on_seed(best: TrialResult, recipe: Recipe, settings: Settings) -> list[str]:
    """Say the seed of a best trial whose method draws random numbers."""
    method = best.method or recipe.method
    if method not in RANDOM:
        return []
    return [f"{method} draws random numbers: merge it with --random-seed {_seed(settings)}"]


def _seed(settings: Settings) -> int:
    """Return the seed of methods that draw random numbers."""
    given = settings.options.random_seed if settings.options else None
    return SEED if given is None else given


def _methods(recipe: Recipe, search: Search) -> tuple[str, ...]:
    """Return the names of the methods to compare, as mergekit knows them, each once.

    Raises:
        RecipeError: One is not known, or needs a base that the config does not name.

    """
    methods = [find_method(name) for name in search.methods]
    for method in methods:
        if method.has_base and not recipe.base:
            msg = f"{recipe.where}: it names no base_model, which {method.name} needs"
            raise RecipeError(msg, hint="add: base_model: ID")
    if not methods and recipe.method not in METHODS:
        msg = f"{recipe.where}: merge_method is {recipe.method!r}, whose values cannot be tuned"
        raise RecipeError(msg, hint=f"--method NAMES  # known: {', '.join(METHODS)}")
    return tuple(dict.fromkeys(method.name for method in methods))


def _check(recipe: Recipe, metric: Metric, texts: Sequence[Path | None], search: Search) -> None:
    """Refuse texts, and a recipe that we cannot tune, before we read a model."""
    metric.check_texts(texts)
    metric.check_recipe(recipe, search.methods)
    if "models" not in recipe.data:
        msg = f"{recipe.where}: expected `models`: slices and modules cannot be tuned"
        raise RecipeError(msg)
    if sum(name != recipe.base for name in recipe.models) < 2:  # noqa: PLR2004 - CT and SFT
        msg = f"{recipe.where}: it merges only one model, so slack changes nothing"
        raise RecipeError(msg, hint="name a CT model and an SFT model")
    if not all(recipe.models_of(role) for role in metric.roles):
        msg = f"{recipe.where} does not say which model is the SFT model and which the CT model"
        hint = f"add: {FACTS_KEY}: {{recipe: {RECIPE_VERSION}, roles: {{ct: [ID], sft: [ID]}}}}"
        raise RecipeError(msg, hint=hint)
