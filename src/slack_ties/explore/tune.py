"""A small search for slack, density and the SFT model's weight. `slack-ties tune`.

Every candidate is made of the same tensors while they are read, in memory, and none is written to
disk. The score is of weights (`kept`) or of the user's own texts (`perplexity`), and no other claim
is made for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import RecipeError, SlackTiesError
from slack_ties.explore.metrics import METRICS, Metric
from slack_ties.explore.perplexity import read_text
from slack_ties.explore.search import Search, check_optuna
from slack_ties.explore.study import Result, key_of, open_study
from slack_ties.explore.trials import Trials, with_values
from slack_ties.explore.tune_page import write_tune_page
from slack_ties.files import sha256_of, write_whole
from slack_ties.recipe.read import read_recipe
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION, Recipe
from slack_ties.report.describe import check_reportable
from slack_ties.settings import Settings
from slack_ties.wording import in_columns

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from slack_ties.settings import SettingsByName

__all__ = ["Tuned", "tune_config"]


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    metric: str
    results: tuple[Result, ...]  # in the order of trial
    best: Result
    config: Path  # the best one
    study: Path
    page: Path

    def as_text(self) -> str:
        """Return the table that a person reads."""
        parts = list(self.best.parts)
        rows = [["  TRIAL", self.metric.upper(), *(part.upper() for part in parts)]]
        for result in self.results:
            mark = "* " if result is self.best else "  "
            numbers = [f"{result.score:.4f}", *(f"{result.parts[part]:.4f}" for part in parts)]
            rows.append([mark + key_of(result.values), *numbers])
        return "\n".join(in_columns(rows))


def tune_config(  # noqa: PLR0913 - all by name
    config: str | Path,
    *,
    metric: str = "kept",
    search: Search | None = None,
    text: str | Path | None = None,
    text_sft: str | Path | None = None,
    output: str | Path | None = None,
    study: str | Path | None = None,
    **settings: Unpack[SettingsByName],
) -> Tuned:
    """Try values for a config, and write the best config beside it.

    Args:
        config: A merge config of `slack_ties` or `ties` that says which model is the SFT model.
        metric: `kept`: the harmonic mean of the shares of the CT models' and the SFT models' top
            20 % that are in the merge; no model is run. `perplexity`: on `text`, and with
            `text_sft` the geometric mean of both.
        search: Where to look.
        text: A text in the language, UTF-8.
        text_sft: A text of what the SFT model is to keep, for example English.
        output: Where to write the best config; CONFIG-tuned.yml if not given.
        study: What was tried is kept here, and taken up again. CONFIG-tune-METRIC.json if not
            given.
        settings: `options`, `quiet`, `allow_unrelated` and `api`, as in `Settings`.

    Raises:
        SlackTiesError: A text or the config does not do, or the models do not.

    """
    how = Settings(**settings)
    search = search or Search()
    path = Path(config).expanduser()
    recipe = read_recipe(path)
    kind = _check(recipe, metric, (text, text_sft))
    texts = [read_text(Path(one).expanduser()) for one in (text, text_sft) if one]
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
    trials = Trials(recipe, kind(recipe, texts, how), kept, how)
    tried = trials.by_optuna(search) if search.trials else trials.by_grid(search.grid())
    results = tuple(kept.results[key_of(values)] for values in tried)
    best = (max if kind.more_is_better else min)(results, key=lambda one: one.score)
    out = Path(output).expanduser() if output else path.with_name(f"{path.stem}-tuned.yml")
    write_whole(out, with_values(recipe, best, metric))
    page = write_tune_page(path.with_name(f"{path.stem}-tune-{metric}.html"), kind, results, best)
    return Tuned(metric, results, best, out, kept.path, page)


def _check(recipe: Recipe, name: str, texts: tuple[str | Path | None, ...]) -> type[Metric]:
    """Return the metric, or refuse what no search can be made of, before a model is read."""
    if name not in METRICS:
        msg = f"unknown metric {name!r}, expected {' or '.join(METRICS)}"
        raise SlackTiesError(msg)
    metric: type[Metric] = METRICS[name]
    check_reportable(recipe)
    if "models" not in recipe.data:
        msg = f"{recipe.where}: expected `models`: slices and modules cannot be tuned"
        raise RecipeError(msg)
    if len(recipe.models) < 3:  # noqa: PLR2004 - the base and two
        msg = f"{recipe.where}: a single model is merged: no slack changes anything"
        raise RecipeError(msg, hint="name a CT model and an SFT model")
    if not all(recipe.models_of(role) for role in metric.roles):
        msg = f"{recipe.where} does not say which model is the SFT model and which the CT model"
        hint = f"add: {FACTS_KEY}: {{recipe: {RECIPE_VERSION}, roles: {{ct: [ID], sft: [ID]}}}}"
        raise RecipeError(msg, hint=hint)
    metric.check(recipe, texts)
    return metric
