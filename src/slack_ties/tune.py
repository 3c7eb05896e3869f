"""A small search for slack, density and the SFT model's weight. `slack-ties tune`.

Every candidate is made of the same tensors while they are read, in memory, and none is written to
disk. The score is of weights (`kept`) or of the user's own texts (`perplexity`), and no other claim
is made for it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.collect import Trial
from slack_ties.columns import in_columns
from slack_ties.errors import RecipeError, SlackTiesError
from slack_ties.figures import Figures
from slack_ties.files import sha256_of, write_whole
from slack_ties.perplexity import Scorer, Text, read_text
from slack_ties.recipe import FACTS_KEY, RECIPE_VERSION, Recipe, read_recipe, reference
from slack_ties.report import check_reportable
from slack_ties.study import Result, Study, key_of, open_study
from slack_ties.tally import CONFIG, TOPS
from slack_ties.tune_page import write_tune_page

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from mergekit.options import MergeOptions

    from slack_ties.report_file import Report

__all__ = ["METRICS", "SLACKS", "Search", "Tuned", "tune_config"]

LOG = logging.getLogger("slack_ties")
METRICS = ("kept", "perplexity")
SLACKS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
IMPORTANT = TOPS.index(0.2)  # what slack 0.2 protects: docs/report.md
MOST_SLACK = 0.5  # Optuna looks no further: above it the SFT model decides nearly alone
# Of the memory that is free, the share that candidates may take at a time.
MEMORY = 0.4
AT_ONCE = 8  # trials in a pass where memory is no limit: what an interruption can cost


@dataclass(frozen=True)
class Search:
    """Where to look: a grid of values, or a number of trials within their limits."""

    slack: tuple[float, ...] = SLACKS
    density: tuple[float, ...] = ()  # as in the config if empty
    weight: tuple[float, ...] = ()  # of the SFT models; likewise
    trials: int = 0  # by Optuna, in place of the grid

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            SlackTiesError: Names the parameter.

        """
        for name, values in (("slack", self.slack), ("density", self.density)):
            for value in values:
                if not 0 <= value <= 1:
                    msg = f"{name} must be in [0, 1], got {value:g}"
                    raise SlackTiesError(msg)

    def grid(self) -> list[dict[str, float]]:
        """Return every combination, and the config as it is before all."""
        names = [name for name in ("slack", "density", "weight") if getattr(self, name)]
        values = (dict.fromkeys(getattr(self, name)) for name in names)
        every = [dict(zip(names, one, strict=True)) for one in itertools.product(*values)]
        return [{}, *every] if names else [{}]


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
    options: MergeOptions | None = None,
    quiet: bool = False,
    allow_unrelated: bool = False,
    api: HfApi | None = None,
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
        options: mergekit's own, for example the device.
        quiet: Without `options`: show no progress.
        allow_unrelated: Merge models though their weights have nothing in common.
        api: The Hub client; the default one if not given.

    Raises:
        SlackTiesError: A text or the config does not do, or the models do not.

    """
    search = search or Search()
    path = Path(config).expanduser()
    recipe = read_recipe(path)
    _check(recipe, metric, text, text_sft)
    texts = [read_text(Path(one).expanduser()) for one in (text, text_sft) if one]
    if search.trials:
        _check_optuna()
    about = {
        "config": sha256_of(recipe.text),
        "metric": metric,
        "texts": [one.digest for one in texts],
    }
    kept = open_study(
        Path(study) if study else path.with_name(f"{path.stem}-tune-{metric}.json"), about
    )
    how = {"options": options, "quiet": quiet, "allow_unrelated": allow_unrelated, "api": api}
    run = _Run(recipe, metric, texts, kept, how)
    tried = run.by_optuna(search) if search.trials else run.by_grid(search.grid())
    results = tuple(kept.results[key_of(values)] for values in tried)
    best = (max if metric == "kept" else min)(results, key=lambda one: one.score)
    out = Path(output).expanduser() if output else path.with_name(f"{path.stem}-tuned.yml")
    write_whole(out, _with_values(recipe, best, metric))
    page = write_tune_page(path.with_name(f"{path.stem}-tune-{metric}.html"), metric, results, best)
    return Tuned(metric, results, best, out, kept.path, page)


class _Run:
    """One search: it asks the study first, and the models for what is not there."""

    def __init__(
        self,
        recipe: Recipe,
        metric: str,
        texts: Sequence[Text],
        study: Study,
        how: Mapping[str, Any],
    ) -> None:
        self.recipe, self.metric, self.texts = recipe, metric, texts
        self.study, self.how = study, how
        self.scorer: Scorer | None = None

    def by_grid(self, grid: Sequence[dict[str, float]]) -> list[dict[str, float]]:
        """Try all of a grid, as many in one pass over the models as memory allows."""
        left = [values for values in grid if key_of(values) not in self.study.results]
        if len(left) < len(grid):
            LOG.info(
                "  %d of %d trials are in %s", len(grid) - len(left), len(grid), self.study.path
            )
        at_once = AT_ONCE if self.metric == "kept" else self._fit()
        for start in range(0, len(left), at_once):
            self._try(left[start : start + at_once], start, len(left))
        return list(grid)

    def by_optuna(self, search: Search) -> list[dict[str, float]]:
        """Let Optuna choose, one trial after the other; what was tried is not tried again."""
        import optuna  # noqa: PLC0415 - an extra

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        limits = {
            name: (min(values), max(values))
            for name in ("density", "weight")
            if (values := getattr(search, name))
        }
        limits["slack"] = (0.0, MOST_SLACK)
        # A seed: the same answers lead to the same questions, so a study can be taken up again.
        asked = optuna.create_study(
            direction="maximize" if self.metric == "kept" else "minimize",
            sampler=optuna.samplers.TPESampler(seed=0),
        )
        tried: list[dict[str, float]] = [{}]
        self.by_grid(tried)
        for number in range(search.trials):
            trial = asked.ask()
            values = {
                name: trial.suggest_float(name, low, high, step=0.01 if low < high else None)
                for name, (low, high) in sorted(limits.items())
            }
            values = {name: round(value, 6) for name, value in values.items()}
            if key_of(values) not in self.study.results:
                self._try([values], number, search.trials)
            asked.tell(trial, self.study.results[key_of(values)].score)
            if values not in tried:
                tried.append(values)
        return tried

    def _fit(self) -> int:
        """Return how many candidates fit into memory beside the one that is run."""
        import psutil  # noqa: PLC0415

        from slack_ties.plan import plan_merge  # noqa: PLC0415 - imports the Hub client

        plan = plan_merge(
            self.recipe,
            options=self.how["options"],
            api=self.how["api"],
            allow_unrelated=self.how["allow_unrelated"],
        )
        size = max(plan.parameters * 4, 1)  # at most float32
        return max(1, int(MEMORY * psutil.virtual_memory().available / size) - 1)

    def _try(self, batch: Sequence[dict[str, float]], done: int, total: int) -> None:
        """Merge a batch in one pass over the models, and score each."""
        from slack_ties.merge import merge_in_memory  # noqa: PLC0415 - heavy

        if not batch:
            return
        keep = self.metric == "perplexity"
        trials = [Trial(values, keep=keep) for values in batch]
        names = [key_of(values) for values in batch]
        LOG.info(
            "  trials %d to %d of %d: %s", done + 1, done + len(batch), total, "; ".join(names)
        )
        report = merge_in_memory(
            self.recipe,
            self.study.path.parent,
            take=lambda name, tensor: _cast(trials, name, tensor) if keep else None,
            trials=trials,
            **self.how,
        )
        for trial in trials:
            parts = self._perplexity(trial) if keep else _kept(report, trial)
            score = _geometric(parts) if keep else _harmonic(parts)
            self.study.add(Result(trial.values, score, parts))
            trial.tensors.clear()
            LOG.info("  %s: %s %.4f", key_of(trial.values), self.metric, score)

    def _perplexity(self, trial: Trial) -> dict[str, float]:
        if self.scorer is None:
            device = self.how["options"].device if self.how["options"] else "cpu"
            base, words = (_folder(one, self.how["api"]) for one in _tokenizer_of(self.recipe))
            self.scorer = Scorer(base, words, self.texts, device)
        found = self.scorer.score(trial.tensors)
        return dict(zip(("text", "text sft"), found, strict=False))


def _check(
    recipe: Recipe, metric: str, text: str | Path | None, text_sft: str | Path | None
) -> None:
    """Refuse what no search can be made of, before a model is read."""
    if metric not in METRICS:
        msg = f"unknown metric {metric!r}, expected {' or '.join(METRICS)}"
        raise SlackTiesError(msg)
    if metric == "perplexity" and not text:
        msg = "perplexity needs a text in the language"
        raise SlackTiesError(msg, hint="--text FILE, some KB in UTF-8")
    if metric == "kept" and (text or text_sft):
        msg = "a text goes with --metric perplexity"
        raise SlackTiesError(msg)
    check_reportable(recipe)
    if "models" not in recipe.data:
        msg = f"{recipe.where}: expected `models`: slices and modules cannot be tuned"
        raise RecipeError(msg)
    if len(recipe.models) < 3:  # noqa: PLR2004 - the base and two
        msg = f"{recipe.where}: a single model is merged: no slack changes anything"
        raise RecipeError(msg, hint="name a CT model and an SFT model")
    if not recipe.models_of("sft") or (metric == "kept" and not recipe.models_of("ct")):
        msg = f"{recipe.where} does not say which model is the SFT model and which the CT model"
        hint = f"add: {FACTS_KEY}: {{recipe: {RECIPE_VERSION}, roles: {{ct: [ID], sft: [ID]}}}}"
        raise RecipeError(msg, hint=hint)
    if metric == "perplexity":
        _tokenizer_of(recipe)


def _check_optuna() -> None:
    try:
        import optuna  # noqa: F401, PLC0415 - an extra
    except ImportError:
        msg = "--trials needs Optuna, which is not installed"
        hint = "pip install 'slack-ties[tune]', or leave --trials out: a grid needs nothing"
        raise SlackTiesError(msg, hint=hint) from None


def _tokenizer_of(recipe: Recipe) -> tuple[str, str]:
    """Return the base, and the model whose tokenizer the merged model has."""
    section = recipe.data.get("tokenizer") or {}
    source = section.get("source") or recipe.data.get("tokenizer_source") or "base"
    if source == "base":
        return recipe.base, recipe.base
    name = reference(source)
    if name not in recipe.models:
        msg = f"{recipe.where}: perplexity cannot be had with the tokenizer source {name!r}"
        raise RecipeError(msg, hint="use --metric kept, or a tokenizer of one of the models")
    return recipe.base, name


def _folder(name: str, api: HfApi | None) -> Path:
    from slack_ties.hub import find_model, split_reference  # noqa: PLC0415 - imports the client

    path, revision = split_reference(name)[0]
    return find_model(path, revision, api=api).path


def _cast(trials: Sequence[Trial], name: str, tensor: Any) -> None:
    """Give each candidate the tensor in the type of the result, or what no method merges."""
    for trial in trials:
        trial.tensors[name] = trial.tensors.get(name, tensor).to(tensor.dtype).cpu()


def _kept(report: Report, trial: Trial) -> dict[str, float]:
    """Return, by role, the share of the models' top that is in the merge, averaged over models."""
    counted = replace(report, tensors=trial.tallies)
    parts = {}
    for role in ("ct", "sft"):
        shares = []
        for place in report.of_role(role):
            share = Figures(counted.total, place).top_kept(IMPORTANT, CONFIG)
            if share is None:
                msg = f"{report.models[place].model} does not differ from the base"
                raise SlackTiesError(msg, hint="there is nothing to tune: is it the right model?")
            shares.append(share)
        parts[role] = sum(shares) / len(shares)
    return parts


