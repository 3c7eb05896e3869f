"""A small search for slack, density and the SFT model's weight. `slack-ties tune` calls this.

We merge all candidates in memory while we read the tensors, and write no candidate to disk. The
score says something about the weights (`kept`) or about the user's texts (`perplexity`), not more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.config.write import write_recipes
from slack_ties.errors import OutputError, RecipeError, SlackTiesError
from slack_ties.explore.metrics import METRICS, Metric
from slack_ties.explore.perplexity import read_text
from slack_ties.explore.search import Search, check_optuna
from slack_ties.explore.study import key_of, open_study
from slack_ties.explore.trials import Trials, config_values, is_unedited, with_values
from slack_ties.explore.tune_page import is_tune_page, write_tune_page
from slack_ties.explore.tuned import Tuned
from slack_ties.files import expanded, sha256_of
from slack_ties.recipe.read import parse_recipe, read_recipe
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION, Recipe
from slack_ties.report.describe import check_reportable
from slack_ties.settings import Settings

if TYPE_CHECKING:
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
    **settings: Unpack[SettingsByName],
) -> Tuned:
    """Try values for a config, and write the best config beside it.

    Args:
        config: A merge config of `slack_ties` or `ties` that says which model is the SFT model.
        metric: `kept`: the share of the top 20 % of the CT models and of the SFT models that the
            merge keeps, as a harmonic mean; runs no model. `perplexity`: on `text`; with
            `text_sft`, the geometric mean of both.
        search: What to try.
        text: A text in the language, UTF-8.
        text_sft: A text in a language or task that the SFT model must not lose, such as English.
        output: The file for the best config. If not given: CONFIG-tuned-METRIC.yml.
        study: The file that records the results, to continue later. If not given:
            CONFIG-tune-METRIC.json.
        overwrite: Replace `output` also if `tune` did not write it, or if it was edited; and a
            file CONFIG-tune-METRIC.html that is no page of a search.
        settings: `options`, `quiet`, `allow_unrelated` and `api`, as in `Settings`.

    Raises:
        SlackTiesError: A text, the config or a model cannot be used.
        OutputError: A file cannot be written, or `output` was edited, or is not of `tune`.

    """
    shared = Settings(**settings)
    search = search or Search()
    path = expanded(config)
    recipe = read_recipe(path)
    kind = _check(recipe, metric, (text, text_sft))
    texts = [read_text(expanded(one)) for one in (text, text_sft) if one]
    if search.trials:
        check_optuna()
    about = {
        "config": sha256_of(recipe.text),
        "metric": metric,
        "texts": [one.digest for one in texts],
    }
    kept = open_study(
        Path(study) if study else path.with_name(f"{path.stem}-tune-{metric}.json"), about
    )
    name = f"{path.stem}-tuned-{metric}.yml"
    out = expanded(output) if output else path.with_name(name)
    page = path.with_name(f"{path.stem}-tune-{metric}.html")
    if out.resolve() in {kept.path.resolve(), page.resolve()}:
        msg = f"{str(out)!r} is also the file for the results or for the page of this search"
        raise OutputError(msg, hint="choose another path with -o")
    _check_output(out, path, overwrite=overwrite)  # before we read a model
    _check_page(page, overwrite=overwrite)
    trials = Trials(recipe, kind(recipe, texts, shared), kept, shared)
    with trials.resumable():
        tried = trials.by_optuna(search) if search.trials else trials.by_grid(search.grid())
    results = tuple(kept.results[key_of(values)] for values in tried)
    best = (max if kind.more_is_better else min)(results, key=lambda one: one.score)
    _check_output(out, path, overwrite=overwrite)  # a search takes long
    _check_page(page, overwrite=overwrite)
    tuned = parse_recipe(with_values(recipe, best, metric), where=out.name)
    write_recipes({out: tuned}, overwrite=True)
    found = Tuned(metric, results, best, out, kept.path, page, config_values(recipe))
    write_tune_page(page, kind, recipe, found)
    return found


def _check_output(out: Path, config: Path, *, overwrite: bool) -> None:
    """Refuse to replace the config that is tuned, and a file that `tune` did not write as it is."""
    if out.is_dir():
        msg = f"{str(out)!r} is a folder, expected a file for the best config"
        raise OutputError(msg, hint="choose a file with -o")
    if overwrite or not out.exists():
        return
    if out.samefile(config):
        msg = f"{str(out)!r} is the config that is tuned: the best config would replace it"
    elif not is_unedited(out):
        msg = f"{str(out)!r} exists; slack-ties tune did not write it, or it was edited since"
    else:
        return
    raise OutputError(msg, hint="choose another path with -o, or add --overwrite to replace it")


def _check_page(page: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file of the page's name that is no page of a search."""
    if not is_tune_page(page) and not (overwrite and page.is_file()):
        msg = f"{str(page)!r} exists, and is not a page of slack-ties tune"
        hint = "move it away" + (", or add --overwrite to replace it" if page.is_file() else "")
        raise OutputError(msg, hint=hint)


def _check(recipe: Recipe, name: str, texts: tuple[str | Path | None, ...]) -> type[Metric]:
    """Return the metric; refuse a recipe that we cannot tune, before we read a model."""
    if name not in METRICS:
        msg = f"unknown metric {name!r}, expected {' or '.join(METRICS)}"
        raise SlackTiesError(msg)
    metric: type[Metric] = METRICS[name]
    metric.check_texts(texts)
    check_reportable(recipe)
    if "models" not in recipe.data:
        msg = f"{recipe.where}: expected `models`: slices and modules cannot be tuned"
        raise RecipeError(msg)
    if len(recipe.models) < 3:  # noqa: PLR2004 - the base and two others
        msg = f"{recipe.where}: it merges only one model, so slack changes nothing"
        raise RecipeError(msg, hint="name a CT model and an SFT model")
    if not all(recipe.models_of(role) for role in metric.roles):
        msg = f"{recipe.where} does not say which model is the SFT model and which the CT model"
        hint = f"add: {FACTS_KEY}: {{recipe: {RECIPE_VERSION}, roles: {{ct: [ID], sft: [ID]}}}}"
        raise RecipeError(msg, hint=hint)
    metric.check_recipe(recipe)
    return metric