def _harmonic(parts: Mapping[str, float]) -> float:
    return len(parts) / sum(1 / max(part, 1e-9) for part in parts.values())


def _geometric(parts: Mapping[str, float]) -> float:
    product = 1.0
    for part in parts.values():
        product *= part ** (1 / len(parts))
    return product


def _with_values(recipe: Recipe, best: Result, metric: str) -> str:
    """Return the text of a config with the values of a trial, and the roles that it goes by."""
    import yaml  # noqa: PLC0415

    data: dict[str, Any] = deepcopy(dict(recipe.data))
    sft = recipe.models_of("sft")
    for part in data["models"]:
        name = reference(part["model"])
        if name == recipe.base:
            continue
        parameters = part.setdefault("parameters", {})
        for key, value in best.values.items():
            if key == "density" or name in sft:
                parameters[key] = value
    if "slack" in best.values:
        data["merge_method"] = "slack_ties"
    if not recipe.facts.roles:  # slack 0 would leave nothing that tells the SFT model
        facts = dict(data.get(FACTS_KEY) or {"recipe": RECIPE_VERSION})
        roles = {role: list(recipe.models_of(role)) for role in ("ct", "sft")}
        data[FACTS_KEY] = {**facts, "roles": {k: v for k, v in roles.items() if v}}
    head = (
        f"# The best of `slack-ties tune` by {metric}: {key_of(best.values)} ({best.score:.6g})\n"
    )
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
